package penstock

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// quickly decides as Take and Look do, or returns false where they leave it to
// the general way.
func quickly(s *MemoryStore, charges []Charge, now time.Time, take bool) bool {
	us := now.UnixMicro()
	if take && len(charges) == 1 {
		return s.quickOne(charges, us)
	}
	return s.quick(charges, us, take)
}

// TestQuick: what is meant to be decided quickly is. That it is decided rightly
// the conformance suite says.
func TestQuick(t *testing.T) {
	window := func(a Algorithm, u Unit, amount int64) Limit {
		return Limit{Unit: u, Amount: amount, Window: time.Minute, Algorithm: a}
	}
	amounts := Amounts{Requests: 1, Tokens: 10, Concurrent: 1}
	for _, tt := range []struct {
		name   string
		limits []Limit
		later  time.Duration
		handle bool
		keys   int
		look   bool
		want   bool
		fits   bool
	}{
		{name: "bucket", limits: []Limit{window(TokenBucket, Requests, 9)}, want: true, fits: true},
		{name: "sliding window", limits: []Limit{window(SlidingWindow, Requests, 9)}, want: true, fits: true},
		{name: "fixed window", limits: []Limit{window(FixedWindow, Requests, 9)}, want: true, fits: true},
		{name: "in flight", limits: []Limit{InFlight(9)}, want: true, fits: true},
		{name: "bucket, denied", limits: []Limit{window(TokenBucket, Requests, 1)}, want: true},
		{name: "sliding window, denied", limits: []Limit{window(SlidingWindow, Requests, 1)}, want: true},
		{name: "fixed window, denied", limits: []Limit{window(FixedWindow, Requests, 1)}, want: true},
		{name: "in flight, denied", limits: []Limit{InFlight(1)}, want: true},
		{name: "a look", limits: []Limit{window(SlidingWindow, Requests, 9)}, look: true, want: true, fits: true},
		{name: "by a handle", limits: []Limit{window(TokenBucket, Requests, 9)}, handle: true, want: true, fits: true},
		{name: "two limits", limits: []Limit{window(TokenBucket, Requests, 9), window(SlidingWindow, Tokens, 90)}, want: true, fits: true},
		{name: "two limits, one denies", limits: []Limit{window(TokenBucket, Requests, 9), window(SlidingWindow, Tokens, 15)}, want: true},
		{name: "three keys", limits: []Limit{window(TokenBucket, Requests, 9)}, keys: 3, want: true, fits: true},
		{name: "three keys, denied", limits: []Limit{window(TokenBucket, Requests, 1)}, keys: 3, want: true},
		{name: "as many keys as there is room for", limits: []Limit{InFlight(9)}, keys: mostSpots, want: true, fits: true},
		{name: "one more", limits: []Limit{InFlight(9)}, keys: mostSpots + 1},
		{name: "a step later", limits: []Limit{window(SlidingWindow, Requests, 9)}, later: 2 * time.Second, want: true, fits: true},
		{name: "a step later, denied", limits: []Limit{window(SlidingWindow, Requests, 1)}, later: 2 * time.Second, want: true},
		{name: "a window later", limits: []Limit{window(FixedWindow, Requests, 9)}, later: time.Minute},
		{name: "more than a bucket holds", limits: []Limit{window(TokenBucket, Tokens, 9)}},
		{name: "a month, denied", limits: []Limit{PerMonth(Requests, 1)}, want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := NewMemoryStore(MemoryOptions{})
			s.BornAt(noon.AddDate(0, 0, -1))
			set := MustLimits(tt.limits...)
			var charges []Charge
			for i := range max(tt.keys, 1) {
				key := string(rune('a' + i))
				charges = set.AppendCharges(charges, key, &amounts)
				if tt.handle {
					charges[len(charges)-1].Handle = NewHandle(key)
				}
			}
			if quickly(s, charges, noon, true) {
				t.Fatal("a new key was decided quickly")
			}
			if _, err := s.Take(ctx, noon, charges); err != nil {
				t.Fatal(err)
			}
			if got := quickly(s, charges, noon.Add(tt.later), !tt.look); got != tt.want {
				t.Fatalf("quick = %v, want %v", got, tt.want)
			}
			fits := true
			for i := range charges {
				fits = fits && charges[i].RetryAfter == 0
			}
			if tt.want && fits != tt.fits {
				t.Errorf("fits = %v, want %v", fits, tt.fits)
			}
		})
	}
}

