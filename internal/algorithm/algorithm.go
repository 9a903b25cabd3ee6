// Package algorithm is the arithmetic of limits: sliding window, fixed window
// and token bucket. It holds no clock, no lock and does no I/O: every function
// takes the state and the time and says what follows.
//
// Times and durations are int64 microseconds, times counted from the Unix
// epoch; amounts are int64 in the unit's smallest part. Nothing is a float.
// A time may lie before one seen earlier: the functions then answer as if the
// clock had stood still, so that a clock set back never frees anything.
package algorithm

import (
	"math"
	"math/bits"
)

// Never is the wait of a charge that can never pass.
const Never int64 = math.MaxInt64

// floorDiv returns a/b rounded towards minus infinity; b is positive.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// ceilDiv returns a/b rounded towards plus infinity; b is positive.
func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b > 0 {
		q++
	}
	return q
}

// mulDiv returns a*b/c of non-negative numbers with a 128-bit product, rounded
// down and cut at math.MaxInt64, and whether there was a remainder.
func mulDiv(a, b, c int64) (q int64, rest bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(c) {
		return math.MaxInt64, false
	}
	quo, rem := bits.Div64(hi, lo, uint64(c))
	if quo > math.MaxInt64 {
		return math.MaxInt64, false
	}
	return int64(quo), rem != 0
}

// add returns a+b, cut at math.MaxInt64 and math.MinInt64.
func add(a, b int64) int64 {
	s := a + b
	switch {
	case a > 0 && b > 0 && s < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && s >= 0:
		return math.MinInt64
	}
	return s
}
