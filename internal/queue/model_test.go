package queue

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model is the queue as slow and as obvious as it can be.
type model struct {
	Options
	now      time.Duration
	stopped  bool
	holders  []modelStay // since they got their slots
	line     []modelStay
	hold     time.Duration
	learnt   bool
	counts   Stats
	outcomes map[string]outcome
}

type modelStay struct {
	name            string
	since, deadline time.Duration
	position        int
}

func (m *model) freeSlot() bool { return m.Slots == 0 || len(m.holders) < m.Slots }

func (m *model) estimate() time.Duration {
	if m.Slots == 0 {
		return time.Second
	}
	wait := time.Duration(len(m.line)+1) * m.hold / time.Duration(m.Slots)
	return max(time.Second, min(wait, time.Minute))
}

func (m *model) enter(name string, gone bool) {
	switch {
	case m.stopped:
		m.outcomes[name] = outcome{Error: "stopped"}
	case gone:
		m.counts.Left++
		m.outcomes[name] = outcome{Error: "context canceled"}
	case m.freeSlot():
		m.counts.Granted++
		m.holders = append(m.holders, modelStay{name: name, since: m.now})
		m.outcomes[name] = outcome{}
	case len(m.line) >= m.Size:
		m.counts.Full++
		m.outcomes[name] = outcome{Error: "full", Retry: m.estimate()}
	default:
		m.counts.Waited++
		m.line = append(m.line, modelStay{name, m.now, m.now + m.Timeout, len(m.line) + 1})
	}
}

func (m *model) fill() {
	for len(m.line) > 0 && m.freeSlot() {
		w := m.line[0]
		m.line = m.line[1:]
		m.counts.Granted++
		m.holders = append(m.holders, modelStay{name: w.name, since: m.now})
		m.outcomes[w.name] = outcome{Position: w.position, Waited: m.now - w.since, After: m.now - w.since}
	}
}

func (m *model) release(i int) {
	hold := m.now - m.holders[i].since
	if m.learnt {
		m.hold += (hold - m.hold) / 8
	} else {
		m.hold, m.learnt = hold, true
	}
	m.holders = append(m.holders[:i:i], m.holders[i+1:]...)
	m.fill()
}

func (m *model) leave(i int) {
	w := m.line[i]
	m.line = append(m.line[:i:i], m.line[i+1:]...)
	m.counts.Left++
	m.outcomes[w.name] = outcome{Error: "context canceled", After: m.now - w.since}
}

func (m *model) advance(d time.Duration) {
	m.now += d
	var still []modelStay
	for _, w := range m.line {
		if w.deadline > m.now {
			still = append(still, w)
			continue
		}
		m.counts.TimedOut++
		timeout := w.deadline - w.since
		m.outcomes[w.name] = outcome{Error: "timeout", Waited: timeout, After: timeout}
	}
	m.line = still
}

func (m *model) stop() {
	m.stopped = true
	for _, w := range m.line {
		m.outcomes[w.name] = outcome{Error: "stopped", After: m.now - w.since}
	}
	m.line = nil
}

func (m *model) stats() Stats {
	s := m.counts
	s.Slots, s.InFlight, s.Waiting, s.Size = m.Slots, len(m.holders), len(m.line), m.Size
	return s
}

func drawOptions(t *rapid.T) Options {
	return Options{
		Slots:   rapid.SampledFrom([]int{1, 2, 3, 4, 0}).Draw(t, "slots"),
		Size:    rapid.IntRange(0, 5).Draw(t, "size"),
		Timeout: time.Duration(rapid.IntRange(1, 20_000).Draw(t, "timeout ms")) * time.Millisecond,
	}
}

// TestModel takes random steps on the queue and on the model; after each, what
// became of every request, the stats and the estimate must be the same.
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
	m := &model{Options: o, outcomes: map[string]outcome{}}
	entered := 0
	var void []Slot // released before
	t.Repeat(map[string]func(*rapid.T){
		"enter": func(t *rapid.T) {
			name := strconv.Itoa(entered)
			entered++
			ctx, cancel := context.WithCancel(all)
			r.leave[name] = cancel
			gone := rapid.IntRange(0, 15).Draw(t, "one in 16 has gone") == 15
			if gone {
				cancel()
			}
			go r.enter(ctx, name)
			m.enter(name, gone)
		},
		"release": func(t *rapid.T) {
			if len(m.holders) == 0 {
				t.Skip("nobody holds a slot")
			}
			i := rapid.IntRange(0, len(m.holders)-1).Draw(t, "holder")
			s := r.slots[m.holders[i].name]
			s.Release()
			m.release(i)
			void = append(void, s)
			rapid.SampledFrom(void).Draw(t, "void slot").Release()
		},
		"leave": func(t *rapid.T) {
			if len(m.line) == 0 {
				t.Skip("nobody waits")
			}
			i := rapid.IntRange(0, len(m.line)-1).Draw(t, "waiter")
			r.leave[m.line[i].name]()
			m.leave(i)
		},
		"advance": func(t *rapid.T) {
			d := time.Duration(rapid.IntRange(1, 30_000).Draw(t, "ms")) * time.Millisecond
			time.Sleep(d) // the bubble's clock
			m.advance(d)
		},
		"configure": func(t *rapid.T) {
			o := drawOptions(t)
			if err := r.q.Configure(o); err != nil {
				t.Fatal(err)
			}
			m.Options = o
			m.fill()
		},
		"stop": func(t *rapid.T) {
			if rapid.IntRange(0, 15).Draw(t, "one in 16") < 15 {
				t.Skip("not yet")
			}
			r.q.Stop()
			m.stop()
		},
		"": func(t *rapid.T) {
			synctest.Wait()
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
		},
	})
}
