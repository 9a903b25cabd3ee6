package reply

import (
	"math/bits"
	"net/http"
	"strconv"
)

// warning is the header that tells of limits that are nearly used up.
const warning = "X-Ratelimit-Warning"

// Near reports whether at least 80 % of the limit is used. A place in flight
// comes back by itself and what smooths is full within seconds, so that neither
// limit is ever near.
func (l *Limit) Near() bool {
	return l.Unit != concurrent && !l.Smooths && l.Limit > 0 && l.Remaining <= l.Limit/5
}

// Warn sets in out, the header of an answer to an allowed request, which limits
// are nearly used up, and how far: "cost_per_day: 83% used". It names no
// amounts. A worker's own header of the name is removed.
func (h *Headers) Warn(out http.Header, limits []Limit) {
	if h.off {
		return
	}
	var room [128]byte
	b := room[:0]
	for i := range limits {
		l := &limits[i]
		if !l.Near() {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		for _, c := range []byte(l.Name) {
			if c < ' ' || c > '~' {
				c = '?'
			}
			b = append(b, c)
		}
		b = append(b, ": "...)
		b = strconv.AppendInt(b, l.used(), 10)
		b = append(b, "% used"...)
	}
	if len(b) == 0 {
		delete(out, warning)
		return
	}
	out[warning] = []string{string(b)}
}

// used is how many percent of the limit are used, rounded down; debt is no more
// than all of it.
func (l *Limit) used() int64 {
	left := min(max(l.Remaining, 0), l.Limit)
	hi, lo := bits.Mul64(uint64(l.Limit-left), 100)
	percent, _ := bits.Div64(hi, lo, uint64(l.Limit))
	return int64(percent)
}
