package penstock

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTurns: a key that is charged under several sets of limits by turns has the
// counters of all of them, and finds them as quickly as one that has a single set.
func TestTurns(t *testing.T) {
	window := func(name string) Limit {
		return Limit{Name: name, Unit: Requests, Amount: 1000, Window: time.Minute}
	}
	sets := []*Limits{
		MustLimits(window("chat"), PerDay(Requests, 5000)),
		MustLimits(window("images")),
		// What is full again at once stays as well.
		MustLimits(Limit{Name: "bucket", Unit: Requests, Amount: 1_000_000, Window: time.Second, Algorithm: TokenBucket}),
		MustLimits(PerDay(Requests, 5000), window("chat")), // the same in another order
	}
	s := NewMemoryStore(MemoryOptions{})
	s.BornAt(noon.AddDate(0, 0, -1))
	now := noon
	const rounds = 20
	for round := range rounds {
		for i, set := range sets {
			now = now.Add(10 * time.Microsecond)
			charges := set.Charges("key", Amounts{Requests: 1})
			if quick := quickly(s, charges, now, true); !quick {
				if round > 0 {
					t.Fatalf("round %d: set %d was not decided quickly", round, i)
				}
				take(t, s, now, charges...)
			}
		}
	}
	charges := append(sets[1].Charges("key", Amounts{Requests: 1}), sets[0].Charges("key", Amounts{Requests: 1})...)
	for i, want := range []int64{rounds, 2 * rounds, 2 * rounds} {
		c := charges[i : i+1]
		if _, err := s.Look(ctx, now, c); err != nil || c[0].Used != want {
			t.Errorf("%s: %d used, want %d (%v)", c[0].Limit().Name, c[0].Used, want, err)
		}
	}
	if n := s.Stats().Keys; n != 1 {
		t.Errorf("%d keys", n)
	}
}

// TestTurnsUnderContention: of what several goroutines ask for under several sets
// of the same keys, sets with new amounts among them, as much passes as the
// smallest limit of each counter allows, to the last one.
func TestTurnsUnderContention(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	const chats, images, keys = 500, 300, 4
	day := func(name string, amount int64) Limit {
		return Limit{Name: name, Unit: Requests, Amount: amount, Window: 24 * time.Hour}
	}
	sets := []*Limits{
		MustLimits(day("chat", chats)),
		MustLimits(day("images", images), InFlight(1000)),
		MustLimits(InFlight(1000), day("images", images)),
	}
	var passed [keys][2]atomic.Int64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 6000 {
				key := i / 2 % keys
				set := sets[(i+g)%len(sets)]
				if i%200 == 0 { // the same, and one that nobody has seen
					set = MustLimits(day("chat", chats), day("new", int64(1_000_000+g*100_000+i)))
				}
				charges := set.Charges(strconv.Itoa(key), Amounts{Requests: 1})
				if take(t, s, noon, charges...) {
					which := 0
					for j := range charges {
						if charges[j].Limit().Name == "images" {
							which = 1
						}
					}
					passed[key][which].Add(1)
				}
				if i%300 == 0 {
					s.Sweep(noon)
				}
			}
		})
	}
	wg.Wait()
	for key := range passed {
		for which, set := range sets[:2] {
			charges := set.Charges(strconv.Itoa(key), Amounts{Requests: 1})
			if _, err := s.Look(ctx, noon, charges); err != nil {
				t.Fatal(err)
			}
			if got := passed[key][which].Load(); got != charges[0].Used || got > set.At(0).Amount {
				t.Errorf("key %d, %s: %d passed, %d used", key, set.At(0).Name, got, charges[0].Used)
			}
		}
	}
	if p := &passed[0]; p[0].Load() != chats || p[1].Load() != images {
		t.Errorf("%d chats passed, and %d images, of which more were asked for than %d and %d", p[0].Load(), p[1].Load(), chats, images)
	}
}

// TestManySets: what a store keeps of sets of limits are those that are in use,
// though nobody calls Sweep, and one more does not copy what there is of others.
func TestManySets(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	const n = 3000
	for i := range n {
		take(t, s, noon, MustLimits(PerMinute(Requests, int64(i+1))).Charges("one", Amounts{Requests: 1})...)
	}
	if left := len(s.layouts.byShape); left > 100 {
		t.Errorf("%d layouts, and one key", left)
	}
	copies, was := 0, s.layouts.byID.Load()
	for i := range n {
		key := strconv.Itoa(i)
		set := MustLimits(PerMinute(Requests, int64(i+1)))
		take(t, s, noon, set.Charges(key, Amounts{Requests: 1})...)
		if l := s.layoutOf(set); s.layout(l.id) != l {
			t.Fatalf("layout %d is not found by its number", l.id)
		}
		if is := s.layouts.byID.Load(); is != was {
			copies, was = copies+1, is
		}
	}
	if most := 2 * n / blockSize; copies > most {
		t.Errorf("what there is was copied %d times for %d sets, want at most %d", copies, n, most)
	}
	if kept := len(s.layouts.byShape); kept < n {
		t.Errorf("%d layouts of %d keys", kept, n)
	}
	s.Sweep(noon.Add(time.Hour))
	if left, blocks := len(s.layouts.byShape), len(*s.layouts.byID.Load()); left != 0 || blocks != 0 {
		t.Errorf("%d layouts in %d blocks are left for no key", left, blocks)
	}
}
