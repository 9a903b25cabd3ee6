package sizing

import (
	"fmt"
	"strconv"
	"strings"
)

// Rate is a number of requests in time, in thousandths of a request a second.
type Rate int64

// PerSecond is a rate of one request a second.
const PerSecond Rate = 1000

const mostRate = 1_000_000 * PerSecond

// ParseRate reads a decimal number of requests a second, from 0.001 to a million.
func ParseRate(s string) (Rate, error) {
	wrong := fmt.Errorf("expected requests a second, from 0.001 to %v and with at most 3 decimals, such as 50 or 12.5; got %q", mostRate, s)
	whole, places, point := strings.Cut(s, ".")
	if point && places == "" || len(places) > 3 || strings.ContainsAny(s, "+-_") {
		return 0, wrong
	}
	n, err := strconv.ParseInt(whole+places+"000"[len(places):], 10, 64)
	if err != nil || whole == "" || n < 1 || n > int64(mostRate) {
		return 0, wrong
	}
	return Rate(n), nil
}

// String returns the rate in requests a second, as short as it is exact.
func (r Rate) String() string {
	s := fmt.Sprintf("%d.%03d", r/PerSecond, r%PerSecond)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