// TestQuickUnderContention: what quick decisions take from counters of every kind,
// several keys at a time, is what those were told who took it, to the last one,
// while others lock the same records in another order.
func TestQuickUnderContention(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	s.BornAt(noon.AddDate(0, 0, -1))
	bucket := Limit{Unit: Requests, Amount: 1, Window: 24 * time.Hour, Algorithm: TokenBucket, Capacity: 700}
	own := MustLimits(bucket, PerHour(Tokens, 9_000), InFlight(800))
	all := MustLimits(Limit{Unit: Requests, Amount: 1500, Window: 24 * time.Hour, Algorithm: FixedWindow}, PerHour(Tokens, 40_000))
	const keys, callers, turns = 3, 4, 2000
	var taken [keys]struct{ requests, tokens atomic.Int64 }
	var quick atomic.Int64
	ask := func(rnd *rand.Rand) (k int, amounts Amounts, charges []Charge) {
		k = rnd.IntN(keys)
		amounts = Amounts{Requests: 1, Tokens: 1 + rnd.Int64N(20), Concurrent: 1}
		if rnd.IntN(2) == 0 {
			charges = own.AppendCharges(charges, strconv.Itoa(k), &amounts)
			return k, amounts, all.AppendCharges(charges, "all", &amounts)
		}
		charges = all.AppendCharges(charges, "all", &amounts)
		return k, amounts, own.AppendCharges(charges, strconv.Itoa(k), &amounts)
	}
	var wg sync.WaitGroup
	for g := range uint64(callers) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(g, 2))
			for range turns {
				k, amounts, charges := ask(rnd)
				if quickly(s, charges, noon, true) {
					quick.Add(1)
				} else if _, err := s.Take(ctx, noon, charges); err != nil {
					t.Error(err)
					return
				}
				fits := true
				for i := range charges {
					fits = fits && charges[i].RetryAfter == 0
				}
				if fits {
					taken[k].requests.Add(1)
					taken[k].tokens.Add(amounts[Tokens])
				}
			}
		})
	}
	wg.Wait()
	look := func(l *Limits, key string) []Charge {
		charges := l.Charges(key, Amounts{Requests: 1, Tokens: 1, Concurrent: 1})
		if _, err := s.Look(ctx, noon, charges); err != nil {
			t.Fatal(err)
		}
		return charges
	}
	var requests, tokens int64
	for k := range taken {
		r, n := taken[k].requests.Load(), taken[k].tokens.Load()
		if c := look(own, strconv.Itoa(k)); c[0].Used != r || c[1].Used != n || c[2].Used != r {
			t.Errorf("key %d: used %d, %d, %d; taken were %d requests of %d tokens", k, c[0].Used, c[1].Used, c[2].Used, r, n)
		}
		requests, tokens = requests+r, tokens+n
	}
	if c := look(all, "all"); c[0].Used != requests || c[1].Used != tokens || requests != 1500 {
		t.Errorf("all: used %d and %d; taken were %d and %d, of 1500 requests", c[0].Used, c[1].Used, requests, tokens)
	}
	if n := quick.Load(); n < callers*turns/2 {
		t.Errorf("%d of %d decisions were quick", n, callers*turns)
	}
}

