package policy

import (
	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// Need is what a request is taken to need before it runs.
type Need struct {
	// Amounts is what is reserved, by unit.
	Amounts penstock.Amounts
	// Least is what it uses at the least, whatever the answer.
	Least penstock.Amounts
}

// Need estimates what the request needs. A request whose path is not metered
// needs itself and a place in flight, a list of models itself alone.
func (p *Policy) Need(c *traffic.Caller, a *traffic.Ask) Need {
	var n Need
	n.Amounts[penstock.Requests], n.Least[penstock.Requests] = 1, 1
	if a.TakesSlot() {
		n.Amounts[penstock.Concurrent], n.Least[penstock.Concurrent] = 1, 1
	}
	if !a.Metered() {
		return n
	}
	output, least := p.output(c, a)
	set := func(to *penstock.Amounts, input, output int64) {
		input, output = min(input, penstock.MaxAmount/2), min(output, penstock.MaxAmount/2)
		to[penstock.InputTokens], to[penstock.OutputTokens], to[penstock.Tokens] = input, output, input+output
	}
	set(&n.Amounts, a.Input, output)
	set(&n.Least, a.LeastInput, least)
	return n
}

// output is how many output tokens are reserved, and how many are the least. It
// is never none of an endpoint that generates: some workers take a maximum of 0
// for no maximum, and a charge of none passes whatever the limit.
func (p *Policy) output(c *traffic.Caller, a *traffic.Ask) (reserve, least int64) {
	if !a.Generates() {
		return 0, 0
	}
	if p.estimate.Reserve == "max" && a.MaxOutput >= 0 {
		return max(a.MaxOutput, 1), a.MaxOutput
	}
	answers := min(max(a.Answers, 1), 1<<20)
	reserve = a.MaxOutput
	if reserve < 0 {
		reserve = p.estimate.Output * answers
	}
	if p.estimate.Reserve == "learned" && c.Verified {
		if p99, ok := p.learned.P99(c.ID, a.Model); ok && (a.MaxOutput < 0 || p99*answers < reserve) {
			reserve = p99 * answers
		}
	}
	return max(reserve, 1), 0
}

// Charges appends to dst what the request is charged: its caller's plan, the
// model's limits, and what all share. An amount that is a guess, or the
// client's mere maximum, is cut to what the limit lets through at once; when
// even the least is more, that is a TooLarge.
func (p *Policy) Charges(dst []penstock.Charge, c *traffic.Caller, a *traffic.Ask, n *Need) ([]penstock.Charge, *TooLarge) {
	begin := len(dst)
	var tightest *Rule // of those that the request is too large for
	add := func(g *group, key, overflow string, keep bool) {
		for i := range g.rules {
			l := &g.rules[i].Limit
			amount, most := n.Amounts[l.Unit], l.Most()
			if amount == 0 && n.Least[l.Unit] == 0 && !(a.Metered() && tokenUnit(l.Unit)) {
				continue // of tokens even none is charged: it may turn out to be more
			}
			if n.Least[l.Unit] > most && (tightest == nil || most < tightest.Limit.Most()) {
				tightest = &g.rules[i]
			}
			dst = append(dst, penstock.Charge{
				Key:      key,
				Limits:   g.limits,
				Index:    i,
				Amount:   min(max(amount, n.Least[l.Unit]), most),
				Overflow: overflow,
				Keep:     keep,
			})
		}
	}
	// Who finds no room for a counter of its own shares one with its like.
	overflow := "overflow"
	if c.Verified {
		overflow = "overflow of " + c.Tenant
	}
	if g := p.planOf(c); g != nil {
		add(g, planKey(c), "plan|"+overflow, c.Listed)
	}
	if a.Metered() {
		if m := p.modelOf(a.Model); m != nil && m.group != nil {
			if p.perModel {
				add(m.group, "model|"+m.name+"|"+c.ID, "model|"+m.name+"|"+overflow, c.Listed)
			} else {
				add(m.group, "model|"+m.name, "", true)
			}
		}
	}
	if p.global != nil {
		add(p.global, globalKey, "", true)
	}
	if tightest == nil {
		return dst, nil
	}
	return dst, &TooLarge{Rule: tightest, Message: tooLarge(tightest, dst[begin:], a, n)}
}

func tokenUnit(u penstock.Unit) bool {
	return u == penstock.Tokens || u == penstock.InputTokens || u == penstock.OutputTokens
}

// Precheck appends to dst the charges that are known before the body is read:
// the request itself, of the plan and of what all share.
func (p *Policy) Precheck(dst []penstock.Charge, c *traffic.Caller) []penstock.Charge {
	var a traffic.Ask
	n := p.Need(c, &a)
	dst, _ = p.Charges(dst, c, &a, &n)
	return dst
}

// Standing appends to dst charges of nothing on every limit of the caller's
// plan, to look at how it stands; a nil caller is what all share.
func (p *Policy) Standing(dst []penstock.Charge, c *traffic.Caller) []penstock.Charge {
	g, key := p.global, globalKey
	if c != nil {
		g, key = p.planOf(c), planKey(c)
	}
	if g == nil {
		return dst
	}
	for i := range g.rules {
		dst = append(dst, penstock.Charge{Key: key, Limits: g.limits, Index: i, Keep: c == nil || c.Listed})
	}
	return dst
}

// The keys of counters. A plan's is the caller's alone: two plans are not two
// budgets.
const globalKey = "global"

func planKey(c *traffic.Caller) string { return "plan|" + c.ID }

// Learn takes in how long an answer was that came to its end.
func (p *Policy) Learn(c *traffic.Caller, a *traffic.Ask, u traffic.Usage) {
	if c.Verified && a.Generates() {
		p.learned.Learn(c.ID, a.Model, u.Output/max(a.Answers, 1))
	}
}
