package queue

import (
	"math"
	"math/bits"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// hold is what is known of how long a slot is held.
type hold struct {
	mean    time.Duration // recent
	known   int           // holds that it was made of, up to enoughHolds
	skipped int           // grants since the last that was measured
}

const (
	// enoughHolds make the mean worth a prediction.
	enoughHolds = 8
	// oneIn: when nobody waits, from enoughHolds on, one hold of so many is
	// measured, since two looks at the clock take as long as all the rest. It is
	// a prime, so that a client that alternates is not always caught alike.
	oneIn = 7
)

// measures reports whether the next hold is to be measured though nobody waits.
func (h *hold) measures() bool { return h.known < enoughHolds || h.skipped == oneIn-1 }

// learn adds one hold to the recent mean, with a weight of 1/8.
func (h *hold) learn(d time.Duration) {
	if h.known == 0 {
		h.mean = d
	}
	h.mean += (d - h.mean) / 8
	h.known = min(h.known+1, enoughHolds)
}

// turns is how long n slots take to come free, of so many; cut at the longest
// duration. It is 0 where slots have no limit.
func (h *hold) turns(n, slots int) time.Duration {
	if slots == 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(n), uint64(h.mean))
	if hi >= uint64(slots) {
		return math.MaxInt64 // the quotient does not fit in 64 bits
	}
	wait, _ := bits.Div64(hi, lo, uint64(slots))
	return time.Duration(min(wait, math.MaxInt64))
}

// before estimates how many will be served before one of a caller's, of whom so
// many go first, if nobody else comes or leaves. u is nil for a caller of whom
// nothing is known, number that of its first waiter,
// or of the request where it has none. It is made of
//
//   - the caller's own, ahead of them;
//   - of its class's others, each whose counter lies below what the caller's
//     will be by then: a turn each, and one more for every mean charge by which it
//     will exceed the least counter, the first aside, as they lie spread over about that;
//   - those of the classes above, but no more of them than the starvation bound
//     lets by.
//
// Besides the ranks, it takes constant time.
func (l *line) before(at traffic.Class, u *caller, ahead int, number uint64) int {
	c := &l.classes[at]
	n := ahead
	if c.waiting > 0 {
		floor := c.floor()
		reach, own := floor, 0
		if u != nil {
			own = int(u.waiting)
			if floor.less(u.served) {
				reach = u.served
			}
			switch {
			case ahead == own:
				reach = reach.plus(u.queued)
			case ahead > 0:
				mean, _ := u.queued.over(uint64(own))
				reach = reach.plus(mean.times(uint64(ahead)))
			}
		}
		others := c.ranking.rank(key{reach, number})
		if ahead > 0 {
			others-- // the caller itself
		}
		rounds := uint64(1)
		if least := c.ranking.first().served; others > 0 && least.less(reach) {
			mean, _ := c.queued.over(uint64(c.waiting))
			rounds = max(1, reach.minus(least).coarse()/max(1, mean.coarse()))
		}
		n += int(min(times(others, rounds), uint64(c.waiting-own)))
	}
	above := 0
	for _, higher := range ranks {
		if higher == at {
			break
		}
		above += l.classes[higher].waiting
	}
	return n + int(min(uint64(above), times(n+1, Turns-1)))
}

// times is n*by, cut at the most that 64 bits hold.
func times(n int, by uint64) uint64 {
	hi, lo := bits.Mul64(uint64(n), by)
	if hi > 0 {
		return math.MaxUint64
	}
	return lo
}

// predict is the wait of one that so many go before: until slots have come free
// so many times, by the recent mean hold where that is known well enough; and
// exactly until the bucket has a token for it. Its own slot comes free some time
// within a turn after those before it: turns is before for the earliest. q.mu is held.
func (q *Queue) predict(before, turns int, now time.Duration) time.Duration {
	wait := q.bucket.wait(now, before)
	if q.hold.known == enoughHolds {
		wait = max(wait, q.hold.turns(turns, q.options.Slots))
	}
	return wait
}

// Estimate returns when a request that came now would probably be let in:
// (waiting + 1) times the recent mean hold over the slots, at least 1 s and at
// most 60 s, or when the bucket would have a token for it, if that is later. It
// is 1 s while nothing is known or nothing is limited.
func (q *Queue) Estimate() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.estimate(q.now())
}

// estimate is Estimate with q.mu held.
func (q *Queue) estimate(now time.Duration) time.Duration {
	turns := q.hold.turns(q.line.waiting+1, q.options.Slots)
	return max(time.Second, min(turns, time.Minute), q.bucket.wait(now, q.line.waiting))
}
