package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

func benchQueue(b *testing.B, o Options) *Queue {
	b.Helper()
	q, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	return q
}

func names(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf("caller-%d", i)
	}
	return s
}

// BenchmarkFree is Enter and Release while nobody waits.
func BenchmarkFree(b *testing.B) {
	for _, bb := range []struct {
		name    string
		o       Options
		callers int
	}{
		{"slots", Options{Slots: 100}, 1},
		{"slots/callers=1000", Options{Slots: 100}, 1000},
		{"bucket", Options{Burst: 1 << 40, Refill: 1, Per: time.Second}, 1},
		{"unlimited", Options{}, 1},
	} {
		b.Run(bb.name, func(b *testing.B) {
			q := benchQueue(b, bb.o)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			callers := names(bb.callers)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				s, _ := q.Enter(ctx, Ask{Caller: callers[i], Cost: 100})
				s.Release()
				if i++; i == len(callers) {
					i = 0
				}
			}
		})
	}
}

// BenchmarkLock is what no queue with one lock comes below: taking and giving it
// back twice.
func BenchmarkLock(b *testing.B) {
	q := benchQueue(b, Options{})
	n := 0
	for b.Loop() {
		q.mu.Lock()
		n++
		q.mu.Unlock()
		q.mu.Lock()
		n--
		q.mu.Unlock()
	}
}

// BenchmarkClock is one read of the clock, for comparison.
func BenchmarkClock(b *testing.B) {
	q := benchQueue(b, Options{})
	var sum time.Duration
	for b.Loop() {
		sum += q.now()
	}
	_ = sum
}

func BenchmarkFreeParallel(b *testing.B) {
	q := benchQueue(b, Options{Slots: 100})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			s, _ := q.Enter(ctx, Ask{})
			s.Release()
		}
	})
}

// BenchmarkNewCaller is a flood of names that are not seen twice.
func BenchmarkNewCaller(b *testing.B) {
	q := benchQueue(b, Options{Slots: 100})
	callers := names(1 << 17)
	ctx := context.Background()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		s, _ := q.Enter(ctx, Ask{Caller: callers[i&(1<<17-1)], Cost: 100})
		s.Release()
		i++
	}
}

func BenchmarkFull(b *testing.B) {
	q := benchQueue(b, Options{Slots: 1})
	ctx := context.Background()
	if _, err := q.Enter(ctx, Ask{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = q.Enter(ctx, Ask{})
	}
}

// BenchmarkJoinAndRelease is the queue's own work for one request that waits:
// joining the line, with its deadline, and the release that hands somebody its
// slot. The waiter's goroutine and its wake-up are left out.
func BenchmarkJoinAndRelease(b *testing.B) {
	for _, bb := range []struct{ waiting, callers int }{
		{1, 1}, {10, 10}, {100, 100}, {10_000, 1}, {10_000, 100}, {10_000, 10_000},
	} {
		b.Run(fmt.Sprintf("waiting=%d/callers=%d", bb.waiting, bb.callers), func(b *testing.B) {
			q := benchQueue(b, Options{Slots: 1, Size: bb.waiting + 1, Timeout: 1e6 * time.Hour})
			held, err := q.Enter(context.Background(), Ask{})
			if err != nil {
				b.Fatal(err)
			}
			callers := names(bb.callers)
			i := 0
			join := func() (next *place) {
				ask := Ask{Caller: callers[i], Cost: int64(50 + i*7919%100)}
				if i++; i == len(callers) {
					i = 0
				}
				q.mu.Lock()
				defer q.mu.Unlock()
				if _, _, err := q.join(&ask, q.now()); err != nil {
					b.Fatal(err)
				}
				return q.line.classes[ask.Class].ranking.first().caller.first
			}
			for range bb.waiting {
				join()
			}
			b.ReportAllocs()
			for b.Loop() {
				next := join()
				held.Release()
				<-next.answer
				held = Slot{place: next, turn: next.turn}
			}
		})
	}
}

// BenchmarkParts is what BenchmarkJoinAndRelease is made of besides BenchmarkClock and
// BenchmarkLock, twice each, that is not this package's: the channel that is sent to and
// received from, the look for a caller, and the fetch of a place that was not touched for
// long.
func BenchmarkParts(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("channel/waiting=%d", n), func(b *testing.B) {
			order := rand.Perm(n)
			channels := make([]chan bool, n)
			for _, i := range order {
				channels[i] = make(chan bool, 1)
			}
			i := 0
			for b.Loop() {
				channels[i] <- true
				<-channels[i]
				if i++; i == n {
					i = 0
				}
			}
		})
	}
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("map/callers=%d", n), func(b *testing.B) {
			byName, found := map[string]*caller{}, 0
			callers := names(n)
			for _, name := range callers {
				byName[name] = new(caller)
			}
			i := 0
			for b.Loop() {
				if byName[callers[i]] != nil {
					found++
				}
				if i++; i == n {
					i = 0
				}
			}
		})
	}
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("place/waiting=%d", n), func(b *testing.B) {
			places, order := make([]place, n), rand.Perm(n)
			for i, at := range order {
				places[at].next = &places[order[(i+1)%n]]
			}
			p := &places[0]
			for b.Loop() {
				p = p.next
			}
		})
	}
}

// BenchmarkHandover is the whole of it, with goroutines that wait.
func BenchmarkHandover(b *testing.B) {
	for _, waiting := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			q := benchQueue(b, Options{Slots: 1, Size: waiting, Timeout: 1e6 * time.Hour})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			served := make(chan struct{})
			ended := make(chan struct{})
			for _, name := range names(waiting) {
				go func() {
					for {
						s, err := q.Enter(ctx, Ask{Caller: name, Cost: 100})
						if err != nil {
							ended <- struct{}{}
							return
						}
						served <- struct{}{}
						s.Release()
					}
				}()
			}
			for q.Stats().Waiting < waiting-1 { // so that their start is not measured
				runtime.Gosched()
			}
			b.ReportAllocs()
			for b.Loop() {
				<-served
			}
			cancel()
			for left := waiting; left > 0; {
				select {
				case <-served:
				case <-ended:
					left--
				}
			}
		})
	}
}

// BenchmarkHandoverAlone is the part of BenchmarkHandover that is the runtime's: the
// same goroutines hand one token round by channels, a channel each as waiters have,
// in an order that is fixed.
func BenchmarkHandoverAlone(b *testing.B) {
	for _, waiting := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			turns := make([]chan struct{}, waiting)
			for i := range turns {
				turns[i] = make(chan struct{}, 1)
			}
			served, end := make(chan struct{}), make(chan struct{})
			var all sync.WaitGroup
			for i := range turns {
				all.Go(func() {
					for {
						select {
						case <-turns[i]:
						case <-end:
							return
						}
						select {
						case served <- struct{}{}:
						case <-end:
							return
						}
						turns[(i+1)%waiting] <- struct{}{}
					}
				})
			}
			turns[0] <- struct{}{}
			b.ReportAllocs()
			for b.Loop() {
				<-served
			}
			close(end)
			all.Wait()
		})
	}
}
