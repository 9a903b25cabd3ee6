package queue

import (
	"cmp"
	"math/big"
	"slices"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// model is the queue as slow and as obvious as it can be: a list of who holds a
// slot, a list of who waits, and the counters.
type model struct {
	Options
	now      time.Duration
	stopped  bool
	level    int64 // of the bucket, in parts
	holders  []*modelStay
	line     []*modelStay // in the order of arrival
	callers  map[modelName]*modelCaller
	last     map[traffic.Class]*modelCaller
	passed   map[traffic.Class]int
	over     map[traffic.Class]*big.Int
	own      map[traffic.Class]*big.Int
	changes  int
	arrived  int
	mean     time.Duration
	known    int
	skipped  int
	counts   Stats
	outcomes map[string]outcome
}

type modelName struct {
	class traffic.Class
	name  string
}

type modelCaller struct {
	served, lead *big.Int
	returns      int
	changed      int // when the number of its waiters last did
}

type modelStay struct {
	name            string
	of              modelName
	caller          *modelCaller // nil where nothing was limited
	weight          int64
	charge          *big.Int
	returns         int
	number          int
	since, deadline time.Duration
	measured        bool
	position        int
}

func newModel(o Options) *model {
	return &model{
		Options: o, level: o.Burst * perToken(o),
		callers: map[modelName]*modelCaller{}, last: map[traffic.Class]*modelCaller{},
		passed: map[traffic.Class]int{}, over: map[traffic.Class]*big.Int{}, own: map[traffic.Class]*big.Int{}, outcomes: map[string]outcome{},
	}
}

// modelCharge is cost / weight, rounded up, in parts of 2^-32.
func modelCharge(cost, weight int64) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(max(cost, 1)), 32)
	n.Add(n, big.NewInt(max(weight, 1)-1))
	return n.Div(n, big.NewInt(max(weight, 1)))
}

func (m *model) bucketed() bool { return m.Burst > 0 }

// perToken is how many parts a token has, so that the refill makes Refill of them in a
// microsecond.
func perToken(o Options) int64 { return int64(o.Per / time.Microsecond) }

// elapse moves the clock.
func (m *model) elapse(to time.Duration) {
	if m.bucketed() {
		passed := int64(to/time.Microsecond - m.now/time.Microsecond)
		m.level = min(m.Burst*perToken(m.Options), m.level+passed*m.Refill)
	}
	m.now = to
}

// tokenAfter is the wait for a token of which n go first.
func (m *model) tokenAfter(n int) time.Duration {
	need := int64(n+1)*perToken(m.Options) - m.level
	if !m.bucketed() || need <= 0 {
		return 0
	}
	return (m.now/time.Microsecond+time.Duration((need+m.Refill-1)/m.Refill))*time.Microsecond - m.now
}

func (m *model) slotFree() bool { return m.Slots == 0 || len(m.holders) < m.Slots }

func (m *model) estimate() time.Duration {
	var turns time.Duration
	if m.Slots > 0 {
		turns = time.Duration(len(m.line)+1) * m.mean / time.Duration(m.Slots)
	}
	return max(time.Second, min(turns, time.Minute), m.tokenAfter(len(m.line)))
}

func (m *model) caller(of modelName) *modelCaller {
	c := m.callers[of]
	if c == nil {
		c = &modelCaller{served: new(big.Int), lead: new(big.Int)}
		m.callers[of] = c
	}
	return c
}

// waiters are those who wait, of one class, and of one caller if c is not nil.
func (m *model) waiters(class traffic.Class, c *modelCaller) (stays []*modelStay) {
	for _, w := range m.line {
		if w.of.class == class && (c == nil || w.caller == c) {
			stays = append(stays, w)
		}
	}
	return stays
}

// order is the first waiters of each caller of a class, in the order of their
// turns.
func (m *model) order(class traffic.Class) (firsts []*modelStay) {
	for _, w := range m.waiters(class, nil) {
		if m.waiters(class, w.caller)[0] == w {
			firsts = append(firsts, w)
		}
	}
	slices.SortFunc(firsts, func(a, b *modelStay) int {
		return cmp.Or(a.caller.served.Cmp(b.caller.served), a.number-b.number)
	})
	return firsts
}

