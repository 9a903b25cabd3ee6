package queue

import "time"

// place is one request's stay: in the line, then in flight. It is reused for
// the next stay when this one has ended.
type place struct {
	prev, next *place // neighbours in the line, or in the chain of spare places
	waiting    bool   // in the line
	turn       uint64 // which stay this is: a Slot of an earlier one is void
	since      time.Duration
	waited     time.Duration

	// answer takes the one answer that a waiter gets: nil for a slot, else
	// why there is none. Both are made by the first stay that waits.
	answer chan error
	timer  *time.Timer
}

// arm starts the timer. Since Go 1.23 it need not be stopped after a stay: it
// costs nothing while nobody waits on it, and Reset drops an earlier tick.
func (p *place) arm(timeout time.Duration) {
	if p.timer == nil {
		p.timer = time.NewTimer(timeout)
		return
	}
	p.timer.Reset(timeout)
}

// line is those who wait, and the one place that says in which order they are
// served: first come, first served. Every method takes constant time. The zero
// line is empty.
type line struct {
	first, last *place
	len         int
}

// push adds p at the end.
func (l *line) push(p *place) {
	if p.answer == nil {
		p.answer = make(chan error, 1)
	}
	p.waiting = true
	p.prev, p.next = l.last, nil
	if l.last == nil {
		l.first = p
	} else {
		l.last.next = p
	}
	l.last = p
	l.len++
}

// pop takes out whose turn it is. The line must not be empty.
func (l *line) pop() *place {
	p := l.first
	l.remove(p)
	return p
}

// remove takes out p, which must be in the line.
func (l *line) remove(p *place) {
	if p.prev == nil {
		l.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
	p.waiting = false
	l.len--
}

// mostSpare bounds the memory that stays behind after a rush: some 0.3 KiB a
// place that has waited.
const mostSpare = 4096

// spare is the places to be used again. The zero spare is empty.
type spare struct {
	first *place
	len   int
}

// take returns a place for a new stay.
func (s *spare) take() *place {
	p := s.first
	if p == nil {
		return new(place)
	}
	s.first, p.next = p.next, nil
	s.len--
	return p
}

// give ends a stay, whose Slot is void from here on. p must not be in the
// line.
func (s *spare) give(p *place) {
	p.turn++
	if s.len == mostSpare {
		return
	}
	p.next = s.first
	s.first = p
	s.len++
}
