package workers

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// connections are those to all workers. There are no more of them than there are
// files for: one client may ask for hundreds of streams over HTTP/2, and hundreds of
// workers are each checked by a connection that is kept. Without a file left nobody
// could connect to penstock any more, and whoever looks whether it is alive would
// find it dead.
type connections struct {
	most   int64  // zero: any number
	idle   func() // closes those that no request is under way on
	dialer net.Dialer
	open   atomic.Int64

	mu   sync.Mutex
	vain time.Time // when none could be closed

	listing sync.Mutex    // guards list, and may be taken while mu is held
	list    []*connection // those that are open
}

// notAgain is how soon nobody looks again for connections to close, when there were
// none. To look takes a moment a worker, and every request may ask for it.
const notAgain = 10 * time.Millisecond

// errNoFiles is a shortage of this machine's, as if the system had said so.
var errNoFiles = fmt.Errorf("%w: connections to workers take up the half that is theirs", syscall.EMFILE)

// dial connects to a worker, in the place of a connection that is idle if need be.
func (c *connections) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !c.take() {
		if c.letGo(); !c.take() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errNoFiles}
		}
	}
	conn, err := c.dialer.DialContext(ctx, network, address)
	if err != nil {
		c.open.Add(-1)
		return nil, err
	}
	made := &connection{TCPConn: conn.(*net.TCPConn), of: c}
	c.listing.Lock()
	made.at = len(c.list)
	c.list = append(c.list, made)
	c.listing.Unlock()
	return made, nil
}

// endGone ends the connections of which gone says that nobody is at their other end
// any more: whoever reads from one is told that it has taken too long.
func (c *connections) endGone(gone func(*net.TCPConn) bool) {
	c.listing.Lock()
	list := slices.Clone(c.list)
	c.listing.Unlock()
	for _, one := range list {
		if gone(one.TCPConn) {
			_ = one.SetDeadline(time.Now())
		}
	}
}

// take counts one more, and reports whether there may be one more.
func (c *connections) take() bool {
	if c.open.Add(1) <= c.most || c.most == 0 {
		return true
	}
	c.open.Add(-1)
	return false
}

// letGo closes the connections that are idle.
func (c *connections) letGo() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.vain) < notAgain {
		return
	}
	before := c.open.Load()
	if c.idle(); c.open.Load() >= before {
		c.vain = time.Now()
	}
}

// connection is one that is counted until it is closed.
type connection struct {
	*net.TCPConn // all of whose methods are used
	of           *connections
	at           int // in of.list; guarded by of.listing
	closed       atomic.Bool
}

// Close implements io.Closer.
func (c *connection) Close() error {
	err := c.TCPConn.Close()
	if c.closed.Swap(true) {
		return err
	}
	of := c.of
	of.listing.Lock()
	last := len(of.list) - 1
	of.list[c.at] = of.list[last]
	of.list[c.at].at = c.at
	of.list[last] = nil
	of.list = of.list[:last]
	of.listing.Unlock()
	of.open.Add(-1)
	return err
}

// closeIdle closes the connections to all workers that no request is under way on.
func (p *Pool) closeIdle() {
	p.mu.Lock()
	closes := make([]func(), 0, 2*len(p.workers))
	for _, list := range [...][]*worker{p.workers, p.kept} {
		for _, w := range list {
			if w.http1 != nil {
				closes = append(closes, w.http1.letGo)
			}
			closes = append(closes, w.transport.CloseIdleConnections)
		}
	}
	p.mu.Unlock()
	for _, c := range closes {
		c()
	}
}
