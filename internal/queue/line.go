package queue

import (
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// Turns and MostTurns are the starvation bound: of so much that is served at least
// one part in Turns goes to each class that waits all the while, however much
// waits above it. It counts turns and work both, so that a class of few and large
// requests does not gain by being low; but where its next request is very large,
// one of MostTurns goes to it, whatever work that is.
const (
	Turns     = 16
	MostTurns = 16 * Turns
)

// ranks are the classes in the order in which they are served.
var ranks = [...]traffic.Class{traffic.ClassInteractive, traffic.ClassDefault, traffic.ClassBulk}

// line is those who wait, and the one place that says in which order they are
// served: by class, within a class between its callers by what they have been
// served, within a caller first come first served. The zero line is empty.
type line struct {
	classes   [len(ranks)]class // by traffic.Class
	deadlines deadlines
	waiting   int
	arrived   uint64 // how many ever waited
}

// push adds a waiter, whose class, caller and charge are set, and returns until when
// it waits.
func (l *line) push(p *place, now, timeout time.Duration) (until time.Duration) {
	if p.answer == nil {
		p.answer = make(chan bool, 1)
	}
	l.classes[p.class].push(p, l.arrived)
	l.arrived++
	l.waiting++
	return l.deadlines.add(p, now, timeout)
}

// next takes out whose turn it is, and charges it; somebody must wait.
func (l *line) next() *place {
	c := &l.classes[l.turn()]
	p := c.next()
	for i := range l.classes {
		if c := &l.classes[i]; c.waiting > 0 {
			c.passed++
			c.over = c.over.plus(p.charge)
		}
	}
	c.turned(p.charge)
	l.deadlines.remove(p)
	l.waiting--
	return p
}

// correct replaces the charge of p, which holds a slot, and with it what classes
// that wait are found to have been passed over by, or to have had themselves.
func (l *line) correct(p *place, charge work) {
	before := p.charge
	l.classes[p.class].correct(p, charge)
	if l.waiting == 0 || p.charge == before {
		return
	}
	more, less := p.charge.without(before), before.without(p.charge)
	for i := range l.classes {
		c := &l.classes[i]
		if c.waiting == 0 {
			continue
		}
		if c == &l.classes[p.class] {
			c.differed(more, less)
		} else {
			c.over = c.over.plus(more).without(less)
		}
	}
}

// turn is the class that is served next: the highest that waits, unless a lower
// one has been passed over so often, and by so much, that it is due. The second
// class is due when it has been passed over Turns-1 times, the third one time
// earlier: should both be due at once the second goes first, and the third is
// still in time.
func (l *line) turn() traffic.Class {
	highest := -1
	for i, at := range ranks {
		c := &l.classes[at]
		switch {
		case c.waiting == 0:
		case highest < 0:
			highest = i
		case c.passed >= MostTurns-i, c.passed >= Turns-i && !c.over.less(c.asks().times(uint64(Turns-i))):
			return at
		}
	}
	return ranks[highest]
}

// remove takes out a waiter, who gets nothing.
func (l *line) remove(p *place) {
	l.classes[p.class].remove(p)
	l.deadlines.remove(p)
	l.waiting--
}

// yields returns the waiter that has to make room, in a full line, for one more
// of the named caller in a class: the newest of the caller with most waiters in
// the lowest class that has any. A class never makes room for a lower one; and
// within a class a caller makes room only if it has more waiters than the
// newcomer's would have, so that nobody who waits is traded for somebody who
// deserves the place no more. It is nil when the newcomer has to go.
func (l *line) yields(at traffic.Class, name string) *place {
	for i := len(ranks) - 1; ; i-- { // at the latest it ends with the newcomer's class
		c := &l.classes[ranks[i]]
		if c.waiting == 0 && ranks[i] != at {
			continue
		}
		most := c.crowd.most()
		if ranks[i] != at {
			return most.last
		}
		own := int32(0)
		if u := c.callers.byName[name]; u != nil {
			own = u.waiting
		}
		if most == nil || most.waiting <= own+1 {
			return nil
		}
		return most.last
	}
}
