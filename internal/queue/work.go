package queue

import "math/bits"

// work is what a caller has been served, in weighted tokens over its weight: a
// fixed-point number of 128 bits, 32 of them behind the point.
//
// It cannot overflow: a stay adds at most mostCost<<32 = 2^80, a lift adds
// nothing that was not added before, so that 2^48 stays of the largest cost
// would be needed; a million of those a second take nine years.
type work struct{ hi, lo uint64 }

// mostCost is the most weighted tokens that are counted for one stay.
const mostCost = 1 << 48

// charged is cost over weight, rounded up, so that no weight makes a stay free.
// A cost below 1 counts as 1, a weight below 1 as 1.
func charged(cost, weight int64) work {
	c := uint64(min(max(cost, 1), mostCost))
	w := work{c >> 32, c << 32}
	if weight <= 1 {
		return w
	}
	q, rest := w.over(uint64(weight))
	if rest > 0 {
		q = q.plus(work{lo: 1})
	}
	return q
}

func (w work) less(than work) bool {
	return w.hi < than.hi || w.hi == than.hi && w.lo < than.lo
}

func (w work) plus(more work) work {
	lo, carry := bits.Add64(w.lo, more.lo, 0)
	hi, _ := bits.Add64(w.hi, more.hi, carry)
	return work{hi, lo}
}

// minus is the difference to less, which is at most w.
func (w work) minus(less work) work {
	lo, borrow := bits.Sub64(w.lo, less.lo, 0)
	hi, _ := bits.Sub64(w.hi, less.hi, borrow)
	return work{hi, lo}
}

// without is w less what is to go, and 0 where that is more.
func (w work) without(less work) work {
	if w.less(less) {
		return work{}
	}
	return w.minus(less)
}

// over is w/n, rounded down, and the rest.
func (w work) over(n uint64) (q work, rest uint64) {
	q.hi, rest = w.hi/n, w.hi%n
	q.lo, rest = bits.Div64(rest, w.lo, n)
	return q, rest
}

// times is w*n.
func (w work) times(n uint64) work {
	hi, lo := bits.Mul64(w.lo, n)
	return work{hi + w.hi*n, lo}
}

// coarse is w with 16 bits behind the point, cut at the most that 64 bits hold:
// good enough for estimates.
func (w work) coarse() uint64 {
	if w.hi >= 1<<16 {
		return 1<<64 - 1
	}
	return w.hi<<48 | w.lo>>16
}
