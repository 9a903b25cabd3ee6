package soak

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
)

// ledger is the store that decides, with an account of everything that was taken
// from it and given back.
//
// What listed callers do is done to a second store, too, that sees nobody else and
// has no bounds: what it says of their counters is what the first must say, flood
// or not.
type ledger struct {
	*penstock.MemoryStore
	quiet  *penstock.MemoryStore
	listed map[string]*sync.Mutex // by key of the plan: held while something is done to both stores
	width  int                    // of these keys
	fault  func(format string, args ...any)

	mu       sync.Mutex                 // guards what follows
	open     map[*penstock.Charge]*hold // charges of reservations that have not ended
	inFlight map[account]int64          // on limits of Concurrent; those without any are not in it
	sums     map[account]*sum           // of those that are known to the end: per month, and with room reserved
	taken    int64                      // reservations that hold a place in flight
	settled  int64
	canceled int64
	shared   int64 // charges that were counted under an overflow key
}

// account names a counter.
type account struct {
	key  string
	unit penstock.Unit
	name string
}

// sum is what an account should hold.
type sum struct {
	amount int64
	last   penstock.Charge // by which it can be looked at
}

// hold is what a reservation holds of one charge.
type hold struct {
	*booking
	amount int64
}

// booking is a reservation.
type booking struct {
	charges []penstock.Charge // the reservation's own
}

func newLedger(ids []string, fault func(string, ...any)) *ledger {
	l := &ledger{
		quiet:    penstock.NewMemoryStore(penstock.MemoryOptions{}),
		listed:   map[string]*sync.Mutex{},
		fault:    fault,
		open:     map[*penstock.Charge]*hold{},
		inFlight: map[account]int64{},
		sums:     map[account]*sum{},
	}
	for _, id := range ids {
		l.listed["key:"+id] = new(sync.Mutex)
		l.width = len("key:" + id)
	}
	return l
}

// owner is the listed caller whose counter a key names; nil where it is nobody's.
// All IDs are of one length.
func (l *ledger) owner(key string) *sync.Mutex {
	i := strings.Index(key, "key:")
	if i < 0 {
		return nil
	}
	return l.listed[key[i:min(i+l.width, len(key))]]
}

func (l *ledger) ownerOf(charges []penstock.Charge) *sync.Mutex {
	for i := range charges {
		if mu := l.owner(charges[i].Key); mu != nil {
			return mu
		}
	}
	return nil
}

// Take implements penstock.Store.
func (l *ledger) Take(ctx context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	if mu := l.ownerOf(charges); mu != nil {
		mu.Lock()
		defer mu.Unlock()
	}
	at, err := l.MemoryStore.Take(ctx, now, charges)
	if err != nil {
		l.fault("the store takes nothing: %v", err)
		return at, err
	}
	took := !slices.ContainsFunc(charges, func(c penstock.Charge) bool { return !c.Shadow && c.RetryAfter != 0 })
	l.compare(ctx, at, charges, took)
	if took {
		l.book(charges)
	}
	return at, nil
}

// Look implements penstock.Store.
func (l *ledger) Look(ctx context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	if mu := l.ownerOf(charges); mu != nil {
		mu.Lock()
		defer mu.Unlock()
	}
	at, err := l.MemoryStore.Look(ctx, now, charges)
	if err != nil {
		l.fault("the store cannot be looked at: %v", err)
		return at, err
	}
	l.compare(ctx, at, charges, false)
	return at, nil
}

