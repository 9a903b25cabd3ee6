package policy

import (
	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/pricing"
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
// needs itself and a place in flight, a list of models itself alone. Of what
// shows at the end of the answer only it is never nothing: a charge of none
// passes whatever the limit, and so would go on where the limit is long spent.
func (p *Policy) Need(c *traffic.Caller, a *traffic.Ask) Need {
	var n Need
	n.Amounts[penstock.Requests], n.Least[penstock.Requests] = 1, 1
	if a.TakesSlot() {
		n.Amounts[penstock.Concurrent], n.Least[penstock.Concurrent] = 1, 1
	}
	if !a.Metered() {
		return n
	}
	input := a.Input
	if a.Kind != traffic.ComfyPrompt {
		input = max(input, 1) // of what was not seen, such as a recording or what the worker remembers
	}
	output, least := p.output(c, a)
	set := func(to *penstock.Amounts, input, output int64) {
		input, output = min(input, penstock.MaxAmount/2), min(output, penstock.MaxAmount/2)
		to[penstock.InputTokens], to[penstock.OutputTokens], to[penstock.Tokens] = input, output, input+output
	}
	set(&n.Amounts, input, output)
	set(&n.Least, a.LeastInput, least)
	if p.money {
		price, _ := p.prices.Of(a.Model)
		n.Amounts[penstock.Cost] = price.Cost(traffic.Usage{Input: input, Output: output})
		n.Least[penstock.Cost] = cheapest(price).Cost(traffic.Usage{Input: a.LeastInput, Output: least})
	}
	return n
}

// cheapest is a price at which all input costs what the cheapest of it does.
func cheapest(p pricing.Price) pricing.Price {
	for _, r := range []*pricing.Rates{&p.Rates, &p.Long} {
		r.Input = min(r.Input, r.CachedInput, r.CacheWrites)
	}
	return p
}

// output is how many output tokens are reserved, and how many are the least. It
// is never none of an endpoint that generates: some workers take a maximum of 0
// for no maximum.
func (p *Policy) output(c *traffic.Caller, a *traffic.Ask) (reserve, least int64) {
	switch a.Kind {
	case traffic.Speech, traffic.Transcriptions, traffic.Images:
		return 1, 0 // some models report output of these, too
	}
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
	// Where answers are to stop at the limit, those that cannot be stopped have to
	// be reserved whole.
	stops := a.Stream || p.estimate.OnOverrun != "stop"
	if p.estimate.Reserve == "learned" && c.Verified && stops {
		if p99, ok := p.learned.P99(c.ID, a.Model); ok && (a.MaxOutput < 0 || p99*answers < reserve) {
			reserve = p99 * answers
		}
	}
	return max(reserve, 1), 0
}

// Charges appends to dst what the request is charged: its caller's plan, the
// limits of the model and of the endpoint, the general rules that match, and
// what all share. An amount that is a guess, or the client's mere maximum, is cut
// to what the limit lets through at once; when even the least is more, that is a
// TooLarge. Shadow charges are among them.
func (p *Policy) Charges(dst []penstock.Charge, c *traffic.Caller, t Target, a *traffic.Ask, n *Need) ([]penstock.Charge, *TooLarge) {
	k := charging{keys: &p.keys, charges: dst, need: *n, metered: a.Metered()}
	p.charge(&k, c, &t, a)
	if k.tightest == nil {
		return k.charges, nil
	}
	price, _ := p.prices.Of(a.Model)
	return k.charges, &TooLarge{Rule: k.tightest, Message: tooLarge(k.tightest, k.charges[len(dst):], a, n, cheapest(price))}
}

// Precheck appends to dst the charges that are known before the body is read:
// the request itself, of all that does not ask for its model. There are no
// shadows among them.
func (p *Policy) Precheck(dst []penstock.Charge, c *traffic.Caller, t Target) []penstock.Charge {
	var a traffic.Ask
	k := charging{keys: &p.keys, charges: dst, need: p.Need(c, &a), early: true}
	p.charge(&k, c, &t, &a)
	return k.charges
}

// charge charges a request by everything that it is charged by.
func (p *Policy) charge(k *charging, c *traffic.Caller, t *Target, a *traffic.Ask) {
	if g := p.planOf(c).group; g != nil {
		k.add(g, c, c.ID, c.Listed)
	}
	if k.metered && len(p.models) > 0 {
		if m, ok := p.modelOf.Of(a.Model); ok && m.group != nil {
			if p.perModel {
				k.add(m.group, c, p.keys.caller(modelKey, m.name, c), c.Listed)
			} else {
				k.add(m.group, c, m.key, true)
			}
		}
	}
	if len(p.endpoints) > 0 {
		if e := p.endpointOf(t); e != nil && e.group != nil {
			k.add(e.group, c, p.keys.caller(endpointKey, e.name, c), c.Listed)
		}
	}
	for i := range p.rules {
		if r := &p.rules[i]; r.group != nil && (r.early || !k.early) && r.matches(c, t, a) {
			k.add(r.group, c, r.keyOf(&p.keys, c, t, a), r.all || c.Listed && r.few)
		}
	}
	if p.global != nil {
		k.add(p.global, c, globalKey, true)
	}
}

// charging is the charging of one request.
type charging struct {
	keys     *keys
	charges  []penstock.Charge
	need     Need
	metered  bool
	early    bool  // no shadow is charged
	tightest *Rule // of those that the request is too large for
}

// add charges the request by the rules of a group.
func (k *charging) add(g *group, c *traffic.Caller, key string, keep bool) {
	overflow := ""
	if !g.one {
		overflow = g.overflow.of(k.keys, c)
	}
	if g.handle != nil {
		key = g.handle.Key() // the same, and known to be
	}
	for i := range g.rules {
		r := &g.rules[i]
		unit := r.Limit.Unit
		amount, least := k.need.Amounts[unit], k.need.Least[unit]
		switch {
		case amount == 0 && least == 0 && !(k.metered && ofUsage(unit)):
			continue // of what is used even none is charged: it may turn out to be more
		case r.Shadow && k.early:
			continue
		}
		amount = max(amount, least)
		if least <= r.most || !r.Shadow {
			amount = min(amount, r.most)
		}
		if least > r.most && !r.Shadow && (k.tightest == nil || r.most < k.tightest.most) {
			k.tightest = r
		}
		k.charges = append(k.charges, penstock.Charge{
			Key:      key,
			Limits:   g.limits,
			Index:    i,
			Amount:   amount,
			Overflow: overflow,
			Handle:   g.handle,
			Keep:     keep,
			Shadow:   r.Shadow,
		})
	}
}

// ofUsage reports whether how much a request takes of the unit is known at its
// end only.
func ofUsage(u penstock.Unit) bool {
	return u == penstock.Tokens || u == penstock.InputTokens || u == penstock.OutputTokens || u == penstock.Cost
}

// Standing appends to dst charges of nothing on every limit of the caller's
// plan, to look at how it stands; a nil caller is what all share: global, then
// what has one counter for all, in the order of the file. There are no shadows
// among those.
func (p *Policy) Standing(dst []penstock.Charge, c *traffic.Caller) []penstock.Charge {
	if c != nil {
		if g := p.planOf(c).group; g != nil {
			for i := range g.rules {
				dst = append(dst, penstock.Charge{Key: c.ID, Limits: g.limits, Index: i, Keep: c.Listed})
			}
		}
		return dst
	}
	shared := func(g *group) {
		if g == nil || !g.one {
			return
		}
		for i := range g.rules {
			if !g.rules[i].Shadow {
				dst = append(dst, penstock.Charge{Key: g.handle.Key(), Limits: g.limits, Index: i, Handle: g.handle, Keep: true})
			}
		}
	}
	shared(p.global)
	for i := range p.models {
		shared(p.models[i].group)
	}
	for i := range p.rules {
		shared(p.rules[i].group)
	}
	return dst
}

// Learn takes in how long an answer was that came to its end.
func (p *Policy) Learn(c *traffic.Caller, a *traffic.Ask, u traffic.Usage) {
	if c.Verified && a.Generates() {
		p.learned.Learn(c.ID, a.Model, u.Output/max(a.Answers, 1))
	}
}
