package policy

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/modelname"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// Idle returns what is valid in the configuration that p was compiled from and
// can never match or never deny, as far as the compiled rules show it. What one
// set of limits shows by itself, config has warned of.
func (p *Policy) Idle(c *config.Config) (warnings []config.Warning) {
	if !p.enabled {
		return nil
	}
	warn := func(path, format string, args ...any) {
		warnings = append(warnings, config.Warning{Path: strings.TrimSuffix("rate_limiting."+path, "."), Message: fmt.Sprintf(format, args...)})
	}
	// Of a group only the rules of its own section: it may have others', which
	// have their own turn. Bursts and shadows deny nothing by themselves.
	limits := func(path, section string, g *group, plans ...*group) {
		if g == nil {
			return
		}
		for i := range g.rules {
			l := &g.rules[i]
			if name, own := strings.CutPrefix(l.Name, section); own && !l.Burst && !l.Shadow {
				if why := p.idle(g, l, plans); why != "" {
					warn(path+name, "%s", why)
				}
				if why := p.greedy(l); why != "" {
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
	who := holders(c, bypass)
	own := p.own
	for i, role := range r.Roles {
		path := fmt.Sprintf("roles[%q]", role.Name)
		if !who.have([]string{role.Name}, nil, nil) {
			warn(path, "never matches: nobody has this role; auth.keys says who does")
		} else {
			limits(path+".", "roles."+role.Name+".", own[i])
		}
	}
	for i, g := range own[len(r.Roles):] {
		path := fmt.Sprintf("per_key.keys[%d]", i)
		if bypass[r.PerKey.Keys[i].Key.Digest] {
			warn(path, "never matches: this key is one of bypass.keys, and skips every limit")
			continue
		}
		limits(path+".", "per_key.", g)
	}
	// What is counted per caller stands beside the plan of each.
	plans := append([]*group{p.plan}, own...)
	beside := plans
	if !p.perModel {
		beside = nil
	}
	for i := range p.models {
		m := &p.models[i]
		path := fmt.Sprintf("per_model.models[%q]", m.name)
		if first := p.shadows(i); first != "" {
			warn(path, "never matches: %q stands before it, is as long, and matches every name that it does", first)
			continue
		}
		limits(path+".", "per_model."+m.name+".", m.group, beside...)
	}
	for i := range p.endpoints {
		e := &p.endpoints[i]
		path := fmt.Sprintf("per_endpoint[%d]", e.index)
		if first := p.beats(i); first != "" {
			warn(path, "never matches: %s matches every request that it does, and comes before it", first)
			continue
		}
		limits(path+".limits.", "per_endpoint."+e.name+".", e.group, plans...)
	}
	for i := range p.rules {
		path := fmt.Sprintf("rules[%d]", i)
		if why := who.nobody(&r.Rules[i].Match); why != "" {
			warn(path+".match", "never matches: %s", why)
			continue
		}
		beside := plans
		if !slices.Contains(p.rules[i].per, perCaller) {
			beside = nil
		}
		limits(path+".limit", "rules."+r.Rules[i].Name, p.rules[i].group, beside...)
	}
	if p.money {
		for _, name := range p.ModelNames() {
			if _, listed := p.Price(name); !listed {
				warn("", "the model %s costs pricing.default: neither pricing.models nor the built-in table lists it", name)
			}
		}
	}
	if p.global != nil {
		for i := range p.global.rules {
			if l := &p.global.rules[i]; !l.Burst {
				if why := p.greedy(l); why != "" {
					warn(l.Name, "%s", why)
				}
			}
		}
	}
	return warnings
}

// person is a caller as a configuration knows it.
type person struct{ key, role, tenant string }

type people []person

// holders are the callers that a configuration names, but those whose keys skip
// every limit, and those whom it does not need to name.
func holders(c *config.Config, bypass map[[32]byte]bool) people {
	who := people{{role: traffic.RoleAnonymous}}
	if c.Auth.UnknownKeys != "by_address" {
		who = append(who, person{role: traffic.RoleUser})
	}
	add := func(k config.Key) {
		if !bypass[k.Digest] {
			who = append(who, person{k.ID, cmp.Or(k.Role, traffic.RoleUser), k.Tenant})
		}
	}
	for _, k := range c.Auth.Keys {
		add(k)
	}
	if c.RateLimiting.PerKey.Enabled {
		for _, k := range c.RateLimiting.PerKey.Keys {
			add(k.Key)
		}
	}
	return who
}

// have reports whether somebody is in all of the lists; an empty one has
// everybody.
func (who people) have(roles, tenants, keys []string) bool {
	return slices.ContainsFunc(who, func(p person) bool { return one(roles, p.role) && one(tenants, p.tenant) && one(keys, p.key) })
}

// nobody says why no caller matches; empty when some do.
func (who people) nobody(m *config.Match) string {
	switch {
	case who.have(m.Roles, m.Tenants, m.Keys):
		return ""
	case !who.have(m.Roles, nil, nil):
		return "nobody has the role " + strings.Join(m.Roles, " or ") + "; auth.keys says who does"
	case !who.have(nil, m.Tenants, nil):
		return "nobody is of the tenant " + strings.Join(m.Tenants, " or ") + "; auth.keys says who is"
	case !who.have(nil, nil, m.Keys):
		return "every key that it names is one of bypass.keys, and skips every limit"
	}
	return "no caller is all that it names of role, tenant and key"
}

// noModel is a name that no model has, whose price is that of all that are not
// listed.
const noModel = "\x00"

// greedy says that requests whose need is not known take all of the rule, one
// after the other; empty when they do not. What they ask for is cut to it.
func (p *Policy) greedy(l *Rule) string {
	output, media := p.estimate.Output, p.estimate.MediaPart
	if l.Limit.Unit == penstock.InputTokens {
		output = 0
	}
	if l.Limit.Unit == penstock.OutputTokens {
		media = 0
	}
	switch {
	case l.Limit.Unit == penstock.Cost:
		unlisted, listed := p.Price(noModel)
		if least := cheapest(unlisted).Cost(traffic.Usage{Input: 1}); least > l.most && !listed {
			return "one input token costs " + usd.Format(least) + " by pricing.default, so that no request to a model that is not listed can pass"
		}
	case !ofUsage(l.Limit.Unit):
	case output > l.most:
		return fmt.Sprintf("a request that names no maximum is taken for estimate.output of %d, and so takes all of it until it has ended", output)
	case media > l.most:
		return fmt.Sprintf("an image or file is taken for estimate.media_part of %d, and so takes all of it until the request has ended", media)
	}
	return ""
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
	if r.Shadow || r.Burst {
		return "" // a burst lets single charges of any size pass
	}
	if a.Unit != b.Unit && (a.Unit != penstock.Tokens || b.Unit != penstock.InputTokens && b.Unit != penstock.OutputTokens) {
		return ""
	}
	if a.Window == b.Window {
		if a.Amount < b.Amount {
			return fmt.Sprintf("%s is above %s of %s, which denies first", amountText(b.Unit, b.Amount), r.Name, amountText(a.Unit, a.Amount))
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
		return fmt.Sprintf("never denies: %s lets at most %s pass in the same time", r.Name, amountText(a.Unit, int64(total)))
	}
	return ""
}

// shadows returns the entry of per_model that takes every name that the i-th
// matches; empty when some are left. Only a glob as long can: a name is always
// its own longest match.
func (p *Policy) shadows(i int) string {
	m := &p.models[i]
	if !modelname.IsGlob(m.name) {
		return ""
	}
	// What the other matches with a letter in the place of every * that no
	// name has, it matches with anything there.
	every := strings.ReplaceAll(m.name, "*", "\x00")
	for j := range i {
		if o := &p.models[j]; modelname.IsGlob(o.name) && modelname.Fixed(o.name) == modelname.Fixed(m.name) && modelname.MatchesGlob(o.name, every) {
			return o.name
		}
	}
	return ""
}

// beats returns the entry of per_endpoint that takes every request that the i-th
// matches; empty when some are left.
func (p *Policy) beats(i int) string {
	e := &p.endpoints[i]
	every := strings.ReplaceAll(e.path, "*", "\x00")
	for j := range i { // those that come before it
		o := &p.endpoints[j]
		covers := len(o.methods) == 0 || len(e.methods) > 0 && !slices.ContainsFunc(e.methods, func(m string) bool { return !slices.Contains(o.methods, m) })
		if covers && modelname.MatchesGlob(o.path, every) {
			return o.name
		}
	}
	return ""
}
