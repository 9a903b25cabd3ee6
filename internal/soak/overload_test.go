package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/standin"
)

// What TestOverload has of each. The bucket lets so many requests begin in a
// second, and four times as many are asked.
const (
	overSlots = 8
	overQueue = 20
	perSecond = 80
	overload  = 4 * perSecond
)

// TestOverload asks for four times what there is, with clients that leave,
// workers that hang until the request's time is up, and workers that die. No
// worker sees more than there are slots, no more wait than there is room for, and
// no more begin than the bucket has had tokens.
func TestOverload(t *testing.T) {
	s := newSoak(t)
	s.climate = climates()[2]
	month := time.Now().UTC().Month()
	began := time.Now()
	s.start(overSlots, standin.Options{
		Capacity: 32, PerOutputToken: 2 * time.Millisecond,
		Output: standin.Lengths{Mean: 25, CV: 0.8, Max: 120},
	}, func() string { return s.overloaded() })
	// What arrives has had its token before.
	s.yard.floor.mu.Lock()
	s.yard.floor.allowed = func(now time.Time) int {
		return overSlots + int(perSecond*now.Sub(began)/time.Second)
	}
	s.yard.floor.mu.Unlock()

	ctx, cancel := context.WithTimeout(t.Context(), *length)
	defer cancel()
	var beside, asked sync.WaitGroup
	deaths := s.rng()
	beside.Go(func() { s.deaths = s.yard.haunt(ctx, deaths) })
	beside.Go(func() { s.watchLine(ctx) })
	rng := s.rng()
	for next := time.Now(); wait(ctx, time.Until(next)); {
		next = next.Add(time.Duration(rng.ExpFloat64() * float64(time.Second/overload)))
		c := s.impatient(rng)
		asked.Go(func() { s.send(c) })
	}
	asked.Wait()
	beside.Wait()

	s.drained()
	if n, _ := s.yard.floor.counts(); n != 0 {
		t.Errorf("%d are in flight at the workers when all have their answers", n)
	}
	s.atZero()
	s.turnedAway()
	s.holds(month)
	s.report(whole, left, queueFull, queueLate, slowWorker, cut, cutByDeath, upstream)
	if _, peak := s.yard.floor.counts(); *length >= time.Minute && (peak != overSlots || s.depth != overQueue) {
		t.Errorf("at most %d of %d were in flight, %v of %d waited: that proves little", peak, overSlots, s.depth, overQueue)
	}
}

// overloaded is the configuration of TestOverload.
func (s *soak) overloaded() string {
	rng := s.rng()
	return fmt.Sprintf(`
request_timeout: %v
%s
%s
admission:
  max_concurrent_requests: %d
  refill_per_second: %d
  queue_size: %d
  queue_timeout: 400ms
  progress: %v
rate_limiting:
%s
  algorithm: token_bucket
  roles: {user: {%s, concurrent_requests: 1000}}
  per_key: {keys: {%s: {priority: interactive}, %s: {weight: 3}, %s: {priority: bulk}}}
  global: {%[9]s}
`, leastPeriod, known(rng, s.urls()), policy(rng), overSlots, perSecond, overQueue, rng.IntN(2) == 0, s.climate.common(), months(rng),
		wildID(0), wildID(1), wildID(2))
}

// impatient draws a request, some of whose clients leave and some of whose
// workers hang.
func (s *soak) impatient(rng *rand.Rand) *call {
	c := metered(rng, shapes()[rng.IntN(len(shapes())-1)], 1+rng.IntN(120)) // no job: it is in flight for longer
	uploads := rng.IntN(8) == 0
	if uploads { // which go to workers by another way
		c = upload(rng)
		c.leave = 0
	}
	switch p := rng.IntN(100); {
	case uploads && p < 50:
		c.fault, c.leave = "slow-headers=30ms", time.Duration(1+rng.IntN(60_000))*time.Microsecond
	case p < 20:
		c.leave = time.Duration(1+rng.IntN(200_000)) * time.Microsecond
	case p < 22:
		c.fault = []string{"hang", "hang-after=3"}[rng.IntN(2)]
	}
	c.h2 = rng.IntN(5) == 0
	return s.wild[rng.IntN(6)].sign(c)
}

// watchLine looks at the line as often as it can be looked at without being work
// of its own.
func (s *soak) watchLine(ctx context.Context) {
	for wait(ctx, 20*time.Millisecond) {
		m, err := s.metrics()
		if err != nil {
			s.fault("the metrics: %v", err)
			continue
		}
		if n := m["penstock_queue_depth"]; n > overQueue || m["penstock_queue_capacity"] != overQueue {
			s.fault("%v wait in a queue of %v, want %d", n, m["penstock_queue_capacity"], overQueue)
		}
		if n := m["penstock_slots_in_use"]; n > overSlots || m["penstock_slots"] != overSlots {
			s.fault("%v of %v slots are in use, want %d", n, m["penstock_slots"], overSlots)
		}
		s.depth = max(s.depth, m["penstock_queue_depth"])
	}
}

// atZero checks that every gauge says that nothing is under way.
func (s *soak) atZero() {
	s.t.Helper()
	m, err := s.metrics()
	if err != nil {
		s.t.Fatal(err)
	}
	gauges := 0
	for name, n := range m {
		base, _, _ := strings.Cut(name, "{")
		if !slices.Contains([]string{
			"penstock_inflight_requests", "penstock_slots_in_use", "penstock_class_slots_in_use",
			"penstock_queue_depth", "penstock_class_queue_depth", "penstock_worker_outstanding",
		}, base) {
			continue
		}
		if gauges++; n != 0 {
			s.t.Errorf("%s is %v when nothing is under way", name, n)
		}
	}
	if want := 3 + 2*3 + len(s.yard.workers); gauges > want || gauges < want-1 { // known may leave one worker out
		s.t.Errorf("%d gauges, want %d", gauges, want)
	}
}

// turnedAway checks that those who were turned away are those who were told so,
// and perhaps some who had left by then.
func (s *soak) turnedAway() {
	s.t.Helper()
	m, err := s.metrics()
	if err != nil {
		s.t.Fatal(err)
	}
	told := map[outcome]int{}
	for _, by := range s.outcomes {
		for o, n := range by {
			told[o] += n
		}
	}
	for o, reasons := range map[outcome][]string{queueFull: {"full", "pushed_out", "late"}, queueLate: {"timeout"}} {
		n := 0
		for _, reason := range reasons {
			n += int(m[`penstock_queue_rejected_total{reason="`+reason+`"}`])
		}
		if n < told[o] || n > told[o]+told[left] {
			s.t.Errorf("%s: %d were told, %d had left, %d are counted", o, told[o], told[left], n)
		}
	}
}
