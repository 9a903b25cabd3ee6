package algorithm

import "time"

// Fixed is a fixed window: at most Amount in each window, the windows aligned
// to multiples of Size in UTC, or to calendar months. What was used beyond
// Amount (settled after admission) is carried into the next window.
//
// Its state is the End of the window in force and what is Used in it. The
// zero Counted is a window in which nothing was used.
type Fixed struct {
	Amount int64 // at least 1
	Size   int64 // microseconds; at least 1, unless Month
	Month  bool  // calendar months in UTC; Size is not looked at
	// Skew is what to add to a time to get UTC: a clock that is not set back
	// and forth may differ from it. Windows are aligned in UTC. One that a
	// change of Skew would cut short by little is as late as it begins, else it
	// lasts until the end of the next; but those that something is carried into
	// follow each other as if Skew had stayed, so that waits stay true.
	Skew int64
}

// Counted is the state of a fixed window.
type Counted struct {
	End  int64
	Used int64
}

// span returns the window that holds the time t.
func (f Fixed) span(t int64) (start, end int64) {
	utc := t + f.Skew
	if f.Month {
		y, m, _ := time.UnixMicro(utc).UTC().Date()
		start = time.Date(y, m, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
		end = time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	} else {
		start = floorDiv(utc, f.Size) * f.Size
		end = start + f.Size
	}
	return start - f.Skew, end - f.Skew
}

// later returns the end of the n-th window after the one that ends at end; n
// may be 0. A month that ends a little before or after a calendar month, since Skew
// has changed, is followed by those that do the same: what lies within two weeks of
// a month's begin is told from there, as not every month has a 29th.
func (f Fixed) later(end, n int64) int64 {
	if !f.Month {
		d, _ := mulDiv(n, f.Size, 1)
		return add(end, d)
	}
	if n == 0 {
		return end
	}
	const farthest = 12 * 10_000 // months, where time.Time still counts right
	y, m, _ := time.UnixMicro(end+f.Skew).UTC().AddDate(0, 0, 14).Date()
	begin := func(n int64) int64 { return time.Date(y, m+time.Month(n), 1, 0, 0, 0, 0, time.UTC).UnixMicro() }
	return end + begin(min(n, farthest)) - begin(0)
}

// littleOf is the part of a window by which it may be late: the default step of a
// sliding window.
const littleOf = 60

// passed is how many windows have ended at now of those that follow each other from
// the one that ends at end, that one included; end lies at or before now.
func (f Fixed) passed(end, now int64) int64 {
	if !f.Month {
		return 1 + (now-end)/f.Size
	}
	a := time.UnixMicro(end + f.Skew).UTC()
	b := time.UnixMicro(now + f.Skew).UTC()
	n := max(1, int64(b.Year()-a.Year())*12+int64(b.Month()-a.Month()))
	for n > 1 && f.later(end, n-1) > now {
		n--
	}
	for f.later(end, n) <= now {
		n++
	}
	return n
}

// Advance is the state at now.
func (f Fixed) Advance(c Counted, now int64) Counted {
	if now < c.End {
		return c
	}
	// Windows follow each other for as long as there is something of them left, as
	// Wait and Reset have said, wherever they lie since Skew has changed.
	if left := f.left(c); now < left {
		n := f.passed(c.End, now)
		return Counted{f.later(c.End, n), c.Used - n*f.Amount}
	} else if c.Used > 0 {
		c = Counted{End: left}
	}
	start, end := f.span(now)
	if late := c.End - start; late > 0 {
		// Skew has changed: the window before reaches into this one, which
		// would be shorter than it should be.
		if late <= (end-start)/littleOf {
			end += late
		} else {
			_, end = f.span(end)
		}
	}
	return Counted{End: end}
}

// left returns when nothing is left of what is used, if nobody takes; c.End, if
// nothing is used.
func (f Fixed) left(c Counted) int64 {
	return f.later(c.End, max(1, ceilDiv(c.Used, f.Amount))-1)
}

// Fits reports whether cost can be taken from a state that is Advanced.
func (f Fixed) Fits(c Counted, cost int64) bool {
	return cost <= f.Amount-c.Used
}

// Take charges cost, whether it fits or not.
func (f Fixed) Take(c Counted, cost int64) Counted {
	c.Used = add(c.Used, cost)
	return c
}

// Refund gives back amount to the window that it was taken from at the given
// time, and to nowhere when that window is over.
func (f Fixed) Refund(c Counted, at, amount int64) Counted {
	size := f.Size
	if f.Month {
		size = shortestMonth
	}
	// Skew may have changed since. Then what is nearer to the window's end than a
	// window is long was surely taken from it.
	if _, end := f.span(at); end == c.End || at < c.End && at >= c.End-size {
		c.Used = max(0, c.Used-amount)
	}
	return c
}

// shortestMonth is how long every month is at least, in microseconds.
const shortestMonth = 28 * 24 * int64(time.Hour/time.Microsecond)

// Wait is how long until cost fits, 0 if it does now. The state is Advanced.
func (f Fixed) Wait(c Counted, now, cost int64) int64 {
	if cost > f.Amount {
		return Never
	}
	over := add(c.Used, cost) - f.Amount
	if over <= 0 {
		return 0
	}
	return f.later(c.End, ceilDiv(over, f.Amount)-1) - now
}

// Reset is how long until nothing is used if nobody takes. The state is
// Advanced.
func (f Fixed) Reset(c Counted, now int64) int64 {
	if c.Used == 0 {
		return 0
	}
	return f.left(c) - now
}
