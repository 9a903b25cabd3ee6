package penstock

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/algorithm"
)

// Unit is what a limit counts.
type Unit uint8

// The units. Custom and the nine after it (Custom+1 …) are the program's own:
// images, seconds of audio, megabytes.
const (
	Requests     Unit = iota
	Tokens            // input and output tokens of a language model together
	InputTokens       // of the prompt
	OutputTokens      // of the answer
	Cost              // money, in nano-USD (a billionth of a dollar)
	Concurrent        // requests in flight; given back when they end, so it has no window
	Custom
)

// NumUnits is the number of units that there can be.
const NumUnits = 16

// String returns the unit's name as limit names have it: "requests",
// "input_tokens".
func (u Unit) String() string {
	switch u {
	case Requests:
		return "requests"
	case Tokens:
		return "tokens"
	case InputTokens:
		return "input_tokens"
	case OutputTokens:
		return "output_tokens"
	case Cost:
		return "cost"
	case Concurrent:
		return "concurrent"
	}
	return "custom" + strconv.Itoa(int(u-Custom))
}

// Algorithm is how a limit counts in time.
type Algorithm uint8

const (
	// SlidingWindow holds in any window of the size, wherever it begins. A
	// charge counts for the size and at most one precision more.
	SlidingWindow Algorithm = iota
	// FixedWindow holds in windows aligned to multiples of the size in UTC.
	// Twice the amount can pass around the edge of two windows.
	FixedWindow
	// TokenBucket holds Capacity and is refilled by Amount a window.
	TokenBucket
)

// String returns the algorithm's name as configurations have it.
func (a Algorithm) String() string {
	switch a {
	case FixedWindow:
		return "fixed_window"
	case TokenBucket:
		return "token_bucket"
	}
	return "sliding_window"
}

// Month is the window of a calendar month in UTC, always a [FixedWindow].
const Month time.Duration = -1

// MaxAmount is the largest amount of a limit or a charge: 2^53, which every
// store counts exactly.
const MaxAmount int64 = 1 << 53

// A Limit is an amount of one unit per window, by one algorithm. The zero
// Limit is not valid; [NewLimits] says what is wrong with one.
type Limit struct {
	// Name tells the limit from others of the same key: in headers and
	// messages, and to its counter. Counters are kept by key, unit and name,
	// so that amount, window and algorithm of a name can change while it is
	// counted. Empty: made of unit and window, like requests_per_minute.
	Name string
	// Unit is what is counted.
	Unit Unit
	// Amount is how much of the unit may be taken in a window, at least 1 and
	// at most MaxAmount. Of Concurrent: how many may be in flight.
	Amount int64
	// Window is the window's size, in whole microseconds, or Month. It is 0
	// for Concurrent and for nothing else.
	Window time.Duration
	// Algorithm is how it is counted; of Month always FixedWindow.
	Algorithm Algorithm
	// Capacity is how much a TokenBucket holds, 0 for Amount. For the other
	// algorithms it is 0.
	Capacity int64
	// Precision is the step of a SlidingWindow: it divides the window, at
	// most 120 times, in whole microseconds. 0: the finest that divides it at
	// most 60 times. For the other algorithms it is 0.
	Precision time.Duration
	// Overdraw lets a single charge larger than the limit pass when nothing
	// is used, which leaves a debt: for a limit that only smooths, beside
	// another one that holds.
	Overdraw bool
}

// PerSecond returns a limit of amount in any second.
func PerSecond(unit Unit, amount int64) Limit {
	return Limit{Unit: unit, Amount: amount, Window: time.Second}
}

// PerMinute returns a limit of amount in any minute.
func PerMinute(unit Unit, amount int64) Limit {
	return Limit{Unit: unit, Amount: amount, Window: time.Minute}
}

// PerHour returns a limit of amount in any hour.
func PerHour(unit Unit, amount int64) Limit {
	return Limit{Unit: unit, Amount: amount, Window: time.Hour}
}

// PerDay returns a limit of amount in any 24 hours.
func PerDay(unit Unit, amount int64) Limit {
	return Limit{Unit: unit, Amount: amount, Window: 24 * time.Hour}
}

// PerMonth returns a limit of amount in each calendar month, in UTC.
func PerMonth(unit Unit, amount int64) Limit {
	return Limit{Unit: unit, Amount: amount, Window: Month}
}

// InFlight returns a limit of n requests at the same time.
func InFlight(n int64) Limit { return Limit{Unit: Concurrent, Amount: n} }

// Size is how much of the unit there is when nothing is used: Amount, or a
// bucket's Capacity.
func (l Limit) Size() int64 {
	if l.Algorithm == TokenBucket && l.Capacity > 0 {
		return l.Capacity
	}
	return l.Amount
}

