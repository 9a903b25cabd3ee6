package policy

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/modelname"
)

// scope is which requests rules are for, and what they are counted per. An empty
// list is for all.
type scope struct {
	models, paths, methods []string
	ips                    []netip.Prefix
	match                  config.Match // of which role, tenant and key count
	who                    people       // whom it is for, as match says; none: nobody
	per                    []dimension
}

// covers reports whether whatever one counter of b counts, one counter of s
// counts too. What is not certain is not so.
func (s *scope) covers(b *scope) bool {
	return s.matchesAll(b) &&
		!slices.ContainsFunc(s.per, func(d dimension) bool { return !b.tells(d) || d == perModel && !s.sameModels(b) })
}

// matchesAll reports whether s is for every request that b is for. What is not
// certain is not so.
func (s *scope) matchesAll(b *scope) bool {
	return b.who.match(&s.match) &&
		all(s.models, b.models, modelCovers) && all(s.paths, b.paths, globCovers) &&
		all(s.methods, b.methods, func(x, y string) bool { return x == y }) &&
		all(s.ips, b.ips, func(x, y netip.Prefix) bool { return x.Bits() <= y.Bits() && x.Contains(y.Addr()) })
}

// all reports whether the list s, in which an empty one is for everything, has
// something for everything that b has.
func all[T any](s, b []T, covers func(x, y T) bool) bool {
	if len(s) == 0 {
		return true
	}
	return len(b) > 0 && !slices.ContainsFunc(b, func(y T) bool {
		return !slices.ContainsFunc(s, func(x T) bool { return covers(x, y) })
	})
}

// globCovers reports whether a pattern matches all that another one does: what
// it matches with a letter in the place of every * that no name has, it matches
// with anything there.
func globCovers(pattern, other string) bool {
	return modelname.MatchesGlob(pattern, strings.ReplaceAll(other, "*", "\x00"))
}

// modelCovers is globCovers for models, of which a name has versions.
func modelCovers(pattern, other string) bool {
	return pattern == other || globCovers(pattern, other) && (modelname.IsGlob(other) || globCovers(pattern, other+"*"))
}

// tells reports whether all that one counter of s counts has the same value of a
// dimension.
func (s *scope) tells(d dimension) bool {
	by := func(dimensions ...dimension) bool {
		return slices.ContainsFunc(dimensions, func(d dimension) bool { return slices.Contains(s.per, d) })
	}
	switch d {
	case perTenant:
		return by(perTenant, perCaller, perKey) || s.who.agree(func(p *person) string { return p.tenant })
	case perRole:
		return by(perRole, perCaller, perKey) || s.who.agree(func(p *person) string { return p.role })
	case perCaller, perKey:
		return by(d, perCaller) || s.who.agree(func(p *person) string { return p.key }) && s.who[0].key != ""
	case perIP48:
		return by(perIP48, perIP)
	}
	return by(d)
}

// sameModels reports whether what is one model to b, which is counted per model,
// is one to s: b has no names that s does not have, under which it counts others.
func (s *scope) sameModels(b *scope) bool {
	return !slices.ContainsFunc(b.models, func(m string) bool { return !modelname.IsGlob(m) && !slices.Contains(s.models, m) })
}

// before says why one of the rules of a group that counts all that l counts
// denies whenever l would; empty when none need. A nil group has none.
func (g *group) before(l *Rule) string {
	if g != nil {
		for i := range g.rules {
			if why := g.rules[i].before(l); why != "" {
				return why
			}
		}
	}
	return ""
}