func (m *model) floor(class traffic.Class) *big.Int {
	if firsts := m.order(class); len(firsts) > 0 {
		return m.sure(firsts[0].caller)
	}
	if c := m.last[class]; c != nil {
		return m.sure(c)
	}
	return new(big.Int)
}

// sure is what a caller's counter would be if all that it holds turned out to
// have been nothing.
func (m *model) sure(c *modelCaller) *big.Int {
	sure, lead := new(big.Int).Set(c.served), c.lead
	for _, w := range m.holders {
		if w.caller != c {
			continue
		}
		back := w.charge
		if w.returns != c.returns {
			if back.Cmp(lead) > 0 {
				back = lead
			}
			lead = new(big.Int).Sub(lead, back)
		}
		sure.Sub(sure, back)
	}
	return sure
}

func (m *model) lift(of modelName, c *modelCaller) {
	floor := m.floor(of.class)
	c.returns++
	c.lead = new(big.Int)
	if c.served.Cmp(floor) < 0 {
		c.served = floor
	} else {
		c.lead.Sub(c.served, floor)
	}
}

func (m *model) charge(w *modelStay) {
	w.caller.served = new(big.Int).Add(w.caller.served, w.charge)
	w.returns = w.caller.returns
	m.last[w.of.class] = w.caller
}

func (m *model) grant(w *modelStay) {
	m.counts.Granted++
	m.holders = append(m.holders, w)
}

func (m *model) enter(name string, a Ask, gone bool) {
	w := &modelStay{name: name, of: modelName{a.Class, a.Caller}, since: m.now}
	switch {
	case m.stopped:
		m.outcomes[name] = outcome{Error: "stopped"}
		return
	case gone:
		m.counts.Left++
		m.outcomes[name] = outcome{Error: "context canceled"}
		return
	case m.Slots == 0 && !m.bucketed():
		m.grant(w)
		m.outcomes[name] = outcome{}
		return
	}
	w.weight, w.charge = a.Weight, modelCharge(a.Cost, a.Weight)
	if len(m.line) == 0 && m.slotFree() && m.tokenAfter(0) == 0 {
		m.level -= perToken(m.Options)
		if w.measured = m.known < 8 || m.skipped == 6; w.measured {
			m.skipped = 0
		} else {
			m.skipped++
		}
		w.caller = m.caller(w.of)
		m.lift(w.of, w.caller)
		m.charge(w)
		m.grant(w)
		m.outcomes[name] = outcome{}
		return
	}
	var yields *modelStay
	if len(m.line) >= m.Size {
		if m.Size > 0 {
			yields = m.yields(w.of)
		}
		if yields == nil {
			m.counts.Full++
			m.outcomes[name] = outcome{Error: "full", Retry: m.estimate()}
			return
		}
	}
	before := m.before(w.of)
	wait := m.tokenAfter(before)
	if m.known == 8 && m.Slots > 0 {
		wait = max(wait, time.Duration(before)*m.mean/time.Duration(m.Slots))
	}
	if wait > m.Timeout {
		m.counts.Late++
		m.outcomes[name] = outcome{Error: "late", Retry: wait}
		return
	}
	if yields != nil {
		m.remove(yields)
		m.counts.PushedOut++
	}
	w.caller = m.caller(w.of)
	if len(m.waiters(w.of.class, w.caller)) == 0 {
		m.lift(w.of, w.caller)
	}
	if len(m.waiters(w.of.class, nil)) == 0 {
		m.passed[w.of.class], m.over[w.of.class], m.own[w.of.class] = 0, new(big.Int), new(big.Int)
	}
	m.changes++
	w.caller.changed = m.changes
	w.number = m.arrived
	m.arrived++
	w.deadline, w.position = m.now+m.Timeout, before+1
	m.counts.Waited++
	m.line = append(m.line, w)
	if yields != nil {
		m.outcomes[yields.name] = outcome{Error: "pushed_out", After: m.now - yields.since, Retry: m.estimate()}
	}
}

