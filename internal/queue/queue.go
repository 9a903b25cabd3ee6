// Package queue hands out slots, the places among the requests in flight, and
// keeps the bounded line of requests that wait for one.
package queue

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"time"
)

// Options says how many requests may be in flight and how many may wait, and
// for how long.
type Options struct {
	// Slots is the most requests in flight at once; 0 is no limit.
	Slots int
	// Size is the most requests that wait; with 0 nobody waits, and a request
	// that finds no free slot is turned away at once.
	Size int
	// Timeout is the longest that one request waits. It must be above 0 where
	// Size is.
	Timeout time.Duration
}

func (o Options) validate() error {
	switch {
	case o.Slots < 0:
		return fmt.Errorf("queue: %d slots; give 1 or more, or 0 for no limit", o.Slots)
	case o.Size < 0:
		return fmt.Errorf("queue: a size of %d; give 1 or more, or 0 so that nobody waits", o.Size)
	case o.Timeout < 0:
		return fmt.Errorf("queue: a timeout of %v; give one above 0", o.Timeout)
	case o.Size > 0 && o.Timeout == 0:
		return fmt.Errorf("queue: a timeout of 0 with a size of %d; give a timeout above 0, or a size of 0 so that nobody waits", o.Size)
	}
	return nil
}

// ErrStopped is what Enter returns once the queue has been stopped.
var ErrStopped = errors.New("queue: stopped; ask another gateway")

// FullError is what Enter returns when no slot is free and the line is full.
type FullError struct {
	// RetryAfter estimates when a slot will be free, from 1 s to 60 s.
	RetryAfter time.Duration
}

func (e *FullError) Error() string {
	return fmt.Sprintf("queue: full; retry after %v", e.RetryAfter)
}

// TimeoutError is what Enter returns when no slot came within the timeout.
type TimeoutError struct {
	// Waited is how long the request stood in the line.
	Waited time.Duration
	// RetryAfter estimates when a slot will be free, from 1 s to 60 s.
	RetryAfter time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("queue: no slot within %v; retry after %v", e.Waited, e.RetryAfter)
}

// Stats is what a queue looks like at one moment. The counters count since
// New and only grow.
type Stats struct {
	Slots    int // as configured; 0 is no limit
	InFlight int // holders; above Slots for a while after it was made smaller
	Waiting  int // in the line now
	Size     int // as configured

	Granted  uint64 // slots handed out, one to a waiter that had just left included
	Waited   uint64 // requests that had to wait, whatever became of them
	Full     uint64 // turned away at once
	TimedOut uint64 // waited for the whole timeout in vain
	Left     uint64 // clients that had gone before their request had a slot
}

// Queue is slots and the line in front of them: first come, first served, and
// nobody takes a slot past a request that waits. It has no goroutine of its
// own. All methods may be called from any goroutine; only Enter blocks.
type Queue struct {
	born time.Time // the zero of now

	// mu guards what follows. While it is free, somebody waits only if no
	// slot is free.
	mu      sync.Mutex
	options Options
	stopped bool
	line    line
	spare   spare
	held    int           // slots in flight
	hold    time.Duration // recent mean of how long a slot is held
	learnt  bool          // hold has a value
	counts  Stats         // the counters alone
}

// New returns a queue with all of its slots free. The error says which option
// is wrong and what to give instead.
func New(o Options) (*Queue, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Queue{born: time.Now(), options: o}, nil
}

