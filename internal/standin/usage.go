package standin

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Usage is how a worker reports the tokens that a request used.
type Usage int

// The ways to report usage. All but the first two are garbage that a gateway must
// not believe.
const (
	UsageTrue     Usage = iota // "report": as it was
	UsageWithheld              // "withhold": no usage at all
	UsageNegative              // "negative": numbers below zero
	UsageHuge                  // "huge": the largest 64-bit integer
	UsageString                // "string": the numbers as strings
	UsageFloat                 // "float": half a token too many
	UsageNull                  // "null": null where the usage should be
)

// ParseUsage reads the name of a way to report usage: report, withhold, or
// garbage: and one of negative, huge, string, float and null. The word garbage:
// may be left away.
func ParseUsage(s string) (Usage, error) {
	switch strings.TrimPrefix(s, "garbage:") {
	case "negative":
		return UsageNegative, nil
	case "huge":
		return UsageHuge, nil
	case "string":
		return UsageString, nil
	case "float":
		return UsageFloat, nil
	case "null":
		return UsageNull, nil
	}
	switch s {
	case "report":
		return UsageTrue, nil
	case "withhold":
		return UsageWithheld, nil
	}
	return 0, fmt.Errorf("%.40q is no way to report usage; write report, withhold, or garbage: with negative, huge, string, float or null", s)
}

// figure is a number of tokens as it is reported.
type figure struct {
	tokens int64
	how    Usage
}

// MarshalJSON writes the number, or the garbage in its place.
func (f figure) MarshalJSON() ([]byte, error) {
	switch f.how {
	case UsageNegative:
		return strconv.AppendInt(nil, -f.tokens-1, 10), nil
	case UsageHuge:
		return strconv.AppendInt(nil, math.MaxInt64, 10), nil
	case UsageString:
		return strconv.AppendQuote(nil, strconv.FormatInt(f.tokens, 10)), nil
	case UsageFloat:
		return append(strconv.AppendInt(nil, f.tokens, 10), ".5"...), nil
	default:
		return strconv.AppendInt(nil, f.tokens, 10), nil
	}
}
