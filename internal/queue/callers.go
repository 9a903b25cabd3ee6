package queue

// mostIdle is how many callers of a class are remembered who have neither a
// waiter nor a slot.
const mostIdle = 16_384

// caller is what is known of one caller within one class. Where there are many
// callers, to fetch them is most of the work: what is needed while it waits is in
// the first cache line, what is needed for its slots in the second.
type caller struct {
	// served is the virtual counter; see class.
	served work

	first, last *place // its waiters, first come first served
	queued      work   // their charges
	number      uint64 // of the first of them
	waiting     int32
	held        int32 // its slots

	// returns counts how often it was lifted, or would have been. What a stay
	// from before the last return turns out not to have been served lowers the
	// counter by no more than lead, its distance then from what it was lifted
	// to: the rest of that charge was forgiven already.
	returns uint64
	// open is the charges of its slots since the last return, stale those of
	// the slots from before.
	open, stale work

	lessRecent, moreRecent *caller // neighbours in the crowd

	joined uint32 // the nth of the next to join

	lead work
	name string
	kept bool     // in the heap of those who may be forgotten
	_    [31]byte // to the end of the third line
}

func (c *caller) key() key { return key{c.served, c.number} }

// sure is what of the counter nothing is given back of.
func (c *caller) sure() work {
	sure, stale := c.served.minus(c.open), c.stale
	if stale == (work{}) {
		return sure
	}
	if c.lead.less(stale) {
		stale = c.lead
	}
	return sure.minus(stale)
}

// holds is what the charge of p, which holds a slot, is part of.
func (c *caller) holds(p *place) *work {
	if p.returns == c.returns {
		return &c.open
	}
	return &c.stale
}

func (c *caller) idle() bool { return c.waiting == 0 && c.held == 0 }

// push puts a waiter, with its number in the order of arrival, behind the caller's
// others.
func (c *caller) push(p *place, number uint64) {
	if c.waiting == 0 {
		c.first, c.number, c.joined = p, number, 0
	} else {
		c.last.next, c.last.behind = p, number
	}
	p.prev, p.next, p.nth = c.last, nil, c.joined
	c.last = p
	c.joined++
	c.waiting++
	c.queued = c.queued.plus(p.charge)
}

// remove takes out a waiter. Of the first one, whose turn it mostly is, the next
// is left alone: it may not have been touched for long.
func (c *caller) remove(p *place) {
	switch {
	case c.waiting == 1:
		c.first, c.last = nil, nil
	case p == c.first:
		c.first, c.number = p.next, p.behind
	case p == c.last:
		c.last, p.prev.next = p.prev, nil
		c.joined = p.prev.nth + 1
	default:
		p.prev.next, p.prev.behind, p.next.prev = p.next, p.behind, p.prev
	}
	c.waiting--
	c.queued = c.queued.minus(p.charge)
}

// ahead returns how many of the caller's waiters go before p; of those who left,
// not being the first, some may be counted until all before them have gone.
func (c *caller) ahead(p *place) int {
	return int(min(p.nth-c.first.nth, uint32(c.waiting-1)))
}

// callers is all that are remembered of one class: whoever has a waiter or a
// slot, and at most mostIdle others. To be forgotten costs a caller the
// distance of its counter to what it will be lifted to when it comes back, so
// those with the least counters go first. The heap is put in order only when
// somebody has to go: till then an entry may be of a caller that is no longer
// idle, or be keyed by less than its counter. The zero callers are empty.
type callers struct {
	byName map[string]*caller
	heap   []idler
	spare  []*caller
}

// idler is a caller in the heap, keyed by what its counter was.
type idler struct {
	keyed  work
	caller *caller
}

const mostSpareCallers = 256

// get returns the record of a caller, a new one where there is none.
func (s *callers) get(name string) *caller {
	if c := s.byName[name]; c != nil {
		return c
	}
	if s.byName == nil {
		s.byName = map[string]*caller{}
	}
	var c *caller
	if n := len(s.spare); n > 0 {
		c, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		c = new(caller)
	}
	c.name = name
	s.byName[name] = c
	return c
}

// rest notes that a caller is idle, and returns whom that makes one too many;
// nil for nobody.
func (s *callers) rest(c *caller) (forgotten *caller) {
	if !c.kept { // else it is keyed by no more than its counter: that never falls below where it last rested
		c.kept = true
		s.heap = append(s.heap, idler{c.served, c})
		s.up(len(s.heap) - 1)
	}
	if len(s.heap) <= mostIdle {
		return nil
	}
	for {
		least := s.heap[0].caller
		if s.heap[0].keyed.less(least.served) {
			s.heap[0].keyed = least.served
			s.down(0)
			continue
		}
		s.pop()
		if !least.idle() {
			return nil // one less in the heap, and it comes back to it
		}
		delete(s.byName, least.name)
		return least
	}
}

// reuse keeps the record of a caller that was forgotten and that nothing refers
// to.
func (s *callers) reuse(c *caller) {
	if len(s.spare) < mostSpareCallers {
		*c = caller{}
		s.spare = append(s.spare, c)
	}
}

func (s *callers) pop() {
	last := len(s.heap) - 1
	s.heap[0].caller.kept = false
	s.heap[0], s.heap[last] = s.heap[last], idler{}
	s.heap = s.heap[:last]
	s.down(0)
}

func (s *callers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !s.heap[i].keyed.less(s.heap[parent].keyed) {
			return
		}
		s.heap[i], s.heap[parent] = s.heap[parent], s.heap[i]
		i = parent
	}
}

func (s *callers) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s.heap); child++ {
			if s.heap[child].keyed.less(s.heap[least].keyed) {
				least = child
			}
		}
		if least == i {
			return
		}
		s.heap[i], s.heap[least] = s.heap[least], s.heap[i]
		i = least
	}
}
