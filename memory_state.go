package penstock

import (
	"math"
	"sync/atomic"

	"github.com/penstock-dev/penstock/internal/algorithm"
)

// What stands in the words of a slot, by kind:
//
//	sliding   0: the newest step's number, and in the lower 8 bits how many
//	             steps are live
//	          1: the sum of all live steps; of a single one its amount
//	          2: the ring that holds them when there are more, and in the
//	             upper 16 bits where the oldest is
//	fixed     0: the end of the window, 1: what is used in it
//	bucket    0: spent
//	in flight 0: how many
//
// But for check, the functions here are called with the record locked.

const ringBits = 48

// load makes the state of a sliding window from its words; one is the room for
// a single step.
func (s *MemoryStore) load(w []uint64, one *[1]uint64) algorithm.Steps {
	w0, w2 := atomic.LoadUint64(&w[0]), atomic.LoadUint64(&w[2])
	st := algorithm.Steps{Newest: int64(w0) >> 8, Len: int(w0 & 0xff), Total: int64(atomic.LoadUint64(&w[1]))}
	if w2 != 0 {
		st.Ring = s.pages.ring(ring(w2 & (1<<ringBits - 1)))
		st.Head = int(w2 >> ringBits)
	}
	if st.Ring == nil {
		one[0] = algorithm.Word(st.Newest, st.Total)
		st.Ring = one[:]
	}
	return st
}

// save puts a state back. A ring that is no longer needed is given back.
func (s *MemoryStore) save(w []uint64, st *algorithm.Steps) {
	put(&w[0], uint64(st.Newest)<<8|uint64(st.Len))
	put(&w[1], uint64(st.Total))
	if r := ring(w[2] & (1<<ringBits - 1)); r == 0 {
		return
	} else if st.Len > 1 {
		put(&w[2], uint64(r)|uint64(st.Head)<<ringBits)
	} else {
		s.pages.give(r.number())
		put(&w[2], 0)
	}
}

// widen gives the state a ring of at least so many words. Where there is no
// memory it leaves the state as it is.
func (s *MemoryStore) widen(w []uint64, st *algorithm.Steps, words int, from pool) {
	r := s.pages.takeRing(words, from, s.budget.take)
	if r == 0 {
		return
	}
	wide := s.pages.ring(r)
	for i := range st.Len {
		atomic.StoreUint64(&wide[i], st.Ring[(st.Head+i)&(len(st.Ring)-1)])
	}
	if old := ring(w[2] & (1<<ringBits - 1)); old != 0 {
		s.pages.give(old.number())
	}
	put(&w[2], uint64(r))
	st.Ring, st.Head = wide, 0
}

// A tally is how a slot stands at a moment.
type tally struct {
	used int64 // what counts
	wait int64 // how long until the cost fits, 0 if it does
	// The state, brought up to the moment: of a bucket what was spent, of a
	// fixed window its end, of a sliding one the number of its newest step.
	state int64
}

// same reports whether a charge falls in the newest step of a sliding window,
// the number of which is given, and none has ended, so that it is added to two
// words and that is all. There is no room there for what goes beyond a limit.
func (sl *slot) same(newest, live, total, now, cost int64) bool {
	return live != 0 && now < (newest+1)*sl.step && total <= sl.amount-cost
}

