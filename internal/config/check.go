package config

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
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
	r.checkAdmission(c)
	r.checkLimits(c)
}

// checkListen settles what depends on whether the addresses are loopback.
func (r *reader) checkListen(c *Config) {
	if sameSocket(c.Listen, c.AdminListen) {
		r.failAt(r.given("admin_listen", "listen"), "listen and admin_listen are the same address: give the admin port another one")
	}
	for i := range c.Workers {
		path := fmt.Sprintf("workers[%d]", i)
		switch u := c.Workers[i].URL; {
		case len(r.errors.list) > 0: // the list may lack some
		case isSelf(u, c.Listen):
			r.failAt(path, "penstock itself listens on %s (listen), so that each request would go round without end: name the worker's own address", u.Host)
		case isSelf(u, c.AdminListen):
			r.failAt(path, "penstock itself listens on %s (admin_listen): name the worker's own address", u.Host)
		}
	}
	if !isLoopback(c.AdminListen) && c.Admin.Token == "" && !r.has("admin.token") {
		r.failAt("admin_listen", "not a loopback address, so admin.token must say who may use it")
	}
	if !r.has("trusted_proxies") {
		c.TrustedProxies = TrustedBy(c.Listen)
	}
}

// TrustedBy returns the TrustedProxies of who listens on an address, where nothing
// is said of them: this machine if nobody else reaches it there, else nobody.
func TrustedBy(listen string) []netip.Prefix {
	if !isLoopback(listen) {
		return nil
	}
	return loopbackNetworks()
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

// checkLimits looks at all sets of limits: is there one at all, and does the
// window suit them.
func (r *reader) checkLimits(all *Config) {
	c := &all.RateLimiting
	for _, t := range r.tiers {
		for _, l := range t.own {
			if l.Unlimited && t.base {
				r.warnAt(join(t.path, l.Name), "unlimited lifts nothing here: it is said where a limit is overridden")
			}
		}
	}
	switch {
	case !c.Enabled && r.has("rate_limiting.enabled") && all.Admission.on():
		r.warnAt("rate_limiting.enabled", "false, so nothing but what is in flight is limited, by admission")
	case !c.Enabled && r.has("rate_limiting.enabled"):
		r.warnAt("rate_limiting.enabled", "false, so nothing is limited")
	case !c.limits() && !all.Admission.on() && len(r.errors.list) == 0: // else the limits may be among what is wrong
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
	return c.Concurrent.Enabled || some(c.Default) || some(c.Global) ||
		slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Limit.Unit != "" }) ||
		slices.ContainsFunc(c.Roles, func(l RoleLimits) bool { return some(l.Limits) }) ||
		slices.ContainsFunc(c.PerEndpoint, func(e EndpointLimits) bool { return some(e.Limits) }) ||
		c.PerKey.Enabled && slices.ContainsFunc(c.PerKey.Keys, func(k KeyLimits) bool { return some(k.Limits) }) ||
		c.PerModel.Enabled && slices.ContainsFunc(c.PerModel.Models, func(m ModelLimits) bool { return some(m.Limits) })
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
			if l.Amount > most(size) {
				r.failAt(join(t.path, l.Name), "too large to be measured over a window of %s: write at most %s, or unlimited",
					durationText(size), amountText(l.Unit, most(size)))
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

// most is the largest amount a minute that is at most maxAmount in size.
func most(size time.Duration) int64 {
	hi, lo := bits.Mul64(maxAmount, uint64(time.Minute))
	if hi >= uint64(size) {
		return math.MaxInt64
	}
	n, _ := bits.Div64(hi, lo, uint64(size))
	return int64(min(n, math.MaxInt64))
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
