package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/modelname"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// Idle returns what is valid in the configuration that p was compiled from and
// can never match, count or deny, as far as the compiled rules show it.
// endpoints returns what a POST to a path may be in which a * stands for any
// letters; nil when it may be anything.
func (p *Policy) Idle(c *config.Config, endpoints func(path string) []traffic.Endpoint) []config.Warning {
	if !p.enabled {
		return nil
	}
	s := search{Policy: p, config: c, gate: c.Gate(), kinds: endpoints, bypass: map[[32]byte]bool{}, priced: map[string]bool{}}
	for _, k := range c.RateLimiting.Bypass.Keys {
		s.bypass[k.Digest] = true
	}
	s.who = p.people(c, s.bypass)
	s.plans = s.who.byPlan()
	s.scopes = make([]scope, len(p.rules))
	for i := range s.scopes {
		s.scopes[i] = s.scopeOf(i)
	}
	s.plansOfAll()
	s.plansOfKeys()
	s.perModel()
	s.perEndpoint()
	s.general()
	s.limits(&section{path: "global", prefix: "global.", scope: scope{who: s.who}}, p.global)
	return s.warnings
}

// search is one look for what is idle.
type search struct {
	*Policy
	config   *config.Config
	gate     config.Gate
	kinds    func(path string) []traffic.Endpoint
	bypass   map[[32]byte]bool
	who      people
	plans    plans
	scopes   []scope         // of the general rules, but for the people
	priced   map[string]bool // models that were looked up
	warnings []config.Warning
}

// section is one place of the configuration with limits.
type section struct {
	path   string // below rate_limiting
	called string // how its warnings call it; empty where the path does
	prefix string // what the names of its rules begin with
	plan   bool   // it is for whoever has its rules in his plan, and no others' plan is beside it
	scope
}

func (s *search) warn(at *section, path, format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	if at.called != "" {
		why = at.called + ": " + why
	}
	s.warnings = append(s.warnings, s.config.Warning("rate_limiting."+path, why))
}

// plansOfAll looks at default, which has the limits of limits, too, and at roles.
func (s *search) plansOfAll() {
	s.limits(&section{path: "default", prefix: "default.", plan: true, scope: scope{per: []dimension{perCaller}}}, s.plan.group)
	for i, role := range s.config.RateLimiting.Roles {
		at := section{path: fmt.Sprintf("roles[%q]", role.Name), prefix: "roles." + role.Name + ".", plan: true, scope: scope{per: []dimension{perCaller}}}
		if !s.plans.roles[role.Name] {
			s.warn(&at, at.path, "never matches: nobody has this role; auth.keys says who does")
			continue
		}
		s.limits(&at, s.own[i])
	}
}

func (s *search) plansOfKeys() {
	r := &s.config.RateLimiting
	for i, g := range s.own[len(r.Roles):] {
		key := r.PerKey.Keys[i].Key
		at := section{path: fmt.Sprintf("per_key.keys[%d]", i), prefix: "per_key.", plan: true, scope: scope{per: []dimension{perCaller}, who: s.plans.having[g]}}
		if key.ID != "" {
			at.called = "key " + key.ID
		}
		if s.bypass[key.Digest] {
			s.warn(&at, at.path, "never matches: this key is one of bypass.keys, and skips every limit")
			continue
		}
		s.limits(&at, g)
	}
}

func (s *search) perModel() {
	shadowed := s.shadowed()
	for i := range s.models {
		m := &s.models[i]
		at := section{path: fmt.Sprintf("per_model.models[%q]", m.name), prefix: "per_model." + m.name + ".", scope: scope{models: []string{m.name}, who: s.who}}
		if s.Policy.perModel {
			at.per = []dimension{perCaller}
		}
		if first := shadowed[i]; first != "" {
			s.warn(&at, at.path, "never matches: %q stands before it, is as long, and matches every name that it does", first)
			continue
		}
		s.unpriced(&at, at.path)
		s.limits(&at, m.group)
	}
}

func (s *search) perEndpoint() {
	for i := range s.endpoints {
		e := &s.endpoints[i]
		at := section{
			path: fmt.Sprintf("per_endpoint[%d].limits", e.index), called: e.name, prefix: "per_endpoint." + e.name + ".",
			scope: scope{paths: []string{e.path}, methods: e.methods, who: s.who, per: []dimension{perCaller}},
		}
		if first := s.beats(i); first != "" {
			s.warn(&at, strings.TrimSuffix(at.path, ".limits"), "never matches: %s matches every request that it does, and comes before it", first)
			continue
		}
		s.limits(&at, e.group)
	}
}

