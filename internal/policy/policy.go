// Package policy compiles a configuration's rate limiting into rules, and says
// what a request is charged: which limits, under which keys, how much.
package policy

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strings"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// A Rule is one limit of the configuration, as it was compiled.
type Rule struct {
	// Name is the limit's place in the configuration, such as
	// default.requests_per_minute or per_model.gpt-4.tokens_per_minute. It
	// holds no key. Metrics and logs call the rule so.
	Name string
	// Shown is what clients read, unique among the limits of a request:
	// requests_per_minute, gpt-4.tokens_per_minute, global.requests_per_second.
	Shown string
	// Match says which requests the rule is for, and Per for whom each of its
	// counters is.
	Match, Per string
	// Limit is what it holds them to.
	Limit penstock.Limit
	// Global says that it is of the section global, whose denials have an
	// answer of their own.
	Global bool
}

// group is rules that are counted under one key: a plan, the entry of a model,
// or what all share.
type group struct {
	limits *penstock.Limits
	rules  []Rule // by index of the limit
}

// Policy is the compiled rules. It does not change, and may be used by any
// number of goroutines; Learned within it changes and may be shared with the
// policy that replaces it.
type Policy struct {
	enabled  bool
	plan     *group            // of a caller without one of its own; nil if it has no limits
	plans    map[string]*group // by Caller.ID; nil values are plans without limits
	own      []*group          // those of plans in the order of the file
	models   []model
	perModel bool // per caller, not one for all
	global   *group
	bypass   bypass
	estimate config.Estimate
	learned  *Learned
	byLimits map[*penstock.Limits]*group
}

type bypass struct {
	paths map[string]bool
	ips   []netip.Prefix
}

// CallerID is the ID under which identity knows the caller of a listed key.
func CallerID(k config.Key) string {
	if k.ID != "" {
		return "key:" + k.ID
	}
	return fmt.Sprintf("key-sha256:%x", k.Digest)
}

// New compiles the configuration. Learned is what the policy before it has
// learned; nil begins anew. The error is a limit that cannot be counted.
func New(c *config.Config, learned *Learned) (*Policy, error) {
	if learned == nil {
		learned = NewLearned()
	}
	p := &Policy{
		estimate: c.Estimate,
		learned:  learned,
		plans:    map[string]*group{},
		byLimits: map[*penstock.Limits]*group{},
		bypass:   bypass{paths: map[string]bool{}},
	}
	r := &c.RateLimiting
	if p.enabled = r.Enabled; !p.enabled {
		return p, nil
	}
	for _, path := range r.Bypass.Paths {
		p.bypass.paths[path] = true
	}
	p.bypass.ips = r.Bypass.IPs

	b := builder{rate: r, policy: p}
	base := b.rules("default", r.Default)
	p.plan = b.group(base, "any", "caller")
	if r.PerKey.Enabled {
		for _, k := range r.PerKey.Keys {
			plan := override(base, b.rules("per_key", k.Limits))
			g := b.group(plan, "key "+keyName(k.Key), "caller")
			p.plans[CallerID(k.Key)], p.own = g, append(p.own, g)
		}
	}
	if r.PerModel.Enabled {
		p.perModel = r.PerModel.Scope != "all"
		per := "caller and model"
		if !p.perModel {
			per = "model"
		}
		for _, m := range r.PerModel.Models {
			rules := b.rules("per_model."+m.Name, m.Limits)
			for i := range rules {
				rules[i].Shown = m.Name + "." + rules[i].Shown
			}
			// One without limits counts too: it lifts what a shorter one says.
			p.models = append(p.models, newModel(m.Name, b.group(rules, "model "+m.Name, per)))
		}
	}
	rules := b.rules("global", r.Global)
	for i := range rules {
		rules[i].Shown, rules[i].Global = "global."+rules[i].Shown, true
	}
	p.global = b.group(rules, "any", "all")
	return p, b.err
}

// keyName is how a table of rules calls a listed key.
func keyName(k config.Key) string {
	if k.ID != "" {
		return k.ID
	}
	return fmt.Sprintf("listed in line %d", k.Line)
}

