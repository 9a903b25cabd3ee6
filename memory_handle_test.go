package penstock

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestHandlesChangeNothing asks two stores the same, one by handles and one
// without, while keys are dropped and come again, share counters, change their
// limits and are settled. The handles are used with a third store as well, and
// some are of another key.
func TestHandlesChangeNothing(t *testing.T) {
	sets := []*Limits{
		MustLimits(PerSecond(Requests, 3)),
		MustLimits(Limit{Unit: Requests, Amount: 3, Window: time.Second, Algorithm: TokenBucket}),
		MustLimits(PerSecond(Requests, 4), PerMinute(Tokens, 40), InFlight(3)),
	}
	rapid.Check(t, func(t *rapid.T) {
		bounds := MemoryOptions{MaxKeys: rapid.IntRange(1, 12).Draw(t, "keys")}
		with, without, third := NewMemoryStore(bounds), NewMemoryStore(bounds), NewMemoryStore(bounds)
		without.index.key = with.index.key // so that both look at the same keys for something to drop
		var handles [8]*Handle
		for i := range handles {
			handles[i] = NewHandle("key " + strconv.Itoa(i))
		}
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		now := noon
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rnd.IntN(400)) * time.Millisecond)
			var charges []Charge
			for i, k := range rnd.Perm(len(handles))[:1+rnd.IntN(3)] {
				charges = sets[rnd.IntN(len(sets))].AppendCharges(charges, handles[k].Key(), &Amounts{Requests: 1, Tokens: rnd.Int64N(20), Concurrent: 1})
				for j := range charges {
					if charges[j].Key == handles[k].Key() {
						charges[j].Handle, charges[j].Overflow = handles[k], "overflow "+strconv.Itoa(i)
					}
				}
			}
			same := append([]Charge(nil), charges...)
			for i := range same {
				same[i].Handle = nil
			}
			if rnd.IntN(8) == 0 { // of another key
				charges[0].Handle = NewHandle("another")
			}
			a, err1 := New(with).ReserveAt(ctx, now, charges...)
			b, err2 := New(without).ReserveAt(ctx, now, same...)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			for i := range charges {
				if charges[i].Status != same[i].Status || charges[i].Shared != same[i].Shared {
					t.Fatalf("by a handle %+v, without %+v", charges[i].Status, same[i].Status)
				}
			}
			if rnd.IntN(2) == 0 {
				used := Amounts{Tokens: rnd.Int64N(30)}
				if err1, err2 := a.SettleAt(ctx, now, used), b.SettleAt(ctx, now, used); err1 != nil || err2 != nil {
					t.Fatal(err1, err2)
				}
			} else if err1, err2 := a.CancelAt(ctx, now), b.CancelAt(ctx, now); err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			switch rnd.IntN(8) {
			case 0:
				if n, m := with.Sweep(now), without.Sweep(now); n != m {
					t.Fatalf("%d keys were dropped, and %d", n, m)
				}
			case 1:
				if _, err := third.Take(ctx, now, append([]Charge(nil), charges...)); err != nil {
					t.Fatal(err)
				}
			}
			if x, y := with.Stats(), without.Stats(); x.Keys != y.Keys || x.Overflowed != y.Overflowed {
				t.Fatalf("%+v, without handles %+v", x, y)
			}
		}
	})
}

// TestHandlesAllocateNothing: no decision by a handle allocates, and it finds its
// counters again when they were dropped and another key has their place.
func TestHandlesAllocateNothing(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	limits := MustLimits(PerSecond(Requests, 1<<40))
	charges := limits.Charges("key", Amounts{Requests: 1})
	charges[0].Handle = NewHandle("key")
	now := noon
	other := limits.Charges("other", Amounts{Requests: 1}) // takes the record that was dropped
	ask := func(charges []Charge) {
		if _, err := s.Take(ctx, now, charges); err != nil {
			t.Fatal(err)
		}
	}
	ask(charges)
	if n := testing.AllocsPerRun(100, func() { ask(charges) }); n != 0 {
		t.Errorf("%v allocations a decision", n)
	}
	for range 20 {
		now = now.Add(time.Minute)
		s.Sweep(now)
		ask(other)
		for range 3 {
			ask(charges)
		}
		if charges[0].Used != 3 || charges[0].Shared {
			t.Fatalf("used %d of 3", charges[0].Used)
		}
	}
}

// TestHandleOfADroppedKey asks by handles of keys whose records have gone to
// others since, which have the same limits.
func TestHandleOfADroppedKey(t *testing.T) {
	for _, l := range []Limit{{Unit: Requests, Amount: 9, Window: time.Second, Algorithm: TokenBucket}, PerSecond(Requests, 9)} {
		s := NewMemoryStore(MemoryOptions{})
		s.BornAt(noon.AddDate(0, 0, -1))
		limits := MustLimits(l)
		charge := func(key string) []Charge {
			c := limits.Charges(key, Amounts{Requests: 1})
			c[0].Handle = NewHandle(key)
			return c
		}
		dropped, heir := charge("dropped"), charge("heir")
		take(t, s, noon, dropped...)
		first := dropped[0].Handle.place.Load()
		take(t, s, noon, dropped...) // by what the handle remembers
		now := noon.Add(time.Hour)
		take(t, s, now, charge("stays")...) // so that the page does
		if n := s.Sweep(now); n != 1 {
			t.Fatalf("%d keys were dropped", n)
		}
		for range 3 {
			take(t, s, now, heir...)
		}
		if p := heir[0].Handle.place.Load(); p.head != first.head {
			t.Fatal("the record went to nobody")
		}
		if !quickly(s, heir, now, true) || quickly(s, dropped, now, true) {
			t.Error("a handle was trusted")
		}
		if take(t, s, now, dropped...); dropped[0].Used != 1 || heir[0].Used != 4 {
			t.Errorf("used %d of 1, and %d of 4", dropped[0].Used, heir[0].Used)
		}
	}
}