// Most is the largest single charge that the limit can ever let pass: its Size,
// or MaxAmount where it may be overdrawn.
func (l Limit) Most() int64 {
	if l.Overdraw {
		return MaxAmount
	}
	return l.Size()
}

// windowName names a window as limit names do.
func windowName(w time.Duration) string {
	switch w {
	case time.Second:
		return "second"
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	case 24 * time.Hour:
		return "day"
	case Month:
		return "month"
	}
	return w.String()
}

// kind is how a limit's counter is kept.
type kind uint8

const (
	kindSliding kind = iota
	kindFixed
	kindBucket
	kindInFlight
)

// gauge is a limit made ready for counting. It is comparable, and two that are
// equal count alike.
type gauge struct {
	unit     Unit
	name     string
	kind     kind
	overdraw bool
	amount   int64
	whole    int64 // what there is when nothing is used: amount, or a bucket's capacity
	size     int64 // microseconds; 0 for months and what is in flight
	step     int64 // microseconds, of a sliding window
}

func (g *gauge) sliding() algorithm.Sliding {
	return algorithm.Sliding{Size: g.size, Step: g.step}
}

func (g *gauge) fixed(skew int64) algorithm.Fixed {
	return algorithm.Fixed{Amount: g.amount, Size: g.size, Month: g.size == 0, Skew: skew}
}

func (g *gauge) bucket(birth int64) algorithm.Bucket {
	return algorithm.NewBucket(g.amount, g.size, g.whole, birth)
}

// sameCounter reports whether two gauges count the same thing.
func (g *gauge) sameCounter(o *gauge) bool { return g.unit == o.unit && g.name == o.name }

// MaxLimits is the largest number of limits in one set.
const MaxLimits = 32

// Limits is a set of limits that are counted together under one key, ready for
// use: a caller's plan, or one rule. It does not change and may be used by any
// number of goroutines and stores.
type Limits struct {
	limits []Limit
	gauges []gauge
	shape  string // equal for sets that count alike
	cached atomic.Pointer[layout]
}

// NewLimits makes a set of limits. Its error names the first limit that is not
// valid, and why. Two limits of the same unit and name are an error: they
// would share a counter. Make a set once and keep it: one that a store has not
// seen yet costs ten decisions and more.
func NewLimits(limits ...Limit) (*Limits, error) {
	if len(limits) > MaxLimits {
		return nil, fmt.Errorf("penstock: %d limits in one set: at most %d", len(limits), MaxLimits)
	}
	s := &Limits{limits: make([]Limit, len(limits)), gauges: make([]gauge, len(limits))}
	for i, l := range limits {
		g, err := l.compile()
		if err != nil {
			return nil, fmt.Errorf("penstock: limit %d (%s): %w", i, g.name, err)
		}
		for j := range i {
			if g.sameCounter(&s.gauges[j]) {
				return nil, fmt.Errorf("penstock: limits %d and %d are both %s: give one of them another Name", j, i, g.name)
			}
		}
		l.Name, l.Capacity = g.name, 0
		if g.kind == kindBucket {
			l.Capacity = g.whole
		}
		if g.kind == kindFixed {
			l.Algorithm = FixedWindow
		}
		l.Precision = time.Duration(g.step) * time.Microsecond
		s.limits[i], s.gauges[i] = l, g
	}
	s.shape = shapeOf(s.gauges)
	return s, nil
}

// MustLimits is NewLimits for limits that are known to be valid; it panics if
// they are not.
func MustLimits(limits ...Limit) *Limits {
	s, err := NewLimits(limits...)
	if err != nil {
		panic(err)
	}
	return s
}

// Len is the number of limits in the set; a nil set has none.
func (s *Limits) Len() int {
	if s == nil {
		return 0
	}
	return len(s.limits)
}

// At returns the i-th limit, from 0 to Len()-1, with what NewLimits filled in:
// Name, Algorithm, Capacity and Precision. It panics for any other i.
func (s *Limits) At(i int) Limit { return s.limits[i] }

// Charges returns what a request that takes amounts is charged under key: one
// charge for each limit of the set of whose unit it takes something. A unit that
// only shows what it takes when the work is done is reserved with at least 1: of
// what has no charge nothing is counted when it is settled. A nil set has none.
func (s *Limits) Charges(key string, amounts Amounts) []Charge {
	return s.AppendCharges(nil, key, &amounts)
}

// AppendCharges appends to dst what [Limits.Charges] returns. amounts is only
// read, and not kept.
func (s *Limits) AppendCharges(dst []Charge, key string, amounts *Amounts) []Charge {
	for i := range s.Len() {
		if n := amounts[s.gauges[i].unit]; n != 0 {
			// In place: a Charge is large, and made for every decision.
			dst = append(dst, Charge{})
			c := &dst[len(dst)-1]
			c.Key, c.Limits, c.Index, c.Amount = key, s, i, n
		}
	}
	return dst
}

