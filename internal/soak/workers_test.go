package soak

import (
	"bufio"
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/provider"
	"github.com/penstock-dev/penstock/internal/standin"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// yard is the workers, and what they see of the requests.
type yard struct {
	t       *testing.T
	workers []*worker
	floor   floor
	trips   sync.Map // the trips under way, by request ID

	deaths  atomic.Int64 // twice the deaths so far, and one more while a worker is dead
	revived atomic.Int64 // when the last came back, in nanoseconds
	rested  atomic.Int64 // when one last said that it wants to be left alone for a second
}

// worker is a stand-in that can die as a process does, with all connections, and
// come back at the same address.
type worker struct {
	*standin.Worker
	yard    *yard
	number  int
	address string

	mu       sync.Mutex
	server   *http.Server
	life     *life
	upgraded map[net.Conn]bool
}

// newYard starts n workers, at which no more than most requests that hold slots
// may be in flight.
func newYard(t *testing.T, rng *rand.Rand, n, most int, o standin.Options) *yard {
	t.Helper()
	y := &yard{t: t, floor: floor{most: most, what: map[*stay]bool{}}}
	for i := range n {
		o.Seed = rng.Uint64()
		w := &worker{yard: y, number: i, upgraded: map[net.Conn]bool{}, Worker: standin.New(o)}
		// Below the ports that the system gives to clients, one of which could
		// take the place of a worker that is dead.
		for tries := 0; w.server == nil; tries++ {
			w.address = "127.0.0.1:" + strconv.Itoa(20000+rng.IntN(10000))
			if err := w.live(); err != nil && tries > 100 {
				t.Fatal(err)
			}
		}
		y.workers = append(y.workers, w)
		t.Cleanup(w.die)
	}
	return y
}

// connKey is where a request's connection stands in its context.
type connKey struct{}

// live makes the worker listen.
func (w *worker) live() error {
	listener, err := net.Listen("tcp", w.address)
	if err != nil {
		return err
	}
	l := new(life)
	server := &http.Server{
		Handler:           http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serve(l, rw, r) }),
		ReadHeaderTimeout: time.Minute,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server, w.life = server, l
	go func() { _ = server.Serve(listener) }() // it ends with die
	return nil
}

// die ends all that the worker does.
func (w *worker) die() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.yard.floor.end(w.life)
	_ = w.server.Close()
	for c := range w.upgraded {
		_ = c.Close()
	}
}

// serve notes that a request has arrived, and where it holds a slot of the
// gateway's that it is in flight.
func (w *worker) serve(l *life, rw http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	if id == "" { // the gateway's own: a check, a look at jobs
		w.ServeHTTP(rw, r)
		return
	}
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/api"); ok && provider.Route(r.Method, rest).Dialect == traffic.ComfyUI {
		path = rest // ComfyUI has all of its paths under /api, too
	}
	endpoint := provider.Route(r.Method, path)
	control := endpoint.Dialect == traffic.ComfyUI && endpoint.Kind == traffic.Other
	if r.Header.Get("X-Soak") != free && endpoint.TakesSlot() && !control && r.Header.Get("Upgrade") == "" {
		s := w.yard.floor.enter(l, r.Method+" "+r.URL.Path+" "+r.Header.Get("X-Standin-Fault"))
		switch {
		case s.excess != "" && !strict:
			w.yard.t.Logf("under the race detector, more than there are slots: %s", s.excess)
		case s.excess != "":
			w.yard.t.Errorf("more than there may be at the workers: %s", s.excess)
		}
		defer w.yard.floor.leave(s)
		rw = staying{rw, func() { w.yard.floor.leave(s) }}
	}
	if found, ok := w.yard.trips.Load(id); ok {
		found.(*trip).arrivals.Add(1)
	}
	if r.Header.Get("X-Standin-Fault") == "status=503" {
		w.yard.rested.Store(time.Now().UnixNano())
	}
	rw.Header().Set("X-Worker", strconv.Itoa(w.number))
	if r.Header.Get("Upgrade") != "" {
		conn := r.Context().Value(connKey{}).(net.Conn)
		w.mu.Lock()
		w.upgraded[conn] = true
		w.mu.Unlock()
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.upgraded, conn)
		}()
	}
	w.ServeHTTP(rw, r)
}

// staying is the writer of a request's answer. Where the worker cuts the
// connection itself, that is when the request ends.
type staying struct {
	http.ResponseWriter
	leave func()
}

// Unwrap is for http.ResponseController.
func (s staying) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Hijack implements http.Hijacker.
func (s staying) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	s.leave()
	return http.NewResponseController(s.ResponseWriter).Hijack()
}

// haunt has workers die and come back until ctx ends, seldom all of them at once.
func (y *yard) haunt(ctx context.Context, rng *rand.Rand) (died int) {
	for wait(ctx, time.Duration(300+rng.IntN(1500)+4000*rng.IntN(2))*time.Millisecond) {
		first, n := rng.IntN(len(y.workers)), 1+rng.IntN(2)
		if rng.IntN(8) == 0 {
			n = len(y.workers)
		}
		y.deaths.Add(1)
		for i := range n {
			y.workers[(first+i)%len(y.workers)].die()
		}
		died += n
		wait(ctx, time.Duration(rng.IntN(200))*time.Millisecond)
		for i := range n {
			for w := y.workers[(first+i)%len(y.workers)]; ; {
				err := w.live()
				if err == nil {
					break
				}
				if !wait(y.t.Context(), 10*time.Millisecond) {
					y.t.Errorf("a worker cannot come back: %v", err)
					break
				}
			}
		}
		y.revived.Store(time.Now().UnixNano())
		y.deaths.Add(1)
	}
	return died
}

// aftermath is how long a connection that has died with its worker may pass for a
// living one.
const aftermath = 250 * time.Millisecond

// comeback is how long it takes at most until a worker that lives again is asked:
// a check in a second, a breaker that is open, and what a busy machine adds.
const comeback = 3 * time.Second

// away reports whether it may be that no worker was asked since then: they were
// dead or wanted to be left alone.
func (y *yard) away(since time.Time, deaths int64) bool {
	last := max(y.revived.Load(), y.rested.Load())
	return y.died(since, deaths) || last > since.Add(-comeback).UnixNano()
}

// died reports whether a worker was dead at some time since then, when deaths
// was its count.
func (y *yard) died(since time.Time, deaths int64) bool {
	return deaths%2 == 1 || y.deaths.Load() != deaths || y.revived.Load() > since.Add(-aftermath).UnixNano()
}

// wait waits for d, and reports whether ctx has not ended.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// busy is how many requests run or wait at the workers.
func (y *yard) busy() (n int64) {
	for _, w := range y.workers {
		s := w.Stats()
		n += s.Running + s.Waiting
	}
	return n
}
