package policy

import (
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
)

// Idle returns what is valid in the configuration that p was compiled from and
// can never match or never deny, as far as the compiled rules show it. What one
// set of limits shows by itself, config has warned of.
func (p *Policy) Idle(c *config.Config) (warnings []config.Warning) {
	if !p.enabled {
		return nil
	}
	warn := func(path, format string, args ...any) {
		warnings = append(warnings, config.Warning{Path: "rate_limiting." + path, Message: fmt.Sprintf(format, args...)})
	}
	// Of a group only the rules of its own section: it may have others', which
	// have their own turn.
	limits := func(path, section string, g *group, plans ...*group) {
		if g == nil {
			return
		}
		for i := range g.rules {
			l := &g.rules[i]
			if name, own := strings.CutPrefix(l.Name, section); own {
				if why := p.idle(g, l, plans); why != "" {
					warn(path+name, "%s", why)
				}
			}
		}
	}
	r := &c.RateLimiting
	limits("default.", "default.", p.plan)
	bypass := map[[32]byte]bool{}
	for _, k := range r.Bypass.Keys {
		bypass[k.Digest] = true
	}
	for i, g := range p.own {
		path := fmt.Sprintf("per_key.keys[%d]", i)
		if bypass[r.PerKey.Keys[i].Key.Digest] {
			warn(path, "never matches: this key is one of bypass.keys, and skips every limit")
			continue
		}
		limits(path+".", "per_key.", g)
	}
	var plans []*group
	if p.perModel {
		plans = append([]*group{p.plan}, p.own...)
	}
	for i := range p.models {
		m := &p.models[i]
		path := fmt.Sprintf("per_model.models[%q]", m.name)
		if first := p.shadows(i); first != "" {
			warn(path, "never matches: %q stands before it, is as long, and matches every name that it does", first)
			continue
		}
		limits(path+".", "per_model."+m.name+".", m.group, plans...)
	}
	return warnings
}

// idle says why the rule l of g never denies; empty when it may. It does not
// when what all share does before, or every one of the plans that it stands
// beside.
func (p *Policy) idle(g *group, l *Rule, plans []*group) string {
	for i := range g.rules {
		// Of the same unit, or the same window, config knows.
		if o := &g.rules[i]; o.Limit.Unit != l.Limit.Unit && o.Limit.Window != l.Limit.Window {
			if why := o.before(l); why != "" {
				return why
			}
		}
	}
	if p.global != nil {
		for i := range p.global.rules {
			// Of the same name, config knows.
			if o := &p.global.rules[i]; o.Limit.Name != l.Limit.Name {
				if why := o.before(l); why != "" {
					return why
				}
			}
		}
	}
	first := ""
	for i, plan := range plans {
		why := ""
		if plan != nil {
			for j := range plan.rules {
				if why = plan.rules[j].before(l); why != "" {
					break
				}
			}
		}
		if why == "" {
			return ""
		}
		if i == 0 {
			first = why
		}
	}
	return first
}

// before says why a rule that both are charged for denies before l ever does;
// empty when it need not.
func (r *Rule) before(l *Rule) string {
	a, b := &r.Limit, &l.Limit
	if a.Unit != b.Unit && (a.Unit != penstock.Tokens || b.Unit != penstock.InputTokens && b.Unit != penstock.OutputTokens) {
		return ""
	}
	if a.Window == b.Window {
		if a.Amount < b.Amount {
			return fmt.Sprintf("%d is above %s of %d, which denies first", b.Amount, r.Name, a.Amount)
		}
		return ""
	}
	if a.Algorithm == penstock.TokenBucket && b.Algorithm == penstock.TokenBucket {
		fastHi, fastLo := bits.Mul64(uint64(a.Amount), uint64(b.Window))
		hi, lo := bits.Mul64(uint64(b.Amount), uint64(a.Window))
		if a.Capacity <= b.Capacity && (fastHi < hi || fastHi == hi && fastLo <= lo) {
			return fmt.Sprintf("never denies: %s holds no more and is refilled no faster", r.Name)
		}
		return ""
	}
	if a.Window == penstock.Month {
		return ""
	}
	long := b.Window
	if long == penstock.Month {
		long = 31 * 24 * time.Hour
	}
	times := int64(long / a.Window)
	if times > 0 && (long%a.Window != 0 || a.Algorithm == penstock.TokenBucket) {
		times += 2 // it may begin in the middle of one, and end so; a bucket is full at first
	}
	if hi, total := bits.Mul64(uint64(a.Amount), uint64(times)); times > 0 && hi == 0 && total <= uint64(b.Amount) {
		return fmt.Sprintf("never denies: %s lets at most %d pass in the same time", r.Name, total)
	}
	return ""
}

// shadows returns the entry of per_model that takes every name that the i-th
// matches; empty when some are left. Only a glob as long can: a name is always
// its own longest match.
func (p *Policy) shadows(i int) string {
	m := &p.models[i]
	if !m.glob {
		return ""
	}
	// What the other matches with a letter in the place of every * that no
	// name has, it matches with anything there.
	every := strings.ReplaceAll(m.name, "*", "\x00")
	for j := range i {
		if o := &p.models[j]; o.glob && o.fixed == m.fixed && globMatches(o.name, every) {
			return o.name
		}
	}
	return ""
}