// check says how the slot stands, and whether cost fits; 0 always does. It
// changes nothing, and needs no lock where it is asked afterwards whether the
// record stayed as it was: of words that do not belong together it makes
// numbers without a meaning.
func (s *MemoryStore) check(sl *slot, words []uint64, m moment, cost int64) (t tally) {
	if cost > sl.whole && sl.overdraw {
		// It fits when nothing is used.
		if t = s.check(sl, words, m, 0); t.used > 0 {
			t.wait = sl.reset(t, m)
		}
		return t
	}
	if sl.kind == kindBucket {
		t.state, t.used, t.wait = sl.ready.Look(int64(atomic.LoadUint64(&words[sl.first])), m.now, cost)
		return t
	}
	w := words[sl.first:]
	switch sl.kind {
	case kindSliding:
		w0 := atomic.LoadUint64(&w[0])
		t.used, t.state = int64(atomic.LoadUint64(&w[1])), int64(w0)>>8
		if !sl.same(t.state, int64(w0&0xff), t.used, m.now, cost) {
			var one [1]uint64
			st := s.load(w, &one)
			t.used, t.wait = sl.sliding().Peek(&st, m.now, cost, sl.amount)
		}
	case kindFixed:
		f := sl.fixed(m.skew)
		c := f.Advance(algorithm.Counted{End: int64(atomic.LoadUint64(&w[0])), Used: int64(atomic.LoadUint64(&w[1]))}, m.now)
		t.used, t.state = c.Used, c.End
		if cost > 0 {
			t.wait = f.Wait(c, m.now, cost)
		}
	default:
		t.used = int64(atomic.LoadUint64(&w[0]))
		switch {
		case cost > sl.amount:
			t.wait = algorithm.Never
		case cost > 0 && t.used > sl.amount-cost:
			t.wait = guess
		}
	}
	return t
}

// guess is the wait for a request in flight to end, which no store can know.
const guess = 1_000_000

// reset is how long until nothing is used if nobody takes.
func (sl *slot) reset(t tally, m moment) int64 {
	if t.used == 0 {
		return 0
	}
	switch sl.kind {
	case kindBucket:
		return sl.ready.Filled(t.state, m.now)
	case kindSliding:
		return sl.sliding().Ends(t.state) - m.now
	case kindFixed:
		f := sl.fixed(m.skew)
		return f.Reset(algorithm.Counted{End: t.state, Used: t.used}, m.now)
	}
	return 0
}

// take charges cost to the slot, whether it fits or not, and returns how it
// stands then. The record is locked, and is as it was when it was checked, with
// the tally that is given.
func (s *MemoryStore) take(sl *slot, words []uint64, now int64, t tally, cost int64, from pool) tally {
	if sl.kind == kindBucket {
		t.state = sl.ready.Charged(t.state, cost)
		t.used += cost
		put(&words[sl.first], uint64(t.state))
		return t
	}
	w := words[sl.first:]
	switch {
	case sl.kind == kindSliding && sl.same(int64(w[0])>>8, int64(w[0]&0xff), int64(w[1]), now, cost):
		t.used += cost
		put(&w[1], uint64(t.used))
		if w[2] != 0 {
			newest := s.newest(w)
			put(newest, *newest+uint64(cost))
		}
	case sl.kind == kindSliding:
		var one [1]uint64
		st, p := s.load(w, &one), sl.sliding()
		p.Advance(&st, now)
		if st.Len == len(st.Ring) && p.Opens(&st, now) {
			s.widen(w, &st, st.Len+1, from)
		}
		p.Take(&st, now, cost)
		s.save(w, &st)
		t.used, t.state = st.Total, st.Newest
	case sl.kind == kindFixed:
		c := algorithm.Fixed{}.Take(algorithm.Counted{End: t.state, Used: t.used}, cost)
		t.used = c.Used
		put(&w[0], uint64(c.End))
		put(&w[1], uint64(c.Used))
	default:
		t.used = min(t.used, math.MaxInt64-cost) + cost
		put(&w[0], uint64(t.used))
	}
	return t
}

// newest is the word of the newest step in the ring of a sliding window.
func (s *MemoryStore) newest(w []uint64) *uint64 {
	r := s.pages.ring(ring(w[2] & (1<<ringBits - 1)))
	return &r[(int(w[2]>>ringBits)+int(w[0]&0xff)-1)&(len(r)-1)]
}

// add charges amount to the slot now, whether it fits or not, and returns what
// is used then. The record is locked.
func (s *MemoryStore) add(sl *slot, words []uint64, m moment, amount int64, from pool) (used int64) {
	return s.take(sl, words, m.now, s.check(sl, words, m, 0), amount, from).used
}

// used is what counts in the slot now.
func (s *MemoryStore) used(sl *slot, words []uint64, m moment) int64 {
	return s.check(sl, words, m, 0).used
}

