package storetest

import (
	"context"
	"math/big"
	"sync"
	"time"

	"github.com/penstock-dev/penstock"
)

// A Model is a store that is slow and obvious: it keeps every charge for ever,
// and adds up those that count each time that it is asked. Faster stores are
// held against it. Its time is handed to it: it has no clock, and time must not
// go back. It may be used by any number of goroutines. [NewModel] makes one.
type Model struct {
	mu       sync.Mutex
	counters map[counterName]*counter
}

var _ penstock.Store = (*Model)(nil)

// NewModel returns an empty model.
func NewModel() *Model { return &Model{counters: map[counterName]*counter{}} }

type counterName struct {
	key  string
	unit penstock.Unit
	name string
}

type counter struct {
	limit penstock.Limit
	// since is when the limit took its present window and algorithm, and
	// began with what was counted before as one charge.
	events []event
	// Of a bucket: its level in parts when the limit came to be as it is, and when
	// that was. A nil level is the whole capacity.
	level *big.Int
	since int64
}

// An event is one charge or, of a bucket, one extra or refund, at its time.
type event struct {
	at     int64 // microseconds since the epoch
	ends   int64 // when the step of a sliding window ends that it fell in
	amount int64
}

func micros(d time.Duration) int64 { return int64(d / time.Microsecond) }

// at returns the counter of a charge. All limits of its key are those of the
// charge from now on.
func (m *Model) at(c *penstock.Charge, now int64) *counter {
	for i := range c.Limits.Len() {
		m.under(c.Key, c.Limits.At(i), now)
	}
	return m.under(c.Key, c.Limit(), now)
}

func (m *Model) under(key string, l penstock.Limit, now int64) *counter {
	name := counterName{key, l.Unit, l.Name}
	k := m.counters[name]
	if k == nil {
		k = &counter{limit: l}
		m.counters[name] = k
	}
	if k.limit != l {
		k.change(l, now)
	}
	return k
}

// change gives the counter another limit.
func (k *counter) change(l penstock.Limit, now int64) {
	old := k.limit
	switch {
	case l.Unit == penstock.Concurrent:
	case old.Algorithm == l.Algorithm && old.Window == l.Window && l.Algorithm == penstock.SlidingWindow:
		step := micros(l.Precision)
		for i := range k.events {
			if e := &k.events[i]; e.ends+micros(l.Window) > now { // the new step that ends no earlier
				e.ends = (e.ends + step - 1) / step * step
			}
		}
	case old.Algorithm == l.Algorithm && l.Algorithm == penstock.TokenBucket:
		k.rebase(l, now)
	case old.Algorithm == l.Algorithm && old.Window == l.Window: // fixed: what was carried so far
		used := k.used(now)
		k.events = nil
		k.charge(now, used)
	default:
		used := k.used(now)
		k.limit = l
		k.events, k.level = nil, nil
		k.charge(now, used)
	}
	k.limit = l
}

func (k *counter) charge(at, amount int64) {
	e := event{at: at, amount: amount}
	if step := micros(k.limit.Precision); step > 0 {
		e.ends = at/step*step + step
		for _, o := range k.events { // never a step before one that has something on it
			if o.amount > 0 && o.ends+micros(k.limit.Window) > at {
				e.ends = max(e.ends, o.ends)
			}
		}
	}
	k.events = append(k.events, e)
}

// In a bucket there are as many parts to a unit as its window has microseconds, so
// that in each of these the refill makes Amount of them.

// parts is how many parts units are.
func (k *counter) parts(units int64) *big.Int {
	return new(big.Int).Mul(big.NewInt(units), big.NewInt(micros(k.limit.Window)))
}

// units is how many whole units parts are.
func (k *counter) units(parts *big.Int) int64 {
	return new(big.Int).Div(parts, big.NewInt(micros(k.limit.Window))).Int64() // downwards
}

// minted is how many parts the refill makes in a time of microseconds.
func (k *counter) minted(time int64) *big.Int {
	return new(big.Int).Mul(big.NewInt(time), big.NewInt(k.limit.Amount))
}

// levelAt replays a bucket from its beginning. It is in parts.
func (k *counter) levelAt(now int64) *big.Int {
	whole := k.parts(k.limit.Capacity)
	level, last := new(big.Int), k.since
	add := func(more *big.Int) {
		if level.Add(level, more).Cmp(whole) > 0 {
			level.Set(whole)
		}
	}
	if add(whole); k.level != nil {
		level.SetInt64(0)
		add(k.level)
	}
	for _, e := range k.events {
		add(k.minted(e.at - last))
		add(k.parts(-e.amount))
		last = e.at
	}
	add(k.minted(now - last))
	return level
}

// rebase gives a bucket another limit. It keeps its level, rounded down to what
// the smallest unit fraction is that the refill comes to in whole microseconds.
func (k *counter) rebase(l penstock.Limit, now int64) {
	old, level := *k, k.levelAt(now)
	*k = counter{limit: l, since: now}
	if old.used(now) == 0 {
		return
	}
	grain := new(big.Int).GCD(nil, nil, big.NewInt(l.Amount), k.parts(1))
	level.Mul(level, k.parts(1))
	level.Div(level, grain.Mul(grain, old.parts(1))) // downwards
	k.level = level.Mul(level, grain.Div(grain, old.parts(1)))
}