// compare does to the quiet store what was done for a listed caller, and holds the
// decisions of both against each other. How much is used may differ where a
// counter that is not the caller's own has denied.
func (l *ledger) compare(ctx context.Context, at time.Time, charges []penstock.Charge, took bool) {
	var own []penstock.Charge
	var of []*penstock.Charge
	for i := range charges {
		c := &charges[i]
		if l.owner(c.Key) == nil {
			continue
		}
		of = append(of, c)
		own = append(own, penstock.Charge{
			Key: c.Key, Limits: c.Limits, Index: c.Index, Amount: c.Amount, Keep: c.Keep, Shadow: c.Shadow,
		})
	}
	if len(own) == 0 {
		return
	}
	decide := l.quiet.Look
	if took {
		decide = l.quiet.Take
	}
	if _, err := decide(ctx, at, own); err != nil {
		l.fault("the quiet store: %v", err)
		return
	}
	for i, c := range of {
		switch {
		case c.Shared:
			l.fault("the listed caller's counter %s is shared with others", c.Key)
		case c.RetryAfter != own[i].RetryAfter, took && c.Status != own[i].Status:
			l.fault("%s of %s stands at %+v, and without the others' requests at %+v", c.Limit().Name, c.Key, c.Status, own[i].Status)
		}
	}
}

// Adjust implements penstock.Store.
func (l *ledger) Adjust(ctx context.Context, now time.Time, adjustments []penstock.Adjustment) (time.Time, error) {
	for i := range adjustments {
		if mu := l.owner(adjustments[i].Charge.Key); mu != nil {
			mu.Lock()
			defer mu.Unlock()
			break
		}
	}
	at, err := l.MemoryStore.Adjust(ctx, now, adjustments)
	if err != nil {
		l.fault("the store corrects nothing: %v", err)
		return at, err
	}
	for i := range adjustments {
		a := &adjustments[i]
		if l.owner(a.Charge.Key) == nil {
			continue
		}
		same := []penstock.Adjustment{{Charge: new(*a.Charge), At: a.At, Delta: a.Delta}}
		if _, err := l.quiet.Adjust(ctx, at, same); err != nil || same[0].Over != a.Over {
			l.fault("%d more of %s goes %d beyond the limit, and without the others' requests %d, %v", a.Delta, a.Charge.Key, a.Over, same[0].Over, err)
		}
	}
	l.correct(adjustments)
	return at, nil
}

// book notes what was taken. It is noted as open where a place in flight says
// when it ends.
func (l *ledger) book(charges []penstock.Charge) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b *booking
	for i := range charges {
		c := &charges[i]
		if c.Shadow && c.RetryAfter != 0 {
			continue
		}
		limit := c.Limit()
		if !c.Shadow && c.Amount > 0 && !limit.Overdraw && c.Used > limit.Size() {
			l.fault("%d of %s are admitted, to %d of %d", c.Amount, limit.Name, c.Used, limit.Size())
		}
		if limit.Unit == penstock.Concurrent {
			b = &booking{charges: charges}
		}
		if c.Shared {
			l.shared++
		}
		l.note(c, c.Amount)
	}
	if b == nil {
		return
	}
	l.taken++
	for i := range charges {
		if c := &charges[i]; !c.Shadow || c.RetryAfter == 0 {
			l.open[c] = &hold{b, c.Amount}
		}
	}
}

// correct notes corrections, and that a reservation has ended when its place in
// flight is given back.
func (l *ledger) correct(adjustments []penstock.Adjustment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ended *booking
	for i := range adjustments {
		a := &adjustments[i]
		unit := a.Charge.Limit().Unit
		l.note(a.Charge, a.Delta)
		h := l.open[a.Charge]
		switch {
		case h == nil && unit == penstock.Requests && a.Delta == -a.Charge.Amount:
			continue // one that has no place in flight is cancelled
		case h == nil:
			l.fault("%d more of %s, of a reservation that has ended", a.Delta, unit)
			continue
		}
		if h.amount += a.Delta; h.amount < 0 {
			l.fault("%d more of %s than were taken are given back", -h.amount, unit)
		}
		if unit == penstock.Concurrent {
			if a.Delta != -a.Charge.Amount {
				l.fault("%d of %d places in flight are given back", -a.Delta, a.Charge.Amount)
			}
			ended = h.booking
		}
	}
	if ended != nil {
		l.end(ended)
	}
}