// refund gives back amount of a charge that was taken at the time at under the
// gauge from: to where it is still counted, else to nowhere.
func (s *MemoryStore) refund(sl *slot, words []uint64, m moment, from *gauge, at, amount int64) {
	w := words[sl.first:]
	if sl.kind != from.kind || sl.kind != kindBucket && sl.size != from.size {
		return
	}
	switch sl.kind {
	case kindSliding:
		var one [1]uint64
		st, p := s.load(w, &one), sl.sliding()
		p.Advance(&st, m.now)
		p.Refund(&st, from.sliding(), m.now, at, amount)
		s.save(w, &st)
	case kindFixed:
		f := sl.fixed(m.skew)
		c := f.Advance(algorithm.Counted{End: int64(w[0]), Used: int64(w[1])}, m.now)
		c = f.Refund(c, at, amount)
		put(&w[0], uint64(c.End))
		put(&w[1], uint64(c.Used))
	case kindBucket:
		put(&w[0], uint64(sl.ready.Refund(int64(w[0]), amount)))
	default:
		put(&w[0], w[0]-uint64(min(amount, int64(w[0]))))
	}
}

// fresh makes the slot's words those of a counter on which nothing is.
func (sl *slot) fresh(words []uint64) {
	w := words[sl.first : sl.first+sl.kind.words()]
	for i := range w {
		put(&w[i], 0)
	}
	if sl.kind == kindBucket {
		spent := algorithm.Whole
		put(&w[0], uint64(spent))
	}
}

// free gives back the slot's ring if it has one.
func (s *MemoryStore) free(sl *slot, words []uint64) {
	if sl.kind != kindSliding {
		return
	}
	if r := ring(words[sl.first+2] & (1<<ringBits - 1)); r != 0 {
		s.pages.give(r.number())
		put(&words[sl.first+2], 0)
	}
}

// convert makes the fresh slot to continue what from counted, as [Store]
// promises when a limit changes.
func (s *MemoryStore) convert(from *slot, old []uint64, to *slot, words []uint64, m moment, whose pool) {
	if s.idle(from, old, m) {
		return // it might as well have been dropped
	}
	o, w := old[from.first:], words[to.first:]
	switch {
	case from.kind == kindInFlight && to.kind == kindInFlight:
		w[0] = o[0]
	case from.kind == kindFixed && to.kind == kindFixed && from.size == to.size:
		c := from.fixed(m.skew).Advance(algorithm.Counted{End: int64(o[0]), Used: int64(o[1])}, m.now)
		w[0], w[1] = uint64(c.End), uint64(c.Used)
	case from.kind == kindSliding && to.kind == kindSliding && from.size == to.size && from.step == to.step:
		copy(w[:3], o)
		put(&o[2], 0) // the ring went along
	case from.kind == kindBucket && to.kind == kindBucket:
		w[0] = uint64(from.ready.Rebase(int64(o[0]), m.now, to.ready))
	case from.kind == kindSliding && to.kind == kindSliding && from.size == to.size:
		var one [1]uint64
		st, p := s.load(o, &one), from.sliding()
		p.Advance(&st, m.now)
		var room [algorithm.RingCap]uint64
		next := algorithm.Steps{Ring: room[:]}
		p.Remap(&st, to.sliding(), &next)
		s.pack(w, &next, to.sliding(), whose, whose)
	default:
		if sum := s.used(from, old, m); sum > 0 {
			s.add(to, words, m, sum, whose)
		}
	}
}

// pack puts away a state whose ring is not the store's, into fresh words, with
// memory of the first of some pools that has it.
func (s *MemoryStore) pack(w []uint64, st *algorithm.Steps, p algorithm.Sliding, from, to pool) {
	if st.Len > 1 {
		for ; w[2] == 0 && from <= to; from++ {
			s.widen(w, st, st.Len, from)
		}
		if w[2] == 0 { // no memory: all of it counts as long as the newest
			var one [1]uint64
			sum := algorithm.Steps{Ring: one[:]}
			p.Take(&sum, st.Newest*p.Step, st.Total)
			*st = sum
		}
	}
	s.save(w, st)
}

// idle reports whether nothing is on the slot.
func (s *MemoryStore) idle(sl *slot, words []uint64, m moment) bool {
	return s.used(sl, words, m) == 0
}
