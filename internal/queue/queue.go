// Package queue hands out slots, the places among the requests in flight, and
// bucket tokens, one a request, and keeps the bounded line of requests that wait
// for them.
package queue

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// Queue is slots, a bucket, and the line in front of them, served in the order
// that line documents. A request needs a slot and a bucket token; it takes both in
// one step or waits, and nobody takes one past a request that waits. It has no
// goroutine of its own. All methods may be called from any goroutine; only Enter
// blocks.
type Queue struct {
	born time.Time // the zero of now

	// mu guards what follows. While it is free, somebody waits only if no slot
	// is free or the bucket is empty, and in the latter case the alarm is set; and
	// whoever waits does so until a deadline, to the first of which, or earlier,
	// the other alarm is set.
	mu       sync.Mutex
	options  Options
	stopped  bool
	line     line
	bucket   bucket
	alarm    alarm
	timeouts alarm
	spare    spare
	hold     hold
	held     int   // slots in flight
	counts   Stats // the counters alone
}

// New returns a queue with all of its slots free and a full bucket. The error
// says which option is wrong and what to give instead.
func New(o Options) (*Queue, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	q := &Queue{born: time.Now(), options: o}
	q.alarm.ring, q.timeouts.ring = q.ring, q.expire
	q.bucket.configure(o, 0)
	return q, nil
}

// Configure changes the options; on an error, as New returns it, nothing
// changes. Holders keep their slots: more slots wake waiters at once, fewer
// take effect as slots come back. The bucket keeps its level, cut at the new
// capacity. Those who wait already stay, whatever the new size, and keep the
// timeout they came with.
func (q *Queue) Configure(o Options) error {
	if err := o.validate(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	q.options = o
	q.bucket.configure(o, now)
	q.fill(now)
	return nil
}

// Enter returns a slot, at once if one is free and the bucket has a token for
// it, else after waiting in the line. Without a slot the error is a *FullError,
// a *TimeoutError, ErrStopped, or ctx.Err() when ctx ended first; the place in
// the line is free by then, and no bucket token was taken. What is returned with
// the error is no slot, but tells position and wait of a request that waited. The
// caller releases the slot when the request has ended.
func (q *Queue) Enter(ctx context.Context, ask Ask) (Slot, error) {
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
	if ask.Class > traffic.ClassBulk {
		ask.Class = traffic.ClassDefault
	}
	if p := q.pass(&ask); p != nil {
		s := Slot{place: p, turn: p.turn}
		q.mu.Unlock()
		return s, nil
	}
	now := q.now()
	p, position, err := q.join(&ask, now)
	q.mu.Unlock()
	if err != nil {
		return Slot{}, err
	}
	return q.wait(ctx, p, position, now, ask.Progress)
}

// Busy reports whether a request that came now would have to wait.
func (q *Queue) Busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.line.waiting > 0 || !q.slotFree() || q.bucket.on && q.bucket.wait(q.now(), 0) > 0
}

// pass lets a newcomer straight in if nobody waits and nothing is lacking, else
// it returns nil. q.mu is held.
func (q *Queue) pass(ask *Ask) *place {
	if q.options.Slots == 0 && !q.bucket.on { // nobody waits, and nothing is worth knowing
		p := q.spare.take(q)
		p.class, p.since = ask.Class, unread
		q.line.classes[p.class].held++
		return q.grant(p)
	}
	if q.line.waiting > 0 && q.bucket.on {
		q.fill(q.now()) // the alarm may be late
	}
	if q.line.waiting > 0 || !q.slotFree() {
		return nil
	}
	now, measured := unread, q.hold.measures()
	if measured || q.bucket.on {
		now = q.now()
		if q.bucket.wait(now, 0) > 0 {
			return nil
		}
		q.bucket.take(now)
	}
	if measured {
		q.hold.skipped = 0
	} else {
		now = unread
		q.hold.skipped++
	}
	p := q.place(ask, nil)
	p.since = now
	q.line.classes[p.class].pass(p)
	return q.grant(p)
}