func (l Limit) compile() (gauge, error) {
	g := gauge{unit: l.Unit, name: l.Name, overdraw: l.Overdraw, amount: l.Amount, whole: l.Amount, size: l.Window.Microseconds()}
	if g.name == "" {
		g.name = l.Unit.String() + "_per_" + windowName(l.Window)
		if l.Unit == Concurrent {
			g.name = "concurrent_requests"
		}
	}
	switch {
	case l.Unit >= NumUnits:
		return g, fmt.Errorf("unit %d: there are %d", l.Unit, NumUnits)
	case l.Amount < 1 || l.Amount > MaxAmount:
		return g, fmt.Errorf("an amount of %d: it must lie between 1 and %d", l.Amount, MaxAmount)
	case l.Algorithm != TokenBucket && l.Capacity != 0:
		return g, fmt.Errorf("a capacity of %d: only a token bucket has one", l.Capacity)
	case l.Algorithm > TokenBucket:
		return g, fmt.Errorf("algorithm %d is none of those known", l.Algorithm)
	}
	if l.Unit == Concurrent {
		g.kind, g.size = kindInFlight, 0
		if l.Window != 0 || l.Algorithm != 0 || l.Precision != 0 || l.Overdraw {
			return g, errors.New("requests in flight have no window, algorithm or precision, and are not overdrawn")
		}
		return g, nil
	}
	const longest = 100 * 366 * 24 * time.Hour
	switch {
	case l.Window == Month:
		if l.Algorithm == TokenBucket || l.Precision != 0 {
			return g, errors.New("a calendar month is a fixed window")
		}
		g.kind, g.size = kindFixed, 0
		return g, nil
	case l.Window <= 0:
		return g, fmt.Errorf("a window of %v: it must be positive, or Month", l.Window)
	case l.Window > longest:
		return g, fmt.Errorf("a window of %v: the longest is a hundred years", l.Window)
	case l.Window%time.Microsecond != 0:
		return g, fmt.Errorf("a window of %v: it must be whole microseconds", l.Window)
	case l.Algorithm != SlidingWindow && l.Precision != 0:
		return g, fmt.Errorf("a precision of %v: only a sliding window has one", l.Precision)
	}
	switch l.Algorithm {
	case FixedWindow:
		g.kind = kindFixed
	case TokenBucket:
		g.kind = kindBucket
		if l.Capacity != 0 {
			g.whole = l.Capacity
		}
		if g.whole < 1 || g.whole > MaxAmount {
			return g, fmt.Errorf("a capacity of %d: it must lie between 1 and %d", g.whole, MaxAmount)
		}
		const decade = 10 * 366 * 24 * int64(time.Hour/time.Microsecond)
		if l.Amount > math.MaxInt64/decade && l.Amount/g.size >= math.MaxInt64/2/decade {
			return g, fmt.Errorf("a refill of %d in %v cannot be counted for ten years: make it smaller", l.Amount, l.Window)
		}
	default:
		g.kind = kindSliding
		if l.Precision == 0 {
			g.step = defaultStep(g.size)
			break
		}
		g.step = l.Precision.Microseconds()
		if g.step < 1 || l.Precision%time.Microsecond != 0 || g.size%g.step != 0 || g.size/g.step > algorithm.MostSteps {
			return g, fmt.Errorf("a precision of %v: it must divide %v at most %d times, in whole microseconds", l.Precision, l.Window, algorithm.MostSteps)
		}
	}
	return g, nil
}

// defaultStep is the size cut into the most steps, up to 60, that are whole
// microseconds.
func defaultStep(size int64) int64 { return stepAtMost(size, 60) }

func stepAtMost(size, most int64) int64 {
	for n := min(most, size); n > 1; n-- {
		if size%n == 0 {
			return size / n
		}
	}
	return size
}

// Precision returns the step of a sliding window of the given size that cuts
// it into as many steps as are whole microseconds, at most most of them (1 to
// 120): what a [Limit] of another window needs to be as fine as one with a
// known number of steps.
func Precision(window time.Duration, most int) time.Duration {
	return time.Duration(stepAtMost(window.Microseconds(), int64(most))) * time.Microsecond
}

// shapeOf writes the gauges down such that two sets have the same shape when
// they are counted alike.
func shapeOf(gauges []gauge) string {
	var b []byte
	for i := range gauges {
		g := &gauges[i]
		b = append(b, byte(g.unit), byte(g.kind))
		if g.overdraw {
			b = append(b, '-')
		}
		for _, n := range []int64{g.amount, g.whole, g.size, g.step, int64(len(g.name))} {
			b = strconv.AppendInt(b, n, 36)
			b = append(b, ',')
		}
		b = append(b, g.name...)
	}
	return string(b)
}
