package identity

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func digestOf(n int) (d digest) {
	binary.BigEndian.PutUint64(d[:], uint64(n))
	return d
}

func TestLearnedSteps(t *testing.T) {
	t0 := time.Now()
	l := &Learned{max: 2}
	for i, s := range []struct {
		at    time.Duration
		do    string
		key   int
		known bool
	}{
		{0, "known", 1, false},
		{0, "forget", 1, false},
		{0, "learn", 1, true},
		{learnedFor - 1, "known", 1, true},
		{learnedFor, "known", 1, false},
		{learnedFor, "learn", 1, true},
		{learnedFor + 5, "learn", 1, true}, // again: ten minutes from here
		{2*learnedFor + 4, "known", 1, true},
		{2*learnedFor + 4, "learn", 2, true},  // full
		{2*learnedFor + 4, "learn", 3, false}, // full of live keys
		{2*learnedFor + 5, "learn", 3, true},  // 1 has expired and makes room
		{2*learnedFor + 5, "known", 1, false},
		{2*learnedFor + 5, "forget", 2, false},
		{2*learnedFor + 5, "learn", 1, true}, // in the room of 2
		{2*learnedFor - 1, "learn", 1, true}, // the clock goes back: stays known as long
		{3*learnedFor + 4, "known", 1, true},
		{3*learnedFor + 5, "known", 1, false},
		{-learnedFor, "known", 3, false}, // dropped by the call before
		{-learnedFor, "learn", 3, true},  // before the first now
		{-1, "known", 3, true},
		{0, "known", 3, false},
		{9 * learnedFor, "learn", 4, true},
		{9*learnedFor - 1, "learn", 5, true},   // out of order
		{10*learnedFor - 1, "known", 5, false}, // by its own time
		{10*learnedFor - 1, "known", 4, true},
		{10*learnedFor + time.Hour, "forget", 99, false}, // never learned
		{1000000 * learnedFor, "known", 4, false},
		{1000000 * learnedFor, "learn", 6, true},
		{1000000*learnedFor + 1, "learn", 7, true},
		{1000000*learnedFor + 1, "forget", 6, false},
		{1000001*learnedFor + 1, "known", 7, false},
		{1000001*learnedFor + 1, "learn", 7, true},
		{1000001*learnedFor + 1, "learn", 8, true},
		{1000001*learnedFor + 1, "learn", 9, false},
	} {
		key, now := digestOf(s.key), t0.Add(s.at)
		switch s.do {
		case "learn":
			l.Learn(key, now)
		case "forget":
			l.Forget(key)
		}
		if got := l.Known(key, now); got != s.known {
			t.Fatalf("step %d: at %v %s %d: known %t, want %t", i, s.at, s.do, s.key, got, s.known)
		}
	}
	if len(l.nodes) > 3 {
		t.Errorf("%d nodes for 2 keys and the ring's own", len(l.nodes))
	}
}

// TestLearnedModel compares with a map that is searched whole at every step.
func TestLearnedModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &Learned{max: rapid.IntRange(1, 5).Draw(t, "max")}
		model := map[int]time.Time{}
		now := time.Now()
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(learnedFor)/3).Draw(t, "pass")))
			key := rapid.IntRange(0, 7).Draw(t, "key")
			for k, at := range model {
				if now.Sub(at) >= 10*time.Minute {
					delete(model, k)
				}
			}
			_, known := model[key]
			switch rapid.IntRange(0, 3).Draw(t, "do") {
			case 0, 1:
				if known || len(model) < l.max {
					model[key] = now
				}
				l.Learn(digestOf(key), now)
			case 2:
				delete(model, key)
				l.Forget(digestOf(key))
			case 3:
				if got := l.Known(digestOf(key), now); got != known {
					t.Fatalf("key %d: known %t, want %t", key, got, known)
				}
			}
			if len(l.index) > l.max || len(l.nodes) > l.max+1 {
				t.Fatalf("%d keys, %d nodes; the most is %d", len(l.index), len(l.nodes), l.max)
			}
		}
		for k := range 8 {
			if _, known := model[k]; l.Known(digestOf(k), now) != known {
				t.Fatalf("key %d: known %t, want %t", k, !known, known)
			}
		}
	})
}

// A flood stops at the bound, and makes room as it expires.
func TestLearnedBound(t *testing.T) {
	var l Learned
	now := time.Now()
	for n := range maxLearned + 10 {
		l.Learn(digestOf(n), now)
	}
	if len(l.index) != maxLearned || l.Known(digestOf(maxLearned), now) || !l.Known(digestOf(maxLearned-1), now) {
		t.Fatalf("%d keys are known", len(l.index))
	}
	now = now.Add(learnedFor)
	for n := range maxLearned/reclaimPerCall + 1 {
		l.Known(digestOf(n), now)
	}
	if len(l.index) != 0 {
		t.Fatalf("%d expired keys are left", len(l.index))
	}
}

func TestLearnedConcurrently(t *testing.T) {
	l := &Learned{max: 50}
	now := time.Now()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 5000 {
				key, at := digestOf((n*7+g)%100), now.Add(time.Duration(n)*time.Second)
				l.Learn(key, at)
				l.Known(key, at)
				if n%5 == 0 {
					l.Forget(key)
				}
			}
		})
	}
	wg.Wait()
	if len(l.index) > 50 || len(l.nodes) > 51 {
		t.Errorf("%d keys, %d nodes; the most is 50", len(l.index), len(l.nodes))
	}
}

func BenchmarkLearned(b *testing.B) {
	var l Learned
	now := time.Now()
	for n := range maxLearned {
		l.Learn(digestOf(n), now)
	}
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			l.Known(digestOf(n%maxLearned), now)
		}
	})
	b.Run("learn", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			l.Learn(digestOf(n%maxLearned), now.Add(time.Duration(n)))
		}
	})
}
