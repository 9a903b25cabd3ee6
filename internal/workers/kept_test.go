package workers

import (
	"io"
	"net/http"
	"testing"
)

// TestKeep: the worker that gave an answer is kept, also where another was asked
// first.
func TestKeep(t *testing.T) {
	bad := newWorker(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	good := newWorker(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "x")
		}
	})
	p := New(Options{})
	defer p.Update(nil, Policy{})
	p.Update([]Worker{bad, good}, Policy{Retries: 2})
	p.budget = mostBudget
	for range 4 {
		resp, err := p.Send(getOf(t, "/body"), nil, Want{Repeat: true})
		if err != nil {
			t.Fatal(err)
		}
		kept := Keep(resp)
		if kept == nil || kept.URL().String() != good.URL.String() {
			t.Fatalf("status %d is of %v, want %v", resp.StatusCode, kept, good.URL)
		}
		kept.Release()
		_ = resp.Body.Close()
	}
	resp, err := p.Send(getOf(t, "/none"), nil, Want{Repeat: true})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kept := Keep(resp); kept != nil {
		t.Errorf("of an answer without a body %v is kept, want nothing", kept.URL())
	}
}

// TestKeptIsOutstanding: whoever is kept still has the work of the request, once
// however often it is kept, until it is released.
func TestKeptIsOutstanding(t *testing.T) {
	says := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }
	a, b := newWorker(t, says), newWorker(t, says)
	p := New(Options{})
	defer p.Update(nil, Policy{})
	p.Update([]Worker{a, b}, Policy{})
	var kept []*Kept
	ask := func(tokens int64, keep int) {
		t.Helper()
		resp, err := p.Send(getOf(t, "/"), nil, Want{Tokens: tokens})
		if err != nil {
			t.Fatal(err)
		}
		for range keep {
			kept = append(kept, Keep(resp))
		}
		_ = resp.Body.Close()
	}
	want := func(a, b int64) {
		t.Helper()
		for i, n := range []int64{a, b} {
			if s := p.Stats()[i]; s.Tokens != n || s.Outstanding != 0 {
				t.Errorf("worker %d has %d tokens of %d requests, want %d of none", i, s.Tokens, s.Outstanding, n)
			}
		}
	}
	ask(5, 2)
	want(5, 0)
	for range 3 {
		ask(1, 1)
	}
	want(5, 3)
	ask(9, 0)
	want(5, 3)
	for _, k := range kept {
		k.Release()
	}
	want(0, 0)

	resp, err := p.Send(getOf(t, "/"), nil, Want{Tokens: 5})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	Keep(resp).Release() // too late
	want(0, 0)
}

// queueOf is a request of penstock's own to a worker.
func queueOf(t *testing.T, w Worker) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL.String()+"/queue", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestKeptIsReached: a worker that was removed is reached by Own while somebody
// keeps it or has a request there, and no longer.
func TestKeptIsReached(t *testing.T) {
	says := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }
	const (
		byUpdate = iota
		byHand
		byHandThenUpdate
		beforeItIsKept
	)
	for way := byUpdate; way <= beforeItIsKept; way++ {
		a, b := newWorker(t, says), newWorker(t, says)
		a.Key = "secret"
		p := New(Options{})
		p.Update([]Worker{a}, Policy{})
		reached := func() bool {
			resp, err := p.Own().RoundTrip(queueOf(t, a))
			if err != nil {
				return false
			}
			_ = resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		}
		resp, err := p.Send(newRequest(t, http.MethodGet, nil), nil, Want{})
		if err != nil {
			t.Fatal(err)
		}
		remove := func() {
			if way == byHand || way == byHandThenUpdate {
				if err := p.Remove(a.URL.String()); err != nil {
					t.Fatal(err)
				}
			}
			if way != byHand {
				p.Update([]Worker{b}, Policy{})
			}
		}
		if way == beforeItIsKept {
			remove()
		}
		kept, again := Keep(resp), Keep(resp)
		if way != beforeItIsKept {
			remove()
		}
		again.Release()
		_ = resp.Body.Close()
		if !reached() {
			t.Errorf("way %d: what is kept is not reached", way)
		}
		kept.Release()
		if reached() {
			t.Errorf("way %d: it is reached though nobody keeps it", way)
		}
		if len(p.kept) != 0 {
			t.Errorf("way %d: %d are kept in the end", way, len(p.kept))
		}
		for _, s := range p.Stats() {
			if s.URL == a.URL.String() {
				t.Errorf("way %d: it is still there: %+v", way, s)
			}
		}
		p.Update(nil, Policy{})
	}
}

// TestKeptAndTakenBack: one that was removed and is a worker again is reached as
// it is now, and stays one when it is let go of.
func TestKeptAndTakenBack(t *testing.T) {
	keys := make(chan string, 9)
	a := newWorker(t, func(w http.ResponseWriter, r *http.Request) {
		keys <- r.Header.Get("Authorization")
		_, _ = io.WriteString(w, "x")
	})
	p := New(Options{})
	defer p.Update(nil, Policy{})
	p.Update([]Worker{a}, Policy{})
	resp, err := p.Send(getOf(t, "/"), nil, Want{})
	if err != nil {
		t.Fatal(err)
	}
	<-keys
	kept := Keep(resp)
	_ = resp.Body.Close()
	p.Update(nil, Policy{})
	a.Key = "new"
	p.Update([]Worker{a}, Policy{})
	for range 2 {
		resp, err := p.Own().RoundTrip(queueOf(t, a))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := <-keys; got != "Bearer new" {
			t.Errorf("it was asked with %q", got)
		}
		if kept != nil {
			kept.Release()
			kept = nil
		}
	}
}
