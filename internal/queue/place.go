package queue

import (
	"math"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// place is one request's stay: in the line, then in flight. It is reused for
// the next stay when this one has ended. It fills two cache lines: the first is
// what changes hands, to fetch which is most of the work where many wait.
type place struct {
	next   *place // behind it among the caller's waiters, or in the chain of spare places
	behind uint64 // the number of next in the order of arrival
	caller *caller
	answer chan bool     // told once that the wait is over, and whether by a slot; made by the first stay that waits
	charge work          // what the caller's counter holds of this stay, or will once it is granted
	since  time.Duration // of the line, then of the slot; unread where the hold is not measured
	block  *block        // of its deadline, while it waits

	returns uint64 // the caller's, when the charge was made
	prev    *place // before it, unless it is the caller's first
	refused error  // why there is no slot, before the answer is told
	turn    uint64 // which stay this is: a Slot of an earlier one is void
	queue   *Queue
	weight  int64
	nth     uint32 // among the caller's waiters since it last had none
	class   traffic.Class

	nthOfBlock uint8 // while it waits
}

// until is when p, which waits, has waited for its timeout.
func (p *place) until() time.Duration { return until(p.since, p.block.timeout) }

func until(since, timeout time.Duration) time.Duration {
	return since + min(timeout, math.MaxInt64-since)
}

// waiting reports whether p, which joined the line and has taken no answer, is
// still in it. Its queue's mu is held.
func (p *place) waiting() bool { return len(p.answer) == 0 }

// refuse tells p, which was taken out of the line, why it gets no slot.
func (p *place) refuse(why error) {
	p.refused = why
	p.answer <- false
}

// mostSpare bounds the memory that stays behind after a rush: some 0.2 KiB a
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
	p.caller, p.prev = nil, nil
	if s.len == mostSpare {
		return
	}
	p.next = s.first
	s.first = p
	s.len++
}
