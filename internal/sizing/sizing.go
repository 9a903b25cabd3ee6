// Package sizing computes how many requests to let in at a time, how many to let
// wait and how fast, from the workers there are and what is expected of them. It
// is arithmetic in whole numbers, and rounds up. The tables are the sizing
// guidelines that SMG's page on rate limiting gives.
package sizing

import (
	"fmt"
	"strconv"
	"time"
)

// Range is from a low to a high end, both in it.
type Range struct{ Low, High int64 }

// String returns the range in words; one number where both ends are the same.
func (r Range) String() string {
	if r.Low == r.High {
		return strconv.FormatInt(r.Low, 10)
	}
	return fmt.Sprintf("%d to %d", r.Low, r.High)
}

// Latency is how long a request may take to begin, to those who ask.
type Latency uint8

// The tolerances of latency.
const (
	Low    Latency = iota // interactive
	Medium                // batch
	High                  // asynchronous
)

// tolerance is what a tolerance of latency means.
type tolerance struct {
	name    string
	halves  Range // the queue's size over the slots, in halves
	timeout time.Duration
}

func (l Latency) tolerance() tolerance {
	switch l {
	case Low:
		// The guidelines' example of an interactive API waits for 5 s.
		return tolerance{"low", Range{1, 2}, 5 * time.Second}
	case Medium:
		// Their example of batch processing waits for 60 s.
		return tolerance{"medium", Range{4, 8}, time.Minute}
	default:
		// No example: a queue twice as deep as of batches takes twice as long.
		return tolerance{"high", Range{8, 16}, 2 * time.Minute}
	}
}

// String returns the tolerance's name as the command line has it.
func (l Latency) String() string { return l.tolerance().name }

// DepthHalves is how many requests may wait for each that may be in flight, in
// halves.
func (l Latency) DepthHalves() Range { return l.tolerance().halves }

// Latencies are all of them.
func Latencies() []Latency { return []Latency{Low, Medium, High} }

// PerWorker returns how many requests at a time a GPU with so much memory takes,
// and the guidelines' GPU that it counts as: the largest of 16, 40 and 80 GB that
// is not larger. It is false below 16 GB, of which they say nothing.
func PerWorker(gigabytes int64) (counted int64, r Range, ok bool) {
	switch {
	case gigabytes >= 80:
		return 80, Range{16, 32}, true
	case gigabytes >= 40:
		return 40, Range{8, 16}, true
	case gigabytes >= 16:
		return 16, Range{4, 8}, true
	}
	return 0, Range{}, false
}

// Fleet is what there is to send requests to, and what is expected of it.
type Fleet struct {
	Workers   int64
	PerWorker Range // requests at a time
	Latency   Latency
	Rate      Rate // expected
}

// Most is the largest number of workers, and of requests at a time for each, of
// which a Size is computed: no number in it is more than a flag may say.
const Most = 10_000

// Size is how much to let in.
type Size struct {
	Slots   Range // requests in flight at a time
	Queue   Range // requests that wait
	Refill  int64 // requests a second
	Timeout time.Duration
	// Start is one number of each range to begin with.
	Start struct{ Slots, Queue int64 }
}

// Size computes how much to let in. The numbers to start with are the low end of
// each range where little latency is tolerated, since fewer at a time are
// answered sooner; the high end where much is, since more at a time get more
// done; and the middle between.
func (f Fleet) Size() (s Size) {
	depth := f.Latency.DepthHalves()
	s.Slots = Range{f.Workers * f.PerWorker.Low, f.Workers * f.PerWorker.High}
	s.Queue = Range{ceil(s.Slots.Low*depth.Low, 2), ceil(s.Slots.High*depth.High, 2)}
	s.Refill = ceil(int64(f.Rate)*6, 5*int64(PerSecond))
	s.Timeout = f.Latency.tolerance().timeout
	s.Start.Slots = f.Workers * f.Latency.of(f.PerWorker)
	s.Start.Queue = ceil(s.Start.Slots*f.Latency.of(depth), 2)
	return s
}

// of picks the number of a range to start with.
func (l Latency) of(r Range) int64 {
	switch l {
	case Low:
		return r.Low
	case Medium:
		return ceil(r.Low+r.High, 2)
	default:
		return r.High
	}
}

// ceil divides n, at least 0, by d, above 0, and rounds up.
func ceil(n, d int64) int64 { return (n + d - 1) / d }
