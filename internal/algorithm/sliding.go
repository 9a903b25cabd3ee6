package algorithm

import "sync/atomic"

// MostSteps is the largest number of steps that a sliding window may have.
const MostSteps = 120

// RingCap is the room that holds every state of a sliding window: the steps of
// the window, one more that has begun, rounded up to a power of two.
const RingCap = 128

const (
	amountBits = 57
	amountMask = 1<<amountBits - 1
	stepMask   = 1<<(64-amountBits) - 1
)

// Sliding is a sliding window: at most an amount in any Size microseconds. Time
// is cut into steps; a charge counts until Size after the END of the step that
// it fell in, so for at least Size and at most Size + Step. The live charges
// thus lie in Size/Step + 1 steps.
//
// Its state is Steps: only steps with something on them are kept.
type Sliding struct {
	Size int64 // microseconds, a multiple of Step
	Step int64 // microseconds; Size/Step is at most MostSteps
}

// Steps are the live steps of a sliding window, oldest first, in a ring. A
// word of the ring is the step's number mod 128 in its upper 7 bits and the
// amount charged in it in the lower 57.
type Steps struct {
	Ring   []uint64 // its length is a power of two, at most RingCap
	Head   int      // where the oldest is
	Len    int      // how many there are
	Newest int64    // the newest one's number, counted from the epoch
	Total  int64    // the sum of all
}

// Word is a word of a ring: a step and the amount charged in it.
func Word(step, amount int64) uint64 {
	return uint64(step&stepMask)<<amountBits | uint64(amount)&amountMask
}

// At returns the i-th live step, the oldest being 0, and the amount charged in
// it.
func (s *Steps) At(i int) (step, amount int64) {
	w := *s.word(i)
	return s.number(w), int64(w & amountMask)
}

// word returns the i-th live step, the oldest being 0.
func (s *Steps) word(i int) *uint64 { return &s.Ring[(s.Head+i)&(len(s.Ring)-1)] }

// set writes the i-th live step. It is atomic for those who Peek meanwhile.
func (s *Steps) set(i int, w uint64) { atomic.StoreUint64(s.word(i), w) }

// number is the number of the step in word w.
func (s *Steps) number(w uint64) int64 {
	return s.Newest - (s.Newest-int64(w>>amountBits))&stepMask
}

// Ends is when the charges of a step stop counting.
func (p Sliding) Ends(step int64) int64 { return (step+1)*p.Step + p.Size }

// Advance forgets the steps that no longer count now.
func (p Sliding) Advance(s *Steps, now int64) {
	if s.Len == 0 {
		return
	}
	if p.Ends(s.Newest) <= now { // all of them: the common case of a caller that comes back
		s.Head, s.Len, s.Total = 0, 0, 0
		return
	}
	for s.Len > 0 {
		w := *s.word(0)
		if p.Ends(s.number(w)) > now {
			return
		}
		s.pop(w)
	}
}

// Peek says what Advance and Wait would, and changes nothing: how much counts
// at now, and how long until cost fits below amount, 0 if it does. Others may
// change the state meanwhile; then what it says is of no use, but no harm is
// done.
func (p Sliding) Peek(s *Steps, now, cost, amount int64) (total, wait int64) {
	if s.Len == 0 || p.Ends(s.Newest) <= now {
		total = 0
	} else {
		total = s.Total
	}
	i := 0
	for ; total > 0 && i < s.Len; i++ {
		w := atomic.LoadUint64(s.word(i))
		if p.Ends(s.number(w)) > now {
			break
		}
		total -= int64(w & amountMask)
	}
	over := add(total, cost) - amount
	switch {
	case cost > amount:
		return total, Never
	case over <= 0 || cost == 0:
		return total, 0
	}
	for ; i < s.Len; i++ {
		w := atomic.LoadUint64(s.word(i))
		if over -= int64(w & amountMask); over <= 0 {
			return total, p.Ends(s.number(w)) - now
		}
	}
	return total, Never // unreachable: the words add up to Total
}

