package config

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// check looks at what one key alone does not show.
func (r *reader) check(c *Config) {
	r.checkListen(c)
	if c.MaxBufferedBytes < c.MaxBodyBytes {
		r.failAt(r.given("max_buffered_bytes", "max_body_bytes"), "max_buffered_bytes is less than max_body_bytes: a body of that size could never be held")
	}
	r.checkLimits(&c.RateLimiting)
}

// checkListen settles what depends on whether the addresses are loopback.
func (r *reader) checkListen(c *Config) {
	if sameSocket(c.Listen, c.AdminListen) {
		r.failAt(r.given("admin_listen", "listen"), "listen and admin_listen are the same address: give the admin port another one")
	}
	if !isLoopback(c.AdminListen) && c.Admin.Token == "" && !r.has("admin.token") {
		r.failAt("admin_listen", "not a loopback address, so admin.token must say who may use it")
	}
	if !isLoopback(c.Listen) && !r.has("trusted_proxies") {
		c.TrustedProxies = nil
	}
}

// has reports whether the file or a flag said something at path.
func (r *reader) has(path string) bool {
	_, ok := r.places[path]
	return ok
}

// given returns the one of two keys to blame: the first, if it was said.
func (r *reader) given(first, second string) string {
	if r.has(first) {
		return first
	}
	return second
}

// checkLimits looks at all sets of limits: is there one at all, does the
// window suit them, and which can never be the one that denies.
func (r *reader) checkLimits(c *RateLimiting) {
	for _, t := range r.tiers {
		for _, l := range t.own {
			switch {
			case !l.Unlimited:
				r.checkIdle(t, l, c.Global)
			case t.base:
				r.warnAt(join(t.path, l.Name), "unlimited lifts nothing here: it is said where a limit is overridden")
			}
		}
	}
	switch {
	case !c.Enabled && r.has("rate_limiting.enabled"):
		r.warnAt("rate_limiting.enabled", "false, so nothing is limited")
	case !c.limits() && len(r.errors.list) == 0: // else the limits may be among what is wrong
		r.warnAt("rate_limiting", "there is no limit, so everything passes")
	}
	r.checkWindow(c.Window.Size)
	r.checkBurst(c.Burst, c.Window.Size)
}

// limits reports whether anything at all is limited.
func (c *RateLimiting) limits() bool {
	some := func(l Limits) bool {
		return slices.ContainsFunc(l, func(l Limit) bool { return !l.Unlimited })
	}
	return c.Concurrent.Enabled || some(c.Default) || some(c.Global) || len(c.Rules) > 0 ||
		slices.ContainsFunc(c.Roles, func(l RoleLimits) bool { return some(l.Limits) }) ||
		slices.ContainsFunc(c.PerEndpoint, func(e EndpointLimits) bool { return some(e.Limits) }) ||
		c.PerKey.Enabled && slices.ContainsFunc(c.PerKey.Keys, func(k KeyLimits) bool { return some(k.Limits) }) ||
		c.PerModel.Enabled && slices.ContainsFunc(c.PerModel.Models, func(m ModelLimits) bool { return some(m.Limits) })
}

// checkIdle warns of a limit that something beside it makes idle.
func (r *reader) checkIdle(t tier, l Limit, global Limits) {
	warn := func(format string, args ...any) { r.warnAt(join(t.path, l.Name), format, args...) }
	text := func(n int64) string { return amountText(l.Unit, n) }
	if g, ok := global.get(l.Name); ok && g.Amount < l.Amount && !g.Unlimited && t.path != globalPath {
		warn("%s is above the global limit of %s, which denies first", text(l.Amount), text(g.Amount))
	}
	for _, other := range t.plan {
		switch {
		case other.Unlimited || other.Per == "":
		case other.Unit == l.Unit && other.longest() < l.longest():
			times := int64(l.longest() / other.longest())
			if hi, total := bits.Mul64(uint64(other.Amount), uint64(times)); hi == 0 && total <= uint64(l.Amount) {
				warn("never denies: %s lets at most %s pass per %s", other.Name, text(int64(total)), l.Per)
				return
			}
		case other.Per == l.Per && other.Unit == "tokens" && strings.HasSuffix(l.Unit, "_tokens") && other.Amount < l.Amount:
			warn("%d is above %s of %d, which denies first", l.Amount, other.Name, other.Amount)
		}
	}
}

// checkWindow holds window.size to the per-minute limits: over a window of
// that size each must come out whole, and small enough to be exact.
func (r *reader) checkWindow(size time.Duration) {
	if size == time.Minute {
		return
	}
	const path = "rate_limiting.window.size"
	var bad []string
	seen := make(map[string]bool)
	step := int64(1) // the sizes that suit every limit are its multiples, in microseconds
	for _, t := range r.tiers {
		for _, l := range t.own {
			if l.Per != "minute" || l.Unlimited {
				continue
			}
			need := time.Minute.Microseconds() / gcd(l.Amount, time.Minute.Microseconds())
			step = step / gcd(step, need) * need
			text := amountText(l.Unit, l.Amount)
			if size.Microseconds()%need != 0 && !seen[text] {
				bad = append(bad, text)
			}
			seen[text] = true
			if tooLarge(l.Amount, size) {
				r.failAt(join(t.path, l.Name), "too large to be measured over a window of %s: say unlimited", durationText(size))
			}
		}
	}
	if len(bad) == 0 {
		return
	}
	below := time.Duration(size.Microseconds()/step*step) * time.Microsecond
	var fit []string
	for _, d := range []time.Duration{below, below + time.Duration(step)*time.Microsecond} {
		if d >= minWindow && d <= maxWindow {
			fit = append(fit, durationText(d))
		}
	}
	r.failAt(path, "%s a minute is not whole over %s: write %s", amounts(bad), durationText(size), strings.Join(fit, " or "))
}

// tooLarge reports whether amount a minute is more than maxAmount in size.
func tooLarge(amount int64, size time.Duration) bool {
	hi, lo := bits.Mul64(uint64(amount), uint64(size))
	total, _ := bits.Div64(hi, lo, uint64(time.Minute))
	return total > maxAmount
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// amounts lists the first few.
func amounts(list []string) string {
	const most = 5
	words := list[:min(len(list), most)]
	if more := len(list) - most; more > 0 {
		words = append(slices.Clone(words), strconv.Itoa(more)+" more")
	}
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