// general looks at rules.
func (s *search) general() {
	for i := range s.rules {
		r := &s.config.RateLimiting.Rules[i]
		path := fmt.Sprintf("rules[%d]", i)
		at := section{path: path, called: "rule " + r.Name, prefix: "rules." + r.Name, scope: s.scopes[i]}
		at.who = s.who.matching(&r.Match)
		switch {
		case len(at.who) == 0:
			s.warn(&at, path+".match", "never matches: %s", s.who.nobody(&r.Match))
			continue
		case len(at.models) > 0 && !at.reading(s.kinds).body:
			s.warn(&at, path+".match", "never matches: no body of these requests is read, so that they have no model")
			continue
		case s.rules[i].group != nil:
			s.unpriced(&at, path+".match.model")
			s.limits(&at, s.rules[i].group)
		}
		if first := s.classedBefore(i, &at.scope); first != "" {
			s.warn(&at, path+".priority", "never applies: rule %s comes before it, and has one for every request that it matches", first)
		}
	}
}

// classedBefore returns the rule whose class goes before that of the i-th for
// all that it matches; empty when there is none, or the i-th has no class.
func (s *search) classedBefore(i int, of *scope) string {
	if !slices.Contains(s.classed, i) {
		return ""
	}
	for _, j := range s.classed {
		if j < i && s.scopes[j].matchesAll(of) {
			return s.config.RateLimiting.Rules[j].Name
		}
	}
	return ""
}

// scopeOf is that of the i-th of the general rules, but for the people.
func (s *search) scopeOf(i int) scope {
	r, m := &s.rules[i], s.config.RateLimiting.Rules[i].Match
	return scope{r.models, r.paths, r.methods, r.ips, m, nil, r.per}
}

// unpriced looks for models of the section that have no price.
func (s *search) unpriced(at *section, path string) {
	for _, name := range at.models {
		if s.money && at.reading(s.kinds).tokens && !modelname.IsGlob(name) && !s.priced[name] && s.unlisted([]string{name}) {
			s.warn(at, path, "the model %s costs pricing.default: neither pricing.models nor the built-in table lists it", name)
		}
		s.priced[name] = true
	}
}

// limits looks at the rules of g that are of the section. A group may have
// others', which have their own turn.
func (s *search) limits(at *section, g *group) {
	if g == nil {
		return
	}
	can := at.reading(s.kinds)
	for i := range g.rules {
		l := &g.rules[i]
		name, own := strings.CutPrefix(l.Name, at.prefix)
		if !own || l.Burst {
			continue
		}
		path := s.placeOf(at, name)
		of := at.scope
		if at.plan && of.who == nil {
			of.who = s.plans.on[l.Name]
		}
		switch why := can.counts(l.Limit.Unit); {
		case why != "":
			s.warn(at, path, "%s", why)
			continue
		default:
			if why := s.denied(&of, at.plan, g, l); why != "" {
				s.warn(at, path, "%s", why)
			}
		}
		if l.Shadow {
			continue
		}
		if why := s.greedy(l, at.models, can); why != "" {
			s.warn(at, path, "%s", why)
		}
		if why := s.beyondGate(&l.Limit); why != "" {
			s.warn(at, path, "%s", why)
		}
	}
}

// beyondGate says why a limit of what is in flight is beyond what the gateway's
// own slots let in; empty when it is not.
func (s *search) beyondGate(l *penstock.Limit) string {
	slots, where := s.gate.Most(), "admission.max_concurrent_requests"
	switch {
	case s.config.RateLimiting.Concurrent.Enabled:
		where = "concurrent.max_concurrent"
	case s.gate.Adaptive.Enabled:
		where = "admission.adaptive.max"
	}
	switch {
	case l.Unit != penstock.Concurrent || slots == 0 || l.Amount <= slots:
		return ""
	case l.Amount > slots+s.gate.QueueSize:
		return fmt.Sprintf("%d is above %s of %d and its queue of %d, which deny first", l.Amount, where, slots, s.gate.QueueSize)
	}
	return fmt.Sprintf("%d is above %s of %d: the others wait in its queue, where they count, too", l.Amount, where, slots)
}

// placeOf is where a section says the limit of that name.
func (s *search) placeOf(at *section, name string) string {
	switch {
	case name == "":
		return at.path + ".limit"
	case strings.HasPrefix(name, "."):
		return at.path + name // a candidate
	case at.path == "default" && !s.config.Says("rate_limiting.default."+name):
		return "limits." + name
	}
	return at.path + "." + name
}

// denied says why the rule l of g never denies; empty when it may. It does not
// when a rule that counts all that it counts does before: one of its group, of
// what all share, of the general ones, or of every plan that is beside it.
func (s *search) denied(of *scope, plan bool, g *group, l *Rule) string {
	if why := g.before(l); why != "" {
		return why
	}
	if why := s.global.before(l); why != "" {
		return why
	}
	for i := range s.rules {
		if s.scopes[i].covers(of) {
			if why := s.rules[i].group.before(l); why != "" {
				return why
			}
		}
	}
	if plan || !of.tells(perCaller) {
		return ""
	}
	first := ""
	for i := range of.who {
		why := of.who[i].plan.before(l)
		if why == "" {
			return ""
		}
		if i == 0 {
			first = why
		}
	}
	return first
}