func (s *Steps) pop(w uint64) {
	s.Total -= int64(w & amountMask)
	s.Head = (s.Head + 1) & (len(s.Ring) - 1)
	s.Len--
}

// Opens reports whether a charge made now begins a step, which needs a word
// more in the ring. The state is Advanced.
func (p Sliding) Opens(s *Steps, now int64) bool {
	return s.Len == 0 || now >= (s.Newest+1)*p.Step
}

// Take charges cost now, whether it fits or not. The state is Advanced and its
// ring has a word free if the charge Opens a step; where there is none, what
// the newest step holds moves into the new one, so that it counts longer than
// it had to and never shorter.
func (p Sliding) Take(s *Steps, now, cost int64) {
	held := int64(0) // in the step of the charge
	if s.Len > 0 {
		held = int64(*s.word(s.Len - 1) & amountMask)
	}
	if p.Opens(s, now) {
		s.Newest = floorDiv(now, p.Step)
		if s.Len == 0 || s.Len < len(s.Ring) {
			s.Len++
			held = 0
		}
	}
	cost = min(cost, amountMask-held)
	s.set(s.Len-1, Word(s.Newest, held+cost))
	s.Total = add(s.Total, cost)
}

// Refund gives back amount of a charge that was taken at the time at under the
// parameters from (p itself, unless they have changed since): to the step that
// holds the charge, and to nowhere when that has been forgotten or holds less.
// The state is Advanced.
func (p Sliding) Refund(s *Steps, from Sliding, now, at, amount int64) {
	taken := floorDiv(at, from.Step)
	if from.Ends(taken) <= now {
		return
	}
	step := p.stepEnding((taken + 1) * from.Step)
	for i := s.Len - 1; i >= 0; i-- {
		w := s.word(i)
		switch n := s.number(*w); {
		case n > step:
			continue
		case n == step:
			amount = min(amount, int64(*w&amountMask))
			s.set(i, *w-uint64(amount))
			s.Total -= amount
			s.trim()
		}
		return
	}
}

// trim drops empty steps at both ends, so that a window that holds nothing is
// empty and Reset is when the newest charge ends.
func (s *Steps) trim() {
	for s.Len > 0 && *s.word(s.Len - 1)&amountMask == 0 {
		s.Len--
		if s.Len > 0 {
			s.Newest = s.number(*s.word(s.Len - 1))
		}
	}
	for s.Len > 0 {
		w := *s.word(0)
		if w&amountMask != 0 {
			return
		}
		s.pop(w)
	}
}

// stepEnding is the first step that ends at t or later.
func (p Sliding) stepEnding(t int64) int64 { return ceilDiv(t, p.Step) - 1 }

// Wait is how long until cost fits below amount, 0 if it does now. The state is
// Advanced.
func (p Sliding) Wait(s *Steps, now, cost, amount int64) int64 {
	if cost > amount {
		return Never
	}
	over := add(s.Total, cost) - amount
	if over <= 0 {
		return 0
	}
	for i := range s.Len {
		w := *s.word(i)
		over -= int64(w & amountMask)
		if over <= 0 {
			return p.Ends(s.number(w)) - now
		}
	}
	return Never // unreachable: the words add up to Total
}

// Reset is how long until nothing counts if nobody takes. The state is
// Advanced.
func (p Sliding) Reset(s *Steps, now int64) int64 {
	if s.Len == 0 {
		return 0
	}
	return p.Ends(s.Newest) - now
}

// Remap moves the live steps of from, counted under p, into the empty steps
// to, counted under q, a window of the same Size with other steps: each charge
// goes to the new step that ends no earlier. The ring of to has room for all
// (RingCap words are always enough).
func (p Sliding) Remap(from *Steps, q Sliding, to *Steps) {
	for i := range from.Len {
		w := *from.word(i)
		step := q.stepEnding((from.number(w) + 1) * p.Step)
		q.Take(to, step*q.Step, int64(w&amountMask))
	}
}
