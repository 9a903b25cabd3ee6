package workers

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// staleConn is a connection that cannot be written to any more once the worker
// has gone, which the transport finds out by writing to it. The error looks
// like one of dialling, so that it alone cannot tell what happened.
type staleConn struct {
	net.Conn
	gone *atomic.Bool
}

// SyscallConn is for http1, which keeps no connection that it cannot look at.
func (c *staleConn) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn()
}

func (c *staleConn) Write(b []byte) (int, error) {
	if c.gone.Load() {
		return 0, &net.OpError{Op: "dial", Err: errors.New("stale connection")}
	}
	return c.Conn.Write(b)
}

// TestStaleConnection takes a worker away whose kept connection looks alive.
// The transport finds that it can send the request anew and cannot connect; so
// another worker gets it, if the body allows.
func TestStaleConnection(t *testing.T) {
	for _, tt := range []struct {
		name    string
		newPool newPoolFunc
		held    []byte
		body    func() io.Reader
		moves   bool
	}{
		{"http1, no body", newPool, nil, func() io.Reader { return nil }, true},
		{"http1, a body that is held", newPool, []byte("prompt"), func() io.Reader { return nil }, true},
		{"http1, a large one", newPool, make([]byte, 1e6), func() io.Reader { return nil }, true},
		{"no body", newTransportPool, nil, func() io.Reader { return nil }, true},
		{"a body that is held", newTransportPool, []byte("prompt"), func() io.Reader { return nil }, true},
		{"a body in memory", newTransportPool, nil, func() io.Reader { return strings.NewReader("prompt") }, true},
		{"a body that passes", newTransportPool, nil, func() io.Reader { return newOnce("prompt") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.newPool(t, newWorker(t, echo), newWorker(t, echo))
			var gone atomic.Bool
			stale := func(dial dialFunc) dialFunc {
				return func(ctx context.Context, network, addr string) (net.Conn, error) {
					if gone.Load() {
						return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
					}
					c, err := dial(ctx, network, addr)
					return &staleConn{c, &gone}, err
				}
			}
			dialBy(p.workers[0], stale)
			get(t, p)
			get(t, p)
			gone.Store(true)
			resp, err := p.Send(newRequest(t, http.MethodPost, tt.body()), holding(tt.held), Want{})
			if !tt.moves {
				var unsent *ConnectError
				if err == nil || errors.As(err, &unsent) {
					t.Errorf("got %v, want the transport's error", err)
				}
				wantCounts(t, p, counts{Sent: 2, Failed: 1}, counts{Sent: 1})
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			wantCounts(t, p, counts{Sent: 2, Failed: 1}, counts{Sent: 2})

			// With nobody else there, a connection was had, so that nothing
			// is promised.
			gone.Store(false)
			p.Update([]Worker{{URL: p.workers[0].url}}, Policy{})
			get(t, p)
			gone.Store(true)
			_, err = p.Send(newRequest(t, http.MethodPost, tt.body()), holding(tt.held), Want{})
			var unsent *ConnectError
			if !isDialError(err) || errors.As(err, &unsent) {
				t.Errorf("got %v, want the dial error itself", err)
			}
		})
	}
}

// TestStaleConnectionIsReplaced lets the transport dial again, with success:
// that is one request sent, not two.
func TestStaleConnectionIsReplaced(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		p := newPool(t, newWorker(t, echo))
		var gone *atomic.Bool
		dials := 0
		dialBy(p.workers[0], func(dial dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				gone = new(atomic.Bool)
				dials++
				c, err := dial(ctx, network, addr)
				return &staleConn{c, gone}, err
			}
		})
		get(t, p)
		gone.Store(true)
		get(t, p)
		if dials != 2 {
			t.Errorf("dialled %d times", dials)
		}
		wantCounts(t, p, counts{Sent: 2})
	})
}

// TestRemovedBetweenPickAndSend removes a worker that a request has just been
// given to: the connection that it makes does not stay.
func TestRemovedBetweenPickAndSend(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		var watch connWatch
		srv := httptest.NewUnstartedServer(http.HandlerFunc(echo))
		srv.Config.ConnState = watch.see
		srv.Start()
		t.Cleanup(srv.Close)
		p := newPool(t, Worker{URL: mustParse(t, srv.URL)})
		x := &exchange{claim: p.pick(&Want{}, nil, first, 0), pool: p, ctx: t.Context()}
		p.Update(nil, Policy{})
		resp, err := x.send(newRequest(t, http.MethodGet, nil), nil, nil, false, "/")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		waitFor(t, "the connection is closed", func() bool {
			made, closed := watch.counts()
			return made == 1 && closed == 1
		})
	})
}
