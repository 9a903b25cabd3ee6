package soak

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock"
)

// drained waits until nothing is in flight, and checks that the gauges say so.
func (s *soak) drained() {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		m, err := s.metrics()
		if err != nil {
			s.t.Fatal(err)
		}
		if m["penstock_inflight_requests"] == 0 && m["penstock_queue_depth"] == 0 && m["penstock_slots_in_use"] == 0 && s.yard.busy() == 0 {
			if n := m["penstock_store_errors_total"]; n != 0 {
				s.t.Errorf("the store has failed %v times", n)
			}
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain: %v requests are in flight, %v wait, %d are at the workers", m["penstock_inflight_requests"], m["penstock_queue_depth"], s.yard.busy())
		}
	}
}

// buffers checks that not a byte is buffered: a request that needs all there may
// be is let in, and nobody else beside it.
func (s *soak) buffers() {
	s.t.Helper()
	const most = 64 << 10
	for _, url := range s.urls()[:2] { // the second is new then, and so has not been told to be left alone
		text := fmt.Sprintf("max_body_bytes: %[1]d\nmax_buffered_bytes: %[1]d\nworkers: [{url: %[2]s}]\nworker_policy: {health: {interval: 0s}, breaker: {failures: 0}}\n", most, url)
		if err := s.configure(s.rng(), text); err != nil {
			s.t.Fatal(err)
		}
	}
	body := []byte(`{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}`)
	large := post("buffered", "/v1/chat/completions", append(body, bytes.Repeat([]byte(" "), most-1-len(body))...)) // it is read into a byte more
	large.fault, large.leave, large.free = "hang", patience/2, true
	large.header.Set("X-Soak", free)
	q := &trip{call: large, id: "soak-buffered", began: time.Now()}
	s.yard.trips.Store(q.id, q)
	ctx, leave := context.WithCancel(s.t.Context())
	defer leave()
	over := make(chan struct{})
	go func() {
		defer close(over)
		q.send(&http.Client{Transport: leaving{ctx, s.h1.Transport}}, "http://"+s.server.Addr().String())
	}()
	for end := time.Now().Add(patience); q.arrivals.Load() == 0; time.Sleep(time.Millisecond) {
		select {
		case <-over:
			s.t.Fatalf("a request that needs all buffers: %d %s, %v", q.status, q.answer, q.err)
		default:
		}
		if time.Now().After(end) {
			s.t.Fatal("a request that needs all buffers does not come to the worker")
		}
	}
	small := post("buffered", "/v1/chat/completions", []byte("{}"))
	small.free = true
	if _, o := s.send(small); o != overloaded {
		s.t.Errorf("a request beside one that has all buffers: %s", o)
	}
	leave()
	<-over
	s.drained()
}

// leaving is a transport of a client that leaves when ctx ends.
type leaving struct {
	ctx context.Context
	http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (l leaving) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer context.AfterFunc(l.ctx, cancel)()
	return l.RoundTripper.RoundTrip(r.WithContext(ctx))
}

// holds checks what the limits hold against the ledger, and the ledger against
// what was asked.
func (s *soak) holds(month time.Month) {
	s.t.Helper()
	if time.Now().UTC().Month() != month {
		s.t.Log("a month has ended meanwhile, and its counters with it: they are not checked")
		return
	}
	sums := s.ledger.settle(s.t)
	held := func(key string, unit penstock.Unit) int64 {
		return sums[account{key, unit, unit.String() + "_per_month"}]
	}
	check := func(key string, unit penstock.Unit, want bounds) {
		if n := held(key, unit); !want.hold(n) {
			s.t.Errorf("%s of %s: %d are charged, want %d to %d", unit, key, n, want.least, want.most)
		}
	}
	check("global", penstock.Requests, s.charged)
	for _, c := range slices.Concat(s.calm, s.wild) {
		check("key:"+c.id, penstock.Requests, c.requests)
	}
	for _, c := range s.calm {
		check("key:"+c.id, penstock.Tokens, c.tokens)
	}
}

// stop sends SIGTERM while streams are open and others wait. Whoever has a slot
// gets the whole answer, who waits is told to go, and who comes later too.
func (s *soak) stop() {
	s.t.Helper()
	rng := s.rng()
	if err := s.configure(rng, lastConfiguration(rng, s.climate, s.urls())); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	var all sync.WaitGroup
	var ended, turnedAway atomic.Int64
	for range 40 {
		c := lasting(rng, s.wild[2+rng.IntN(wildCallers-2)])
		all.Go(func() {
			switch _, o := s.send(c); {
			case o == whole && s.stopping():
				ended.Add(1)
			case o == stopping:
				turnedAway.Add(1)
			}
		})
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		m, err := s.metrics()
		if err != nil {
			s.t.Fatal(err)
		}
		if m["penstock_queue_depth"] > 0 {
			break
		}
		if time.Now().After(end) {
			s.t.Fatal("nobody waits")
		}
	}
	all.Go(func() { s.traffic(ctx) })
	wait(s.t.Context(), 100*time.Millisecond) // some of that is under way; none of it must be
	s.stopped.Store(true)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case err := <-s.ended:
		s.ended <- err // for the cleanup
	case <-time.After(patience):
		s.t.Fatal("Run does not end")
	}
	cancel()
	all.Wait()
	if ended.Load() == 0 || turnedAway.Load() == 0 {
		s.t.Errorf("at the stop %d streams have come to their ends and %d waiters were turned away: that proves little", ended.Load(), turnedAway.Load())
	}
}
