package penstock

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestLock(t *testing.T) {
	var l lock
	before := l.Count()
	if !l.Unchanged(before) {
		t.Error("changed by nobody")
	}
	if was := l.Lock(); was != before {
		t.Errorf("Lock says %d, Count said %d", was, before)
	}
	if l.Unchanged(before) || l.Unchanged(l.Count()) {
		t.Error("unchanged while it is held")
	}
	if l.TryLock() {
		t.Error("taken twice")
	}
	l.Unlock()
	if l.Unchanged(before) {
		t.Error("unchanged after it was held")
	}
	if !l.TryLock() {
		t.Error("not given back")
	}
	held := l.Count()
	l.Unlock()
	for _, count := range []uint64{before, held} {
		if l.LockUnchanged(count) {
			t.Errorf("taken as it was at %d", count)
		}
	}
	if now := l.Count(); !l.LockUnchanged(now) || l.LockUnchanged(now) || l.LockUnchanged(l.Count()) {
		t.Error("not taken, or taken twice")
	}
}

// TestLockExcludes: who waits gets it, at any length of wait, and one at a time.
func TestLockExcludes(t *testing.T) {
	var l lock
	var inside atomic.Int32
	plain := 0
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 300 {
				l.Lock()
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				plain++
				if i%100 == 0 {
					time.Sleep(100 * time.Microsecond) // the others turn, yield and pause
				}
				inside.Add(-1)
				l.Unlock()
			}
		})
	}
	wg.Wait()
	if plain != 4*300 {
		t.Errorf("%d of %d changes", plain, 4*300)
	}
}

// TestDenialsLockNothing: neither who is denied nor who looks takes a lock, of
// whatever kind the limit is, alone or among others; who is admitted takes
// each record's once.
func TestDenialsLockNothing(t *testing.T) {
	full := func(a Algorithm) *Limits {
		return MustLimits(Limit{Unit: Requests, Amount: 3, Window: time.Minute, Algorithm: a})
	}
	smooth := MustLimits(Limit{Unit: Requests, Amount: 3, Window: time.Minute, Algorithm: TokenBucket, Overdraw: true})
	for _, test := range []struct {
		name   string
		limits *Limits
		ask    Amounts
	}{
		{"bucket", full(TokenBucket), Amounts{Requests: 1}},
		{"fixed", full(FixedWindow), Amounts{Requests: 1}},
		{"sliding", full(SlidingWindow), Amounts{Requests: 1}},
		{"in flight", MustLimits(InFlight(3)), Amounts{Concurrent: 1}},
		{"overdrawn", smooth, Amounts{Requests: 5}},
		{"four in one", MustLimits(PerMinute(Requests, 3), PerHour(Requests, 9), PerMinute(Tokens, 99), InFlight(7)), Amounts{Requests: 1, Tokens: 1, Concurrent: 1}},
	} {
		for _, keys := range []int{1, 3} {
			t.Run(test.name+" of "+strconv.Itoa(keys), func(t *testing.T) {
				s := NewMemoryStore(MemoryOptions{})
				var charges []Charge
				for k := range keys {
					charges = test.limits.AppendCharges(charges, strconv.Itoa(k), &test.ask)
				}
				counts := func() (sum uint64) {
					for k := range keys {
						_, head, _ := s.lookup(s.index.key.sum(strconv.Itoa(k)))
						sum += head.mu.Count()
					}
					return sum
				}
				admitted := 0
				for i := range 6 { // in steps of their own, so that there are rings
					now := noon.Add(time.Duration(i) * time.Second)
					if i > 0 {
						before := counts()
						if _, err := s.Look(ctx, now, charges); err != nil {
							t.Fatal(err)
						}
						if counts() != before {
							t.Error("a look took a lock")
						}
						before = counts()
						if take(t, s, now, charges...) {
							admitted++
							if counts() != before+2*uint64(keys) {
								t.Errorf("an admission took %d locks", (counts()-before)/2)
							}
						} else if counts() != before {
							t.Error("a denial took a lock")
						}
					} else if take(t, s, now, charges...) {
						admitted++
					}
				}
				if admitted == 0 || admitted == 6 {
					t.Errorf("%d of 6 were admitted", admitted)
				}
			})
		}
	}
}

