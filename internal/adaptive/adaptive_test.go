package adaptive

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// full is a tick in which all slots are taken and somebody waits.
const full = -1

// tick is one step of a table: what is in flight (full: as many as there are
// slots), what the workers say, and the slots from then on.
type tick struct {
	inFlight int
	workers  []Signals
	want     int
	times    int // that it comes; 0 is once
}

func says(workers ...Signals) []Signals {
	for i := range workers {
		workers[i].Worker = fmt.Sprint("w", i)
	}
	return workers
}

func runs(running, waiting int) Signals {
	return Signals{State: Told, Running: running, Waiting: waiting}
}

func cache(running, waiting int, kvUse float64) Signals {
	return Signals{State: Told, Running: running, Waiting: waiting, KVUse: kvUse}
}

func TestStep(t *testing.T) {
	unread, silent := Signals{State: Unread}, Signals{State: Silent}
	tests := []struct {
		name    string
		options Options
		ticks   []tick
	}{
		{"the zero options are one slot", Options{}, []tick{{full, says(runs(1, 0)), 1, 5}}},
		{"a most below the least is the least", Options{Min: 3, Max: 2}, []tick{{full, says(runs(1, 0)), 3, 5}}},
		{"it doubles up to the most", Options{Min: 3, Max: 40}, []tick{
			{full, says(runs(3, 0)), 6, 0},
			{full, says(runs(6, 0)), 12, 0},
			{full, says(runs(12, 0)), 24, 0},
			{full, says(runs(24, 0)), 40, 0},
			{full, says(runs(40, 0)), 40, 5},
		}},
		{"while slots are free it does not grow", Options{Min: 4, Max: 40}, []tick{
			{3, says(runs(3, 0)), 4, 9},
			{full, says(runs(4, 0)), 8, 0},
		}},
		{"one look at a line is none; two are, and what runs is what fits", Options{Min: 16, Max: 64}, []tick{
			{full, says(runs(16, 1)), 16, 0},
			{full, says(runs(16, 0)), 32, 0},
			{full, says(runs(20, 12)), 32, 0},
			{full, says(runs(20, 12)), 20, 0},
			{31, says(runs(20, 11)), 20, 0}, // those beyond leave: no reason to shrink more
			{25, says(runs(20, 5)), 20, 0},
			{full, says(runs(20, 0)), 20, 2}, // it rests
			{full, says(runs(20, 0)), 21, 0}, // tries one
			{full, says(runs(20, 1)), 21, 0},
			{full, says(runs(20, 1)), 20, 0}, // in vain
			{full, says(runs(20, 0)), 20, 4}, // rests longer
			{full, says(runs(20, 0)), 21, 0},
			{full, says(runs(21, 0)), 22, 0}, // one more
			{full, says(runs(22, 0)), 24, 0}, // and now faster
			{full, says(runs(24, 0)), 28, 0},
			{full, says(runs(26, 2)), 28, 0},
			{full, says(runs(26, 2)), 26, 0},
			{full, says(runs(26, 0)), 26, 2}, // the pause is short again
			{full, says(runs(26, 0)), 27, 0},
		}},
		{"what waits in two looks is the less of them", Options{Min: 1, Max: 64}, []tick{
			{1, says(runs(10, 5)), 1, 0},
			{20, says(runs(10, 2)), 1, 0},
		}},
		{"a pause ends at eight", Options{Min: 1, Max: 64}, []tick{
			{full, says(runs(1, 0)), 2, 0},
			{full, says(runs(1, 1)), 2, 0},
			{full, says(runs(1, 1)), 1, 0},
			{full, says(runs(1, 0)), 1, 2},
			{full, says(runs(1, 0)), 2, 0},
			{full, says(runs(1, 1)), 2, 0},
			{full, says(runs(1, 1)), 1, 0},
			{full, says(runs(1, 0)), 1, 4},
			{full, says(runs(1, 0)), 2, 0},
			{full, says(runs(1, 1)), 2, 0},
			{full, says(runs(1, 1)), 1, 0},
			{full, says(runs(1, 0)), 1, 8},
			{full, says(runs(1, 0)), 2, 0},
			{full, says(runs(1, 1)), 2, 0},
			{full, says(runs(1, 1)), 1, 0},
			{full, says(runs(1, 0)), 1, 8},
			{full, says(runs(1, 0)), 2, 0},
		}},
		{"of 64 that run two may wait", Options{Min: 1, Max: 67}, []tick{
			{full, says(runs(64, 2)), 2, 0},
			{full, says(runs(64, 2)), 4, 0},
			{full, says(runs(64, 3)), 4, 0},
			{full, says(runs(63, 2)), 3, 0}, // of 63 one may
		}},
		{"at rest one more is tried, and one is taken back", Options{Min: 66, Max: 90}, []tick{
			{full, says(runs(64, 2)), 90, 0},
			{full, says(runs(64, 26)), 90, 0},
			{full, says(runs(64, 26)), 66, 0},
			{full, says(runs(64, 2)), 66, 2},
			{full, says(runs(64, 2)), 67, 0},
			{full, says(runs(64, 3)), 67, 0},
			{full, says(runs(64, 3)), 66, 0},
		}},
		{"a full cache, twice", Options{Min: 10, Max: 90}, []tick{
			{full, says(cache(10, 0, 0.95)), 10, 0},
			{20, says(cache(20, 0, 1)), 10, 0},
			{full, says(cache(10, 0, 0.5)), 10, 2},
			{full, says(cache(10, 0, 0.5)), 11, 0},
			{full, says(cache(11, 0, 0.55)), 12, 0},
			{full, says(cache(12, 0, 0.6)), 14, 0},
			{full, says(cache(14, 0, 0.7)), 18, 0}, // a cache of 20, of which 18 are to be full
			{full, says(cache(18, 0, 0.9)), 18, 9},
			{full, says(cache(18, 0, 1)), 18, 0},
			{full, says(cache(18, 0, 1)), 16, 0},
			{full, says(cache(16, 0, 0.8)), 16, 2},
			{full, says(cache(16, 0, 0.8)), 17, 0},
		}},
		{"the cache of the fullest decides what room there is", Options{Min: 10, Max: 90}, []tick{
			{full, says(cache(5, 0, 0.7), cache(5, 0, 0.1)), 12, 0}, // 1.4 more each
			{full, says(cache(6, 0, 0.9), cache(6, 0, 0.1)), 12, 5},
		}},
		{"one worker of several", Options{Min: 1, Max: 90}, []tick{
			{20, says(runs(10, 0), runs(4, 6)), 1, 2},
		}},
		{"one worker of several, from many slots", Options{Min: 1, Max: 20}, []tick{
			{full, says(runs(1, 0), runs(0, 0)), 2, 0},
			{full, says(runs(1, 0), runs(1, 0)), 4, 0},
			{full, says(runs(2, 0), runs(2, 0)), 8, 0},
			{full, says(runs(4, 0), runs(4, 0)), 16, 0},
			{full, says(runs(8, 0), runs(4, 4)), 16, 0},
			{full, says(runs(8, 0), runs(4, 4)), 12, 0},
			{full, says(runs(6, 0), runs(4, 2)), 10, 0},
			{full, says(runs(5, 0), runs(4, 1)), 9, 0},
			{full, says(runs(5, 0), runs(4, 0)), 9, 2},
			{full, says(runs(5, 0), runs(4, 0)), 10, 0},
		}},
		{"what another gateway sends has its part of the excess", Options{Min: 10, Max: 90}, []tick{
			{full, says(runs(20, 0)), 20, 0},
			{full, says(runs(30, 10)), 20, 0},
			{full, says(runs(30, 10)), 15, 0},
		}},
		{"when all of it is another's, nothing is in flight, and it is the least", Options{Min: 2, Max: 90}, []tick{
			{full, says(runs(2, 0)), 4, 0},
			{0, says(runs(30, 10)), 4, 0},
			{0, says(runs(30, 10)), 2, 0},
		}},
		{"a worker that runs nothing of what it has is stuck", Options{Min: 2, Max: 90}, []tick{
			{full, says(runs(2, 0)), 4, 0},
			{full, says(runs(0, 4)), 4, 0},
			{full, says(runs(0, 4)), 2, 0},
		}},
		{"who stands behind others while there is room elsewhere is left to, for a minute", Options{Min: 1, Max: 90}, []tick{
			{full, says(runs(1, 0), runs(0, 0)), 2, 0},
			{full, says(runs(1, 0), runs(1, 0)), 4, 0},
			{full, says(runs(1, 1), runs(1, 1)), 4, 0},
			{full, says(runs(1, 1), runs(1, 1)), 2, 0},
			{full, says(runs(1, 1), runs(0, 0)), 2, settling - 1},
			{full, says(runs(1, 1), runs(0, 0)), 1, 0},
		}},
		{"an unread worker holds up growth, for ten seconds", Options{Min: 1, Max: 90}, []tick{
			{full, says(runs(1, 0), unread), 1, patience - 1},
			{full, says(runs(1, 0), unread), 2, 0},
			{full, says(runs(2, 0), unread), 4, 0},
			{full, says(runs(2, 2), unread), 4, 0},
			{full, says(runs(2, 2), unread), 2, 0},
		}},
		{"what nothing is known of changes nothing", Options{Min: 4, Max: 90}, []tick{
			{full, says(unread), 4, 30},
			{full, says(unread, unread), 4, 30},
			{full, says(silent), 4, 30}, // and no first tokens
			{full, nil, 4, 30},
		}},
		{"silent workers are none where metrics are the signal", Options{Min: 4, Max: 90, Signal: Metrics}, []tick{
			{full, says(silent), 4, 30},
			{full, says(silent, runs(4, 0)), 8, 0},
			{full, nil, 8, 30},
		}},
		{"workers that join bring slots in proportion", Options{Min: 1, Max: 90}, []tick{
			{full, says(runs(1, 0)), 2, 0},
			{full, says(runs(1, 1)), 2, 0},
			{full, says(runs(1, 1)), 1, 0},
			{full, says(runs(1, 0), runs(0, 0), runs(0, 0)), 3, 0},
			{full, says(runs(1, 0), runs(1, 0), runs(1, 0)), 4, 0}, // by one, as before
		}},
		{"so do those that come back, after they counted as gone", Options{Min: 4, Max: 90}, []tick{
			{3, says(runs(3, 0), runs(0, 0)), 4, 0},
			{3, says(runs(3, 0), unread), 4, patience - 1},
			{full, says(runs(2, 0), runs(2, 0)), 8, 0}, // soon: it was not gone
			{3, says(runs(3, 0), unread), 8, patience},
			{full, says(runs(4, 0), runs(4, 0)), 16, 0},
			{full, says(runs(8, 0), runs(8, 0)), 32, 0},
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c, n := NewController(tc.options), 0
			for _, k := range tc.ticks {
				for range max(k.times, 1) {
					o := Observation{InFlight: k.inFlight, Waiting: 1, Workers: k.workers}
					if k.inFlight == full {
						o.InFlight = c.Slots()
					}
					if n++; c.Step(o) != k.want {
						t.Fatalf("tick %d: %d slots, want %d, of %+v", n, c.Slots(), k.want, o)
					}
				}
			}
		})
	}
}

