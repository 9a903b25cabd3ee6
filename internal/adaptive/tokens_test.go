package adaptive

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

func TestClasses(t *testing.T) {
	for _, tc := range []struct {
		input int64
		want  int
	}{
		{math.MinInt64, 0}, {-1, 0}, {0, 0}, {63, 0}, {64, 1}, {127, 1}, {128, 2}, {65535, 10}, {65536, 11}, {131072, 11}, {math.MaxInt64, 11},
	} {
		if got := class(tc.input); got != tc.want {
			t.Errorf("%d tokens are of class %d, want %d", tc.input, got, tc.want)
		}
	}
}

// TestBuckets: a longer time is in no lower bucket, and a bucket's middle is as
// near as its width allows: a thirty-second of the time, or half the shortest.
func TestBuckets(t *testing.T) {
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1} {
		if b := bucket(d); b != 0 {
			t.Errorf("%v is in bucket %d", d, b)
		}
	}
	for _, d := range []time.Duration{1<<longest - 1, 1 << longest, math.MaxInt64} {
		if b := bucket(d); b != buckets-1 {
			t.Errorf("%v is in bucket %d of %d", d, b, buckets)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, 1<<longest-1).Draw(t, "d"))
		e := time.Duration(rapid.Int64Range(0, int64(d)).Draw(t, "e"))
		if bucket(e) > bucket(d) {
			t.Errorf("%v is in bucket %d, %v in %d", e, bucket(e), d, bucket(d))
		}
		if m := middle(bucket(d)); (m - d).Abs() > max(d/32, 1<<unitBits/2)+1 {
			t.Errorf("%v is taken for %v", d, m)
		}
	})
}

func (t *Times) add(d time.Duration, input int64) { t[class(input)][bucket(d)]++ }

// TestMedian compares medians with those of the times themselves, sorted.
func TestMedian(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 50).Draw(t, "times")
		var times Times
		for _, d := range all {
			times.add(time.Duration(d), 100)
		}
		slices.Sort(all)
		want := middle(bucket(time.Duration(all[len(all)/2])))
		if got, n := times.median(1); got != want || n != len(all) {
			t.Errorf("the median of %d is %v, want %v of %d", n, got, want, len(all))
		}
		if _, n := times.median(2); n != 0 {
			t.Errorf("%d in another class", n)
		}
	})
}

