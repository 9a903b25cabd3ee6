package penstock

import "github.com/penstock-dev/penstock/internal/algorithm"

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
// The functions here are called with the record locked.

const ringBits = 48

// load makes the state of a sliding window from its words; one is the room for
// a single step.
func (s *MemoryStore) load(w []uint64, one *[1]uint64) algorithm.Steps {
	st := algorithm.Steps{Newest: int64(w[0]) >> 8, Len: int(w[0] & 0xff), Total: int64(w[1])}
	if w[2] == 0 {
		one[0] = algorithm.Word(st.Newest, st.Total)
		st.Ring = one[:]
		return st
	}
	st.Ring = s.rings.at(ring(w[2] & (1<<ringBits - 1)))
	st.Head = int(w[2] >> ringBits)
	return st
}

// save puts a state back. A ring that is no longer needed is given back.
func (s *MemoryStore) save(w []uint64, st *algorithm.Steps) {
	w[0] = uint64(st.Newest)<<8 | uint64(st.Len)
	w[1] = uint64(st.Total)
	if r := ring(w[2] & (1<<ringBits - 1)); r == 0 {
		return
	} else if st.Len > 1 {
		w[2] = uint64(r) | uint64(st.Head)<<ringBits
	} else {
		s.rings.give(r)
		w[2] = 0
	}
}

// widen gives the state a ring of at least so many words. Where there is no
// memory it leaves the state as it is.
func (s *MemoryStore) widen(w []uint64, st *algorithm.Steps, words int) {
	r := s.rings.take(words, s.room)
	if r == 0 {
		return
	}
	wide := s.rings.at(r)
	for i := range st.Len {
		wide[i] = st.Ring[(st.Head+i)&(len(st.Ring)-1)]
	}
	if old := ring(w[2] & (1<<ringBits - 1)); old != 0 {
		s.rings.give(old)
	}
	w[2] = uint64(r)
	st.Ring, st.Head = wide, 0
}

// try says how long until cost fits into the slot, 0 if it does now, and takes
// it if it does and take says so. used and reset are how the slot then stands.
// A cost of 0 always fits.
func (s *MemoryStore) try(sl *slot, words []uint64, m moment, cost int64, take bool) (wait, used, reset int64) {
	w := words[sl.first:]
	if sl.overdraw && cost > sl.whole {
		return s.tryOverdraw(sl, words, m, cost, take)
	}
	switch sl.kind {
	case kindSliding:
		w = w[:3]
		newest, total := int64(w[0])>>8, int64(w[1])
		if w[0]&0xff == 0 || m.now >= (newest+1)*sl.step || total+cost > sl.amount {
			return s.trySliding(sl, w, m, cost, take)
		}
		// In the step of the charge before: nothing has ended, none begins.
		if take {
			total += cost
			w[1] = uint64(total)
			if w[2] != 0 {
				*s.newest(w) += uint64(cost)
			}
		}
		return 0, total, (newest+1)*sl.step + sl.size - m.now
	case kindBucket:
		b := sl.bucket(s.birth)
		spent, wait, used, reset := b.Try(int64(w[0]), m.now, cost, take)
		w[0] = uint64(spent)
		return wait, used, reset
	case kindFixed:
		f := sl.fixed(m.skew)
		c := f.Advance(algorithm.Counted{End: int64(w[0]), Used: int64(w[1])}, m.now)
		if cost > 0 {
			wait = f.Wait(c, m.now, cost)
		}
		if take && wait == 0 {
			c = f.Take(c, cost)
		}
		w[0], w[1] = uint64(c.End), uint64(c.Used)
		return wait, c.Used, f.Reset(c, m.now)
	default:
		switch n := int64(w[0]); {
		case cost > sl.amount:
			wait = algorithm.Never
		case cost > 0 && n+cost > sl.amount:
			wait = guess
		case take:
			w[0] += uint64(cost)
		}
		return wait, int64(w[0]), 0
	}
}

// tryOverdraw is try for a cost that is larger than the limit, which may be
// overdrawn: it fits when nothing is used.
func (s *MemoryStore) tryOverdraw(sl *slot, words []uint64, m moment, cost int64, take bool) (wait, used, reset int64) {
	if _, used, reset = s.try(sl, words, m, 0, false); used > 0 {
		return reset, used, reset
	}
	if take {
		s.add(sl, words, m, cost)
	}
	_, used, reset = s.try(sl, words, m, 0, false)
	return 0, used, reset
}

// guess is the wait for a request in flight to end, which no store can know.
const guess = 1_000_000

