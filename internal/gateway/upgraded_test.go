package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/standin"
)

// TestUpgradedBounds counts connections up to both bounds, and back to nothing.
func TestUpgradedBounds(t *testing.T) {
	var u upgraded
	const callers = mostUpgraded / mostUpgradedOfCaller
	for range 2 {
		for i := range mostUpgraded {
			if !u.enter(fmt.Sprint("caller ", i%callers)) {
				t.Fatalf("connection %d is refused", i)
			}
		}
		for _, who := range []string{"caller 0", "somebody else"} {
			if u.enter(who) {
				t.Errorf("%s may open one more than %d", who, mostUpgraded)
			}
		}
		u.leave("caller 0")
		if !u.enter("somebody else") || u.enter("caller 0") {
			t.Error("one that has ended makes room for one")
		}
		u.leave("somebody else")
		if !u.enter("caller 0") {
			t.Error("that has ended, too")
		}
		u.leave("caller 1")
		if u.enter("caller 0") {
			t.Errorf("caller 0 may open more than %d", mostUpgradedOfCaller)
		}
		u.leave("caller 0")
		for i := range mostUpgraded {
			if i > 1 {
				u.leave(fmt.Sprint("caller ", i%callers))
			}
		}
		if u.all != 0 || len(u.by) != 0 {
			t.Errorf("%d are open, of %v, want none", u.all, u.by)
		}
	}
}

// open is how many connections are handed over, or may be about to.
func (u *upgraded) open() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.all
}

// TestTooManyWebsockets: of a caller that has as many as it may, one more is turned
// away and costs nothing, until one has ended. All else passes.
func TestTooManyWebsockets(t *testing.T) {
	r := newRig(t, "rate_limiting: {default: {requests_per_hour: 9}}", standin.New(standin.Options{}))
	r.slots(1, 0, 0)
	id := r.caller("").ID
	for range mostUpgradedOfCaller - 1 {
		r.upgraded.enter(id)
	}
	last := r.upgrade()
	w := r.dial()
	w.write(handshake)
	a := w.answer("GET")
	const want = `{"error":{"type":"overloaded","message":"Too many websockets are open. Please retry after 1 seconds.","details":"","extra_info":{"retry_after":1}},"node_errors":{}}`
	if a.status != 503 || a.body != want || a.header.Get("Retry-After") != "1" {
		t.Errorf("answer %d %v %s\nwant 503 %s", a.status, a.header, a.body, want)
	}
	if n := r.metric(`own_answers_total{code="overloaded"}`); n != 1 {
		t.Errorf("%v answers of overloaded were counted, want 1", n)
	}
	if text := r.log.String(); !strings.Contains(text, "code=overloaded") || !strings.Contains(text, errUpgraded.Error()) {
		t.Errorf("the log does not say what to do:\n%s", text)
	}
	if a := r.send("GET", "/echo", ""); a.status != 200 {
		t.Errorf("another request: answer %d, want 200", a.status)
	}
	_ = last.Close()
	eventually(t, "one has ended", func() bool { return r.upgraded.open() == mostUpgradedOfCaller-1 })
	_ = r.upgrade().Close()
	r.wantUsed("requests_per_hour 3")
	if n := r.upgraded.open(); n != mostUpgradedOfCaller-1 {
		t.Errorf("%d are counted in the end", n)
	}
}

// TestWebsocketsAreCountedBack: however an upgrade ends, it is not counted after.
func TestWebsocketsAreCountedBack(t *testing.T) {
	const agrees = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for name, c := range map[string]struct {
		yaml   string
		answer string // the worker's, which then closes; empty: there is no worker
		stays  bool   // it does not
		want   string // how the answer begins
		bypass bool
	}{
		"closed by the client":       {answer: agrees, stays: true, want: "HTTP/1.1 101 "},
		"closed by the worker":       {answer: agrees, want: "HTTP/1.1 101 "},
		"refused by the worker":      {answer: "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", want: "HTTP/1.1 403 "},
		"ignored by the worker":      {answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", want: "HTTP/1.1 200 "},
		"another protocol":           {answer: strings.Replace(agrees, "websocket", "h2c", 1), want: "HTTP/1.1 502 "},
		"no answer":                  {answer: "HTTP", want: "HTTP/1.1 502 "},
		"no worker":                  {want: "HTTP/1.1 503 "},
		"denied by a limit":          {yaml: "rate_limiting: {rules: [{name: none, match: {path: /ws}, limit: {requests: 1, per: 1h}}]}", answer: agrees, stays: true, want: "HTTP/1.1 429 "},
		"not counted where bypassed": {yaml: "rate_limiting: {bypass: {paths: [/ws]}}", answer: agrees, stays: true, want: "HTTP/1.1 101 ", bypass: true},
	} {
		t.Run(name, func(t *testing.T) {
			url := "http://" + closedAddr(t)
			if c.answer != "" {
				url = rawWorker(t, func(conn net.Conn, r *bufio.Reader) {
					if _, err := readHead(r); err != nil {
						return
					}
					_, _ = io.WriteString(conn, c.answer)
					if c.stays {
						_, _ = io.Copy(io.Discard, r)
					}
				})
			}
			r := newRigFor(t, c.yaml, url)
			r.slots(1, 0, 0)
			if strings.Contains(c.want, "429") {
				_ = r.upgrade().Close()
				r.idle()
			}
			w := r.dial()
			w.write(handshake)
			head, err := readHead(w.r)
			if err != nil || !strings.HasPrefix(head, c.want) {
				t.Fatalf("answer %q and %v, want %s", head, err, c.want)
			}
			if n, held := r.upgraded.open(), r.Queue.Stats().InFlight; c.stays && strings.Contains(c.want, "101") && (n == 1) == c.bypass || held != 0 {
				t.Errorf("while it is open %d are counted and %d slots held", n, held)
			}
			_ = w.Close()
			r.idle()
			if n := r.upgraded.open(); n != 0 || len(r.upgraded.by) != 0 {
				t.Errorf("%d are counted after, of %v", n, r.upgraded.by)
			}
		})
	}
}

// TestNoUpgradeTakesASlot: what is no websocket's handshake is a request as any.
func TestNoUpgradeTakesASlot(t *testing.T) {
	r := newRig(t, "", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	slot := r.full(0, 0)
	defer slot.Release()
	for _, lines := range []string{
		"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
		"POST /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
		"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n",
		"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
	} {
		w := r.dial()
		w.write(lines + "Host: x\r\n\r\n")
		_ = w.SetReadDeadline(time.Now().Add(patience))
		if a := w.answer("GET"); a.status != 429 {
			t.Errorf("%q: answer %d, want 429: no slot is free", lines, a.status)
		}
	}
}
