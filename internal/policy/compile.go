package policy

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// builder compiles the limits of one configuration, and keeps the first error.
type builder struct {
	rate   *config.RateLimiting
	policy *Policy
	err    error
}

// plans compiles the plan of every caller, and those of roles and of keys over
// it.
func (b *builder) plans() {
	p, r := b.policy, b.rate
	base := b.rules("default", "", r.Default)
	own := func(name, match string, rules []Rule, below *plan, turn config.Turn) *plan {
		one := &plan{group: b.group(rules, match, "caller", "plan")}
		one.class, one.weight = below.with(turn)
		b.turn(name, match, turn, one)
		return one
	}
	p.plan = own("default", "any", base, p.plan, r.Turn)
	roles := map[string][]Rule{}
	for _, role := range r.Roles {
		name := "roles." + role.Name
		rules := override(base, b.rules(name, "", role.Limits))
		one := own(name, "role "+role.Name, rules, p.plan, role.Turn)
		roles[role.Name], p.roles[role.Name], p.own = rules, one, append(p.own, one.group)
	}
	if !r.PerKey.Enabled {
		return
	}
	for _, k := range r.PerKey.Keys {
		role := cmp.Or(k.Key.Role, traffic.RoleUser)
		rules, below := base, p.plan
		if one, ok := p.roles[role]; ok {
			rules, below = roles[role], one
		}
		one := own("per_key", "key "+keyName(k.Key), override(rules, b.rules("per_key", "", k.Limits)), below, k.Turn)
		if one.group != nil {
			one.group.handle = penstock.NewHandle(CallerID(k.Key))
		}
		p.plans[CallerID(k.Key)], p.own = one, append(p.own, one.group)
	}
}

// models compiles the limits by model.
func (b *builder) models() {
	p, r := b.policy, b.rate
	if !r.PerModel.Enabled {
		return
	}
	p.perModel = r.PerModel.Scope != "all"
	per := "caller and model"
	if !p.perModel {
		per = "model"
	}
	for _, m := range r.PerModel.Models {
		rules := b.rules("per_model."+m.Name, m.Name+".", m.Limits)
		// One without limits counts too: it lifts what a shorter one says.
		g := b.group(rules, "model "+m.Name, per, modelKey+m.Name)
		if g != nil && !p.perModel {
			g.only(modelKey + m.Name)
		}
		p.models = append(p.models, model{m.Name, modelKey + m.Name, g})
	}
	for i := range p.models {
		p.modelOf.Add(p.models[i].name, &p.models[i])
	}
}

// rules compiles limits that stand under section, and that clients read with
// prefix in front. Those that are unlimited have an Amount of 0.
func (b *builder) rules(section, prefix string, limits config.Limits) []Rule {
	rules := make([]Rule, len(limits))
	for i, l := range limits {
		rules[i] = Rule{Name: section + "." + l.Name, Shown: prefix + l.Name, Limit: b.limit(l)}
	}
	return rules
}

var units = map[string]penstock.Unit{
	"requests":      penstock.Requests,
	"tokens":        penstock.Tokens,
	"input_tokens":  penstock.InputTokens,
	"output_tokens": penstock.OutputTokens,
	"cost":          penstock.Cost,
	"concurrent":    penstock.Concurrent,
}

var windows = map[string]time.Duration{
	"":       0,
	"second": time.Second,
	"minute": time.Minute,
	"hour":   time.Hour,
	"day":    24 * time.Hour,
	"month":  penstock.Month,
}

// defaultSteps is how many steps a sliding window has at most when the
// configuration does not say its precision.
const defaultSteps = 60

// limit is a configured limit, measured as rate_limiting.algorithm and .window
// say.
func (b *builder) limit(l config.Limit) penstock.Limit {
	out := penstock.Limit{Name: l.Name, Unit: units[l.Unit], Amount: l.Amount, Window: windows[l.Per]}
	if l.Unit == "concurrent" || l.Per == "month" {
		return out
	}
	if w := b.rate.Window; l.Per == "minute" && w.Size != time.Minute {
		out.Window, out.Amount = w.Size, scale(l.Amount, w.Size)
	}
	if out.Algorithm = algorithms[b.rate.Algorithm]; out.Algorithm == penstock.SlidingWindow {
		out.Precision = b.precision(out.Window)
	}
	return out
}

