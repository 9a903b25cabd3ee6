package penstock

import (
	"sync/atomic"
	"time"
)

// clock is the memory store's own clock: a wall anchor plus the monotonic
// clock, so it never jumps. When the wall clock is set, and the two part by
// more than a second, only the skew between them changes: windows and buckets
// go on in true time, and fixed windows, which are aligned in UTC, align
// themselves again at their next edge without one being cut short, or go on late
// by little.
type clock struct {
	base   time.Time
	anchor int64 // base in microseconds since the epoch
	skew   atomic.Int64
	next   atomic.Int64 // nanoseconds since base at which the wall clock is looked at again
}

// wallEvery is how often the wall clock is looked at. Reading it takes as long
// as reading the monotonic one, and it only aligns windows of minutes and hours.
const wallEvery = 100 * time.Millisecond

func newClock() *clock {
	base := time.Now()
	return &clock{base: base, anchor: base.UnixMicro()}
}

// moment is the time of one step, and what to add to it to get UTC.
type moment struct{ now, skew int64 }

// read reads the clock, once.
func (c *clock) read() moment {
	since := time.Since(c.base)
	if int64(since) < c.next.Load() {
		return moment{now: c.anchor + since.Microseconds(), skew: c.skew.Load()}
	}
	t := time.Now()
	since = t.Sub(c.base)
	c.next.Store(int64(since + wallEvery))
	return c.place(t.UnixMicro(), since)
}

// place makes a moment of what the two clocks say.
func (c *clock) place(wall int64, since time.Duration) moment {
	m := moment{now: c.anchor + since.Microseconds(), skew: c.skew.Load()}
	if parted := wall - m.now - m.skew; parted > 1_000_000 || parted < -1_000_000 {
		m.skew = wall - m.now
		c.skew.Store(m.skew)
	}
	return m
}