// Configure changes the options; on an error, as New returns it, nothing
// changes. Holders keep their slots: more slots wake waiters at once, fewer
// take effect as slots come back. Those who wait already stay, whatever the
// new size, and keep the timeout they came with.
func (q *Queue) Configure(o Options) error {
	if err := o.validate(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.options = o
	q.fill(q.now())
	return nil
}

// Enter returns a slot, at once if one is free, else after waiting in the
// line. Without a slot the error is a *FullError, a *TimeoutError, ErrStopped,
// or ctx.Err() when ctx ended first; the place in the line is free by then.
// The caller releases the slot when the request has ended.
func (q *Queue) Enter(ctx context.Context) (Slot, error) {
	gone := ctx.Err()
	q.mu.Lock()
	if q.stopped {
		q.mu.Unlock()
		return Slot{}, ErrStopped
	}
	if gone != nil {
		q.counts.Left++
		q.mu.Unlock()
		return Slot{}, gone
	}
	if q.free() {
		p := q.spare.take()
		p.since = q.now()
		q.held++
		q.counts.Granted++
		s := Slot{queue: q, place: p, turn: p.turn}
		q.mu.Unlock()
		return s, nil
	}
	if q.line.len >= q.options.Size {
		q.counts.Full++
		err := &FullError{RetryAfter: q.estimate()}
		q.mu.Unlock()
		return Slot{}, err
	}
	p := q.join()
	position, timeout := q.line.len, q.options.Timeout
	q.mu.Unlock()

	return q.wait(ctx, p, position, timeout)
}

// join puts a newcomer at the end of the line. q.mu is held.
func (q *Queue) join() *place {
	p := q.spare.take()
	p.since = q.now()
	q.line.push(p)
	q.counts.Waited++
	return p
}

// wait blocks until p, which stands in the line, has a slot or loses its
// place. Whatever wakes it, what happened first under the lock is what counts,
// so that a grant racing with the timer or with ctx is neither lost nor given
// twice.
func (q *Queue) wait(ctx context.Context, p *place, position int, timeout time.Duration) (Slot, error) {
	p.arm(timeout)
	var answer error
	answered := false
	select {
	case answer = <-p.answer:
		answered = true
	case <-p.timer.C:
	case <-ctx.Done():
	}
	gone := ctx.Err()

	q.mu.Lock()
	defer q.mu.Unlock()
	if !answered && !p.waiting {
		answer = <-p.answer // sent under the lock, so it is there
		answered = true
	}
	switch {
	case !answered:
		q.line.remove(p)
		waited := q.now() - p.since
		q.spare.give(p)
		if gone != nil {
			q.counts.Left++
			return Slot{}, gone
		}
		q.counts.TimedOut++
		return Slot{}, &TimeoutError{Waited: waited, RetryAfter: q.estimate()}
	case answer != nil:
		q.spare.give(p)
		return Slot{}, answer
	case gone != nil:
		q.counts.Left++
		q.release(p, q.now())
		return Slot{}, gone
	}
	return Slot{queue: q, place: p, turn: p.turn, position: position, waited: p.waited}, nil
}

// Estimate returns when a request that came now would probably find a slot:
// (waiting + 1) times the recent mean hold over the slots, at least 1 s and at
// most 60 s. It is 1 s while nothing is known or nothing is limited.
func (q *Queue) Estimate() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.estimate()
}

// estimate is Estimate with q.mu held.
func (q *Queue) estimate() time.Duration {
	const least, most = time.Second, time.Minute
	slots := uint64(q.options.Slots)
	if slots == 0 {
		return least
	}
	hi, lo := bits.Mul64(uint64(q.line.len)+1, uint64(q.hold))
	if hi >= slots {
		return most // the quotient does not fit in 64 bits
	}
	wait, _ := bits.Div64(hi, lo, slots)
	return time.Duration(min(max(wait, uint64(least)), uint64(most)))
}

// Stop turns everybody away who waits or comes later, with ErrStopped. Those
// who hold a slot finish. It may be called more than once.
func (q *Queue) Stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	for q.line.len > 0 {
		q.line.pop().answer <- ErrStopped
	}
}

// Stats returns the queue as it is at one moment.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.counts
	s.Slots, s.Size = q.options.Slots, q.options.Size
	s.InFlight, s.Waiting = q.held, q.line.len
	return s
}

// now is the monotonic time since the queue was made: half the price of a
// full time.Now, and the wall clock is of no use here. It is read with q.mu held,
// so that it never runs backwards from one event to the next.
func (q *Queue) now() time.Duration { return time.Since(q.born) }

// free reports whether a slot is free. q.mu is held.
func (q *Queue) free() bool { return q.options.Slots == 0 || q.held < q.options.Slots }

// fill hands free slots to the first of the line. q.mu is held.
func (q *Queue) fill(now time.Duration) {
	for q.line.len > 0 && q.free() {
		p := q.line.pop()
		p.waited = now - p.since
		p.since = now
		q.held++
		q.counts.Granted++
		p.answer <- nil
	}
}

// release takes the slot of p back and hands it on. q.mu is held.
func (q *Queue) release(p *place, now time.Duration) {
	q.spare.give(p)
	q.held--
	q.fill(now)
}

// learn adds one hold to the recent mean, with a weight of 1/8. q.mu is held.
func (q *Queue) learn(hold time.Duration) {
	if !q.learnt {
		q.hold, q.learnt = hold, true
		return
	}
	q.hold += (hold - q.hold) / 8
}