// place makes a place for a newcomer, whose caller is looked up unless it is
// given. q.mu is held.
func (q *Queue) place(ask *Ask, u *caller) *place {
	p := q.spare.take(q)
	p.class, p.weight, p.charge = ask.Class, ask.Weight, charged(ask.Cost, ask.Weight)
	if u == nil {
		u = q.line.classes[p.class].callers.get(ask.Caller)
	}
	p.caller = u
	return p
}

// grant counts the slot that p is given. q.mu is held.
func (q *Queue) grant(p *place) *place {
	q.held++
	q.counts.Granted++
	return p
}

// join puts a newcomer in the line and returns at which position, or says why
// not. q.mu is held.
func (q *Queue) join(ask *Ask, now time.Duration) (p *place, position int, err error) {
	class := &q.line.classes[ask.Class]
	var yields *place
	if q.line.waiting >= q.options.Size {
		if q.options.Size > 0 {
			yields = q.line.yields(ask.Class, ask.Caller)
		}
		if yields == nil {
			q.counts.Full++
			return nil, 0, &FullError{Reason: Full, RetryAfter: q.estimate(now)}
		}
	}
	u, ahead := class.callers.byName[ask.Caller], 0
	if u != nil {
		ahead = int(u.waiting)
	}
	before := q.line.before(ask.Class, u, ahead, q.line.arrived)
	if wait := q.predict(before, before, now); wait > q.options.Timeout {
		q.counts.Late++
		return nil, 0, &FullError{Reason: Late, RetryAfter: wait}
	}
	if yields != nil {
		q.counts.PushedOut++
		q.line.remove(yields)
		u = nil // it may have been forgotten by that
	}
	p = q.place(ask, u)
	until := q.line.push(p, now, q.options.Timeout)
	if !q.timeouts.set || until < q.timeouts.at {
		q.timeouts.arm(now, until)
	}
	q.counts.Waited++
	if yields != nil {
		yields.refuse(&FullError{Reason: PushedOut, RetryAfter: q.estimate(now)})
	}
	q.fill(now) // for the alarm; a bucket token may also have come since pass looked
	return p, before + 1, nil
}

// progressEvery is how often Ask.Progress is told.
const progressEvery = time.Second

// wait blocks until p, which joined the line, has a slot or loses its place.
// What happens first under the lock is what counts, so that a grant racing with
// the timeout or with ctx is neither lost nor given twice.
func (q *Queue) wait(ctx context.Context, p *place, position int, joined time.Duration, progress func(int, time.Duration)) (Slot, error) {
	var again <-chan time.Time
	if progress != nil {
		q.tell(p, progress)
		ticker := time.NewTicker(progressEvery)
		defer ticker.Stop()
		again = ticker.C
	}
	for {
		select {
		case <-p.answer:
			return q.take(p, position, joined, ctx.Err())
		case <-again:
			if ctx.Err() == nil {
				q.tell(p, progress)
				continue
			}
		case <-ctx.Done():
		}
		q.mu.Lock()
		if p.waiting() {
			defer q.mu.Unlock()
			stood := Slot{position: position, waited: q.now() - joined}
			q.leave(p)
			return stood, ctx.Err()
		}
		q.mu.Unlock()
		<-p.answer // sent under the lock, so it is there
		return q.take(p, position, joined, ctx.Err())
	}
}

// tell tells the client of p how it stands, unless it no longer waits, or is not to
// any more.
func (q *Queue) tell(p *place, progress func(int, time.Duration)) {
	q.mu.Lock()
	now := q.now()
	if !p.waiting() || now >= p.until() {
		q.mu.Unlock()
		return
	}
	before := q.line.before(p.class, p.caller, p.caller.ahead(p), p.caller.number)
	wait := q.predict(before, before+1, now)
	q.mu.Unlock()
	progress(before+1, wait)
}

