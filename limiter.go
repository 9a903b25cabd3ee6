package penstock

import (
	"context"
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// A Decision says whether a request was allowed, and how the limits stand that
// it was charged to.
type Decision struct {
	// Allowed says that every charge was taken. When it is false, none was.
	Allowed bool
	// Time is the moment of the decision, on the store's clock.
	Time time.Time
	// Charges are those of the request, with their Status. The slice is the
	// caller's own.
	Charges []Charge
	// RetryAfter is how long until the same request passes if nothing is
	// taken in between: 0 when it was allowed, Never when it cannot pass.
	RetryAfter time.Duration

	binding int
}

// Binding returns the limit that decides: of a denial, the one with the
// longest wait; of an allowed request, the one with the smallest share left,
// where one on requests in flight counts only when there is no other, since
// what it takes comes back with the request. Shadow charges bind nothing. It is
// nil when no other limit was charged.
func (d *Decision) Binding() *Charge {
	if d.binding < 0 || len(d.Charges) == 0 {
		return nil
	}
	return &d.Charges[d.binding]
}

// decide makes the decision of charges whose Status is filled in.
func decide(at time.Time, charges []Charge) Decision {
	d := Decision{Allowed: true, Time: at, Charges: charges, binding: -1}
	for i := range charges {
		c := &charges[i]
		switch {
		case c.Shadow:
		case d.binding < 0 && c.RetryAfter == 0:
			d.binding = i
		case c.RetryAfter > d.RetryAfter:
			d.Allowed, d.RetryAfter, d.binding = false, c.RetryAfter, i
		case d.Allowed && tighter(c, &charges[d.binding]):
			d.binding = i
		}
	}
	return d
}

// tighter reports whether a has the smaller share left.
func tighter(a, b *Charge) bool {
	if x, y := a.inFlight(), b.inFlight(); x != y {
		return y
	}
	ah, al := bits.Mul64(uint64(a.Remaining()), uint64(b.Limits.gauges[b.Index].whole))
	bh, bl := bits.Mul64(uint64(b.Remaining()), uint64(a.Limits.gauges[a.Index].whole))
	return ah < bh || ah == bh && al < bl
}

func (c *Charge) inFlight() bool { return c.Limits.gauges[c.Index].unit == Concurrent }

// A Limiter decides requests against a store. [New] makes one. It may be used by
// any number of goroutines at the same time.
type Limiter struct {
	store Store
	hold  atomic.Int64 // the recent mean time that a request was in flight, in nanoseconds
	debt  [NumUnits]atomic.Int64
}

// New returns a limiter on the store; nil is a new [MemoryStore] with the
// default bounds.
func New(store Store) *Limiter {
	if store == nil {
		store = NewMemoryStore(MemoryOptions{})
	}
	return &Limiter{store: store}
}

// Allow takes all charges now, or none, and says which. It is for work whose
// cost is known; what it takes is never given back, so charges of Concurrent
// are an error. Other errors are the store's.
func (l *Limiter) Allow(ctx context.Context, charges ...Charge) (Decision, error) {
	return l.AllowAt(ctx, time.Time{}, charges...)
}

// AllowAt is Allow at a given time; the zero time is the store's own clock.
func (l *Limiter) AllowAt(ctx context.Context, now time.Time, charges ...Charge) (Decision, error) {
	for i := range charges {
		if c := &charges[i]; c.valid() && c.inFlight() {
			return Decision{}, errors.New("penstock: Allow of a limit on requests in flight: use Reserve, which can tell when the request has ended")
		}
	}
	return l.take(ctx, now, charges)
}

// Look says what Allow or Reserve would say now, and takes nothing.
func (l *Limiter) Look(ctx context.Context, charges ...Charge) (Decision, error) {
	return l.LookAt(ctx, time.Time{}, charges...)
}

// LookAt is Look at a given time; the zero time is the store's own clock.
func (l *Limiter) LookAt(ctx context.Context, now time.Time, charges ...Charge) (Decision, error) {
	at, err := l.store.Look(ctx, now, charges)
	if err != nil {
		return Decision{}, err
	}
	l.estimate(charges)
	return decide(at, charges), nil
}

func (l *Limiter) take(ctx context.Context, now time.Time, charges []Charge) (Decision, error) {
	at, err := l.store.Take(ctx, now, charges)
	if err != nil {
		return Decision{}, err
	}
	l.estimate(charges)
	return decide(at, charges), nil
}

// estimate replaces the store's guess of when a request in flight will end by
// the recent mean, as one of so many ends in that time.
func (l *Limiter) estimate(charges []Charge) {
	for i := range charges {
		c := &charges[i]
		if c.inFlight() && c.RetryAfter > 0 && c.RetryAfter != Never {
			mean := time.Duration(l.hold.Load() / c.Limits.gauges[c.Index].amount)
			c.RetryAfter = min(max(mean, time.Second), time.Minute)
		}
	}
}

// Debt is how much has been used beyond limits so far, by unit: extras of
// reservations that have ended, each once, where it went beyond several the
// most. What shadows say, and limits that only smooth ([Limit].Overdraw), is not
// in it.
func (l *Limiter) Debt() (debt Amounts) {
	for u := range l.debt {
		debt[u] = l.debt[u].Load()
	}
	return debt
}

// A Reservation is charges taken before the work, held until its real use is
// known. Each is settled, cancelled or kept once; what comes after that does
// nothing. The errors of its methods are the store's; one that could not be
// settled, cancelled or kept has ended all the same, as it was charged. Its methods
// may be called by any goroutine.
//
// One that is never ended stays charged as it is: what was taken of a window
// leaves with the window, and what was taken of Concurrent is held for as long as
// the store keeps counters. So defer Keep, which does nothing once it has been
// settled. A store that heeds contexts needs one that lives longer than the
// request's, like that of [context.WithoutCancel].
type Reservation struct {
	// Decision says whether the charges were taken. The Reservation of a
	// denied request holds nothing, and all its methods do nothing.
	Decision

	limiter *Limiter
	mu      sync.Mutex
	ended   bool
	extras  []extra
}

// An extra is what was taken of a charge after its reservation.
type extra struct {
	charge int
	amount int64
	over   int64 // of amount: what went beyond the limit
	at     time.Time
}

// Reserve takes all charges now, or none. Its error is the store's; the
// Reservation is then nil. A slice that is handed over as charges… belongs to the
// Reservation until that has ended: the next request needs another.
func (l *Limiter) Reserve(ctx context.Context, charges ...Charge) (*Reservation, error) {
	return l.ReserveAt(ctx, time.Time{}, charges...)
}

// ReserveAt is Reserve at a given time; the zero time is the store's own clock.
func (l *Limiter) ReserveAt(ctx context.Context, now time.Time, charges ...Charge) (*Reservation, error) {
	d, err := l.take(ctx, now, charges)
	if err != nil {
		return nil, err
	}
	return &Reservation{Decision: d, limiter: l, ended: !d.Allowed}, nil
}

// Raise makes sure that every charge is at least what to has of its unit: what
// lacks is charged now, whether it fits or not. It is for work that turns out
// to need more than was reserved. It says by unit how much of it went beyond a
// limit, the most where there are several. What shadows say, and limits that
// only smooth ([Limit].Overdraw), is not in it.
func (r *Reservation) Raise(ctx context.Context, to Amounts) (over Amounts, err error) {
	return r.RaiseAt(ctx, time.Time{}, to)
}

// RaiseAt is Raise at a given time; the zero time is the store's own clock.
func (r *Reservation) RaiseAt(ctx context.Context, now time.Time, to Amounts) (over Amounts, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return over, nil
	}
	adjustments := make([]Adjustment, 0, len(r.Charges))
	for i := range r.Charges {
		if lacks := min(max(to[r.unit(i)], 0), MaxAmount) - r.taken(i); lacks > 0 && r.took(i) {
			adjustments = append(adjustments, Adjustment{Charge: &r.Charges[i], Delta: lacks})
		}
	}
	if len(adjustments) == 0 {
		return over, nil
	}
	at, err := r.limiter.store.Adjust(ctx, now, adjustments)
	if err != nil {
		return over, err
	}
	for i, k := 0, 0; i < len(r.Charges) && k < len(adjustments); i++ {
		if a := &adjustments[k]; a.Charge == &r.Charges[i] {
			r.extras = append(r.extras, extra{i, a.Delta, a.Over, at})
			if u := r.unit(i); r.holds(i) {
				over[u] = max(over[u], a.Over)
			}
			k++
		}
	}
	return over, nil
}

