package queue

// class is the callers of one traffic.Class, and whose turn among them it is.
//
// That is decided by the Virtual Token Counter of Sheng et al., "Fairness in
// Serving Large Language Models" (OSDI 2024): each caller has a counter of what
// it has been served over its weight; the caller with the least goes first; and
// one that had nobody waiting is lifted, when it comes back, to the least of those
// who have, or to whoever was served last where nobody waits, so that nobody saves up
// turns while it is away. The paper's engine sees every token as it is made and
// charges it then. Here the charge is made with the grant, as an estimate, and
// corrected as becomes known what was served. So the least that others are lifted
// to is what is sure of it: were it the estimates, which may all be given back, those
// who come back would wait until as much was served once more.
type class struct {
	callers callers
	ranking ranking // those who have a waiter
	crowd   crowd   // the same, by how many
	waiting int
	queued  work // charges of those who wait
	held    int

	last *caller // who was served last; nil once it is forgotten, when past is its counter
	past work

	passed int  // grants to other classes since this one had one, or began to wait
	over   work // what was charged for them
	own    work // what this class's own requests turned out to be more than they were charged for, since then
	spared work // what they turned out to be less, as far as no turn has been had for it; own or spared is 0
}

// begin begins to count anew how the class is passed over.
func (c *class) begin() { c.passed, c.over, c.own, c.spared = 0, work{}, work{}, work{} }

// turned begins anew after a turn of so much, which is had for what the last ones
// were less, first of all.
func (c *class) turned(charge work) {
	spared := c.spared.without(charge)
	c.begin()
	c.spared = spared
}

// asks is the work that the class's next turn is, with what its last ones still
// stand for, or without what they were less; somebody must wait.
func (c *class) asks() work {
	return c.ranking.first().caller.first.charge.plus(c.own).without(c.spared)
}

// differed notes that the class's own requests are found to be more, or less, than
// they were charged for.
func (c *class) differed(more, less work) {
	up, down := c.own.plus(more), c.spared.plus(less)
	c.own, c.spared = up.without(down), down.without(up)
}

// floor is what a caller that comes back now is lifted to.
func (c *class) floor() work {
	switch {
	case c.ranking.len > 0:
		return c.ranking.first().caller.sure()
	case c.last != nil:
		return c.last.sure()
	default:
		return c.past
	}
}

// lift lets a caller with no waiter come back.
func (c *class) lift(u *caller) {
	floor := c.floor()
	u.returns++
	u.stale, u.open = u.stale.plus(u.open), work{}
	if u.served.less(floor) {
		u.served, u.lead = floor, work{}
	} else {
		u.lead = u.served.minus(floor)
	}
}

// push adds a waiter, with its number in the order of arrival.
func (c *class) push(p *place, number uint64) {
	u := p.caller
	if u.waiting == 0 {
		c.lift(u)
		u.push(p, number)
		c.ranking.insert(u.key(), u)
	} else {
		u.push(p, number)
	}
	c.crowd.move(u, u.waiting-1)
	if c.waiting == 0 {
		c.begin()
	}
	c.waiting++
	c.queued = c.queued.plus(p.charge)
}

// remove takes a waiter out, who gets nothing unless charge follows.
func (c *class) remove(p *place) {
	u := p.caller
	first := u.first == p
	if first {
		c.ranking.remove(u.key())
	}
	u.remove(p)
	if first && u.waiting > 0 {
		c.ranking.insert(u.key(), u)
	}
	c.crowd.move(u, u.waiting+1)
	c.waiting--
	c.queued = c.queued.minus(p.charge)
	c.rest(u)
}

// next takes out whose turn it is and charges it; somebody must wait.
func (c *class) next() *place {
	u := c.ranking.first().caller
	p := u.first
	u.remove(p)
	c.charge(p)
	if u.waiting > 0 {
		c.ranking.requeue(u.key())
	} else {
		c.ranking.pop()
	}
	c.crowd.move(u, u.waiting+1)
	c.waiting--
	c.queued = c.queued.minus(p.charge)
	return p
}

// pass charges a newcomer that gets its slot without waiting.
func (c *class) pass(p *place) {
	c.lift(p.caller)
	c.charge(p)
}

// charge counts a slot that is given to p, whose caller is not in the ranking.
func (c *class) charge(p *place) {
	u := p.caller
	u.served = u.served.plus(p.charge)
	p.returns = u.returns
	u.open = u.open.plus(p.charge)
	u.held++
	c.held++
	c.last = u
}

// correct replaces the charge of p, which holds a slot. What was forgiven by a
// lift meanwhile is not given back as well, and stays part of the charge.
func (c *class) correct(p *place, charge work) {
	u := p.caller
	if u.waiting > 0 {
		c.ranking.remove(u.key())
	}
	held := u.holds(p)
	*held = held.minus(p.charge)
	if p.charge.less(charge) {
		u.served = u.served.plus(charge.minus(p.charge))
		p.charge = charge
	} else {
		back := p.charge.minus(charge)
		if p.returns != u.returns {
			if u.lead.less(back) {
				back = u.lead
			}
			u.lead = u.lead.minus(back)
		}
		u.served = u.served.minus(back)
		p.charge = p.charge.minus(back)
	}
	*held = held.plus(p.charge)
	if u.waiting > 0 {
		c.ranking.insert(u.key(), u)
	}
}

// release takes the slot of p back. What it was charged is sure now.
func (c *class) release(p *place) {
	held := p.caller.holds(p)
	*held = held.minus(p.charge)
	p.caller.held--
	c.held--
	c.rest(p.caller)
}

// rest lets a caller be forgotten that has become idle.
func (c *class) rest(u *caller) {
	if !u.idle() {
		return
	}
	if gone := c.callers.rest(u); gone != nil {
		if c.last == gone {
			c.last, c.past = nil, gone.served
		}
		c.callers.reuse(gone)
	}
}
