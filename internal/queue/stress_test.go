package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestStress lets 64 requests at a time come, wait, leave, time out and hold,
// while the options change, and counts the holders by itself.
func TestStress(t *testing.T) {
	const clients, rounds, mostSlots = 64, 400, 8
	q, err := New(Options{Slots: mostSlots, Size: clients / 2, Timeout: time.Millisecond})
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
				s, err := q.Enter(ctx, Ask{})
				var isFull *FullError
				var isLate *TimeoutError
				switch {
				case err == nil:
					if n := inFlight.Add(1); n > mostSlots {
						t.Errorf("%d in flight, the most is %d", n, mostSlots)
					}
					for range chance.IntN(50) {
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
			err := q.Configure(Options{
				Slots:   1 + chance.IntN(mostSlots),
				Size:    clients/2 + chance.IntN(clients),
				Timeout: time.Duration(1+chance.IntN(5000)) * time.Microsecond,
			})
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
	// What was granted to a waiter that had just left counts as left, too.
	if got := uint64(granted.Load()); got > s.Granted || got+s.Left < s.Granted {
		t.Errorf("%+v, the clients saw %d grants", s, got)
	}
	if sum := granted.Load() + full.Load() + timedOut.Load() + left.Load(); sum != clients*rounds {
		t.Errorf("%d outcomes of %d requests", sum, clients*rounds)
	}
}