// TestRecorder: whatever is added while others add and somebody takes is taken
// once, and adding allocates nothing.
func TestRecorder(t *testing.T) {
	r, taken := new(recorder), 0
	var adding, taking sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		adding.Go(func() {
			for n := range 5000 {
				r.add(time.Duration(n)*ms, int64(i*100))
			}
		})
	}
	take := func() {
		var times Times
		r.take(&times)
		for c := range classes {
			_, n := times.median(c)
			taken += n
		}
	}
	taking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				take()
			}
		}
	})
	adding.Wait()
	close(done)
	taking.Wait()
	if take(); taken != 20000 {
		t.Errorf("%d were taken", taken)
	}
	if n := testing.AllocsPerRun(100, func() { r.add(time.Second, 1000) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// streams is a tick of tokens: in flight (full: as many as there are slots), how
// many streams begin after how long with an input of so many tokens, and the
// slots from then on.
type streams struct {
	inFlight, n int
	takes       time.Duration
	input       int64
	want        int
	times       int // that it comes; 0 is once
}

func TestFirstTokens(t *testing.T) {
	start := streams{full, 20, 100 * ms, 100, 10, 0} // from 8 slots: 100 ms is what it takes
	tests := []struct {
		name  string
		least int
		ticks []streams
	}{
		{"it grows by as many as would take a third longer of a worker that is just full", 8, []streams{
			start,
			{full, 19, 100 * ms, 100, 10, 0}, // not two of each slot yet
			{full, 1, 100 * ms, 100, 13, 0},
			{full, 26, 100 * ms, 100, 17, 0},
			{full, 34, 112 * ms, 100, 18, 0}, // near: by one
			{full, 36, 130 * ms, 100, 18, 9}, // at rest
		}},
		{"without streams nothing happens", 8, []streams{start, {full, 0, 0, 0, 10, 99}}},
		{"when slots are free it does not grow", 8, []streams{start, {9, 20, 100 * ms, 100, 10, 9}}},
		{"a little too slow is one too many", 8, []streams{
			start,
			{full, 20, 160 * ms, 100, 9, 0},
		}},
		{"far too slow is as many as take a third longer", 1, []streams{
			{full, 8, 100 * ms, 100, 2, 0},
			{full, 8, 100 * ms, 100, 3, 0},
			{full, 8, 100 * ms, 100, 4, 0},
			{full, 8, 100 * ms, 100, 5, 0},
			{full, 10, 100 * ms, 100, 6, 0},
			{full, 12, 300 * ms, 100, 2, 0},
			{5, 22, 300 * ms, 100, 2, 0}, // those beyond have not left
			{2, 22, 300 * ms, 100, 2, 0}, // now they have: what comes now was sent before
			{2, 22, 300 * ms, 100, 2, 0},
			{full, 22, 140 * ms, 100, 2, 0},
			{full, 22, 90 * ms, 100, 3, 0},
		}},
		{"what comes after the slots changed was sent before, where it takes seconds", 8, []streams{
			{full, 20, 2500 * ms, 100, 10, 0},
			{full, 99, 2500 * ms, 100, 10, 2},
			{full, 99, 2500 * ms, 100, 13, 0},
		}},
		{"longer prompts have a baseline of their own", 8, []streams{
			start,
			{full, 22, 900 * ms, 3000, 13, 0},
			{full, 30, 900 * ms, 3000, 17, 0},
			{full, 40, 1200 * ms, 3000, 17, 2}, // 1.33
			{full, 40, 130 * ms, 100, 17, 9},
		}},
		{"a length that comes when it is slow is taken to be slow", 8, []streams{
			start,
			{full, 16, 140 * ms, 100, 10, 0},
			{full, 4, 980 * ms, 3000, 10, 0},  // judged together: 1.4, and so is this
			{full, 22, 980 * ms, 3000, 10, 9}, // no reason to grow
			{full, 22, 700 * ms, 3000, 14, 0}, // this is what it takes
		}},
		{"baselines rise while few are in flight", 8, []streams{
			start,
			{5, 22, 1000 * ms, 100, 8, 90},
			{full, 22, 1000 * ms, 100, 9, 0},
		}},
		{"and not while many are", 1, []streams{
			{full, 8, 100 * ms, 100, 2, 0},
			{full, 8, 100 * ms, 100, 3, 0},
			{full, 8, 100 * ms, 100, 4, 0},
			{3, 22, 140 * ms, 100, 4, 90},
			{full, 22, 140 * ms, 100, 4, 90},
		}},
		{"at the least slots it is not the requests that are too many", 8, []streams{
			start,
			{full, 22, 2000 * ms, 100, 8, 0},
			{full, 22, 2000 * ms, 100, 8, 15},
			{full, 22, 2000 * ms, 100, 9, 0},
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c, n := NewController(Options{Min: tc.least, Max: 40, Signal: FirstToken}), 0
			for _, k := range tc.ticks {
				for range max(k.times, 1) {
					o := Observation{InFlight: k.inFlight, Waiting: 1, FirstToken: new(Times)}
					if k.inFlight == full {
						o.InFlight = c.Slots()
					}
					for range k.n {
						o.FirstToken.add(k.takes, k.input)
					}
					if n++; c.Step(o) != k.want {
						t.Fatalf("tick %d: %d slots, want %d, of %+v", n, c.Slots(), k.want, k)
					}
				}
			}
		})
	}
}

// TestMixture: workers that tell their load and one that does not. Both must have
// room, and either may have too much.
func TestMixture(t *testing.T) {
	c := NewController(Options{Min: 1, Max: 40})
	step := func(want, inFlight int, takes time.Duration, w Signals) {
		t.Helper()
		o := Observation{InFlight: inFlight, Waiting: 1, Workers: says(w, Signals{State: Silent}), FirstToken: new(Times)}
		for range 20 {
			o.FirstToken.add(takes, 100)
		}
		if n := c.Step(o); n != want {
			t.Errorf("%d slots, want %d", n, want)
		}
	}
	step(2, 1, 100*ms, runs(1, 0))
	step(3, 2, 100*ms, runs(1, 0))
	step(3, 3, 130*ms, runs(1, 0))
	step(3, 3, 100*ms, runs(1, 1))
	step(2, 3, 100*ms, runs(1, 1))
}

func BenchmarkFirstToken(b *testing.B) {
	l := New(Config{})
	b.ReportAllocs()
	for b.Loop() {
		l.FirstToken(150*ms, 1000)
	}
}
