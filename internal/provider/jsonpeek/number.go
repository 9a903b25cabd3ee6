package jsonpeek

import "math"

// Whole returns the whole number that raw, a JSON number, stands for: 100, 100.0
// and 1e2 are the same one. For a fraction it returns 0 and false; for a whole
// number that 64 bits do not hold, math.MaxInt64 or math.MinInt64 and false.
func Whole(raw []byte) (n int64, ok bool) {
	var (
		digits   uint64 // up to the last one that is not zero
		over     bool   // digits is more than it can hold
		zeros    int64  // after that one
		fraction int64  // digits after the point
		exponent int64
	)
	i, sign := 0, int64(1)
	if i < len(raw) && raw[i] == '-' {
		i, sign = 1, -1
	}
	point := false
	for ; i < len(raw); i++ {
		b := raw[i]
		if b == '.' {
			point = true
			continue
		}
		if b == 'e' || b == 'E' {
			exponent = readExponent(raw[i+1:])
			break
		}
		if point {
			fraction++
		}
		if b == '0' {
			zeros++
			continue
		}
		for ; zeros >= 0 && !over && digits > 0; zeros-- {
			digits, over = times10(digits)
		}
		zeros = 0
		digits += uint64(b - '0')
		over = over || digits > math.MaxInt64
	}
	if digits == 0 && !over {
		return 0, true
	}
	scale := zeros + exponent - fraction
	if scale < 0 {
		return 0, false
	}
	for ; scale > 0 && !over; scale-- {
		digits, over = times10(digits)
	}
	if over && sign < 0 {
		return math.MinInt64, false
	}
	if over {
		return math.MaxInt64, false
	}
	return sign * int64(digits), true
}

// times10 returns ten times n, and whether that is more than an int64 holds.
func times10(n uint64) (product uint64, over bool) {
	if n > math.MaxInt64/10 {
		return n, true
	}
	return n * 10, false
}

// readExponent returns the exponent that raw writes. It stops growing where no
// document has digits enough to make up for it.
func readExponent(raw []byte) (n int64) {
	sign := int64(1)
	for _, b := range raw {
		switch {
		case b == '-':
			sign = -1
		case b == '+' || n > 1<<40:
		default:
			n = n*10 + int64(b-'0')
		}
	}
	return sign * n
}
