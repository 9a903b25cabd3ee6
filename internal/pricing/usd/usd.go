// Package usd reads and writes amounts of US dollars exactly: as whole
// nano-USD, without a float in between.
package usd

import (
	"errors"
	"strconv"
	"strings"
)

const (
	// Dollar is one US dollar in nano-USD.
	Dollar int64 = 1e9
	// Max is the largest amount that [Parse] reads, in nano-USD: 2^53, which
	// every store counts exactly. It is a bit more than nine million dollars.
	Max int64 = 1 << 53
)

const decimals = 9

var (
	errForm     = errors.New("expected US dollars in digits, such as 30, 30.00 or 0.0375")
	errDecimals = errors.New("more than 9 decimals: 0.000000001 US dollars are the least that is counted")
	errLarge    = errors.New("more than 9007199.254740992 US dollars: that is the most that is counted")
)

// Parse reads an amount of US dollars from 0 to [Max] and returns it in
// nano-USD: digits, and after a point at most nine more. A sign, an exponent, a
// separator, a currency, a space, or a needless zero in front is refused. Of a
// price per million tokens it is the nano-USD for a million tokens.
//
// An error says what to write, and nothing of the text, which may have come out
// of a variable with a secret.
func Parse(text string) (nano int64, err error) {
	whole, fraction, point := strings.Cut(text, ".")
	switch {
	case !digits(whole), point && !digits(fraction), len(whole) > 1 && whole[0] == '0':
		return 0, errForm
	case len(fraction) > decimals:
		return 0, errDecimals
	case len(whole) > len("9007199"):
		return 0, errLarge
	}
	// At most 7 + 9 digits: they fit.
	for _, d := range []byte(whole + fraction) {
		nano = 10*nano + int64(d-'0')
	}
	for range decimals - len(fraction) {
		nano *= 10
	}
	if nano > Max {
		return 0, errLarge
	}
	return nano, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// Format writes an amount of nano-USD as US dollars, with two decimals and as
// many more as it takes to be exact: 30.00, 0.0375, -0.50. [Parse] reads back
// what it writes of amounts from 0 to [Max].
func Format(nano int64) string {
	sign, rest := "", uint64(nano)
	if nano < 0 {
		sign, rest = "-", -rest
	}
	text := strconv.FormatUint(rest, 10)
	if missing := decimals + 1 - len(text); missing > 0 {
		text = strings.Repeat("0", missing) + text
	}
	whole, fraction := text[:len(text)-decimals], text[len(text)-decimals:]
	return sign + whole + "." + fraction[:2] + strings.TrimRight(fraction[2:], "0")
}
