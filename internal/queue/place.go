package queue

import (
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// place is one request's stay: in the line, then in flight. It is reused for
// the next stay when this one has ended.
type place struct {
	queue      *Queue
	prev, next *place // neighbours among the caller's waiters, or in the chain of spare places
	turn       uint64 // which stay this is: a Slot of an earlier one is void
	class      traffic.Class
	caller     *caller // nil where nothing is limited
	weight     int64
	charge     work   // what the caller's counter holds of this stay, or will once it is granted
	returns    uint64 // the caller's, when the charge was made
	number     uint64 // in the order of arrival
	nth        uint64 // among the caller's waiters since it last had none

	since time.Duration // of the line, then of the slot; unread where the hold is not measured

	// answer is told once that the wait is over, refused before that why there
	// is no slot, if there is none. The channel and the timer are made by the
	// first stay that waits.
	answer  chan struct{}
	refused error
	timer   *time.Timer
}

// waiting reports whether p, which joined the line and has taken no answer, is
// still in it. Its queue's mu is held.
func (p *place) waiting() bool { return len(p.answer) == 0 }

// refuse tells p, which was taken out of the line, why it gets no slot.
func (p *place) refuse(why error) {
	p.refused = why
	p.answer <- struct{}{}
}

// arm starts the timer. Since Go 1.23 it need not be stopped after a stay: it
// costs nothing while nobody waits on it, and Reset drops an earlier tick.
func (p *place) arm(d time.Duration) {
	if p.timer == nil {
		p.timer = time.NewTimer(d)
		return
	}
	p.timer.Reset(d)
}

// mostSpare bounds the memory that stays behind after a rush: some 0.4 KiB a
// place that has waited.
const mostSpare = 4096

// spare is the places to be used again. The zero spare is empty.
type spare struct {
	first *place
	len   int
}

// take returns a place for a new stay in q, whose own the spare ones are.
func (s *spare) take(q *Queue) *place {
	p := s.first
	if p == nil {
		return &place{queue: q}
	}
	s.first, p.next = p.next, nil
	s.len--
	return p
}

// give ends a stay, whose Slot is void from here on. p must not be in the
// line.
func (s *spare) give(p *place) {
	p.turn++
	p.caller = nil
	if s.len == mostSpare {
		return
	}
	p.next = s.first
	s.first = p
	s.len++
}
