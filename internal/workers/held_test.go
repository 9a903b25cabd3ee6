package workers

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"weak"
)

// holding is a body that is held; nil for none.
func holding(b []byte) *Held {
	if b == nil {
		return nil
	}
	h := &Held{}
	h.Hold(b)
	return h
}

// sendHeld sends a request whose body is held, and returns the answer.
func sendHeld(t testing.TB, p *Pool, body string) *http.Response {
	t.Helper()
	resp, err := p.Send(newRequest(t, http.MethodPost, nil), holding([]byte(body)), Want{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func wantBody(t testing.TB, resp *http.Response, want string) {
	t.Helper()
	if got, err := io.ReadAll(resp.Body); string(got) != want || err != nil {
		t.Errorf("the worker got %d bytes of %d, and %v", len(got), len(want), err)
	}
}

// TestHeldBody sends a body that is held to the first worker that can be reached.
func TestHeldBody(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		for _, body := range []string{"p", strings.Repeat("prompt", 1e5)} {
			p := newPool(t, append(dead(t, 2), newWorker(t, echo))...)
			wantBody(t, sendHeld(t, p, body), body)
			wantCounts(t, p, counts{Failed: 1}, counts{Failed: 1}, counts{Sent: 1})
		}
	})
}

// TestHeldBodyIsSentAnew: the transport writes it again to a new connection when
// the kept one turns out to be dead.
func TestHeldBodyIsSentAnew(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		p := newPool(t, newWorker(t, echo))
		var gone *atomic.Bool
		dialBy(p.workers[0], func(dial dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				gone = new(atomic.Bool)
				c, err := dial(ctx, network, addr)
				return &staleConn{c, gone}, err
			}
		})
		get(t, p)
		gone.Store(true)
		wantBody(t, sendHeld(t, p, "prompt"), "prompt")
		wantCounts(t, p, counts{Sent: 2})
	})
}

// TestHeldBodyIsLetGo: an answer may take long after the worker has the body.
func TestHeldBodyIsLetGo(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		for _, size := range []int{100, 1e6} {
			end := make(chan struct{})
			p := newPool(t, newWorker(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.(http.Flusher).Flush()
				<-end
			}))
			held := make([]byte, size)
			kept := weak.Make(&held[0])
			resp, err := p.Send(newRequest(t, http.MethodPost, nil), holding(held), Want{})
			if err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the body is let go of", func() bool {
				runtime.GC()
				return kept.Value() == nil
			})
			close(end)
			wantBody(t, resp, "")
			_ = resp.Body.Close()
		}
	})
}

// TestHeldBodyIsFree: once the answer is there and the body was written, its
// memory may be used again; where that cannot be known it never may, and is lost.
func TestHeldBodyIsFree(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		for _, size := range []int{100, 1e6} {
			p := newPool(t, append(dead(t, 1), newWorker(t, echo))...)
			body := holding(make([]byte, size))
			resp, err := p.Send(newRequest(t, http.MethodPost, nil), body, Want{})
			if err != nil {
				t.Fatal(err)
			}
			wantBody(t, resp, string(make([]byte, size)))
			_ = resp.Body.Close()
			own := p.workers[1].http1 != nil
			if body.Lost() == own {
				t.Errorf("the body is lost: %v, by an HTTP/1.1 of our own: %v", body.Lost(), own)
			}
			if own {
				waitFor(t, "the body is free", body.Free)
			} else if body.Free() {
				t.Error("the body is free, and the transport may be reading it")
			}
		}
	})
}