// TestReadersSeeOneMoment: what is always taken together is seen together, by
// those who read without a lock, in one record and over several, while windows
// grow, shrink and end.
func TestReadersSeeOneMoment(t *testing.T) {
	for _, a := range []Algorithm{SlidingWindow, FixedWindow, TokenBucket} {
		t.Run(a.String(), func(t *testing.T) {
			limit := func(name string, amount int64) Limit {
				return Limit{Name: name, Unit: Tokens, Amount: amount, Window: time.Second, Algorithm: a}
			}
			limits := MustLimits(limit("one", 1000), limit("two", 1000))
			s := NewMemoryStore(MemoryOptions{})
			var charges []Charge
			for _, key := range []string{"a", "b"} {
				charges = limits.AppendCharges(charges, key, &Amounts{Tokens: 3})
			}
			take(t, s, noon, charges...)
			const wanted = 2000
			var clock, looks atomic.Int64
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					mine := append([]Charge(nil), charges...)
					for looks.Load() < wanted {
						now := noon.Add(time.Duration(clock.Add(1)) * time.Millisecond)
						if _, err := s.Take(ctx, now, mine); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Go(func() {
				defer looks.Store(wanted)
				mine := append([]Charge(nil), charges...)
				for i := range mine {
					mine[i].Amount = 999 // mostly denied, and never taken
				}
				for looks.Add(1) <= wanted {
					now := noon.Add(time.Duration(clock.Load()) * time.Millisecond)
					if _, err := s.Look(ctx, now, mine); err != nil {
						t.Error(err)
					}
					for i := range mine {
						if mine[i].Used != mine[0].Used || mine[i].Reset != mine[0].Reset || mine[i].RetryAfter != mine[0].RetryAfter {
							t.Errorf("not of one moment: %+v, %+v", mine[0].Status, mine[i].Status)
							return
						}
					}
				}
			})
			wg.Wait()
		})
	}
}

// TestLockOrder: requests that name the same keys in every order, while keys
// are laid out anew, dropped and swept, neither wait for each other for ever
// nor miscount.
func TestLockOrder(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	plans := []*Limits{
		MustLimits(PerHour(Requests, 1<<40)),
		MustLimits(PerHour(Requests, 1<<40), Limit{Unit: Tokens, Amount: 1 << 40, Window: time.Hour, Algorithm: TokenBucket}),
		MustLimits(Limit{Unit: Tokens, Amount: 1 << 40, Window: time.Hour, Algorithm: TokenBucket}, PerHour(Requests, 1<<40)),
	}
	const keys, goroutines, rounds = 6, 4, 1500
	var taken [keys]atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 7))
			for i := range rounds {
				order := rnd.Perm(keys)[:3]
				var charges []Charge
				for _, k := range order {
					charges = plans[rnd.IntN(len(plans))].AppendCharges(charges, "key "+strconv.Itoa(k), &Amounts{Requests: 1})
				}
				charges = plans[0].AppendCharges(charges, "gone "+strconv.Itoa(i%3), &Amounts{Requests: 1})
				if _, err := s.Take(ctx, noon, charges); err != nil {
					t.Error(err)
					return
				}
				for _, k := range order {
					taken[k].Add(1)
				}
				gone := &charges[3]
				if _, err := s.Adjust(ctx, noon, []Adjustment{{Charge: gone, At: noon, Delta: -1}}); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					s.Sweep(noon)
				}
			}
		})
	}
	wg.Wait()
	for k := range keys {
		c := plans[0].Charges("key "+strconv.Itoa(k), Amounts{Requests: 1})
		if _, err := s.Look(ctx, noon, c); err != nil || c[0].Used != taken[k].Load() {
			t.Errorf("key %d: %d used, %d taken (%v)", k, c[0].Used, taken[k].Load(), err)
		}
	}
	s.Sweep(noon)
	if st := s.Stats(); st.Keys != keys {
		t.Errorf("%d keys are left, want %d", st.Keys, keys)
	}
}
