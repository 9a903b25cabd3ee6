package penstock

import (
	"context"
	"errors"
	"math"
	"time"
)

// Never is the wait of a charge that can never pass: it is larger than its
// limit lets through at once.
const Never time.Duration = math.MaxInt64

// ErrStoreUnavailable is what a store's errors wrap when it cannot decide: it
// cannot be reached, or a bounded one is full of what counts.
var ErrStoreUnavailable = errors.New("the store is not available")

// Amounts is how much of each unit a request takes, by unit:
//
//	penstock.Amounts{penstock.Requests: 1, penstock.Tokens: 1200}
type Amounts [NumUnits]int64

// A Charge is what one request takes from one limit, under one key. The fields
// up to Shadow are the asker's, the others are filled in by the store.
type Charge struct {
	// Key says whose counter is charged. It is not shown to anyone: the
	// memory store keeps a keyed hash of it.
	Key string
	// Limits and Index name the limit.
	Limits *Limits
	Index  int
	// Amount is what is taken of the limit's unit, 0 to MaxAmount. A charge
	// of 0 always passes.
	Amount int64
	// Overflow is the key that is charged instead, together with others, when
	// a bounded store has no room for a new Key; each key of a request needs
	// one of its own. Empty: one that all keys with the same Limits share.
	Overflow string
	// Handle, if there is one, is a [Handle] of Key, by which a MemoryStore finds
	// the counter sooner. It changes nothing else.
	Handle *Handle
	// Keep says that Key is one of a known few, so that it has its own
	// counter even when the store has no room for new ones.
	Keep bool
	// Shadow says that the charge decides nothing: it is taken with a request
	// that the others let pass, if it fits by itself, and its Status says how
	// it would have been.
	Shadow bool

	// Shared says that the Overflow key was charged.
	Shared bool
	// Notes of the memory store: of a Shared charge without an Overflow key, which
	// key of its request it is, counted from 0; and what was found when the charge
	// was checked (see tally).
	nth   int32
	state int64
	// Status is how the limit stands under the key.
	Status
}

// valid reports whether the charge names a limit.
func (c *Charge) valid() bool {
	return c.Limits != nil && uint(c.Index) < uint(len(c.Limits.gauges))
}

// Limit returns the limit that is charged.
func (c *Charge) Limit() Limit { return c.Limits.limits[c.Index] }

// Status is how one limit stands under one key after a decision.
type Status struct {
	// Used is what counts against the limit, this charge included if it was
	// taken. It exceeds the limit while there is debt. Of a token bucket it
	// is what the level lacks to its capacity.
	Used int64
	// Reset is how long until nothing is used if nobody takes; 0 when nothing
	// is. Of requests in flight it is not known and 0.
	Reset time.Duration
	// RetryAfter is how long until this charge fits if nothing is taken in
	// between: 0 when it fits, Never when it cannot. Of requests in flight it
	// is an estimate.
	RetryAfter time.Duration
}

// Remaining is what could still be taken; never negative.
func (c *Charge) Remaining() int64 { return max(0, c.Limits.gauges[c.Index].whole-c.Used) }

// An Adjustment corrects a charge that was taken.
type Adjustment struct {
	// Charge is as the store's Take left it.
	Charge *Charge
	// At is when what is corrected was taken, as Take or Adjust returned it.
	At time.Time
	// Delta is positive for an extra, which is charged now and may go beyond
	// the limit, and negative for a refund, which returns to the step or
	// window that At lies in, and to nowhere when that has been forgotten.
	Delta int64
	// Over is filled in by the store: how much of an extra went beyond the
	// limit.
	Over int64
}

// A Store keeps counters. A counter is named by key, unit and limit name;
// amount, window and algorithm of a limit may change while it is counted: the
// charges stay, each for at least as long as it would have counted, a bucket
// that is not whole keeps its level, less what it gets in a microsecond at most,
// and when the size of the window or the algorithm changes, the sum still counted
// becomes one charge made now. A Store may be used by any number of goroutines
// at the same time. Its clock never jumps forward; a time handed to it may lie
// before one that it has seen, and then frees nothing early.
//
// The package storetest has the tests that every store must pass.
type Store interface {
	// Take checks all charges at one moment and takes either all of them or,
	// when one does not fit, none; of Shadow charges those that fit are taken
	// with the others, and those that do not hold up nothing. It fills in every
	// charge's Status, with RetryAfter other than 0 exactly for those that do
	// not fit, and returns the moment. A zero now is the store's own clock.
	// Charges of the same key stand next to each other, with the same Limits,
	// each Index once.
	Take(ctx context.Context, now time.Time, charges []Charge) (time.Time, error)

	// Look fills in what Take would say, and takes nothing.
	Look(ctx context.Context, now time.Time, charges []Charge) (time.Time, error)

	// Adjust applies the adjustments, each by itself, and returns the moment.
	// An adjustment of a limit that its key no longer has does nothing.
	Adjust(ctx context.Context, now time.Time, adjustments []Adjustment) (time.Time, error)
}

// ValidateCharges reports what is wrong with charges that no store should
// take: a limit that is none, an amount out of bounds, or charges of one key
// that do not stand together. Stores call it first.
func ValidateCharges(charges []Charge) error {
	var seen uint32 // which limits of the key that stands here
	for i := range charges {
		c := &charges[i]
		if err := c.validate(); err != nil {
			return err
		}
		if i == 0 || c.Key != charges[i-1].Key {
			for j := range max(i-1, 0) { // a key that has stood before
				if charges[j].Key == c.Key {
					return errApart
				}
			}
			seen = 0
		} else if c.Limits != charges[i-1].Limits {
			return errApart
		}
		if bit := uint32(1) << (c.Index & 31); seen&bit != 0 {
			return errApart
		} else {
			seen |= bit
		}
	}
	return nil
}

func (c *Charge) validate() error {
	if !c.valid() {
		return errNoLimit
	}
	if uint64(c.Amount) > uint64(MaxAmount) {
		return errAmount
	}
	return nil
}

var (
	errNoLimit = errors.New("penstock: a charge without a limit: take charges from Limits.Charges")
	errAmount  = errors.New("penstock: the amount of a charge must lie between 0 and MaxAmount")
	errApart   = errors.New("penstock: charges of the same key must stand next to each other, with the same Limits, each limit once")
)