// took reports whether the i-th charge was taken: all were, but for shadows that
// did not fit.
func (r *Reservation) took(i int) bool {
	c := &r.Charges[i]
	return !c.Shadow || c.RetryAfter == 0
}

// holds reports whether the i-th charge is of a limit that use is held against:
// shadows are not, nor are limits that only smooth.
func (r *Reservation) holds(i int) bool {
	c := &r.Charges[i]
	return !c.Shadow && !c.Limits.gauges[c.Index].overdraw
}

// taken is what the reservation holds of its i-th charge.
func (r *Reservation) taken(i int) int64 {
	n := r.Charges[i].Amount
	for _, e := range r.extras {
		if e.charge == i {
			n += e.amount
		}
	}
	return n
}

// Settle corrects the reservation to what was really used, by unit. What was
// reserved beyond that goes back to the step or window that it was taken from;
// what was used beyond the reservation is charged now, even past the limit. Only
// what has a charge is corrected: of a unit of which nothing was reserved nothing
// is counted, so reserve at least 1. The request itself has happened: its Requests
// stay, and Concurrent ends.
func (r *Reservation) Settle(ctx context.Context, used Amounts) error {
	return r.SettleAt(ctx, time.Time{}, used)
}

// SettleAt is Settle at a given time; the zero time is the store's own clock.
func (r *Reservation) SettleAt(ctx context.Context, now time.Time, used Amounts) error {
	return r.end(ctx, now, func(c *Charge, taken int64) int64 {
		switch u := c.Limits.gauges[c.Index].unit; u {
		case Requests:
			return taken
		case Concurrent:
			return 0
		default:
			return min(max(used[u], 0), MaxAmount)
		}
	})
}