// leave takes p, whose client has gone, out of the line. q.mu is held.
func (q *Queue) leave(p *place) {
	q.line.remove(p)
	q.spare.give(p)
	q.counts.Left++
	if q.line.waiting == 0 {
		q.alarm.disarm()
	}
}

// expire turns away those who have waited for their timeout. It is what the
// second alarm calls.
func (q *Queue) expire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.timeouts.set = false
	now := q.now()
	for {
		p, again := q.line.deadlines.due(now)
		if p == nil {
			if again < math.MaxInt64 {
				q.timeouts.arm(now, again)
			}
			return
		}
		q.line.remove(p)
		if q.line.waiting == 0 {
			q.alarm.disarm()
		}
		q.counts.TimedOut++
		p.refuse(&TimeoutError{Waited: now - p.since, RetryAfter: q.estimate(now)})
	}
}

// take gives p's client what p was answered. If it has gone, nothing was sent
// for it: the slot goes on, and the bucket token and the charge go back.
func (q *Queue) take(p *place, position int, joined time.Duration, gone error) (Slot, error) {
	if p.refused == nil && gone == nil {
		return Slot{p, p.turn, position, p.since - joined}, nil // p is its client's alone by now
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	stood := Slot{position: position, waited: now - joined}
	if err := p.refused; err != nil {
		p.refused = nil
		q.spare.give(p)
		return stood, err
	}
	stood.waited = p.since - joined
	q.counts.Left++
	q.line.correct(p, work{})
	q.bucket.refund()
	q.release(p, now)
	return stood, gone
}

// Stop turns everybody away who waits or comes later, with ErrStopped. Those
// who hold a slot finish. It may be called more than once.
func (q *Queue) Stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.alarm.disarm()
	q.timeouts.disarm()
	for i := range q.line.classes {
		c := &q.line.classes[i]
		for c.waiting > 0 {
			p := c.ranking.first().caller.first
			q.line.remove(p)
			p.refuse(ErrStopped)
		}
	}
}

// Stats returns the queue as it is at one moment.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.counts
	s.Slots, s.Size = q.options.Slots, q.options.Size
	s.InFlight, s.Waiting = q.held, q.line.waiting
	for i := range q.line.classes {
		c := &q.line.classes[i]
		s.Classes[i] = ClassStats{InFlight: c.held, Waiting: c.waiting}
	}
	return s
}

// unread is the time of what was not timed.
const unread time.Duration = -1

// now is the monotonic time since the queue was made: half the price of a
// full time.Now, and the wall clock is of no use here. It is read with q.mu held,
// so that it never runs backwards from one event to the next.
func (q *Queue) now() time.Duration { return time.Since(q.born) }

// slotFree reports whether a slot is free. q.mu is held.
func (q *Queue) slotFree() bool { return q.options.Slots == 0 || q.held < q.options.Slots }

// fill lets in whose turn it is, while there are slots and bucket tokens, and
// sets the alarm for the next token if it is only that which lacks. q.mu is held.
func (q *Queue) fill(now time.Duration) {
	for q.line.waiting > 0 && q.slotFree() {
		if wait := q.bucket.wait(now, 0); wait > 0 {
			q.alarm.arm(now, now+wait)
			return
		}
		q.bucket.take(now)
		p := q.line.next()
		p.since = now
		q.grant(p).answer <- true
	}
	q.alarm.disarm()
}

// ring is what the alarm calls.
func (q *Queue) ring() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.alarm.set = false
	q.fill(q.now())
}

// release takes the slot of p back and hands it on. q.mu is held.
func (q *Queue) release(p *place, now time.Duration) {
	c := &q.line.classes[p.class]
	if p.caller != nil {
		c.release(p)
	} else {
		c.held--
	}
	q.spare.give(p)
	q.held--
	q.fill(now)
}
