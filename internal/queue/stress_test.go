package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// TestStress lets 64 requests at a time come, wait, leave, time out and hold,
// while the options change, and counts the holders by itself.
func TestStress(t *testing.T) {
	defer goleak.VerifyNone(t)
	const clients, rounds, mostSlots = 64, 400, 8
	const burst = 1 << 40 // never empty, so that what is left tells what was taken
	options := Options{Slots: mostSlots, Burst: burst, Refill: 1, Per: 1e6 * time.Hour, Size: clients / 2, Timeout: time.Millisecond}
	q, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	var inFlight, granted, full, timedOut, left atomic.Int64
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			chance := rand.New(rand.NewPCG(1, uint64(client)))
			for range rounds {
				ctx, cancel := context.WithCancel(t.Context())
				switch chance.IntN(4) {
				case 0:
					go cancel()
				case 1:
					ctx, cancel = context.WithTimeout(ctx, time.Duration(chance.IntN(1000))*time.Microsecond)
				}
				ask := Ask{
					Caller: strconv.Itoa(chance.IntN(10)), Class: traffic.Class(chance.IntN(3)),
					Weight: chance.Int64N(3), Cost: chance.Int64N(1000),
				}
				if chance.IntN(4) == 0 {
					ask.Progress = func(position int, wait time.Duration) {
						if position < 1 || wait < 0 {
							t.Errorf("told of position %d and %v", position, wait)
						}
					}
				}
				s, err := q.Enter(ctx, ask)
				var isFull *FullError
				var isLate *TimeoutError
				switch {
				case err == nil:
					if n := inFlight.Add(1); n > mostSlots {
						t.Errorf("%d in flight, the most is %d", n, mostSlots)
					}
					for range chance.IntN(50) {
						s.Served(chance.Int64N(2000))
						runtime.Gosched()
					}
					granted.Add(1)
					inFlight.Add(-1)
					s.Release()
					if chance.IntN(4) == 0 {
						go s.Release() // once too often, at some later time
					}
				case errors.As(err, &isFull):
					full.Add(1)
				case errors.As(err, &isLate):
					timedOut.Add(1)
				case errors.Is(err, ctx.Err()):
					left.Add(1)
				default:
					t.Errorf("unexpected error: %v", err)
				}
				cancel()
			}
		})
	}
	stop := make(chan struct{})
	var reloads sync.WaitGroup
	reloads.Go(func() {
		chance := rand.New(rand.NewPCG(2, 2))
		for {
			select {
			case <-stop:
				return
			default:
			}
			o := options
			o.Slots = 1 + chance.IntN(mostSlots)
			o.Size = clients/4 + chance.IntN(clients)
			o.Timeout = time.Duration(1+chance.IntN(5000)) * time.Microsecond
			err := q.Configure(o)
			if err != nil {
				t.Error(err)
			}
			if s := q.Stats(); s.Waiting > 0 && s.InFlight < s.Slots {
				t.Errorf("a free slot while somebody waits: %+v", s)
			}
			runtime.Gosched()
		}
	})
	wg.Wait()
	close(stop)
	reloads.Wait()

	s := q.Stats()
	t.Logf("%+v", s)
	if s.InFlight != 0 || s.Waiting != 0 {
		t.Errorf("at the end: %+v", s)
	}
	if s.Full+s.Late+s.PushedOut != uint64(full.Load()) || s.TimedOut != uint64(timedOut.Load()) || s.Left != uint64(left.Load()) {
		t.Errorf("%+v, the clients saw %d full, %d timeouts, %d left", s, full.Load(), timedOut.Load(), left.Load())
	}
	if got, want := q.bucket.rate.Level(q.bucket.spent, q.now().Microseconds()), burst-granted.Load(); got != want {
		t.Errorf("%d bucket tokens are left, want %d", got, want)
	}
	for i := range q.line.classes {
		c := &q.line.classes[i]
		if c.held != 0 || c.waiting != 0 || c.queued != (work{}) || c.ranking.len != 0 || c.crowd.most() != nil {
			t.Errorf("at the end something is left in class %d", i)
		}
		for name, u := range c.callers.byName {
			if !u.idle() || u.queued != (work{}) || !u.kept {
				t.Errorf("at the end %q is not idle: %+v", name, u)
			}
		}
	}
	// What was granted to a waiter that had just left counts as left, too.
	if got := uint64(granted.Load()); got > s.Granted || got+s.Left < s.Granted {
		t.Errorf("%+v, the clients saw %d grants", s, got)
	}
	if sum := granted.Load() + full.Load() + timedOut.Load() + left.Load(); sum != clients*rounds {
		t.Errorf("%d outcomes of %d requests", sum, clients*rounds)
	}
}

// TestStressDryBucket has the alarm and those who leave race for each token:
// never more are handed out than were made, and nobody is left waiting.
func TestStressDryBucket(t *testing.T) {
	defer goleak.VerifyNone(t)
	const clients, burst, per = 64, 4, 20 * time.Microsecond
	q, err := New(Options{Burst: burst, Refill: 1, Per: per, Size: clients, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var granted atomic.Int64
	for client := range clients {
		wg.Go(func() {
			chance := rand.New(rand.NewPCG(3, uint64(client)))
			for range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(chance.IntN(2000))*time.Microsecond)
				if s, err := q.Enter(ctx, Ask{Caller: strconv.Itoa(client % 7)}); err == nil {
					granted.Add(1)
					s.Release()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if made := burst + int64(q.now()/per); granted.Load() > made {
		t.Errorf("%d were let in, of %d tokens", granted.Load(), made)
	}
	if s := q.Stats(); s.InFlight != 0 || s.Waiting != 0 || q.alarm.set {
		t.Errorf("at the end: %+v", s)
	}
	t.Logf("%d let in, %+v", granted.Load(), q.Stats())
}