// Cancel gives everything back, since no work was done.
func (r *Reservation) Cancel(ctx context.Context) error {
	return r.CancelAt(ctx, time.Time{})
}

// CancelAt is Cancel at a given time; the zero time is the store's own clock.
func (r *Reservation) CancelAt(ctx context.Context, now time.Time) error {
	return r.end(ctx, now, func(*Charge, int64) int64 { return 0 })
}

// Keep settles the reservation as it stands, since what was really used cannot
// be known: all of it stays charged, and Concurrent ends.
func (r *Reservation) Keep(ctx context.Context) error {
	return r.KeepAt(ctx, time.Time{})
}

// KeepAt is Keep at a given time; the zero time is the store's own clock.
func (r *Reservation) KeepAt(ctx context.Context, now time.Time) error {
	return r.end(ctx, now, func(c *Charge, taken int64) int64 {
		if c.inFlight() {
			return 0
		}
		return taken
	})
}

func (r *Reservation) unit(i int) Unit {
	c := &r.Charges[i]
	return c.Limits.gauges[c.Index].unit
}

// end corrects every charge to what final says of it, once.
func (r *Reservation) end(ctx context.Context, now time.Time, final func(c *Charge, taken int64) int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil
	}
	r.ended = true
	adjustments := make([]Adjustment, 0, len(r.Charges)+len(r.extras))
	inFlight := false
	for i := range r.Charges {
		c := &r.Charges[i]
		if !r.took(i) {
			continue
		}
		inFlight = inFlight || c.inFlight() && c.Amount > 0
		taken := r.taken(i)
		delta := final(c, taken) - taken
		// Refunds go home: what was taken last first.
		for k := len(r.extras) - 1; k >= 0 && delta < 0; k-- {
			if e := &r.extras[k]; e.charge == i {
				back := min(e.amount, -delta)
				adjustments = append(adjustments, Adjustment{Charge: c, At: e.at, Delta: -back})
				delta += back
			}
		}
		if delta != 0 {
			adjustments = append(adjustments, Adjustment{Charge: c, At: r.Time, Delta: delta})
		}
	}
	if len(adjustments) == 0 {
		r.owe(final, nil)
		return nil
	}
	at, err := r.limiter.store.Adjust(ctx, now, adjustments)
	if err != nil {
		return err
	}
	if inFlight {
		r.limiter.held(at.Sub(r.Time))
	}
	r.owe(final, adjustments)
	return nil
}

// owe counts what was used beyond limits: of the extras, what went beyond and
// was not given back, of each unit the most where there are several limits.
func (r *Reservation) owe(final func(c *Charge, taken int64) int64, adjustments []Adjustment) {
	var owed Amounts
	owes := false
	for i := range r.Charges {
		c := &r.Charges[i]
		if !r.holds(i) {
			continue
		}
		over := int64(0)
		for _, e := range r.extras {
			if e.charge == i {
				over += e.over
			}
		}
		for _, a := range adjustments {
			if a.Charge == c {
				over += a.Over
			}
		}
		if taken := r.taken(i); over > 0 {
			used := final(c, taken)
			over -= max(taken-used, 0) // what was taken last goes back first
			u := r.unit(i)
			owed[u], owes = max(owed[u], min(over, used-c.Amount)), true
		}
	}
	if !owes {
		return
	}
	for u := range owed {
		r.limiter.debt[u].Add(owed[u])
	}
}

// held takes the time that a request was in flight into the recent mean.
func (l *Limiter) held(d time.Duration) {
	for {
		mean := l.hold.Load()
		next := mean + (int64(d)-mean)/8
		if mean == 0 {
			next = int64(d)
		}
		if l.hold.CompareAndSwap(mean, next) {
			return
		}
	}
}