// newest is the word of the newest step in the ring of a sliding window.
func (s *MemoryStore) newest(w []uint64) *uint64 {
	r := s.rings.at(ring(w[2] & (1<<ringBits - 1)))
	return &r[(int(w[2]>>ringBits)+int(w[0]&0xff)-1)&(len(r)-1)]
}

// trySliding is try where a step begins or ends, or the charge does not fit.
func (s *MemoryStore) trySliding(sl *slot, w []uint64, m moment, cost int64, take bool) (wait, used, reset int64) {
	var one [1]uint64
	st, p := s.load(w, &one), sl.sliding()
	p.Advance(&st, m.now)
	if cost > 0 {
		wait = p.Wait(&st, m.now, cost, sl.amount)
	}
	if take && wait == 0 && cost > 0 {
		s.open(w, &st, p, m)
		p.Take(&st, m.now, cost)
	}
	used, reset = st.Total, p.Reset(&st, m.now)
	s.save(w, &st)
	return wait, used, reset
}

// open makes room for the step that a charge made now begins, if it does.
func (s *MemoryStore) open(w []uint64, st *algorithm.Steps, p algorithm.Sliding, m moment) {
	if st.Len == len(st.Ring) && p.Opens(st, m.now) {
		s.widen(w, st, st.Len+1)
	}
}

// add charges amount to the slot now, whether it fits or not.
func (s *MemoryStore) add(sl *slot, words []uint64, m moment, amount int64) {
	w := words[sl.first:]
	switch sl.kind {
	case kindSliding:
		var one [1]uint64
		st, p := s.load(w, &one), sl.sliding()
		p.Advance(&st, m.now)
		s.open(w, &st, p, m)
		p.Take(&st, m.now, amount)
		s.save(w, &st)
	case kindFixed:
		f := sl.fixed(m.skew)
		c := f.Advance(algorithm.Counted{End: int64(w[0]), Used: int64(w[1])}, m.now)
		c = f.Take(c, amount)
		w[0], w[1] = uint64(c.End), uint64(c.Used)
	case kindBucket:
		w[0] = uint64(sl.bucket(s.birth).Take(int64(w[0]), m.now, amount))
	default:
		w[0] += uint64(amount)
	}
}

// used is what counts in the slot now.
func (s *MemoryStore) used(sl *slot, words []uint64, m moment) int64 {
	_, used, _ := s.try(sl, words, m, 0, false)
	return used
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
		w[0], w[1] = uint64(c.End), uint64(c.Used)
	case kindBucket:
		w[0] = uint64(sl.bucket(s.birth).Refund(int64(w[0]), amount))
	default:
		w[0] -= uint64(min(amount, int64(w[0])))
	}
}

// fresh makes the slot's words those of a counter on which nothing is.
func (sl *slot) fresh(words []uint64) {
	w := words[sl.first : sl.first+sl.kind.words()]
	clear(w)
	if sl.kind == kindBucket {
		spent := algorithm.Whole
		w[0] = uint64(spent)
	}
}

// free gives back the slot's ring if it has one.
func (s *MemoryStore) free(sl *slot, words []uint64) {
	if sl.kind != kindSliding {
		return
	}
	if r := ring(words[sl.first+2] & (1<<ringBits - 1)); r != 0 {
		s.rings.give(r)
		words[sl.first+2] = 0
	}
}

// convert makes the fresh slot to continue what from counted, as [Store]
// promises when a limit changes.
func (s *MemoryStore) convert(from *slot, old []uint64, to *slot, words []uint64, m moment) {
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
		o[2] = 0 // the ring went along
	case from.kind == kindBucket && to.kind == kindBucket:
		w[0] = uint64(from.bucket(s.birth).Rebase(int64(o[0]), m.now, to.bucket(s.birth)))
	case from.kind == kindSliding && to.kind == kindSliding && from.size == to.size:
		var one [1]uint64
		st, p := s.load(o, &one), from.sliding()
		p.Advance(&st, m.now)
		var room [algorithm.RingCap]uint64
		next := algorithm.Steps{Ring: room[:]}
		p.Remap(&st, to.sliding(), &next)
		s.pack(w, &next, to.sliding())
	default:
		if sum := s.used(from, old, m); sum > 0 {
			s.add(to, words, m, sum)
		}
	}
}

// pack puts away a state whose ring is not the store's, into fresh words.
func (s *MemoryStore) pack(w []uint64, st *algorithm.Steps, p algorithm.Sliding) {
	if st.Len > 1 {
		s.widen(w, st, st.Len)
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
