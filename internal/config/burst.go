package config

import (
	"math"
	"math/big"
	"time"

	"github.com/penstock-dev/penstock/internal/pricing/usd"
)

// burst reads how bursts are smoothed.
func (r *reader) burst(m *mapping, b *Burst) {
	b.Enabled = true
	m.boolean("enabled", &b.Enabled)
	if b.Enabled && (!m.has("multiplier") || !m.has("window")) {
		m.missing("multiplier or window", "write how many times the rate may pass, and over how long: multiplier: 2.0, window: 10s")
	}
	if v, ok := m.get("multiplier"); ok {
		const form = "a positive number with at most 9 decimals, such as 2.0"
		if s, ok := v.scalar(form); ok {
			// Read as money is: exactly, in billionths.
			if n, err := usd.Parse(s.text); err != nil || n == 0 || !s.plain() {
				s.expected(form)
			} else {
				b.Multiplier = n
			}
		}
	}
	m.duration("window", &b.Window)
}

// Of returns how much of a limit of amount in size may pass in the burst's
// window: its share of the amount times the multiplier, rounded up. It never
// wraps around.
func (b Burst) Of(amount int64, size time.Duration) int64 {
	n := big.NewInt(amount)
	n.Mul(n, big.NewInt(b.Multiplier))
	n.Mul(n, big.NewInt(int64(b.Window)))
	whole := new(big.Int).Mul(big.NewInt(int64(size)), big.NewInt(1e9))
	n.Add(n, whole)
	n.Sub(n, big.NewInt(1))
	if n.Quo(n, whole); !n.IsInt64() {
		return math.MaxInt64
	}
	return n.Int64()
}

// ShortestMonth is what a burst takes a calendar month for, so that what it
// lets pass is never too little to use the month's amount.
const ShortestMonth = 28 * day

// size is that of a limit's window, where the per-minute ones are measured over
// minute. A month's is the shortest one's.
func (l Limit) size(minute time.Duration) time.Duration {
	switch l.Per {
	case "minute":
		return minute
	case "month":
		return ShortestMonth
	}
	return l.longest()
}

// checkBurst holds burst.window to the limits that it smooths, the shortest of
// each unit in every plan.
func (r *reader) checkBurst(b Burst, minute time.Duration) {
	if !b.Enabled || b.Multiplier == 0 || b.Window == 0 {
		return
	}
	const (
		path  = "rate_limiting.burst"
		whole = 1e18 // large enough that nothing below it is rounded to it
	)
	var shortest, large Limit // of all that are smoothed; a unit is set where there is one
	var at string             // the shortest's place
	for _, t := range r.tiers {
		for _, l := range t.plan {
			if !l.smoothed(t.plan, minute) {
				continue
			}
			if shortest.Unit == "" || l.size(minute) < shortest.size(minute) {
				shortest, at = l, join(t.path, l.Name)
			}
			if large.Unit == "" && l.size(minute) > b.Window && b.Of(scaled(l, minute), l.size(minute)) > maxAmount {
				large = l
			}
		}
	}
	switch {
	case shortest.Unit == "":
		if len(r.errors.list) == 0 { // else the limits may be among what is wrong
			r.warnAt(path, "smooths nothing: there is no limit with a window")
		}
	case shortest.size(minute) <= b.Window:
		r.failAt(path+".window", "%s is not shorter than %s, the window of %s, which it is to smooth: write a shorter one",
			durationText(b.Window), durationText(shortest.size(minute)), at)
	case large.Unit != "":
		r.failAt(path+".multiplier", "with it %s of %s comes to more than can be counted: write a smaller one", large.Name, amountText(large.Unit, large.Amount))
	case b.Of(whole, shortest.size(minute)) >= whole:
		r.warnAt(path, "smooths nothing where it lets a whole window's amount pass in %s, as of %s: write a smaller multiplier or window", durationText(b.Window), at)
	}
}

// smoothed reports whether l is the shortest of its unit in a plan.
func (l Limit) smoothed(plan Limits, minute time.Duration) bool {
	if l.Unlimited || l.Per == "" {
		return false
	}
	for _, o := range plan {
		if o.Unit == l.Unit && !o.Unlimited && o.size(minute) < l.size(minute) {
			return false
		}
	}
	return true
}

// scaled is the amount of a limit in its window.
func scaled(l Limit, minute time.Duration) int64 {
	if l.Per != "minute" {
		return l.Amount
	}
	n := big.NewInt(l.Amount)
	n.Mul(n, big.NewInt(int64(minute)))
	n.Quo(n, big.NewInt(int64(time.Minute)))
	if !n.IsInt64() {
		return math.MaxInt64
	}
	return n.Int64()
}
