// Package reply writes what a client sees of its limits: the headers of every
// limited answer, and the answers that penstock gives itself, in the dialect
// of the path.
package reply

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// Limit is one limit as a client may know it. The amounts are in the limit's
// smallest unit.
type Limit struct {
	// Name tells it from the others of a request: requests_per_minute,
	// gpt-4.tokens_per_minute.
	Name string
	// Unit is requests, tokens, input_tokens, output_tokens, cost,
	// concurrent, or anything else.
	Unit string
	// Smooths says that it only smooths a larger one, so that nobody need be
	// warned of it.
	Smooths bool
	// Limit is its size, and Remaining what is left of it; debt counts as 0.
	Limit, Remaining int64
	// Window is what the size is measured over; not above 0 for concurrent and
	// for a calendar month.
	Window time.Duration
	// Reset is how long it takes to be whole again if nobody took from it; 0
	// when it is whole or nobody knows.
	Reset time.Duration
}

// Set is a family of headers beside the documents' own four.
type Set uint8

// The sets.
const (
	// IETF is RateLimit-Policy and RateLimit, the list form of
	// draft-ietf-httpapi-ratelimit-headers-10.
	IETF Set = iota
	// OpenAI is x-ratelimit-{limit,remaining,reset}-{requests,tokens}.
	OpenAI
	// Anthropic is anthropic-ratelimit-{requests,tokens,input-tokens,
	// output-tokens}-{limit,remaining,reset}.
	Anthropic
)

// HeaderOptions is what NewHeaders needs. The zero value gives the documents'
// names and the sets of each path's dialect.
type HeaderOptions struct {
	// Off switches all of them off.
	Off bool
	// Limit, Remaining and Reset name the headers of the binding limit; empty
	// is X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset. The
	// fourth is Reset + "-After".
	Limit, Remaining, Reset string
	// Sets are the further ones. Nil is what the path's dialect has, OpenAI's
	// or Anthropic's; empty is none.
	Sets []Set
}

// Headers sets the rate-limit headers of answers. It is safe for concurrent
// use.
type Headers struct {
	off                                bool
	limit, remaining, reset, resetting string // the last is -After
	byDialect                          bool
	sets                               [Anthropic + 1]bool
}

// NewHeaders returns Headers, or an error that names the option whose name is
// no header name or names two headers.
func NewHeaders(o HeaderOptions) (*Headers, error) {
	h := &Headers{off: o.Off, byDialect: o.Sets == nil}
	for _, s := range o.Sets {
		if s > Anthropic {
			return nil, fmt.Errorf("reply: there is no set %d of headers", s)
		}
		h.sets[s] = true
	}
	var seen []string
	for _, n := range []struct {
		option, name, standard string
		canonical              *string
	}{
		{"limit", o.Limit, "X-RateLimit-Limit", &h.limit},
		{"remaining", o.Remaining, "X-RateLimit-Remaining", &h.remaining},
		{"reset", o.Reset, "X-RateLimit-Reset", &h.reset},
	} {
		name := n.name
		if name == "" {
			name = n.standard
		}
		if strings.ContainsFunc(name, func(r rune) bool { return !tokenRune(r) }) {
			return nil, fmt.Errorf("reply: the name of the %s header is %q: use letters, digits and hyphens", n.option, name)
		}
		*n.canonical = http.CanonicalHeaderKey(name)
		if slices.Contains(seen, *n.canonical) {
			return nil, fmt.Errorf("reply: the name of the %s header is %q, as another's is: give each its own", n.option, name)
		}
		seen = append(seen, *n.canonical)
	}
	h.resetting = h.reset + "-After"
	if slices.Contains(seen, h.resetting) {
		return nil, fmt.Errorf("reply: %q is the name of two headers, since the reset header's is followed by -After: give each its own", h.resetting)
	}
	return h, nil
}

// tokenRune reports whether r may be in a header's name.
func tokenRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// Set sets in out, the header of the answer to a path of dialect d, what
// limits say at now. binding is the index of the limit that the documents'
// four headers are about; where there is no such limit they are not set. The
// values are made for this answer alone: net/http may write them after the
// handler has returned.
func (h *Headers) Set(out http.Header, d traffic.Dialect, now time.Time, limits []Limit, binding int) {
	if h.off || len(limits) == 0 {
		return
	}
	var room [1024]byte
	b := room[:0]
	var f fields
	if binding >= 0 && binding < len(limits) {
		b = h.four(b, &f, now, &limits[binding])
	}
	if h.active(OpenAI, d) {
		b = openAISet(b, &f, limits, binding)
	}
	if h.active(Anthropic, d) {
		b = anthropicSet(b, &f, now, limits, binding)
	}
	if h.active(IETF, d) {
		b = ietfSet(b, &f, limits)
	}
	f.set(out, b)
}

// Drop removes every header that Set sets on a path of dialect d from out, a
// worker's answer.
func (h *Headers) Drop(out http.Header, d traffic.Dialect) {
	if h.off {
		return
	}
	for _, name := range [...]string{h.limit, h.remaining, h.reset, h.resetting} {
		delete(out, name)
	}
	if h.active(OpenAI, d) {
		for _, u := range openAIUnits {
			u.drop(out)
		}
	}
	if h.active(Anthropic, d) {
		for _, u := range anthropicUnits {
			u.drop(out)
		}
	}
	if h.active(IETF, d) {
		delete(out, ietfPolicy)
		delete(out, ietfLimit)
	}
}

// active reports whether answers to paths of dialect d have the set.
func (h *Headers) active(s Set, d traffic.Dialect) bool {
	return h.sets[s] || h.byDialect && (s == OpenAI && d == traffic.OpenAI || s == Anthropic && d == traffic.Anthropic)
}

// four appends the documents' headers of the binding limit.
func (h *Headers) four(b []byte, f *fields, now time.Time, l *Limit) []byte {
	b = f.integer(b, h.limit, l.Limit)
	b = f.integer(b, h.remaining, max(l.Remaining, 0))
	b = f.integer(b, h.reset, wholeAt(now, l).Unix())
	return f.integer(b, h.resetting, ceil(l.Reset, time.Second))
}

// wholeAt returns the first whole second at which l is whole again.
func wholeAt(now time.Time, l *Limit) time.Time {
	at := now.Add(max(l.Reset, 0)).UTC()
	if at.Nanosecond() > 0 {
		at = at.Add(time.Second).Truncate(time.Second)
	}
	return at
}

// ceil returns d in grains, rounded up; 0 when d is negative.
func ceil(d, grain time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64((d-1)/grain) + 1
}
