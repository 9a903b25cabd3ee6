package demo

import (
	"context"
	"sync"
	"time"

	"github.com/penstock-dev/penstock"
)

// ledger is a store that writes down every charge of tokens as the store beside
// it decides it, so that what was admitted can be added up afterwards in the
// plainest way.
type ledger struct {
	penstock.Store

	mu      sync.Mutex
	entries []entry
}

// entry is tokens that were charged, or given back to when they were charged.
type entry struct {
	key    string
	limit  penstock.Limit
	at     time.Time // when what it is about was charged
	noted  time.Time
	tokens int64
	asked  bool // an admission, which the limit speaks of
}

func newLedger(s penstock.Store) *ledger { return &ledger{Store: s} }

// Take implements penstock.Store.
func (l *ledger) Take(ctx context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock() // so that the entries are in the order of the decisions
	at, err := l.Store.Take(ctx, now, charges)
	if err != nil {
		return at, err
	}
	for i := range charges {
		if charges[i].RetryAfter != 0 {
			return at, nil
		}
	}
	for i := range charges {
		l.note(&charges[i], at, at, charges[i].Amount, true)
	}
	return at, nil
}

// Adjust implements penstock.Store.
func (l *ledger) Adjust(ctx context.Context, now time.Time, adjustments []penstock.Adjustment) (time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, err := l.Store.Adjust(ctx, now, adjustments)
	if err != nil {
		return at, err
	}
	for i := range adjustments {
		a := &adjustments[i]
		charged := at
		if a.Delta < 0 {
			charged = a.At
		}
		l.note(a.Charge, charged, at, a.Delta, false)
	}
	return at, nil
}

func (l *ledger) note(c *penstock.Charge, at, noted time.Time, n int64, asked bool) {
	if limit := c.Limit(); limit.Unit == penstock.Tokens && n != 0 {
		l.entries = append(l.entries, entry{key: c.Key, limit: limit, at: at, noted: noted, tokens: n, asked: asked})
	}
}

// most is the largest amount of tokens that counted under any key at a moment
// at which something was admitted, as a share of its limit: what was charged in
// the window before that moment, as far as it was known then.
func (l *ledger) most() (share float64, tokens, limit int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	type counter struct{ key, name string }
	counters := map[counter][]entry{}
	for _, e := range l.entries {
		k := counter{e.key, e.limit.Name}
		counters[k] = append(counters[k], e)
		if !e.asked {
			continue
		}
		sum := int64(0)
		for i := len(counters[k]) - 1; i >= 0; i-- {
			p := &counters[k][i]
			if e.noted.Sub(p.noted) >= e.limit.Window {
				break // and so was it charged, and all before it
			}
			if e.at.Sub(p.at) < e.limit.Window {
				sum += p.tokens
			}
		}
		if s := float64(sum) / float64(e.limit.Amount); s > share {
			share, tokens, limit = s, sum, e.limit.Amount
		}
	}
	return share, tokens, limit
}

// perWindow sums the admitted tokens by window of the given size since begin.
func (l *ledger) perWindow(begin time.Time, size time.Duration) (sums []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		w := int(e.at.Sub(begin) / size)
		if w < 0 {
			continue
		}
		for len(sums) <= w {
			sums = append(sums, 0)
		}
		sums[w] += e.tokens
	}
	return sums
}
