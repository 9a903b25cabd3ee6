package gateway

import (
	"errors"
	"sync"

	"github.com/penstock-dev/penstock/internal/reply"
)

// How many connections may be handed over to workers at a time. They hold no slot
// and may stay for days, so that these are all that bounds them: each takes a
// descriptor at either side and some 64 KiB. A caller that reloads its pages has
// a few.
const (
	mostUpgraded         = 4096
	mostUpgradedOfCaller = 128
)

// upgraded counts the connections that are handed over, or may be about to. The
// zero upgraded has none.
type upgraded struct {
	mu  sync.Mutex
	all int
	by  map[string]int // by caller; those that have any
}

func (u *upgraded) enter(caller string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all >= mostUpgraded || u.by[caller] >= mostUpgradedOfCaller {
		return false
	}
	if u.by == nil {
		u.by = map[string]int{}
	}
	u.all++
	u.by[caller]++
	return true
}

func (u *upgraded) leave(caller string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all--
	if u.by[caller]--; u.by[caller] == 0 {
		delete(u.by, caller)
	}
}

// errUpgraded says what to do about too many connections.
var errUpgraded = errors.New("too many websockets are open: close some, or put another gateway beside this one")

// mayOpen reports whether the request may become a connection that is handed
// over, if that is what it asks for.
func (x *exchange) mayOpen() bool {
	if !x.upgrades() {
		return true
	}
	if x.open = x.g.upgraded.enter(x.caller.ID); !x.open {
		x.failing(reply.Overloaded, errUpgraded)
		x.refuse(reply.Denial{Code: reply.Overloaded, Message: "Too many websockets are open."})
	}
	return x.open
}

// closed notes that the connection is not open any more.
func (x *exchange) closed() {
	if x.open {
		x.g.upgraded.leave(x.caller.ID)
	}
}
