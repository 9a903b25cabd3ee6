package policy

import (
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// A Turn is what the configuration says, in one of its places, of whose turn it
// is where requests wait.
type Turn struct {
	// Name is the place, such as default, roles.admin or rules.nightly, and
	// Match for whom it is.
	Name, Match string
	Class       traffic.Class
	// Weight is at least 1; that of a rule is 0, since plans alone have one.
	Weight int64
}

// plan is what a caller has by being who it is.
type plan struct {
	group  *group // nil when nothing limits it
	class  traffic.Class
	weight int64
}

// with is the class and the weight of the plan with what own says in their
// place.
func (p *plan) with(own config.Turn) (traffic.Class, int64) {
	class, weight := p.class, p.weight
	if own.Priority != "" {
		class = classes[own.Priority]
	}
	if own.Weight != 0 {
		weight = own.Weight
	}
	return class, weight
}

var classes = map[string]traffic.Class{
	"interactive": traffic.ClassInteractive,
	"default":     traffic.ClassDefault,
	"bulk":        traffic.ClassBulk,
}

// Turn returns the class in which a request waits where requests do, and what
// its caller weighs beside others of that class. The class is that of the first
// rule that matches and has one, else that of the caller's plan.
func (p *Policy) Turn(c *traffic.Caller, t Target, a *traffic.Ask) (traffic.Class, int64) {
	own := p.planOf(c)
	for _, i := range p.classed {
		if r := &p.rules[i]; r.matches(c, &t, a) {
			return r.class, own.weight
		}
	}
	return own.class, own.weight
}

// Turns returns all that the configuration says of turns, in the order of
// [Policy.Rules]: the first rule that matches goes before every plan.
func (p *Policy) Turns() []Turn { return p.turns }

// turn notes what the plan of that name says.
func (b *builder) turn(name, match string, own config.Turn, p *plan) {
	if own != (config.Turn{}) {
		b.policy.turns = append(b.policy.turns, Turn{name, match, p.class, p.weight})
	}
}