func TestNobodyWaitsForASlot(t *testing.T) {
	c := NewController(Options{Min: 4, Max: 90})
	if n := c.Step(Observation{InFlight: 4, Workers: says(runs(4, 0))}); n != 4 {
		t.Errorf("%d slots", n)
	}
}

func TestConfigure(t *testing.T) {
	c := NewController(Options{Min: 4, Max: 90})
	grow := func(want int) {
		t.Helper()
		o := Observation{InFlight: c.Slots(), Waiting: 1, Workers: says(runs(c.Slots(), 0))}
		if n := c.Step(o); n != want {
			t.Errorf("%d slots, want %d", n, want)
		}
	}
	grow(8)
	for _, change := range []struct {
		Options
		want int
	}{{Options{Min: 1, Max: 90}, 8}, {Options{Min: 10, Max: 90}, 10}, {Options{Min: 1, Max: 5}, 5}, {Options{}, 1}} {
		if c.Configure(change.Options); c.Slots() != change.want {
			t.Errorf("%+v: %d slots, want %d", change.Options, c.Slots(), change.want)
		}
	}
	c.Configure(Options{Min: 1, Max: 90})
	grow(2)
}

// TestBounds draws anything that can be observed: the slots keep within their
// bounds, grow only when all are taken and requests wait, while no worker has
// told of a line, and never to more than twice as many but for workers that join.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			Min: rapid.IntRange(-1, 40).Draw(t, "min"), Max: rapid.IntRange(-1, 80).Draw(t, "max"),
			Signal: Signal(rapid.IntRange(int(Auto), int(FirstToken)).Draw(t, "signal")),
		}
		c := NewController(o)
		least, most := max(o.Min, 1), max(o.Max, o.Min, 1)
		told := map[string]bool{} // in the tick before
		joined := false           // some, since it last grew
		for range rapid.IntRange(1, 25).Draw(t, "ticks") {
			before := c.Slots()
			ob := Observation{
				InFlight: rapid.SampledFrom([]int{before, before, 0, before - 1, before + 7, 1 << 30}).Draw(t, "in flight"),
				Waiting:  rapid.IntRange(0, 2).Draw(t, "waiting"),
			}
			line, now := false, map[string]bool{}
			for i := range rapid.IntRange(0, 3).Draw(t, "workers") {
				w := Signals{
					Worker: fmt.Sprint(i), State: State(rapid.IntRange(int(Unread), int(Told)).Draw(t, "state")),
					Running: rapid.SampledFrom([]int{0, 1, 30, 1 << 24}).Draw(t, "running"),
					Waiting: rapid.SampledFrom([]int{0, 0, 0, 1, 1 << 24}).Draw(t, "waiting there"),
					KVUse:   rapid.SampledFrom([]float64{0, 1e-9, 0.5, 0.9, 1}).Draw(t, "KV"),
				}
				if w.State == Told {
					line, now[w.Worker] = line || w.Waiting > w.Running/passing, true
					joined = joined || !told[w.Worker]
				}
				ob.Workers = append(ob.Workers, w)
			}
			if rapid.Bool().Draw(t, "tokens") {
				ob.FirstToken = new(Times)
				d := time.Duration(rapid.IntRange(0, 1000).Draw(t, "ms")) * time.Millisecond
				for range rapid.IntRange(0, 80).Draw(t, "n") {
					ob.FirstToken.add(d, 10)
				}
			}
			n := c.Step(ob)
			if n < least || n > most || n != c.Slots() {
				t.Fatalf("%d slots of %d to %d", n, least, most)
			}
			if n > before && (ob.InFlight != before || ob.Waiting == 0 || o.Signal != FirstToken && line) {
				t.Fatalf("grown from %d to %d of %+v", before, n, ob)
			}
			if n > 2*before && !joined {
				t.Fatalf("grown from %d to %d while nobody joined", before, n)
			}
			if told = now; n > before {
				joined = false
			}
		}
	})
}
