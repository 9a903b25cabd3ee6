// Package policy compiles a configuration's rate limiting into rules, and says
// what a request is charged: which limits, under which keys, how much.
package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/modelname"
	"github.com/penstock-dev/penstock/internal/pricing"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// A Rule is one limit of the configuration, as it was compiled.
type Rule struct {
	// Name is the limit's place in the configuration, such as
	// default.requests_per_minute, per_model.gpt-4.tokens_per_minute or
	// rules.heavy-models. It holds no key. Metrics and logs call the rule so.
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
	// Shadow says that it decides nothing: its charges are shadows.
	Shadow bool
	// Burst says that it only smooths another one, by rate_limiting.burst.
	Burst bool

	most int64 // the largest single charge, which is a burst's limit's, too
}

// group is rules that are counted under one key: a plan, the entry of a model,
// or what all share.
type group struct {
	limits   *penstock.Limits
	rules    []Rule // by index of the limit
	overflow overflow
	one      bool             // there is one counter, which always has room
	handle   *penstock.Handle // of its key; nil where there are more
}

// only says that the group has one counter, of that key.
func (g *group) only(key string) { g.one, g.handle = true, penstock.NewHandle(key) }

// Policy is the compiled rules. It does not change, and may be used by any
// number of goroutines; Learned within it changes and may be shared with the
// policy that replaces it.
type Policy struct {
	enabled   bool
	plan      *plan            // of a caller without one of its own
	roles     map[string]*plan // by Caller.Role
	plans     map[string]*plan // by Caller.ID
	own       []*group         // those of roles, then of plans, in the order of the file; nil for none
	models    []model
	modelOf   modelname.Set[*model]
	perModel  bool // per caller, not one for all
	endpoints []endpoint
	rules     []rule
	classed   []int // those that have a class
	turns     []Turn
	global    *group
	bypass    bypass
	estimate  config.Estimate
	learned   *Learned
	prices    *pricing.Table
	money     bool // some limit counts cost
	priced    bool // the configuration has prices
	keys      keys
	byLimits  map[*penstock.Limits]*group
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
		prices:   prices(c.Pricing),
		priced:   len(c.Pricing.Models) > 0,
		plan:     &plan{weight: 1},
		roles:    map[string]*plan{},
		plans:    map[string]*plan{},
		keys:     newKeys(),
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
	b.plans()
	b.models()
	b.endpoints()
	for i := range r.Rules {
		p.rules = append(p.rules, b.rule(&r.Rules[i]))
		if r.Rules[i].Priority != "" {
			p.classed = append(p.classed, i)
		}
	}
	rules := b.rules("global", "global.", r.Global)
	for i := range rules {
		rules[i].Global = true
	}
	if p.global = b.group(rules, "any", "all", globalKey); p.global != nil {
		p.global.only(globalKey)
	}
	return p, b.err
}

// prices makes the table of what models cost.
func prices(c config.Pricing) *pricing.Table {
	models := make([]pricing.Model, len(c.Models))
	for i, m := range c.Models {
		models[i] = pricing.Model{Name: m.Name, Stated: pricing.Stated(m.Price)}
	}
	return pricing.New(pricing.Stated(c.Default), models)
}

// Price returns what the tokens of a model cost, and whether that is listed: by
// the configuration or in the built-in table.
func (p *Policy) Price(model string) (price pricing.Price, listed bool) { return p.prices.Of(model) }

// Cost returns what a usage of a model costs, in nano-USD.
func (p *Policy) Cost(model string, u traffic.Usage) int64 {
	price, _ := p.prices.Of(model)
	return price.Cost(u)
}

// Priced reports whether anybody wants to know what requests cost: a limit
// counts it, or the configuration has prices of models.
func (p *Policy) Priced() bool { return p.money || p.priced }

// keyName is how a table of rules calls a listed key.
func keyName(k config.Key) string {
	if k.ID != "" {
		return k.ID
	}
	return fmt.Sprintf("listed in line %d", k.Line)
}

// Rule returns the rule that a charge is made by.
func (p *Policy) Rule(c *penstock.Charge) *Rule { return &p.byLimits[c.Limits].rules[c.Index] }

// Rules returns all rules in the order in which they apply: the default plan,
// those of roles and of single keys, those of models and of endpoints, the
// general ones, and what all share.
func (p *Policy) Rules() (rules []Rule) {
	add := func(g *group) {
		if g != nil {
			rules = append(rules, g.rules...)
		}
	}
	add(p.plan.group)
	for _, g := range p.own {
		add(g)
	}
	for i := range p.models {
		add(p.models[i].group)
	}
	for i := range p.endpoints {
		add(p.endpoints[i].group)
	}
	for i := range p.rules {
		add(p.rules[i].group)
	}
	add(p.global)
	return rules
}

// Kept is how many counters the known few can have at most: those of listed
// callers and of rules that count for all. A store keeps room for them.
func (p *Policy) Kept(listed int) int {
	n := listed + 1 + listed*len(p.endpoints)
	if p.perModel {
		n += listed * len(p.models)
	} else {
		n += len(p.models)
	}
	for i := range p.rules {
		if p.rules[i].group != nil {
			n += p.rules[i].kept(listed)
		}
	}
	return n
}

// Bypass reports whether a request skips every limit: by its caller's key, by
// its path as it was sent, which is exact when nothing had to be cleaned of it, or
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

// planOf returns the caller's plan.
func (p *Policy) planOf(c *traffic.Caller) *plan {
	if c.Listed {
		if own := p.plans[c.ID]; own != nil {
			return own
		}
	}
	if len(p.roles) > 0 {
		if own := p.roles[c.Role]; own != nil {
			return own
		}
	}
	return p.plan
}

// ModelNames returns the names of models that rules give without a
// glob, each once: those that metrics may show before a worker has answered for
// them.
func (p *Policy) ModelNames() []string {
	return slices.DeleteFunc(p.ModelPatterns(), modelname.IsGlob)
}

// ModelPatterns returns the names and globs of models that rules give, each once.
func (p *Policy) ModelPatterns() (patterns []string) {
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name], patterns = true, append(patterns, name)
		}
	}
	for i := range p.models {
		add(p.models[i].name)
	}
	for i := range p.rules {
		for _, name := range p.rules[i].models {
			add(name)
		}
	}
	return patterns
}
