package queue

import "time"

// Slot is one place among the requests in flight. It may be copied; all copies
// are the same slot. The zero Slot is none. Its methods may be called from any
// goroutine and do not block.
//
// It has four words, the most that the compiler keeps in registers: a fifth costs
// Enter and Release 30 ns.
type Slot struct {
	place    *place
	turn     uint64
	position int
	waited   time.Duration
}

// Release gives the slot back, to whose turn it is. Releasing a slot again, or
// the zero Slot, does nothing.
func (s Slot) Release() {
	p := s.place
	if p == nil {
		return
	}
	q := p.queue
	q.mu.Lock()
	if p.turn == s.turn {
		now := unread
		if p.since != unread || q.line.waiting > 0 {
			now = q.now()
		}
		if p.since != unread {
			q.hold.learn(now - p.since)
		}
		q.release(p, now)
	}
	q.mu.Unlock()
}

// Served says what the request has been served so far, in all, in weighted
// tokens: it takes the place of Ask.Cost in the caller's counter, up or down. At
// least 1 is counted. After Release, and for the zero Slot, it does nothing.
func (s Slot) Served(cost int64) {
	p := s.place
	if p == nil {
		return
	}
	q := p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.turn == s.turn && p.caller != nil {
		q.line.correct(p, charged(cost, p.weight))
	}
}

// Unsent says that nothing was sent for the request, so that its bucket token goes
// back. It is called once, before Release.
func (s Slot) Unsent() {
	p := s.place
	if p == nil {
		return
	}
	q := p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.turn == s.turn {
		q.bucket.refund()
	}
}

// Waited returns how long the request stood in the line, in vain or not; 0 if
// it did not wait.
func (s Slot) Waited() time.Duration { return s.waited }

// Position returns the place in the line at which the request entered it: 1
// for the one that goes first, 0 if it did not wait. It counts those who
// were to be served before, as Ask.Progress is told it.
func (s Slot) Position() int { return s.position }
