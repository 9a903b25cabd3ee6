package algorithm

import (
	"math"
	"math/bits"
)

// A ratio is a/c, made ready to multiply by without a division, which takes
// longer than all else in a decision.
type ratio struct {
	whole, part uint64 // a is whole*c + part
	c           uint64
	inverse     uint64 // 2^64 * part / c, rounded down
}

// ratioOf makes the ratio of two numbers; a is not negative and c is positive.
func ratioOf(a, c int64) ratio {
	r := ratio{whole: uint64(a / c), part: uint64(a % c), c: uint64(c)}
	r.inverse, _ = bits.Div64(r.part, 0, r.c)
	return r
}

// of returns x*a/c of a number that is not negative, rounded down and cut at
// math.MaxInt64, and whether there was a remainder.
//
// The inverse is too small by less than one part in 2^64, and x is below 2^63:
// what it says of x*part/c is the quotient or one less, and the remainder shows
// which. That lies below 2c, so it may be computed modulo 2^64.
func (r *ratio) of(x int64) (q int64, rest bool) {
	part, _ := bits.Mul64(uint64(x), r.inverse)
	over := uint64(x)*r.part - part*r.c
	if over >= r.c {
		over -= r.c
		part++
	}
	hi, whole := bits.Mul64(uint64(x), r.whole)
	if sum := whole + part; hi == 0 && whole|sum <= math.MaxInt64 { // part is at most x
		return int64(sum), over != 0
	}
	return math.MaxInt64, false
}