// window is the number of the fixed window that t lies in.
func (k *counter) window(t int64) int64 {
	if k.limit.Window == penstock.Month {
		y, m, _ := time.UnixMicro(t).UTC().Date()
		return int64(y)*12 + int64(m)
	}
	return t / micros(k.limit.Window)
}

// used adds up what counts at now.
func (k *counter) used(now int64) (sum int64) {
	switch {
	case k.limit.Unit == penstock.Concurrent:
		for _, e := range k.events {
			sum += e.amount
		}
	case k.limit.Algorithm == penstock.SlidingWindow:
		for _, e := range k.events {
			if e.ends+micros(k.limit.Window) > now {
				sum += e.amount
			}
		}
	case k.limit.Algorithm == penstock.TokenBucket:
		return k.limit.Capacity - k.units(k.levelAt(now))
	default:
		last := int64(0)
		for _, e := range k.events {
			if w := k.window(e.at); sum > 0 && w > last {
				for range min(w-last, sum/k.limit.Amount+1) {
					sum = max(0, sum-k.limit.Amount)
				}
				last = w
			} else if sum == 0 {
				last = w
			}
			sum += e.amount
		}
		for w := k.window(now); sum > 0 && last < w; last++ {
			sum = max(0, sum-k.limit.Amount)
		}
	}
	return sum
}

// wait is how long until amount fits.
func (k *counter) wait(now, amount int64) time.Duration {
	whole := k.limit.Size()
	switch {
	case amount > k.limit.Most():
		return penstock.Never
	case amount == 0 || k.used(now)+amount <= whole:
		return 0
	case k.limit.Unit == penstock.Concurrent:
		return time.Second
	case amount > whole: // an overdraft, of a limit on which nothing is
		return k.reset(now)
	}
	return k.first(now, func(t int64) bool { return k.used(t)+amount <= whole })
}

// reset is how long until nothing counts.
func (k *counter) reset(now int64) time.Duration {
	if k.limit.Unit == penstock.Concurrent {
		return 0
	}
	return k.first(now, func(t int64) bool { return k.used(t) == 0 })
}

// first searches the first moment at which something holds that, if nothing is
// taken, goes on to hold.
func (k *counter) first(now int64, holds func(t int64) bool) time.Duration {
	if holds(now) {
		return 0
	}
	lo, hi := int64(0), int64(1)
	for !holds(now + hi) {
		lo, hi = hi, 2*hi
	}
	for lo+1 < hi {
		if mid := lo + (hi-lo)/2; holds(now + mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return time.Duration(hi) * time.Microsecond
}

// Take implements penstock.Store.
func (m *Model) Take(_ context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	return m.decide(now, charges, true)
}

// Look implements penstock.Store.
func (m *Model) Look(_ context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	return m.decide(now, charges, false)
}

func (m *Model) decide(at time.Time, charges []penstock.Charge, take bool) (time.Time, error) {
	if err := penstock.ValidateCharges(charges); err != nil {
		return time.Time{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := at.UnixMicro()
	fits := true
	for i := range charges {
		c := &charges[i]
		c.RetryAfter = m.at(c, now).wait(now, c.Amount)
		fits = fits && (c.RetryAfter == 0 || c.Shadow)
	}
	for i := range charges {
		c := &charges[i]
		k := m.at(c, now)
		if fits && take && c.Amount > 0 && c.RetryAfter == 0 {
			k.charge(now, c.Amount)
		}
		c.Used, c.Reset = k.used(now), k.reset(now)
	}
	return at, nil
}

// Adjust implements penstock.Store.
func (m *Model) Adjust(_ context.Context, now time.Time, adjustments []penstock.Adjustment) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range adjustments {
		a := &adjustments[i]
		l := a.Charge.Limit()
		if k := m.counters[counterName{a.Charge.Key, l.Unit, l.Name}]; k != nil {
			k.adjust(a, now.UnixMicro())
		}
	}
	return now, nil
}

func (k *counter) adjust(a *penstock.Adjustment, now int64) {
	a.Over = 0
	if a.Delta >= 0 {
		k.charge(now, a.Delta)
		a.Over = min(a.Delta, max(0, k.used(now)-k.limit.Size()))
		return
	}
	from, at := a.Charge.Limit(), a.At.UnixMicro()
	if from.Algorithm != k.limit.Algorithm || k.limit.Algorithm != penstock.TokenBucket && from.Window != k.limit.Window {
		return // what was taken has become part of one charge
	}
	switch {
	case k.limit.Unit == penstock.Concurrent, k.limit.Algorithm == penstock.TokenBucket:
		k.charge(now, a.Delta)
	case k.limit.Algorithm == penstock.SlidingWindow:
		old := micros(from.Precision)
		ends := at/old*old + old
		if ends+micros(from.Window) <= now {
			return
		}
		step := micros(k.limit.Precision)
		k.giveBack(-a.Delta, func(e event) bool { return e.ends == (ends+step-1)/step*step })
	default:
		if k.window(at) != k.window(now) {
			return
		}
		k.giveBack(-a.Delta, func(e event) bool { return k.window(e.at) == k.window(now) })
	}
}

// giveBack takes amount off the events that it came from.
func (k *counter) giveBack(amount int64, from func(event) bool) {
	for i := len(k.events) - 1; i >= 0 && amount > 0; i-- {
		if e := &k.events[i]; from(*e) {
			n := min(amount, e.amount)
			e.amount -= n
			amount -= n
		}
	}
}
