package workers

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// sendHeld sends a request whose body is held, and returns the answer.
func sendHeld(t testing.TB, p *Pool, body string) *http.Response {
	t.Helper()
	resp, err := p.Send(newRequest(t, http.MethodPost, nil), []byte(body))
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
	for _, body := range []string{"p", strings.Repeat("prompt", 1e5)} {
		p := newPool(t, append(dead(t, 2), newWorker(t, echo))...)
		wantBody(t, sendHeld(t, p, body), body)
		wantCounts(t, p, counts{Failed: 1}, counts{Failed: 1}, counts{Sent: 1})
	}
}

// TestHeldBodyIsSentAnew: the transport writes it again to a new connection when
// the kept one turns out to be dead.
func TestHeldBodyIsSentAnew(t *testing.T) {
	p := newPool(t, newWorker(t, echo))
	dial := p.workers[0].transport.DialContext
	var gone *atomic.Bool
	p.workers[0].transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		gone = new(atomic.Bool)
		c, err := dial(ctx, network, addr)
		return &staleConn{c, gone}, err
	}
	get(t, p)
	gone.Store(true)
	wantBody(t, sendHeld(t, p, "prompt"), "prompt")
	wantCounts(t, p, counts{Sent: 2})
}

// TestHeldBodyIsLetGo: an answer may take long after the worker has the body.
func TestHeldBodyIsLetGo(t *testing.T) {
	end := make(chan struct{})
	p := newPool(t, newWorker(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.(http.Flusher).Flush()
		<-end
	}))
	resp := sendHeld(t, p, strings.Repeat("prompt", 1e5))
	x := resp.Body.(*exchange)
	if x.again != nil {
		t.Error("the body is kept for another time")
	}
	close(end)
	wantBody(t, resp, "")
	if x.sending.Size() != 0 {
		t.Error("the body is still held after the answer")
	}
}
