package adaptive

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Times to the first token are counted by the length of the prompt, which is what
// they depend on most: a class is a doubling of it. Within a class they are
// counted in sixteenths of a doubling.
const (
	classes   = 12 // below 64 tokens, below 128, ..., from 65,536 on
	unitBits  = 17 // the shortest time that is told apart: 131 us
	fineBits  = 4
	longest   = 43 // bits: 2.4 hours and more are one
	buckets   = (longest-unitBits-fineBits)<<fineBits + 1<<fineBits
	fewest    = 4 // times of which a median is taken
	unhurried = 8 // a baseline moves by an eighth of the way
)

func class(input int64) int { return min(max(bits.Len64(uint64(max(input, 0)))-6, 0), classes-1) }

func bucket(d time.Duration) int {
	u := min(uint64(max(d, 0)), 1<<longest-1) >> unitBits
	e := max(bits.Len64(u)-fineBits-1, 0)
	return e<<fineBits + int(u>>e)
}

// middle is the time in the middle of a bucket.
func middle(b int) time.Duration {
	e := max(b>>fineBits-1, 0)
	return time.Duration((2*(b-e<<fineBits) + 1) << e << unitBits / 2)
}

// Times counts times to the first token. The zero Times are none.
type Times [classes][buckets]uint32

// recorder is Times that many goroutines add to.
type recorder [classes][buckets]atomic.Uint32

// add counts one: how long after the gateway sent the request, and the tokens of
// its input, as well as they are known; 0 if they are not.
func (r *recorder) add(d time.Duration, input int64) { r[class(input)][bucket(d)].Add(1) }

// take moves what was counted to t.
func (r *recorder) take(t *Times) {
	for c := range r {
		for b := range r[c] {
			t[c][b] = 0
			if r[c][b].Load() > 0 {
				t[c][b] = r[c][b].Swap(0)
			}
		}
	}
}

// median returns the median of the times of a class, and how many there are.
func (t *Times) median(class int) (median time.Duration, n int) {
	for _, k := range t[class] {
		n += int(k)
	}
	below := 0
	for b, k := range t[class] {
		if below += int(k); 2*below > n {
			return middle(b), n
		}
	}
	return 0, n
}

// firstTokens judges times to the first token, each class of prompts against its
// own baseline: what they take while the workers are not busy. So a change in
// what is asked is not taken for one in the workers. The ratio of both, and not
// their difference, says how many requests share a worker that all slow down
// alike: as in TCP Vegas (Brakmo and Peterson, 1995) and the gradient of
// Netflix's concurrency-limits, the work that is queued is what is in flight
// times 1 - baseline/time.
//
// A baseline sinks whenever it is undercut, and rises only while few are in flight:
// it is hardly they why it takes longer then. One that followed all times, as an
// average does, would take a worker that is always too busy for one that is
// slow, and so let ever more in.
type firstTokens struct {
	times     Times
	baselines [classes]time.Duration // 0: not known yet
	typical   time.Duration          // the median of the class with most, last time
	inFlight  int                    // in the tick before
	draining  bool                   // the slots have shrunk, and not all beyond have left
	deaf      int                    // ticks whose times come from before the slots changed
}

// deafen drops the times of requests that were sent before the slots changed, for
// as many ticks as they take, and more.
func (f *firstTokens) deafen(more int) {
	f.deaf = more + int(f.typical/Tick)
	f.times = Times{}
}

// askTokens returns what the times to the first token say.
func (c *Controller) askTokens(o Observation) verdict {
	f := &c.tokens
	quiet := max(o.InFlight, f.inFlight) <= max(c.slots/2, c.options.Min)
	f.inFlight = o.InFlight
	switch {
	case f.draining && o.InFlight > c.slots:
		return verdict{fit: unbounded}
	case f.draining:
		f.draining = false
		f.deafen(1)
		return verdict{fit: unbounded}
	case f.deaf > 0:
		f.deaf--
		return verdict{fit: unbounded}
	}
	// Two of each slot, within bounds, are enough to judge by.
	pace, ok := f.judge(o.FirstToken, min(max(2*c.slots, 2*fewest), 64), quiet)
	if !ok {
		return verdict{fit: unbounded}
	}
	// Far from where it is to rest, by a leap: as many as take restPace if all share
	// alike, from a worker that is just full. Near it by one, since what was seen is
	// a sample.
	leap := int(min(float64(min(o.InFlight, c.slots))*restPace/pace, math.MaxInt32))
	switch {
	case pace <= freePace:
		return verdict{fit: unbounded, room: max(leap, c.slots+1)}
	case pace <= easyPace:
		return verdict{fit: unbounded, room: c.slots + 1}
	case pace <= slowPace:
		return verdict{fit: unbounded}
	case pace <= gravePace:
		return verdict{fit: c.slots - 1}
	}
	return verdict{fit: leap}
}

// judge returns how many times the baseline a first token takes: the mean of the
// classes' medians. It is false until there are enough times.
func (f *firstTokens) judge(times *Times, enough int, quiet bool) (pace float64, ok bool) {
	if times != nil {
		for c := range times {
			for b, n := range times[c] {
				f.times[c][b] += n
			}
		}
	}
	var medians [classes]time.Duration
	var counts [classes]int
	total, most := 0, 0
	for c := range classes {
		median, n := f.times.median(c)
		if n < fewest {
			continue
		}
		medians[c], counts[c] = median, n
		total += n
		if n > most {
			most, f.typical = n, median
		}
	}
	if total < enough {
		return 0, false
	}
	f.times = Times{}
	var sum, weight float64
	for c, b := range f.baselines {
		if b > 0 && counts[c] > 0 {
			sum += float64(counts[c]) * float64(medians[c]) / float64(b)
			weight += float64(counts[c])
		}
	}
	pace = 1
	if weight > 0 {
		pace = sum / weight
	}
	for c, median := range medians {
		switch b := &f.baselines[c]; {
		case counts[c] == 0:
		case *b == 0: // as the others are now, so is this
			*b = time.Duration(float64(median) / max(pace, 1))
		case quiet || pace < 1:
			*b += (median - *b) / unhurried
		}
	}
	return pace, true
}
