package benchmarks

import (
	"context"
	"time"

	"github.com/penstock-dev/penstock"
)

// A quota is what every subject grants each key: an amount in a window, and as
// much at once.
type quota struct {
	amount int64
	window time.Duration
}

// plenty is never used up: a decision a nanosecond, for each key.
var plenty = quota{amount: int64(time.Minute), window: time.Minute}

// lifetime is a window that no run sees the end of. Aligned in UTC, one ends
// in 2070.
const lifetime = 100 * 365 * 24 * time.Hour

// A decide takes one from the quota of a key, and reports whether it could. It
// belongs to one goroutine. Subjects that have no clock of their own decide at
// now, the others read theirs.
type decide func(key string, now time.Time) bool

// A subject is a limiter that is measured.
type subject struct {
	name string
	// clock says that it reads its own clock.
	clock bool
	// open returns a new one, that gives each goroutine its decide, and what
	// ends it.
	open func(quota) (fork func() decide, end func())
}

func nothing() {}

var algorithms = []struct {
	name      string
	algorithm penstock.Algorithm
}{
	{"bucket", penstock.TokenBucket},
	{"sliding", penstock.SlidingWindow},
	{"fixed", penstock.FixedWindow},
}

// all are the subjects of a single limit.
func all() []subject {
	subjects := []subject{
		{name: "none", open: none},
		{name: "clock", clock: true, open: clockAlone},
	}
	for _, a := range algorithms {
		take := func(own bool) func(quota) (func() decide, func()) {
			return func(q quota) (func() decide, func()) { return ours(limitsOf(a.algorithm, 1, q), own) }
		}
		subjects = append(subjects,
			subject{name: "penstock-" + a.name, open: take(false)},
			subject{name: "penstock-" + a.name + "-clock", clock: true, open: take(true)})
	}
	subjects = append(subjects, subject{name: "penstock-sliding-allow", clock: true, open: allow})
	return append(subjects, peers()...)
}

// none is the harness alone, and clockAlone that and one read of the clock.
func none(quota) (func() decide, func()) {
	return func() decide { return func(string, time.Time) bool { return true } }, nothing
}

func clockAlone(quota) (func() decide, func()) {
	return func() decide { return func(string, time.Time) bool { return !time.Now().IsZero() } }, nothing
}

// units are what four limits count.
var units = [...]penstock.Unit{penstock.Requests, penstock.Tokens, penstock.InputTokens, penstock.OutputTokens}

// limitsOf returns a set of n alike limits, each of a unit of its own.
func limitsOf(a penstock.Algorithm, n int, q quota) *penstock.Limits {
	var limits []penstock.Limit
	for _, u := range units[:n] {
		limits = append(limits, penstock.Limit{Unit: u, Amount: q.amount, Window: q.window, Algorithm: a})
	}
	return penstock.MustLimits(limits...)
}

// one is one of each unit.
var one = penstock.Amounts{penstock.Requests: 1, penstock.Tokens: 1, penstock.InputTokens: 1, penstock.OutputTokens: 1}

// newStore returns a store with room for all keys of any workload.
func newStore() *penstock.MemoryStore {
	return penstock.NewMemoryStore(penstock.MemoryOptions{MaxKeys: 4_000_000, MaxBytes: 4 << 30})
}

// ours is Store.Take of all limits of a set, at now or with the store's own
// clock.
func ours(limits *penstock.Limits, ownClock bool) (func() decide, func()) {
	store := newStore()
	return func() decide {
		charges := limits.Charges("", one)
		if len(charges) == 1 && !ownClock { // the leanest there is, of what is compared to the nanosecond
			c := &charges[0]
			return func(key string, now time.Time) bool {
				c.Key = key
				_, err := store.Take(context.Background(), now, charges)
				return err == nil && c.RetryAfter == 0
			}
		}
		return func(key string, now time.Time) bool {
			if ownClock {
				now = time.Time{}
			}
			for i := range charges {
				charges[i].Key = key
			}
			return take(store, now, charges)
		}
	}, nothing
}

func take(store *penstock.MemoryStore, now time.Time, charges []penstock.Charge) bool {
	if _, err := store.Take(context.Background(), now, charges); err != nil {
		panic(err) // the charges are wrong
	}
	for i := range charges {
		if charges[i].RetryAfter != 0 {
			return false
		}
	}
	return true
}

// allow is Limiter.Allow as its example shows it, charges made anew.
func allow(q quota) (func() decide, func()) {
	limits := limitsOf(penstock.SlidingWindow, 1, q)
	limiter := penstock.New(newStore())
	return func() decide {
		return func(key string, _ time.Time) bool {
			d, err := limiter.Allow(context.Background(), limits.Charges(key, one)...)
			return err == nil && d.Allowed
		}
	}, nothing
}