// end checks what a reservation has become, and forgets it. It requires that l.mu
// is held.
func (l *ledger) end(b *booking) {
	var of penstock.Amounts // by the month
	for i := range b.charges {
		c := &b.charges[i]
		if h := l.open[c]; h != nil && exact(c) && c.Key == "global" {
			of[c.Limit().Unit] = h.amount
		}
		delete(l.open, c)
	}
	switch of[penstock.Requests] {
	case 1:
		l.settled++
	case 0:
		l.canceled++
		if of != (penstock.Amounts{}) {
			l.fault("what is left of a cancelled reservation: %v", of)
		}
	default:
		l.fault("a reservation has ended with %d requests", of[penstock.Requests])
	}
	if of[penstock.Tokens] != of[penstock.InputTokens]+of[penstock.OutputTokens] {
		l.fault("a reservation has ended with %d tokens, %d of input and %d of output", of[penstock.Tokens], of[penstock.InputTokens], of[penstock.OutputTokens])
	}
}

// exact reports whether what counts for a charge is known to the end: it counts by
// the calendar, and its counter is never dropped or shared.
func exact(c *penstock.Charge) bool { return c.Keep && c.Limit().Window == penstock.Month && !c.Shadow }

// note adds to an account. It requires that l.mu is held.
func (l *ledger) note(c *penstock.Charge, amount int64) {
	limit := c.Limit()
	a := account{c.Key, limit.Unit, limit.Name}
	switch {
	case limit.Unit == penstock.Concurrent:
		if c.Shared {
			a.key = c.Overflow
		}
		l.inFlight[a] += amount
		if n := l.inFlight[a]; n == 0 {
			delete(l.inFlight, a)
		} else if n < 0 {
			l.fault("%d in flight of %s", n, a.key)
		}
	case exact(c):
		s := l.sums[a]
		if s == nil {
			s = new(sum)
			l.sums[a] = s
		}
		s.amount += amount
		s.last = penstock.Charge{Key: c.Key, Limits: c.Limits, Index: c.Index, Keep: true}
	}
}

// settle checks that every reservation has ended, once, and that the store holds
// what was taken and not given back. It returns that.
func (l *ledger) settle(t *testing.T) map[account]int64 {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) > 0 || l.taken != l.settled+l.canceled {
		t.Errorf("%d reservations were taken, %d settled and %d cancelled; %d charges are open", l.taken, l.settled, l.canceled, len(l.open))
	}
	for a, n := range l.inFlight {
		t.Errorf("%d are in flight of %s, want none", n, a.key)
	}
	all := map[account]int64{}
	for a, s := range l.sums {
		one := []penstock.Charge{s.last}
		if _, err := l.Look(t.Context(), time.Time{}, one); err != nil {
			t.Fatal(err)
		}
		if one[0].Used != s.amount {
			t.Errorf("%s of %s is %d in the store, %d were taken and not given back", a.name, a.key, one[0].Used, s.amount)
		}
		all[a] = s.amount
	}
	return all
}

// aDay is what every debt is worked off in: one that a reload to a tenth of a
// limit leaves takes longer than an hour.
const aDay = 24 * time.Hour

// sweep has the store drop everything that a day makes idle, and checks that
// nothing is left but the counters by the month.
func (l *ledger) sweep(t *testing.T) {
	t.Helper()
	l.MemoryStore.Sweep(time.Now().Add(aDay))
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := map[string]bool{}
	for a, s := range l.sums {
		if s.amount > 0 {
			keys[a.key] = true
		}
	}
	if n := l.MemoryStore.Stats().Keys; n != int64(len(keys)) {
		t.Errorf("a day later %d keys are left in the store, want the %d that count by the month: %s",
			n, len(keys), strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
	}
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d reservations, %d settled, %d cancelled, %d open; %d charges were counted under shared keys", l.taken, l.settled, l.canceled, l.taken-l.settled-l.canceled, l.shared)
}