// TestQuickAtTheEndsOfPages: of the last record of a page nothing is read that
// lies behind it, which the race detector's build would end the program for.
func TestQuickAtTheEndsOfPages(t *testing.T) {
	for _, l := range []Limit{{Unit: Requests, Amount: 9, Window: time.Minute, Algorithm: TokenBucket}, InFlight(9), {Unit: Requests, Amount: 9, Window: time.Minute, Algorithm: FixedWindow}} {
		s := NewMemoryStore(MemoryOptions{})
		s.BornAt(noon.AddDate(0, 0, -1))
		set := MustLimits(l)
		for range 2 {
			for i := range 2 * pageWords / headWords { // more than are in a page
				if !take(t, s, noon, set.Charges(strconv.Itoa(i), Amounts{Requests: 1, Concurrent: 1})...) {
					t.Fatal("denied")
				}
			}
		}
	}
}

// TestQuickIsTheGeneralWay: two stores are asked the same, of which one decides
// nothing quickly, and say the same.
func TestQuickIsTheGeneralWay(t *testing.T) {
	decisions, quick := 0, 0
	for seed := range uint64(300) {
		w := newTwins(seed)
		for range 120 {
			switch w.rnd.IntN(9) {
			case 0, 1, 2:
				w.now = w.now.Add(time.Duration(w.rnd.Int64N(int64(8*time.Second))) - time.Second)
			case 3:
				w.adjust()
			default:
				asked, other, take := w.ask()
				if len(asked) == 0 {
					continue
				}
				decisions++
				for i := range asked { // as they are when they were used before
					asked[i].Status, asked[i].Shared = Status{Used: -1, Reset: 1, RetryAfter: 1}, true
				}
				if quickly(w.stores[0], asked, w.now, take) {
					quick++
				} else {
					generally(t, w.stores[0], asked, w.now, take)
				}
				generally(t, w.stores[1], other, w.now, take)
				for i := range asked {
					if diff := cmp.Diff(other[i].Status, asked[i].Status); diff != "" || asked[i].Shared != other[i].Shared {
						t.Fatalf("seed %d, %+v, %d of it (-generally +quickly):\n%s", seed, asked[i].Limit(), asked[i].Amount, diff)
					}
				}
			}
		}
	}
	if quick < decisions/5 {
		t.Errorf("%d of %d decisions were quick", quick, decisions)
	}
}

