package storetest

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
)

// keepsApart: counters of different keys, units and names are different ones,
// whatever is in them, also what a store may put between them.
func keepsApart(t *testing.T, store penstock.Store) {
	limiter := penstock.New(store)
	long := strings.Repeat("k", 4096)
	names := []string{"a", "a:b", "b", "requests", "tokens", "a b", "a/b", "{a}", "a\x00b"}
	keys := append([]string{"", "a:requests", "a:b:a", "A", "\x00", "\xff", "ä", "a\nb", "*", "%s", long, long + "k"}, names...)
	for _, unit := range []penstock.Unit{penstock.Requests, penstock.Tokens, penstock.Custom} {
		for _, name := range names {
			set := penstock.MustLimits(penstock.Limit{Name: name, Unit: unit, Amount: 1, Window: time.Hour})
			for _, key := range keys {
				var one penstock.Amounts
				one[unit] = 1
				for i, want := range []bool{true, false} {
					d, err := limiter.AllowAt(background, epoch, set.Charges(key, one)...)
					if err != nil {
						t.Fatal(err)
					}
					if d.Allowed != want {
						t.Errorf("key %.40q, %v %q, request %d: allowed=%v", key, unit, name, i+1, d.Allowed)
					}
				}
			}
		}
	}
}

// together: however many ask at a time, under several keys in any order, as much is
// taken as there is, and not more; and what is in flight comes back.
func together(t *testing.T, store penstock.Store) {
	const (
		askers = 8
		each   = 40
		amount = askers * each / 4
		// patience is how often one asks whose turn comes while others hold
		// every place for as long as a moment's work takes.
		patience = 100_000
	)
	limiter := penstock.New(store)
	plan := penstock.MustLimits(penstock.InFlight(askers/2), penstock.PerHour(penstock.Requests, amount))
	all := penstock.MustLimits(
		penstock.Limit{Unit: penstock.Tokens, Amount: amount, Window: time.Hour, Algorithm: penstock.TokenBucket},
		penstock.Limit{Unit: penstock.OutputTokens, Amount: amount, Window: 24 * time.Hour, Algorithm: penstock.FixedWindow},
	)
	one := penstock.Amounts{penstock.Requests: 1, penstock.Tokens: 1, penstock.OutputTokens: 1, penstock.Concurrent: 1}
	charges := func(turn bool) []penstock.Charge {
		if turn {
			return all.AppendCharges(plan.Charges("alice", one), "all", &one)
		}
		return plan.AppendCharges(all.Charges("all", one), "alice", &one)
	}
	var passed, inFlight, most atomic.Int64
	var lost atomic.Bool
	var asking sync.WaitGroup
	for asker := range askers {
		asking.Go(func() {
			for i := range each {
				// Who finds no place in flight asks again: of the others there
				// is enough, or there never will be.
				for asked := 0; ; asked++ {
					if asked == patience || lost.Load() {
						lost.Store(true)
						return
					}
					r, err := limiter.ReserveAt(background, epoch, charges((asker+i)%2 == 0)...)
					if err != nil {
						t.Error(err)
						return
					}
					if r.Allowed {
						n := inFlight.Add(1)
						for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
						}
						passed.Add(1)
						inFlight.Add(-1)
						if err := r.KeepAt(background, epoch); err != nil {
							t.Error(err)
						}
						break
					}
					if c := r.Binding(); c.Limit().Unit != penstock.Concurrent {
						break
					}
					runtime.Gosched()
				}
			}
		})
	}
	asking.Wait()
	if lost.Load() {
		t.Fatalf("no place in flight in %d asks: those that end do not give theirs back", patience)
	}
	if passed.Load() != amount || most.Load() > askers/2 {
		t.Errorf("%d passed, %d at a time; want %d, %d at most", passed.Load(), most.Load(), amount, askers/2)
	}
	d, err := limiter.LookAt(background, epoch, charges(true)...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range d.Charges {
		c := &d.Charges[i]
		want := int64(amount)
		if c.Limit().Unit == penstock.Concurrent {
			want = 0
		}
		if c.Used != want {
			t.Errorf("%d used of %s under %s, want %d", c.Used, c.Limit().Name, c.Key, want)
		}
	}
}
