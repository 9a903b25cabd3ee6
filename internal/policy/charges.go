package policy

import (
	"fmt"

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

// TooLarge is why a request can never pass: even the least that it can use is
// more than a limit lets through at once.
type TooLarge struct {
	Rule *Rule
	// Message is for the client, and names the largest value that passes.
	Message string
}

// Need estimates what the request needs. A request whose path is not metered
// needs itself and a place in flight.
func (p *Policy) Need(c *traffic.Caller, a *traffic.Ask) Need {
	var n Need
	n.Amounts[penstock.Requests], n.Least[penstock.Requests] = 1, 1
	n.Amounts[penstock.Concurrent], n.Least[penstock.Concurrent] = 1, 1
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

// output is how many output tokens are reserved, and how many are the least.
func (p *Policy) output(c *traffic.Caller, a *traffic.Ask) (reserve, least int64) {
	if a.Kind == traffic.Embeddings {
		return 0, 0
	}
	if p.estimate.Reserve == "max" && a.MaxOutput >= 0 {
		return a.MaxOutput, a.MaxOutput
	}
	answers := min(max(a.Answers, 1), 1<<20)
	reserve = a.MaxOutput
	if p.estimate.Reserve == "learned" && c.Verified {
		if p99, ok := p.learned.P99(c.ID, a.Model); ok && (reserve < 0 || p99*answers < reserve) {
			return p99 * answers, 0
		}
	}
	if reserve < 0 {
		reserve = p.estimate.Output * answers
	}
	return reserve, 0
}

// Charges appends to dst what the request is charged: its caller's plan, the
// model's limits, and what all share. An amount that is a guess, or the
// client's mere maximum, is cut to what the limit lets through at once; when
// even the least is more, that is a TooLarge.
func (p *Policy) Charges(dst []penstock.Charge, c *traffic.Caller, a *traffic.Ask, n *Need) ([]penstock.Charge, *TooLarge) {
	var large *TooLarge
	add := func(g *group, key, overflow string, keep bool) {
		for i := range g.rules {
			l := &g.rules[i].Limit
			amount, most := n.Amounts[l.Unit], l.Most()
			if amount == 0 && n.Least[l.Unit] == 0 {
				continue
			}
			if large == nil && n.Least[l.Unit] > most {
				large = &TooLarge{Rule: &g.rules[i], Message: tooLarge(a, n, l.Unit, most)}
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
	if m := p.modelOf(a.Model); m != nil {
		if p.perModel {
			add(m.group, "model|"+m.name+"|"+c.ID, "model|"+m.name+"|"+overflow, c.Listed)
		} else {
			add(m.group, "model|"+m.name, "", true)
		}
	}
	if p.global != nil {
		add(p.global, globalKey, "", true)
	}
	return dst, large
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
	if c.Verified && a.Kind != traffic.Embeddings {
		p.learned.Learn(c.ID, a.Model, u.Output/max(a.Answers, 1))
	}
}

// tooLarge tells the client of a request that can never pass what would.
func tooLarge(a *traffic.Ask, n *Need, u penstock.Unit, most int64) string {
	const bytesPerToken = 128 // at which the least input is reckoned
	input, output := n.Least[penstock.InputTokens], n.Least[penstock.OutputTokens]
	words := map[penstock.Unit]string{
		penstock.InputTokens:  "input tokens",
		penstock.OutputTokens: "output tokens",
		penstock.Tokens:       "tokens",
	}[u]
	text := fmt.Sprintf("This request needs at least %d %s; at most %d can pass at once. ", n.Least[u], words, most)
	switch {
	case u == penstock.OutputTokens:
		return text + fmt.Sprintf("Ask for at most %d output tokens.", most)
	case u == penstock.Tokens && output > 0 && input < most:
		return text + fmt.Sprintf("Ask for at most %d output tokens.", most-input)
	}
	ids := a.LeastInput - (a.TextBytes+bytesPerToken-1)/bytesPerToken
	if a.TextBytes == 0 || ids >= most {
		return text + fmt.Sprintf("Send at most %d input tokens.", most)
	}
	return text + fmt.Sprintf("Send at most %d bytes of text.", (most-ids)*bytesPerToken)
}
