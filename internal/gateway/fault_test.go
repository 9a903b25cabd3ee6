package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/standin"
)

// failing is a store that fails where it is told to.
type failing struct {
	penstock.Store
	take, look, adjust atomic.Bool
}

var errAway = errors.New("the store is away")

func (f *failing) Take(ctx context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	if f.take.Load() {
		return time.Time{}, errAway
	}
	return f.Store.Take(ctx, now, charges)
}

func (f *failing) Look(ctx context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	if f.look.Load() {
		return time.Time{}, errAway
	}
	return f.Store.Look(ctx, now, charges)
}

func (f *failing) Adjust(ctx context.Context, now time.Time, adjustments []penstock.Adjustment) (time.Time, error) {
	if f.adjust.Load() {
		return time.Time{}, errAway
	}
	return f.Store.Adjust(ctx, now, adjustments)
}

// TestStoreFailures has the store fail at each step.
func TestStoreFailures(t *testing.T) {
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 600}})
	r := newRig(t, tokenLimits, worker)
	store := &failing{Store: r.store}
	r.Limiter = penstock.New(store)
	r.slots(1, 0, 0)
	refused := func(path, body string) {
		t.Helper()
		a := r.send("POST", path, body)
		if code, _ := failure(t, a); a.status != 503 || code != "store_unavailable" || a.header.Get("Retry-After") != "1" || strings.Contains(a.body, "away") {
			t.Errorf("answer %d %q, want 503", a.status, a.body)
		}
	}
	store.look.Store(true)
	refused("/v1/chat/completions", prompt(40, ""))
	store.look.Store(false)
	store.take.Store(true)
	refused("/v1/chat/completions", prompt(40, ""))
	refused("/echo", "x")
	store.take.Store(false)
	r.wantUsed(charged(0, 0, 0))
	if n := worker.Stats().Requests; n != 0 {
		t.Errorf("the worker got %d requests, want none", n)
	}
	if got := r.metric("store_errors_total"); got != 3 {
		t.Errorf("%v calls of the store failed, want 3", got)
	}

	// Who finds no slot is told so, without how the limits stand.
	slot, err := r.Queue.Enter(t.Context(), queue.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	store.look.Store(true)
	full := r.send("POST", "/echo", "x")
	if code, _ := failure(t, full); full.status != 429 || code != "queue_full" || full.header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("answer %d %v %q, want 429 queue_full without limits", full.status, full.header, full.body)
	}
	store.look.Store(false)
	slot.Release()
	r.wantUsed(charged(0, 0, 0))
	if got := r.metric("store_errors_total"); got != 4 {
		t.Errorf("%v calls of the store failed, want 4", got)
	}

	// What is admitted is served: taking more fails three times as 600 tokens
	// flow past the 100 that were reserved, and so does settling.
	r.SetRules(r.rulesOf(tokenLimits + "\nestimate: {output: 100}"))
	store.adjust.Store(true)
	a := r.send("POST", "/v1/chat/completions", prompt(40, `"stream":true,`))
	if a.status != 200 || !strings.HasSuffix(a.body, lastEvent) || a.err != nil {
		t.Errorf("answer %d %v", a.status, a.err)
	}
	r.idle()
	store.adjust.Store(false)
	r.wantUsed(charged(1, 10, 100))
	if got := r.metric("store_errors_total"); got != 4+4 {
		t.Errorf("%v calls of the store failed, want 8", got)
	}
	if !strings.Contains(r.log.String(), "the store is away") {
		t.Error("the log does not say that the store failed")
	}
}

// panics is a context that panics once, when it is asked what has become of it.
type panics struct {
	context.Context
	once atomic.Bool
}

func (p *panics) Err() error {
	if !p.once.Swap(true) {
		panic("a fault of ours")
	}
	return p.Context.Err()
}

// bodyThatPanics panics when it is read.
type bodyThatPanics struct{ io.ReadCloser }

func (bodyThatPanics) Read([]byte) (int, error) { panic("a fault of ours") }

// writerThatPanics panics when the body of an answer is written.
type writerThatPanics struct{ *httptest.ResponseRecorder }

func (writerThatPanics) Write([]byte) (int, error) { panic("a fault of ours") }

// TestFaultsOfOurOwn has a request panic on its way: where no answer has begun
// it is a 500, else the connection is cut, and what it took is settled.
func TestFaultsOfOurOwn(t *testing.T) {
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 13}})
	r := newRig(t, tokenLimits, worker)
	r.slots(1, 0, 0)
	request := func() *http.Request {
		req := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(prompt(40, "")))
		req.RemoteAddr = "127.0.0.1:1"
		return req
	}
	wants500 := func(req *http.Request) {
		t.Helper()
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		want := `{"error":{"message":"The gateway could not answer this request.","type":"server_error","code":"internal_error"}}`
		if w.Code != 500 || w.Body.String() != want || w.Header().Get("X-Request-Id") == "" {
			t.Errorf("answer %d %q, want 500", w.Code, w.Body)
		}
	}
	t.Run("while the body is read", func(t *testing.T) {
		req := request()
		req.Body = bodyThatPanics{req.Body}
		wants500(req)
		r.wantUsed(charged(0, 0, 0))
	})
	t.Run("after the reservation", func(t *testing.T) {
		// The queue is the first that looks at the context.
		wants500(request().WithContext(&panics{Context: t.Context()}))
		r.wantUsed(charged(0, 0, 0))
	})
	t.Run("within the answer", func(t *testing.T) {
		defer func() {
			if fault := recover(); fault != http.ErrAbortHandler {
				t.Errorf("panicked with %v, want the connection to be cut", fault)
			}
			r.wantUsed(charged(1, 10, 13))
			if n := r.Queue.Stats().InFlight; n != 0 {
				t.Errorf("%d slots are held, want 0", n)
			}
		}()
		r.ServeHTTP(writerThatPanics{httptest.NewRecorder()}, request())
	})
	t.Run("long before the answer's end", func(t *testing.T) {
		puppet := newPuppet(t)
		r := newRig(t, "", puppet)
		w := writerThatPanics{httptest.NewRecorder()}
		ended := make(chan any)
		go func() {
			defer func() { ended <- recover() }()
			r.ServeHTTP(w, request())
		}()
		<-puppet.asked
		puppet.headers("application/json")
		puppet.says("{")
		if fault := <-ended; fault != http.ErrAbortHandler {
			t.Errorf("panicked with %v, want the connection to be cut", fault)
		}
		if n := r.Workers.Stats()[0].Outstanding; n != 0 {
			t.Errorf("the worker counts as busy with %d requests, want 0", n)
		}
		<-puppet.gone
	})
	if text := r.log.String(); strings.Count(text, "a fault of ours") != 3 || !strings.Contains(text, "stack=") {
		t.Errorf("the log has not the three faults: %s", text)
	}
}