// generally decides as it is done where that cannot be quick.
func generally(t *testing.T, s *MemoryStore, charges []Charge, now time.Time, take bool) {
	groups, err := s.groupsOf(nil, charges)
	if err == nil {
		err = s.decideAll(groups, s.moment(now), take)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// twins are two stores with limits of their own, since Limits remember the store
// that they were used in last, and what was charged to both.
type twins struct {
	rnd    *rand.Rand
	now    time.Time
	stores [2]*MemoryStore
	sets   [2][]*Limits
	taken  []takenTwice
}

type takenTwice struct {
	at      time.Time
	charges [2][]Charge
}

func newTwins(seed uint64) *twins {
	w := &twins{rnd: rand.New(rand.NewPCG(seed, 3)), now: time.Date(2026, time.March, 31, 23, 59, 0, 0, time.UTC)}
	born := w.now.AddDate(0, 0, -1)
	if seed%10 == 0 {
		born = w.now.Add(time.Minute)
	}
	for range 3 {
		limits := w.limits()
		for i := range w.sets {
			w.sets[i] = append(w.sets[i], MustLimits(limits...))
		}
	}
	for i := range w.stores {
		w.stores[i] = NewMemoryStore(MemoryOptions{})
		w.stores[i].BornAt(born)
	}
	return w
}

func (w *twins) limits() (limits []Limit) {
	for i := range 1 + w.rnd.IntN(4) {
		l := Limit{
			Name: strconv.Itoa(i), Unit: Unit(w.rnd.IntN(3)), Amount: 1 + w.rnd.Int64N(30),
			Window: time.Duration(1+w.rnd.IntN(40)) * time.Second, Overdraw: w.rnd.IntN(4) == 0,
		}
		switch w.rnd.IntN(6) {
		case 0:
			l.Algorithm = FixedWindow
		case 1:
			l.Algorithm, l.Capacity = TokenBucket, w.rnd.Int64N(40)
		case 2:
			l.Window = Month
		case 3:
			l.Unit, l.Window, l.Overdraw = Concurrent, 0, false
		case 4:
			l.Precision = l.Window / 4
		}
		limits = append(limits, l)
	}
	return limits
}

// ask makes charges of one to three keys for both, the same but for the limits.
func (w *twins) ask() (asked, other []Charge, take bool) {
	for k := range 1 + w.rnd.IntN(3) {
		set := k
		if w.rnd.IntN(60) == 0 {
			set = w.rnd.IntN(3) // the key has other limits now
		}
		for i := range w.sets[0][set].Len() {
			if w.rnd.IntN(4) == 0 {
				continue
			}
			c := Charge{Key: fmt.Sprint("key ", k), Limits: w.sets[0][set], Index: i, Amount: w.rnd.Int64N(6), Shadow: w.rnd.IntN(5) == 0}
			if w.rnd.IntN(10) == 0 {
				c.Amount = w.rnd.Int64N(40)
			}
			asked = append(asked, c)
			c.Limits = w.sets[1][set]
			other = append(other, c)
		}
	}
	if take = w.rnd.IntN(5) > 0; take && len(asked) > 0 {
		w.taken = append(w.taken, takenTwice{w.now, [2][]Charge{asked, other}})
	}
	return asked, other, take
}

// adjust gives back or adds to something that was taken.
func (w *twins) adjust() {
	if len(w.taken) == 0 {
		return
	}
	one := w.taken[w.rnd.IntN(len(w.taken))]
	which, delta := w.rnd.IntN(len(one.charges[0])), w.rnd.Int64N(61)-30
	for i, s := range w.stores {
		_, _ = s.Adjust(context.Background(), w.now, []Adjustment{{Charge: &one.charges[i][which], At: one.at, Delta: delta}})
	}
}

// TestChargesOfNothing: they pass whatever is used, and change nothing.
func TestChargesOfNothing(t *testing.T) {
	for _, debt := range []int64{25, math.MaxInt64} {
		for _, a := range []Algorithm{FixedWindow, SlidingWindow, TokenBucket} {
			for _, days := range []int{-1, 0} { // ago that the store was born
				s := NewMemoryStore(MemoryOptions{})
				s.BornAt(noon.AddDate(0, 0, days))
				c := MustLimits(Limit{Unit: Tokens, Amount: 10, Window: time.Hour, Algorithm: a}).Charges("key", Amounts{Tokens: 10})
				if !take(t, s, noon, c...) {
					t.Fatal("denied")
				}
				if _, err := s.Adjust(ctx, noon, []Adjustment{{Charge: &c[0], At: noon, Delta: debt}}); err != nil {
					t.Fatal(err)
				}
				if take(t, s, noon, c...) || c[0].Used < 25 {
					t.Errorf("%v, %d days: passes with a debt of %d, or used is %d", a, days, debt, c[0].Used)
				}
				c[0].Amount = 0
				if !take(t, s, noon, c...) || c[0].Used < 25 {
					t.Errorf("%v, %d days: nothing is denied with a debt of %d, or used is %d", a, days, debt, c[0].Used)
				}
			}
		}
	}
	s := NewMemoryStore(MemoryOptions{})
	s.BornAt(noon.AddDate(0, 0, -1))
	c := MustLimits(Limit{Unit: Tokens, Amount: 10, Window: 10 * time.Second, Algorithm: TokenBucket}).Charges("key", Amounts{Tokens: 10})
	nothing := c[0]
	nothing.Amount = 0
	if !take(t, s, noon, c...) || !take(t, s, noon.Add(20*time.Second), nothing) || !take(t, s, noon.Add(15*time.Second), c...) {
		t.Error("a charge of nothing has taken something from one whose clock is behind")
	}
}
