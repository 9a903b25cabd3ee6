package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
)

// inSomeOrder: what several are told who ask at once is what they would have been
// told one after the other, in some order in which nobody comes before somebody
// who was told before it asked. So no denial is without a moment that justified it,
// and nobody sees one key charged and not yet the other. (That is linearizability, of
// Herlihy and Wing, 1990, looked for as Wing and Gong do, 1993.)
func inSomeOrder(t *testing.T, store penstock.Store) {
	const rounds, askers, each = 150, 3, 3
	plan := penstock.MustLimits(
		penstock.InFlight(5),
		penstock.PerHour(penstock.Requests, 4),
		penstock.Limit{Unit: penstock.Tokens, Amount: 3, Window: time.Hour, Algorithm: penstock.TokenBucket},
	)
	all := penstock.MustLimits(penstock.Limit{Unit: penstock.Requests, Amount: 5, Window: time.Hour, Algorithm: penstock.FixedWindow})
	for round := range rounds {
		var ticks atomic.Int64
		var asking sync.WaitGroup
		begin := make(chan struct{})
		calls := make([]*call, 0, askers*each)
		for asker := range askers {
			chance := rand.New(rand.NewPCG(uint64(round), uint64(asker)))
			var own []*call
			for range each {
				amounts := penstock.Amounts{penstock.Requests: 1, penstock.Tokens: chance.Int64N(3), penstock.Concurrent: 1}
				c := &call{takes: chance.IntN(3) > 0}
				key, both := fmt.Sprint("plan", round), fmt.Sprint("all", round)
				switch chance.IntN(4) {
				case 0:
					c.charges = plan.Charges(key, amounts)
				case 1:
					c.charges = all.AppendCharges(plan.Charges(key, amounts), both, &amounts)
				default:
					c.charges = plan.AppendCharges(all.Charges(both, amounts), key, &amounts)
				}
				own = append(own, c)
			}
			calls = append(calls, own...)
			asking.Go(func() {
				<-begin
				for _, c := range own {
					c.began = ticks.Add(1)
					c.told, c.err = c.ask(store)
					c.ended = ticks.Add(1)
				}
			})
		}
		close(begin)
		asking.Wait()
		for _, c := range calls {
			if c.err != nil {
				t.Fatal(c.err)
			}
		}
		if !explained(nil, calls) {
			for _, c := range calls {
				t.Logf("from %d to %d, take %v: %v", c.began, c.ended, c.takes, c.told)
			}
			t.Fatal("no order of these calls explains what they were told: used, and whether it fits, of each charge")
		}
	}
}

// A call is one Take or Look.
type call struct {
	takes        bool
	charges      []penstock.Charge
	began, ended int64 // before and after all others that did so earlier
	told         []told
	err          error
}

// told is of a charge what is exact.
type told struct {
	used int64
	fits bool
}

func (c *call) ask(store penstock.Store) (all []told, err error) {
	charges := slices.Clone(c.charges)
	if c.takes {
		_, err = store.Take(background, epoch, charges)
	} else {
		_, err = store.Look(background, epoch, charges)
	}
	for i := range charges {
		all = append(all, told{charges[i].Used, charges[i].RetryAfter == 0})
	}
	return all, err
}

// explained reports whether the model tells the calls that are left, in some order
// behind those that have been explained, what they were told.
func explained(before, left []*call) bool {
	if len(left) == 0 {
		return true
	}
	first := slices.MinFunc(left, func(a, b *call) int { return int(a.ended - b.ended) }).ended
	for i, c := range left {
		if c.began > first {
			continue
		}
		model := NewModel()
		for _, b := range before {
			_, _ = b.ask(model) // it has no errors but those that the store had, too
		}
		if all, _ := c.ask(model); !slices.Equal(all, c.told) {
			continue
		}
		if explained(append(slices.Clone(before), c), slices.Delete(slices.Clone(left), i, i+1)) {
			return true
		}
	}
	return false
}
