package reply

import (
	"math"
	"math/bits"
	"net/http"
	"strconv"
	"time"
)

// unit is a unit of limits and its three headers in a set.
type unit struct{ name, limit, remaining, reset string }

func (u unit) drop(out http.Header) {
	delete(out, u.limit)
	delete(out, u.remaining)
	delete(out, u.reset)
}

// openAIUnits and anthropicUnits have the names in canonical form, and are
// never changed.
var (
	openAIUnits = [...]unit{
		{"requests", "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
		{"tokens", "X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
	}
	anthropicUnits = [...]unit{
		{"requests", "Anthropic-Ratelimit-Requests-Limit", "Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset"},
		{"tokens", "Anthropic-Ratelimit-Tokens-Limit", "Anthropic-Ratelimit-Tokens-Remaining", "Anthropic-Ratelimit-Tokens-Reset"},
		{"input_tokens", "Anthropic-Ratelimit-Input-Tokens-Limit", "Anthropic-Ratelimit-Input-Tokens-Remaining", "Anthropic-Ratelimit-Input-Tokens-Reset"},
		{"output_tokens", "Anthropic-Ratelimit-Output-Tokens-Limit", "Anthropic-Ratelimit-Output-Tokens-Remaining", "Anthropic-Ratelimit-Output-Tokens-Reset"},
	}
)

// openAISet appends resets as OpenAI does: durations like 6m0s, 8.64s, 120ms.
func openAISet(b []byte, f *fields, limits []Limit, binding int) []byte {
	for _, u := range openAIUnits {
		if l := tightest(limits, u.name, binding); l != nil {
			b = f.integer(b, u.limit, l.Limit)
			b = f.integer(b, u.remaining, max(l.Remaining, 0))
			ms := min(ceil(l.Reset, time.Millisecond), math.MaxInt64/int64(time.Millisecond))
			b = f.text(b, u.reset, (time.Duration(ms) * time.Millisecond).String())
		}
	}
	return b
}

// anthropicSet appends resets as instants of RFC 3339.
func anthropicSet(b []byte, f *fields, now time.Time, limits []Limit, binding int) []byte {
	for _, u := range anthropicUnits {
		if l := tightest(limits, u.name, binding); l != nil {
			b = f.integer(b, u.limit, l.Limit)
			b = f.integer(b, u.remaining, max(l.Remaining, 0))
			b = f.end(wholeAt(now, l).AppendFormat(b, time.RFC3339), u.reset)
		}
	}
	return b
}

// tightest returns the limit of a unit that a set with room for one shows: the
// binding one if it is of the unit, since a denial must not show a limit that
// passed, else the one with the smallest share left, among equals the one that
// takes longest to be whole. It returns nil where there is none.
func tightest(limits []Limit, unit string, binding int) *Limit {
	if binding >= 0 && binding < len(limits) && limits[binding].Unit == unit {
		return &limits[binding]
	}
	var least *Limit
	for i := range limits {
		l := &limits[i]
		if l.Unit != unit {
			continue
		}
		if least == nil {
			least = l
			continue
		}
		if c := compareShares(l, least); c < 0 || c == 0 && l.Reset > least.Reset {
			least = l
		}
	}
	return least
}

// compareShares compares what is left of a and b as shares of their sizes, by
// products of 128 bits. Of a limit of 0 nothing is left.
func compareShares(a, b *Limit) int {
	ah, al := bits.Mul64(uint64(max(a.Remaining, 0)), uint64(max(b.Limit, 1)))
	bh, bl := bits.Mul64(uint64(max(b.Remaining, 0)), uint64(max(a.Limit, 1)))
	if ah != bh {
		al, bl = ah, bh
	}
	switch {
	case al < bl:
		return -1
	case al > bl:
		return 1
	default:
		return 0
	}
}

const (
	ietfPolicy = "Ratelimit-Policy"
	ietfLimit  = "Ratelimit"
)

// ietfSet appends every limit as an item of two structured lists.
func ietfSet(b []byte, f *fields, limits []Limit) []byte {
	for i := range limits {
		l := &limits[i]
		b = appendItem(b, i, l.Name)
		b = appendParameter(b, ";q=", l.Limit)
		switch {
		case l.Unit == concurrent:
			b = append(b, `;qu="concurrent-requests"`...)
		case l.Window > 0: // a month is of no one length
			b = appendParameter(b, ";w=", max(ceil(l.Window, time.Second), 1))
		}
	}
	b = f.end(b, ietfPolicy)
	for i := range limits {
		l := &limits[i]
		b = appendItem(b, i, l.Name)
		b = appendParameter(b, ";r=", l.Remaining)
		if l.Unit != concurrent {
			b = appendParameter(b, ";t=", ceil(l.Reset, time.Second))
		}
	}
	return f.end(b, ietfLimit)
}

const concurrent = "concurrent"

// appendItem begins item i of a structured list with a String (RFC 9651).
// Bytes that a String cannot hold are written as %XX.
func appendItem(b []byte, i int, name string) []byte {
	if i > 0 {
		b = append(b, ", "...)
	}
	b = append(b, '"')
	for _, c := range []byte(name) {
		switch {
		case c < ' ' || c > '~':
			const digits = "0123456789ABCDEF"
			b = append(b, '%', digits[c>>4], digits[c&15])
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// appendParameter appends a parameter of an item, within what a structured
// Integer can hold.
func appendParameter(b []byte, name string, v int64) []byte {
	b = append(b, name...)
	return strconv.AppendInt(b, min(max(v, 0), 999_999_999_999_999), 10)
}
