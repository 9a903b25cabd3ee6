package algorithm

import (
	"math"
	"math/bits"
)

// A ratio is a/c, made ready to multiply by without a division, which takes
// longer than all else in a decision: as a whole number and a fraction of 128
// bits (Granlund and Montgomery, "Division by Invariant Integers using
// Multiplication", 1994).
type ratio struct {
	whole  uint64
	hi, lo uint64 // the fraction, in parts of 2^128
	up     uint64 // 1 to round up what the fraction is part of
	most   uint64 // the largest number whose product is no more than math.MaxInt64
}

// downRatio returns a/c for products that are rounded down. Both are positive.
//
// Its fraction is too large by less than one part in 2^128, so a product with
// x < 2^63 is by less than 2^-65. A true product lies at least 1/c, which is more,
// below the next whole number, and does not come to it.
func downRatio(a, c int64) ratio {
	r, rest := split(a, c)
	if rest != 0 {
		var carry uint64
		r.lo, carry = bits.Add64(r.lo, 1, 0)
		r.hi += carry
	}
	r.most = math.MaxInt64
	if hi, lo := uint64(c)>>1, uint64(c)<<63; hi < uint64(a) { // 2^63 * c / a, from where on products are too large
		q, over := bits.Div64(hi, lo, uint64(a))
		if over == 0 {
			q--
		}
		r.most = min(q, math.MaxInt64)
	}
	return r
}

// upRatio returns a/c for products that are rounded up, of numbers that are
// positive.
//
// Its fraction is too small by no more than one part in 2^128, and by something.
// So a product lies less than 1/c below the true one, and is not whole where
// that is: what is rounded down is one too small, always.
func upRatio(a, c int64) ratio {
	r, rest := split(a, c)
	if r.hi|r.lo|rest != 0 {
		if r.up = 1; rest == 0 {
			var borrow uint64
			r.lo, borrow = bits.Sub64(r.lo, 1, 0)
			r.hi -= borrow
		}
	}
	most, _ := mulDiv(math.MaxInt64, c, a)
	r.most = uint64(most)
	return r
}

// split returns a/c with the fraction rounded down, and what remains of it.
func split(a, c int64) (r ratio, rest uint64) {
	r.whole = uint64(a / c)
	r.hi, rest = bits.Div64(uint64(a%c), 0, uint64(c))
	r.lo, rest = bits.Div64(rest, 0, uint64(c))
	return r, rest
}

// of returns x*a/c of a number that is not negative, rounded and cut at
// math.MaxInt64. One that has become negative by an overflow is a large one.
func (r *ratio) of(x int64) int64 {
	if uint64(x) > r.most {
		return math.MaxInt64
	}
	hi, lo := bits.Mul64(uint64(x), r.hi)
	low, _ := bits.Mul64(uint64(x), r.lo)
	_, carry := bits.Add64(lo, low, 0)
	return int64(uint64(x)*r.whole + hi + carry + r.up)
}
