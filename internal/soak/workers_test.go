package soak

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/provider"
	"github.com/penstock-dev/penstock/internal/standin"
)

// yard is the workers, and what they see of the requests.
type yard struct {
	t       *testing.T
	workers []*worker
	floor   floor
	trips   sync.Map // the trips under way, by request ID

	deaths  atomic.Int64 // twice the deaths so far, and one more while a worker is dead
	revived atomic.Int64 // when the last came back, in nanoseconds
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
	upgraded map[net.Conn]bool
}

func newYard(t *testing.T, rng *rand.Rand, n int) *yard {
	t.Helper()
	y := &yard{t: t, floor: floor{stays: map[*stay]bool{}}}
	y.floor.trips = &y.trips
	for i := range n {
		w := &worker{yard: y, number: i, upgraded: map[net.Conn]bool{}, Worker: standin.New(standin.Options{
			Capacity: 32, PerOutputToken: time.Millisecond, JobTime: 10 * time.Millisecond,
			Output: standin.Lengths{Mean: 25, CV: 0.8, Max: 120}, CachedShare: 0.3, Seed: rng.Uint64(),
		})}
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
	server := &http.Server{
		Handler:           w,
		ReadHeaderTimeout: time.Minute,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server = server
	go func() { _ = server.Serve(listener) }() // it ends with die
	return nil
}

// die ends all that the worker does.
func (w *worker) die() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.server.Close()
	for c := range w.upgraded {
		_ = c.Close()
	}
}

// ServeHTTP notes that a request has arrived, and where it holds a slot of the
// gateway's that it is in flight.
func (w *worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	conn := r.Context().Value(connKey{}).(net.Conn)
	if found, ok := w.yard.trips.Load(r.Header.Get("X-Request-Id")); ok {
		found.(*trip).arrivals.Add(1)
	}
	rw.Header().Set("X-Worker", strconv.Itoa(w.number))
	switch {
	case r.Header.Get("Upgrade") != "":
		w.mu.Lock()
		w.upgraded[conn] = true
		w.mu.Unlock()
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.upgraded, conn)
		}()
	case r.Header.Get("X-Soak") != free && provider.Route(r.Method, r.URL.Path).TakesSlot():
		stay, excess := w.yard.floor.enter(conn, r)
		defer w.yard.floor.leave(stay)
		if excess != "" {
			w.yard.t.Errorf("more are in flight at the workers than the %d slots:\n%s", mostSlots, excess)
		}
	}
	w.Worker.ServeHTTP(rw, r)
}

// haunt has workers die and come back until ctx ends, seldom all of them at once.
func (y *yard) haunt(ctx context.Context, rng *rand.Rand) (died int) {
	for wait(ctx, time.Duration(300+rng.IntN(1500))*time.Millisecond) {
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

// floor counts the requests in flight at all workers: those that have arrived, and
// whose connection neither side has closed.
type floor struct {
	trips *sync.Map // the yard's
	mu    sync.Mutex
	stays map[*stay]bool
	peak  int // the most at once, those in excess looked at closely
}

// stay is one request's stay at a worker.
type stay struct {
	conn  net.Conn
	id    string
	what  string
	began time.Time
	left  time.Time // guarded by the floor's lock; zero: not yet
}

// closing is how long the gateway may be about to close a connection that it has
// done with: another of its goroutines may be closing it.
const closing = 200 * time.Millisecond

// enter counts one more. Where that makes more than there are slots it says which.
func (f *floor) enter(conn net.Conn, r *http.Request) (_ *stay, excess string) {
	s := &stay{conn: conn, id: r.Header.Get("X-Request-Id"), what: r.Method + " " + r.URL.Path + " " + r.Header.Get("X-Standin-Fault"), began: time.Now()}
	f.mu.Lock()
	f.stays[s] = true
	held := len(f.stays)
	var all []*stay
	if held > mostSlots && canTell {
		all = slices.Collect(maps.Keys(f.stays))
	}
	f.mu.Unlock()
	gone := map[*stay]bool{}
	for _, other := range all {
		_, asks := f.trips.Load(other.id)
		gone[other] = !asks
	}
	// Of these, who is looked at later and stands was in flight now.
	for end := time.Now().Add(closing); len(all) > mostSlots && time.Now().Before(end); time.Sleep(time.Millisecond) {
		all = slices.DeleteFunc(all, func(other *stay) bool { return !stands(other.conn) })
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(all) > 0 {
		held = len(all)
	}
	f.peak = max(f.peak, held)
	if held <= mostSlots || !canTell {
		return s, ""
	}
	var b strings.Builder
	for _, other := range all {
		fmt.Fprintf(&b, "%s for %v", other.what, s.began.Sub(other.began))
		if !other.left.IsZero() {
			fmt.Fprintf(&b, ", and %v more", other.left.Sub(s.began))
		}
		if gone[other] {
			b.WriteString("; its client is gone")
		}
		b.WriteString("\n")
	}
	return s, b.String()
}

func (f *floor) leave(s *stay) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.left = time.Now()
	delete(f.stays, s)
}

func (f *floor) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("at most %d in flight at the workers, of %d slots", f.peak, mostSlots)
}
