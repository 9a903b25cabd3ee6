package queue

import "time"

// Slot is one place among the requests in flight. It may be copied; all copies
// are the same slot. The zero Slot is none.
type Slot struct {
	queue    *Queue
	place    *place
	turn     uint64
	position int
	waited   time.Duration
}

// Release gives the slot back, to the first who waits. Releasing a slot again,
// or the zero Slot, does nothing. It may be called from any goroutine and does
// not block.
func (s Slot) Release() {
	if s.queue == nil {
		return
	}
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.place.turn != s.turn {
		return
	}
	now := q.now()
	q.learn(now - s.place.since)
	q.release(s.place, now)
}

// Waited returns how long the request stood in the line; 0 if it went
// straight in.
func (s Slot) Waited() time.Duration { return s.waited }

// Position returns the place in the line at which the request entered it: 1
// for the first who waits, 0 if it went straight in.
func (s Slot) Position() int { return s.position }
