package queue

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/traffic"
)

func drawOptions(t *rapid.T) Options {
	o := Options{
		Slots: rapid.SampledFrom([]int{1, 1, 2, 3, 0}).Draw(t, "slots"),
		Size:  rapid.IntRange(0, 8).Draw(t, "size"),
		// A nanosecond aside, so that no timeout falls on the moment of a
		// token or of a step, when either may come first.
		Timeout: time.Duration(rapid.IntRange(1, 60_000).Draw(t, "timeout ms"))*time.Millisecond + 1,
	}
	if o.Slots == 0 || rapid.Bool().Draw(t, "bucket") {
		o.Burst = rapid.Int64Range(0, 4).Draw(t, "burst")
		o.Refill = rapid.Int64Range(1, 7).Draw(t, "refill")
		o.Per = time.Duration(rapid.IntRange(1, 10_000).Draw(t, "per ms")) * time.Millisecond
	}
	return o
}

func drawAsk(t *rapid.T) Ask {
	return Ask{
		Caller: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "caller"),
		Class:  rapid.SampledFrom([]traffic.Class{traffic.ClassDefault, traffic.ClassInteractive, traffic.ClassBulk}).Draw(t, "class"),
		Weight: rapid.Int64Range(0, 3).Draw(t, "weight"),
		Cost:   rapid.Int64Range(-1, 20).Draw(t, "cost"),
	}
}

// TestModel takes random steps on the queue and on the model; after each, what
// became of every request, the stats, the counters and the estimate must be the
// same.
func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A *testing.T itself would be asked for its Deadline, which panics in
		// a bubble.
		rapid.Check(struct{ *testing.T }{t}, checkModel)
	})
}

func checkModel(t *rapid.T) {
	o := drawOptions(t)
	r := newRig(t, o)
	all, cancelAll := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancelAll()
		synctest.Wait()
	})
	m := newModel(o)
	entered := 0
	enter := func(a Ask, gone bool) {
		name := strconv.Itoa(entered)
		entered++
		ctx, cancel := context.WithCancel(all)
		r.leave[name] = cancel
		if gone {
			cancel()
		}
		go r.enter(ctx, a, name)
		synctest.Wait()
		m.enter(name, a, gone)
	}
	advance := func(d time.Duration) {
		time.Sleep(d) // the bubble's clock
		synctest.Wait()
		m.advance(d)
	}
	var void []Slot // released before
	release := func(i int) {
		s := r.slots[m.holders[i].name]
		s.Release()
		synctest.Wait()
		m.release(i)
		void = append(void, s)
	}
	if rapid.Bool().Draw(t, "knows how long slots are held") {
		for len(void) < enoughHolds {
			enter(Ask{}, false)
			advance(time.Duration(rapid.IntRange(1, 10_000).Draw(t, "hold ms")) * time.Millisecond)
			if len(m.holders) > 0 {
				release(0)
			}
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"enter": func(t *rapid.T) {
			enter(drawAsk(t), rapid.IntRange(0, 15).Draw(t, "one in 16 has gone") == 15)
		},
		"enter many": func(t *rapid.T) {
			a := drawAsk(t)
			for range rapid.IntRange(2, 6).Draw(t, "requests") {
				enter(a, false)
			}
		},
		"release": func(t *rapid.T) {
			if len(m.holders) == 0 {
				t.Skip("nobody holds a slot")
			}
			release(rapid.IntRange(0, len(m.holders)-1).Draw(t, "holder"))
			s := rapid.SampledFrom(void).Draw(t, "void slot")
			s.Release()
			s.Served(1000)
		},
		"served": func(t *rapid.T) {
			if len(m.holders) == 0 {
				t.Skip("nobody holds a slot")
			}
			i := rapid.IntRange(0, len(m.holders)-1).Draw(t, "holder")
			cost := rapid.Int64Range(-1, 40).Draw(t, "cost")
			r.slots[m.holders[i].name].Served(cost)
			m.served(i, cost)
		},
		"leave": func(t *rapid.T) {
			if len(m.line) == 0 {
				t.Skip("nobody waits")
			}
			i := rapid.IntRange(0, len(m.line)-1).Draw(t, "waiter")
			r.leave[m.line[i].name]()
			synctest.Wait()
			m.leave(i)
		},
		"advance": func(t *rapid.T) {
			advance(time.Duration(rapid.IntRange(1, 30_000).Draw(t, "ms")) * time.Millisecond)
		},
		"configure": func(t *rapid.T) {
			o := drawOptions(t)
			if err := r.q.Configure(o); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			m.configure(o)
		},
		"stop": func(t *rapid.T) {
			if rapid.IntRange(0, 15).Draw(t, "one in 16") < 15 {
				t.Skip("not yet")
			}
			r.q.Stop()
			synctest.Wait()
			m.stop()
		},
		"": func(t *rapid.T) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if d := cmp.Diff(m.outcomes, r.ended); d != "" {
				t.Fatalf("outcomes (-model +queue):\n%s", d)
			}
			if d := cmp.Diff(m.stats(), r.q.Stats()); d != "" {
				t.Fatalf("stats (-model +queue):\n%s", d)
			}
			if got, want := r.q.Estimate(), m.estimate(); got != want {
				t.Fatalf("estimate %v, the model says %v", got, want)
			}
			for of, c := range m.callers {
				r.q.mu.Lock()
				got := r.q.line.classes[of.class].callers.byName[of.name].served
				r.q.mu.Unlock()
				if bigOf(got).Cmp(c.served) != 0 {
					t.Fatalf("%v was served %v, the model says %v", of, got, c.served)
				}
			}
			if set, _ := r.alarm(); set != (len(m.line) > 0 && m.slotFree()) {
				t.Fatalf("the alarm is set: %v, while %d wait and a slot is free: %v", set, len(m.line), m.slotFree())
			}
		},
	})
}
