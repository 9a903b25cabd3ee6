package queue

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// Options says how many requests may be in flight, how many may begin in a
// time, and how many may wait, and for how long.
type Options struct {
	// Slots is the most requests in flight at once; 0 is no limit.
	Slots int
	// Burst is the capacity of the bucket, from which each request takes one
	// token for good; Refill tokens come back in each Per, evenly, counted in
	// whole microseconds. A Burst of 0 is no bucket; with one both others must be
	// above 0.
	Burst, Refill int64
	Per           time.Duration
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
	case o.Burst < 0:
		return fmt.Errorf("queue: a burst of %d; give 1 or more, or 0 for no bucket", o.Burst)
	case o.Burst > 0 && o.Refill <= 0:
		return fmt.Errorf("queue: a refill of %d; give 1 or more, or a burst of 0 for no bucket", o.Refill)
	case o.Burst > 0 && (o.Per < time.Microsecond || o.Per%time.Microsecond != 0):
		return fmt.Errorf("queue: a refill per %v; give whole microseconds, at least one", o.Per)
	case o.Size < 0:
		return fmt.Errorf("queue: a size of %d; give 1 or more, or 0 so that nobody waits", o.Size)
	case o.Timeout < 0:
		return fmt.Errorf("queue: a timeout of %v; give one above 0", o.Timeout)
	case o.Size > 0 && o.Timeout == 0:
		return fmt.Errorf("queue: a timeout of 0 with a size of %d; give a timeout above 0, or a size of 0 so that nobody waits", o.Size)
	}
	return nil
}

// Ask is what a request says of itself when it enters.
type Ask struct {
	// Caller is as whose turn it is counted; all without one are one caller.
	Caller string
	// Class goes before Weight and what was served: whoever is of a higher one
	// is served first. One that is none of traffic's counts as
	// traffic.ClassDefault.
	Class traffic.Class
	// Weight is the caller's share beside other callers of the class; below 1
	// it is 1.
	Weight int64
	// Cost is the weighted tokens that it will probably be served, input + 2 x
	// output. At least 1 is counted, and at most 2^48.
	Cost int64
	// Progress is told, while the request waits, at which position it stands (1
	// goes first) and how long it will probably wait from now: when it joins
	// the line and each second after that. The goroutine that called Enter calls it,
	// and does not leave the line while it is in there. Both are estimates; the
	// wait counts slots by the recent mean hold, 0 where that is not known, and
	// the bucket exactly. Nil is not told.
	Progress func(position int, wait time.Duration)
}

// ErrStopped is what Enter returns once the queue has been stopped.
var ErrStopped = errors.New("queue: stopped; ask another gateway")

// Reason is why a request was turned away without its time being up.
type Reason string

// The reasons.
const (
	Full      Reason = "full"       // there was no room in the line
	PushedOut Reason = "pushed_out" // it had to make room for a caller with fewer waiters, or of a higher class
	Late      Reason = "late"       // by the prediction its time would have been up before its turn
)

// FullError is what Enter returns when the request gets no place in the line,
// or does not keep it.
type FullError struct {
	Reason Reason
	// RetryAfter estimates when a slot will be free, as Queue.Estimate does; of
	// one that would be late it is the predicted wait, however long.
	RetryAfter time.Duration
}

func (e *FullError) Error() string {
	why := "full"
	switch e.Reason {
	case PushedOut:
		why = "full, and another caller's turn to wait"
	case Late:
		why = "too long for the timeout"
	}
	return fmt.Sprintf("queue: %s; retry after %v", why, e.RetryAfter)
}

// TimeoutError is what Enter returns when its turn did not come within the
// timeout.
type TimeoutError struct {
	// Waited is how long the request stood in the line.
	Waited time.Duration
	// RetryAfter estimates when a slot will be free, as Queue.Estimate does.
	RetryAfter time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("queue: no slot within %v; retry after %v", e.Waited, e.RetryAfter)
}

// Stats is what a queue looks like at one moment. The counters count since
// New and only grow. Whoever is turned away is counted by exactly one of Full,
// Late, PushedOut, TimedOut and Left, or was told ErrStopped.
type Stats struct {
	Slots    int // as configured; 0 is no limit
	InFlight int // holders; above Slots for a while after it was made smaller
	Waiting  int // in the line now
	Size     int // as configured
	// Classes has the parts of InFlight and Waiting, by traffic.Class.
	Classes [len(ranks)]ClassStats

	Granted   uint64 // slots handed out, one to a waiter that had just left included
	Waited    uint64 // requests that had to wait, whatever became of them
	Full      uint64 // turned away at once, for lack of room
	Late      uint64 // turned away at once, since they would have waited too long
	PushedOut uint64 // waited, and had to make room
	TimedOut  uint64 // waited for the whole timeout in vain
	Left      uint64 // clients that had gone before their request had a slot
}

// ClassStats is what one class has of a queue.
type ClassStats struct{ InFlight, Waiting int }