// before says why a rule that counts all that l counts denies whenever l would;
// empty when it need not.
func (r *Rule) before(l *Rule) string {
	a, b := &r.Limit, &l.Limit
	switch {
	case r == l || r.Shadow || r.Burst: // a burst lets single charges of any size pass
		return ""
	case a.Unit != b.Unit && (a.Unit != penstock.Tokens || b.Unit != penstock.InputTokens && b.Unit != penstock.OutputTokens):
		return ""
	case a.Algorithm == b.Algorithm && a.Size() == b.Size() && !faster(a, b) && !faster(b, a):
		return "" // neither is before the other
	case b.Algorithm == penstock.TokenBucket:
		if once(a) <= b.Size() && !faster(a, b) {
			return fmt.Sprintf("never denies: %s lets no more pass at once, and no more in the long run", r.Name)
		}
		return ""
	}
	most := passes(a, b)
	switch {
	case most > b.Amount:
		return ""
	case a.Amount < b.Amount && length(a.Window, shortestMonth) >= length(b.Window, shortestMonth):
		return fmt.Sprintf("%s is above %s of %s, which denies first", sizeText(b), r.Name, sizeText(a))
	}
	return fmt.Sprintf("never denies: %s lets at most %s pass in the same time", r.Name, amountText(a.Unit, most))
}

// sizeText is the amount of a limit, and where that is not of the window in its
// name, the window.
func sizeText(l *penstock.Limit) string {
	text := amountText(l.Unit, l.Amount)
	if strings.HasSuffix(l.Name, "_per_minute") && l.Window != time.Minute {
		text += " in " + l.Window.String()
	}
	return text
}

const (
	shortestMonth = 28 * 24 * time.Hour
	longestMonth  = 31 * 24 * time.Hour
)

// length is that of a window, of a month as long as that.
func length(window, month time.Duration) time.Duration {
	if window == penstock.Month {
		return month
	}
	return window
}

// once is the most that a limit lets pass in no time.
func once(l *penstock.Limit) int64 {
	if l.Algorithm == penstock.FixedWindow {
		return 2 * l.Amount // around an edge
	}
	return l.Size()
}

// faster reports whether a lets more pass than b in the long run.
func faster(a, b *penstock.Limit) bool {
	hiA, loA := bits.Mul64(uint64(a.Amount), uint64(length(b.Window, shortestMonth)))
	hiB, loB := bits.Mul64(uint64(b.Amount), uint64(length(a.Window, shortestMonth)))
	return hiA > hiB || hiA == hiB && loA > loB
}

// passes is the most that a limit lets pass in any window of b, which is no
// bucket.
func passes(a, b *penstock.Limit) int64 {
	if a.Window == 0 { // in flight, both
		return a.Amount
	}
	long, short := length(b.Window, longestMonth), length(a.Window, shortestMonth)
	if a.Window == b.Window {
		long = short
	}
	if a.Algorithm == penstock.TokenBucket { // full at first, then refilled
		return plus(a.Size(), share(a.Amount, int64(long), int64(short)))
	}
	windows := int64((long + short - 1) / short)
	if a.Algorithm == penstock.FixedWindow && (b.Algorithm != penstock.FixedWindow || !nested(a.Window, b.Window)) {
		windows++ // it begins in the middle of one, and ends so
	}
	return share(a.Amount, windows, 1)
}

// nested reports whether of two sizes of fixed windows every window of the longer
// begins and ends with one of the shorter: a month does with a day.
func nested(a, b time.Duration) bool {
	const day = 24 * time.Hour
	switch {
	case a == b:
		return true
	case a == penstock.Month:
		return day%b == 0
	case b == penstock.Month:
		return day%a == 0
	}
	return max(a, b)%min(a, b) == 0
}

// share is amount times n over of, rounded up; what no limit can be is cut.
func share(amount, n, of int64) int64 {
	hi, lo := bits.Mul64(uint64(amount), uint64(n))
	if hi >= uint64(of) {
		return math.MaxInt64
	}
	whole, rest := bits.Div64(hi, lo, uint64(of))
	if rest > 0 {
		whole++
	}
	return int64(min(whole, math.MaxInt64))
}

// plus is a + b, which are not negative, cut at the largest number.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