var algorithms = map[string]penstock.Algorithm{
	"sliding_window": penstock.SlidingWindow,
	"fixed_window":   penstock.FixedWindow,
	"token_bucket":   penstock.TokenBucket,
}

// precision is the step of a sliding window of that size, as fine as that of the
// configured one.
func (b *builder) precision(size time.Duration) time.Duration {
	steps := defaultSteps
	if w := b.rate.Window; w.Precision > 0 {
		steps = int(w.Size / w.Precision)
	}
	return penstock.Precision(size, steps)
}

// scale is what amount a minute comes to in size, which may be more than any
// limit can have, but does not wrap around.
func scale(amount int64, size time.Duration) int64 {
	hi, lo := bits.Mul64(uint64(amount), uint64(size))
	if hi >= uint64(time.Minute) {
		return math.MaxInt64
	}
	n, _ := bits.Div64(hi, lo, uint64(time.Minute))
	return int64(min(n, math.MaxInt64))
}

// override is the plan base with what own names in its place.
func override(base, own []Rule) []Rule {
	plan := append([]Rule(nil), base...)
next:
	for _, o := range own {
		for i := range plan {
			if plan[i].Shown == o.Shown {
				plan[i] = o
				continue next
			}
		}
		plan = append(plan, o)
	}
	return plan
}

// group makes a group of the rules that limit something, and of the bursts that
// smooth them; nil when none does. Who finds no room for a counter of its own
// shares one of that key, followed by what is shared.
func (b *builder) group(rules []Rule, match, per, key string) *group {
	var limiting []Rule
	for _, r := range rules {
		if r.Limit.Amount == 0 {
			continue // unlimited
		}
		r.Match, r.Per, r.most = match, per, r.Limit.Most()
		limiting = append(limiting, r)
	}
	return b.counted(b.bursts(limiting), key)
}

// counted makes a group of rules as they are.
func (b *builder) counted(rules []Rule, key string) *group {
	if len(rules) == 0 {
		return nil
	}
	g := &group{rules: rules, overflow: newOverflow(key)}
	limits := make([]penstock.Limit, len(rules))
	for i := range rules {
		limits[i] = rules[i].Limit
	}
	var err error
	if g.limits, err = penstock.NewLimits(limits...); err != nil {
		if b.err == nil {
			b.err = fmt.Errorf("policy: %s: %w", rules[0].Name, err)
		}
		return nil
	}
	for i := range rules {
		rules[i].Limit = g.limits.At(i)
		b.policy.money = b.policy.money || rules[i].Limit.Unit == penstock.Cost
	}
	b.policy.byLimits[g.limits] = g
	return g
}

// bursts adds to rules, with rate_limiting.burst, a shorter one beside the
// shortest of each unit.
func (b *builder) bursts(rules []Rule) []Rule {
	burst := b.rate.Burst
	if !burst.Enabled {
		return rules
	}
	var shortest [penstock.NumUnits]*Rule
	for i := range rules {
		r := &rules[i]
		if s := shortest[r.Limit.Unit]; r.Limit.Window != 0 && (s == nil || windowOf(r.Limit) < windowOf(s.Limit)) {
			shortest[r.Limit.Unit] = r
		}
	}
	all := slices.Clone(rules)
	for _, s := range shortest {
		if s == nil {
			continue
		}
		// One of a unit, whatever it smooths: two plans are not two bursts.
		l := penstock.Limit{
			Name:      s.Limit.Unit.String() + "_burst",
			Unit:      s.Limit.Unit,
			Amount:    burst.Of(s.Limit.Amount, windowOf(s.Limit)),
			Window:    burst.Window,
			Precision: b.precision(burst.Window),
			Overdraw:  true,
		}
		r := *s
		r.Name = strings.TrimSuffix(r.Name, s.Limit.Name) + l.Name
		r.Shown = strings.TrimSuffix(r.Shown, s.Limit.Name) + l.Name
		r.Limit, r.Burst = l, true // and most stays: a guess is cut as the longer one cuts it
		all = append(all, r)
	}
	return all
}

// windowOf is the size of a limit's window. What a burst lets pass of a month's
// is never too little to use all of it.
func windowOf(l penstock.Limit) time.Duration {
	if l.Window == penstock.Month {
		return config.ShortestMonth
	}
	return l.Window
}