// yields is who makes room for one more of a caller in the full line.
func (m *model) yields(of modelName) *modelStay {
	for _, class := range []traffic.Class{traffic.ClassBulk, traffic.ClassDefault, traffic.ClassInteractive} {
		var most *modelCaller
		waiting := func(c *modelCaller) int { return len(m.waiters(class, c)) }
		for _, w := range m.waiters(class, nil) {
			if most == nil || waiting(w.caller) > waiting(most) || waiting(w.caller) == waiting(most) && w.caller.changed > most.changed {
				most = w.caller
			}
		}
		if class == of.class {
			own := 0
			if c := m.callers[of]; c != nil {
				own = waiting(c)
			}
			if most == nil || waiting(most) <= own+1 {
				return nil
			}
		}
		if most != nil {
			stays := m.waiters(class, most)
			return stays[len(stays)-1]
		}
	}
	return nil
}

// before is the estimate of how many go before a newcomer.
func (m *model) before(of modelName) int {
	n := 0
	if firsts := m.order(of.class); len(firsts) > 0 {
		c := m.callers[of]
		floor, least, sum := m.floor(of.class), firsts[0].caller.served, new(big.Int)
		for _, w := range m.waiters(of.class, nil) {
			sum.Add(sum, w.charge)
		}
		mean := new(big.Int).Div(sum, big.NewInt(int64(len(m.waiters(of.class, nil)))))
		reach := new(big.Int).Set(floor)
		var own []*modelStay
		if c != nil {
			own = m.waiters(of.class, c)
			if c.served.Cmp(reach) > 0 {
				reach.Set(c.served)
			}
			sum := new(big.Int)
			for _, w := range own {
				sum.Add(sum, w.charge)
			}
			reach.Add(reach, sum)
		}
		others := 0
		for _, f := range firsts {
			if f.caller != c && f.caller.served.Cmp(reach) <= 0 {
				others++
			}
		}
		above := new(big.Int).Sub(reach, least)
		if above.Sign() < 0 {
			above.SetInt64(0)
		}
		rounds := above.Rsh(above, 16).Div(above, mean.Rsh(mean, 16)).Int64()
		n = len(own) + min(others*int(max(1, rounds)), len(m.waiters(of.class, nil))-len(own))
	}
	higher := 0
	for _, class := range []traffic.Class{traffic.ClassInteractive, traffic.ClassDefault, traffic.ClassBulk} {
		if class == of.class {
			break
		}
		higher += len(m.waiters(class, nil))
	}
	return n + min(higher, 15*(n+1))
}

// next is whose turn it is.
func (m *model) next() *modelStay {
	waits := func(c traffic.Class) bool { return len(m.waiters(c, nil)) > 0 }
	due := func(c traffic.Class, after int64) bool {
		if !waits(c) {
			return false
		}
		much := new(big.Int).Add(m.order(c)[0].charge, m.own[c])
		much.Mul(much, big.NewInt(after))
		return m.passed[c] >= int(after)+240 || m.passed[c] >= int(after) && m.over[c].Cmp(much) >= 0
	}
	turn := traffic.ClassBulk
	switch {
	case due(traffic.ClassDefault, 15):
		turn = traffic.ClassDefault
	case due(traffic.ClassBulk, 14):
	case waits(traffic.ClassInteractive):
		turn = traffic.ClassInteractive
	case waits(traffic.ClassDefault):
		turn = traffic.ClassDefault
	}
	next := m.order(turn)[0]
	for _, c := range traffic.Classes() {
		m.passed[c]++
		if m.over[c] == nil {
			m.over[c] = new(big.Int)
		}
		m.over[c] = new(big.Int).Add(m.over[c], next.charge)
	}
	// What the last turns were less than they said is made up for by the next ones.
	m.passed[turn], m.over[turn] = 0, new(big.Int)
	if m.own[turn] = new(big.Int).Add(m.own[turn], next.charge); m.own[turn].Sign() > 0 {
		m.own[turn] = new(big.Int)
	}
	return next
}