// builder compiles the limits of one configuration, and keeps the first error.
type builder struct {
	rate   *config.RateLimiting
	policy *Policy
	err    error
}

// rules compiles limits that stand under section. Those that are unlimited
// have an Amount of 0.
func (b *builder) rules(section string, limits config.Limits) []Rule {
	rules := make([]Rule, len(limits))
	for i, l := range limits {
		rules[i] = Rule{Name: section + "." + l.Name, Shown: l.Name, Limit: b.limit(l)}
	}
	return rules
}

var units = map[string]penstock.Unit{
	"requests":      penstock.Requests,
	"tokens":        penstock.Tokens,
	"input_tokens":  penstock.InputTokens,
	"output_tokens": penstock.OutputTokens,
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
	w := b.rate.Window
	steps := defaultSteps
	if w.Precision > 0 {
		steps = int(w.Size / w.Precision)
	}
	if l.Per == "minute" && w.Size != time.Minute {
		out.Window, out.Amount = w.Size, scale(l.Amount, w.Size)
	}
	switch b.rate.Algorithm {
	case "fixed_window":
		out.Algorithm = penstock.FixedWindow
	case "token_bucket":
		out.Algorithm = penstock.TokenBucket
	default:
		out.Precision = penstock.Precision(out.Window, steps)
	}
	return out
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

// group makes a group of the rules that limit something; nil when none does.
func (b *builder) group(rules []Rule, match, per string) *group {
	g := &group{}
	var limits []penstock.Limit
	for _, r := range rules {
		if r.Limit.Amount == 0 {
			continue // unlimited
		}
		r.Match, r.Per = match, per
		limits = append(limits, r.Limit)
		g.rules = append(g.rules, r)
	}
	if len(limits) == 0 {
		return nil
	}
	var err error
	if g.limits, err = penstock.NewLimits(limits...); err != nil {
		if b.err == nil {
			b.err = fmt.Errorf("policy: %s: %w", g.rules[0].Name, err)
		}
		return nil
	}
	for i := range g.rules {
		g.rules[i].Limit = g.limits.At(i)
	}
	b.policy.byLimits[g.limits] = g
	return g
}

// Rule returns the rule that a charge is made by.
func (p *Policy) Rule(c *penstock.Charge) *Rule { return &p.byLimits[c.Limits].rules[c.Index] }

// Rules returns all rules in the order in which they apply: the default plan,
// those of single keys, those of models, and what all share.
func (p *Policy) Rules() (rules []Rule) {
	add := func(g *group) {
		if g != nil {
			rules = append(rules, g.rules...)
		}
	}
	add(p.plan)
	for _, g := range p.own {
		add(g)
	}
	for i := range p.models {
		add(p.models[i].group)
	}
	add(p.global)
	return rules
}

// Kept is how many counters the known few can have at most: those of listed
// callers and of rules that count for all. A store keeps room for them.
func (p *Policy) Kept(listed int) int {
	n := listed + 1
	if p.perModel {
		return n + listed*len(p.models)
	}
	return n + len(p.models)
}

// Bypass reports whether a request skips every limit: by its caller's key, by
// its path, which is exact when the raw bytes are those of the cleaned one, or
// by an address that is certain.
func (p *Policy) Bypass(c *traffic.Caller, path string, exact bool) bool {
	if !p.enabled {
		return false
	}
	if c.Bypass || exact && p.bypass.paths[path] {
		return true
	}
	if !c.AddrCertain {
		return false
	}
	for _, n := range p.bypass.ips {
		if n.Contains(c.Addr) {
			return true
		}
	}
	return false
}

// planOf returns the caller's plan; nil when nothing limits it.
func (p *Policy) planOf(c *traffic.Caller) *group {
	if c.Listed {
		if g, own := p.plans[c.ID]; own {
			return g
		}
	}
	return p.plan
}

// ModelNames returns the names of models that rules give without a glob: those
// that metrics may show before a worker has answered for them.
func (p *Policy) ModelNames() (names []string) {
	for i := range p.models {
		if !strings.Contains(p.models[i].name, "*") {
			names = append(names, p.models[i].name)
		}
	}
	return names
}
