package workers

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxIdle = 1024 // connections of one worker

	// idleTime is for how long a connection without TLS is kept that nothing is asked
	// on. Many servers, uvicorn among them, end it after 5 s: a request that is sent
	// at that moment is lost. A new one costs next to nothing; with TLS it does.
	idleTime    = 4 * time.Second
	idleTimeTLS = 90 * time.Second

	maxHeaderBytes = 256 << 10 // of an answer, those of 1xx answers before it included
)

// http1 sends requests over HTTP/1.1 without TLS to one worker. The goroutine
// that asks does all of it: http.Transport has two of its own for each
// connection, and handing over to them and back is half of what a small request
// costs here.
//
// It sends what is plain: a request without a body or with one that is held, as
// appendHead can write it. All else is http.Transport's, with connections of its
// own: TLS, bodies that pass, upgrades, "Expect: 100-continue", and whatever it
// refuses with a good error.
type http1 struct {
	address string
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	heads   sync.Pool // of *[]byte, to write requests in

	mu      sync.Mutex
	idle    []*conn // the one that has been idle longest first
	retired bool    // no connection becomes idle any more
}

// newHTTP1 returns nil where a worker must be reached by http.Transport.
func newHTTP1(u *url.URL, o Options) *http1 {
	if u.Scheme != "http" || !canLook || !isASCII(u.Host) {
		return nil
	}
	return &http1{
		address: address(u),
		dial:    o.dial,
		heads:   sync.Pool{New: func() any { return new([]byte) }},
	}
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// send returns the worker's answer to r, or errNotPlain before anything was
// done. It calls connected each time that it has a connection for it.
//
// As http.Transport does, it sends again what a kept connection did not take,
// and what may be sent twice when the connection ended before the first byte of
// an answer; but once, by a new connection. What a worker breaks off at, each of
// hundreds of kept ones would be asked.
func (t *http1) send(r *request, connected func()) (*http.Response, error) {
	ctx := r.Context()
	for kept := true; ; kept = false {
		head := t.heads.Get().(*[]byte)
		var ok bool
		if *head, ok = r.appendHead((*head)[:0]); !ok {
			t.free(head)
			return nil, errNotPlain
		}
		c, err := t.connection(ctx, kept)
		if err != nil {
			t.free(head)
			return nil, cause(ctx, err)
		}
		connected()
		resp, again, err := c.roundTrip(r, head)
		if err == nil {
			return resp, nil
		}
		if !again || ctx.Err() != nil {
			return nil, cause(ctx, err)
		}
	}
}

// cause is why ctx has ended where it has, else err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// free takes back the buffer of a request's head. A large one is rare, and goes.
func (t *http1) free(head *[]byte) {
	if cap(*head) <= 2*maxInline {
		t.heads.Put(head)
	}
}

// connection returns the connection that became idle last if a kept one will do,
// else a new one.
func (t *http1) connection(ctx context.Context, kept bool) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for kept {
		c := t.take()
		if c == nil {
			break
		}
		if c.quiet() {
			return c, nil
		}
		c.close() // ended, or the worker speaks unasked
	}
	n, err := t.dial(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	return newConn(n, t), nil
}

// take returns the connection that became idle last; nil if there is none.
func (t *http1) take() *conn {
	now := time.Now()
	t.mu.Lock()
	old := t.expire(now)
	var c *conn
	if n := len(t.idle); n > 0 {
		c = t.idle[n-1]
		t.idle[n-1] = nil
		t.idle = t.idle[:n-1]
	}
	t.mu.Unlock()
	closeAll(old)
	return c
}

// keep makes c idle, or closes it where there is no place for it.
func (t *http1) keep(c *conn) {
	now := time.Now()
	t.mu.Lock()
	old := t.expire(now)
	full := t.retired || len(t.idle) >= maxIdle
	if !full {
		c.used, c.since = true, now
		t.idle = append(t.idle, c)
	}
	t.mu.Unlock()
	closeAll(old)
	if full {
		c.close()
	}
}

// expire removes the connections that have been idle for too long, and returns
// them for closing. t.mu is held. There is no timer: where nothing is asked any
// more, they stay until the worker goes.
func (t *http1) expire(now time.Time) (old []*conn) {
	n := 0
	for n < len(t.idle) && now.Sub(t.idle[n].since) >= idleTime {
		n++
	}
	if n > 0 {
		old = slices.Clone(t.idle[:n])
		t.idle = slices.Delete(t.idle, 0, n)
	}
	return old
}

// retire closes the idle connections, and lets no other become idle.
func (t *http1) retire() {
	t.mu.Lock()
	t.retired = true
	t.mu.Unlock()
	t.letGo()
}

// letGo closes the idle connections.
func (t *http1) letGo() {
	t.mu.Lock()
	old := t.idle
	t.idle = nil
	t.mu.Unlock()
	closeAll(old)
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}