func (m *model) remove(w *modelStay) {
	m.line = slices.DeleteFunc(m.line, func(other *modelStay) bool { return other == w })
	m.changes++
	w.caller.changed = m.changes
}

func (m *model) fill() {
	for len(m.line) > 0 && m.slotFree() && m.tokenAfter(0) == 0 {
		m.level -= perToken(m.Options)
		w := m.next()
		m.remove(w)
		m.charge(w)
		m.outcomes[w.name] = outcome{Position: w.position, Waited: m.now - w.since, After: m.now - w.since}
		w.since, w.measured = m.now, true
		m.grant(w)
	}
}

func (m *model) release(i int) {
	w := m.holders[i]
	if w.measured {
		hold := m.now - w.since
		if m.known == 0 {
			m.mean = hold
		}
		m.mean += (hold - m.mean) / 8
		m.known = min(m.known+1, 8)
	}
	m.holders = slices.Delete(m.holders, i, i+1)
	m.fill()
}

func (m *model) served(i int, cost int64) {
	w := m.holders[i]
	c := w.caller
	if c == nil {
		return
	}
	more := modelCharge(cost, w.weight)
	more.Sub(more, w.charge)
	if less := new(big.Int).Neg(more); less.Sign() > 0 && w.returns != c.returns {
		if less.Cmp(c.lead) > 0 {
			less.Set(c.lead)
		}
		c.lead = new(big.Int).Sub(c.lead, less)
		more.Neg(less)
	}
	for _, class := range traffic.Classes() {
		so := m.over
		if class == w.of.class {
			so = m.own
		}
		if len(m.waiters(class, nil)) > 0 {
			so[class] = new(big.Int).Add(so[class], more)
			if class != w.of.class && so[class].Sign() < 0 {
				so[class] = new(big.Int)
			}
		}
	}
	c.served = new(big.Int).Add(c.served, more)
	w.charge = new(big.Int).Add(w.charge, more)
}

func (m *model) leave(i int) {
	w := m.line[i]
	m.remove(w)
	m.counts.Left++
	m.outcomes[w.name] = outcome{Error: "context canceled", After: m.now - w.since}
}

// advance lets the clock run, and stops wherever something happens by itself.
func (m *model) advance(d time.Duration) {
	for end := m.now + d; ; {
		next := end
		for _, w := range m.line {
			next = min(next, w.deadline)
		}
		if len(m.line) > 0 && m.slotFree() {
			next = min(next, m.now+m.tokenAfter(0))
		}
		m.elapse(next)
		for _, w := range slices.Clone(m.line) {
			if w.deadline == m.now {
				m.remove(w)
				m.counts.TimedOut++
				m.outcomes[w.name] = outcome{Error: "timeout", Waited: m.now - w.since, After: m.now - w.since}
			}
		}
		m.fill()
		if m.now == end {
			return
		}
	}
}

func (m *model) configure(o Options) {
	switch {
	case o.Burst == 0:
		m.level = 0
	case !m.bucketed():
		m.level = o.Burst * perToken(o)
	default: // rounded down to what the refill comes to in whole microseconds
		grain := new(big.Int).GCD(nil, nil, big.NewInt(o.Refill), big.NewInt(perToken(o))).Int64()
		m.level = m.level * perToken(o) / perToken(m.Options) / grain * grain
	}
	m.level = min(m.level, o.Burst*perToken(o))
	m.Options = o
	m.fill()
}

func (m *model) stop() {
	m.stopped = true
	for _, w := range m.line {
		m.outcomes[w.name] = outcome{Error: "stopped", After: m.now - w.since}
	}
	m.line = nil
}

func (m *model) stats() Stats {
	s := m.counts
	s.Slots, s.InFlight, s.Waiting, s.Size = m.Slots, len(m.holders), len(m.line), m.Size
	for _, w := range m.holders {
		s.Classes[w.of.class].InFlight++
	}
	for _, w := range m.line {
		s.Classes[w.of.class].Waiting++
	}
	return s
}
