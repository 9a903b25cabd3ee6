package penstock

import (
	"strconv"
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
	if most := 2 * n / len(block{}); copies > most {
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
