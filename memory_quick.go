package penstock

import (
	"context"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/penstock-dev/penstock/internal/algorithm"
)

// Most decisions find each key's record where it was, laid out as its limits
// are now, in no new fixed window, and with nobody else at them. For these it is
// worked out before anything is locked what each counter will be; then the
// records are locked, if they are still as they were, and one word of a counter
// is written, mostly. All other decisions are left to decideAll, which does the
// same by other means.

// mostSpots is how many keys a decision may have to be quick.
const mostSpots = groupRoom

// A spot is the record of a key of a decision.
type spot struct {
	head  *head
	lay   *layout
	count uint64 // of the record's lock, since when it is the key's
	n     int    // of the key's charges
}

// Take implements [Store].
func (s *MemoryStore) Take(_ context.Context, now time.Time, charges []Charge) (time.Time, error) {
	us := now.UnixMicro()
	if us != noTime && (len(charges) == 1 && s.quickOne(charges, us) || len(charges) > 1 && s.quick(charges, us, true)) {
		return now, nil
	}
	return s.decide(now, charges, true)
}

// quickOne is quick for taking the commonest of decisions, one charge of a bucket or
// a window. What seek, foretell and fulfil do comes to the same.
func (s *MemoryStore) quickOne(charges []Charge, now int64) bool {
	c := &charges[0]
	if c.Limits == nil {
		return false
	}
	lay := c.Limits.cached.Load()
	if lay == nil || lay.store != s {
		return false
	}
	var h *head
	var count uint64
	if c.Handle == nil {
		_, h, count = s.lookup(s.index.key.sum(c.Key))
	} else if p := c.Handle.place.Load(); p != nil && p.head != nil && p.store == s && same(c.Handle.key, c.Key) {
		h = p.head
		if count = h.mu.Count(); !h.is(p.hashed) {
			return false
		}
	}
	slots := lay.slots
	if h == nil || uint(c.Index) >= uint(len(slots)) {
		return false
	}
	if h.layout.Load() != lay.id {
		return s.quick(charges, now, true)
	}
	sl := &slots[c.Index]
	if uint64(c.Amount) > uint64(sl.whole) {
		return false
	}
	if sl.kind != kindBucket {
		return sl.kind != kindInFlight && s.quickWindow(c, sl, h, count, now) || s.quickFrom(charges, h, lay, count, now, true)
	}
	w, since := h.word(sl.first), now-s.birth
	if !sl.ready.Quick(since) {
		return false
	}
	empty := sl.ready.EmptySince(since)
	state := max(int64(atomic.LoadUint64(w)), empty)
	lacks := state - empty
	if lacks < 0 {
		return false
	}
	cost := sl.ready.Cost(c.Amount)
	wait, done := time.Duration(0), false
	switch {
	case c.Amount == 0:
		done = h.mu.Unchanged(count)
	case lacks > sl.ready.Full()-cost:
		wait = duration(sl.ready.WaitSince(state, cost, since))
		done = h.mu.Unchanged(count)
	case h.mu.LockUnchanged(count):
		state, lacks = state+cost, lacks+cost
		put(w, uint64(state))
		h.mu.UnlockTo(count + 2)
		done = true
	}
	c.Used, c.RetryAfter, c.Reset, c.Shared = sl.ready.Units(lacks), wait, 0, false
	if lacks > 0 {
		c.Reset = duration(sl.ready.FilledSince(state, since))
	}
	return done
}

// quickWindow is quickOne for a charge that fits into the newest step of a sliding
// window, or into a fixed one that goes on.
func (s *MemoryStore) quickWindow(c *Charge, sl *slot, h *head, count uint64, now int64) bool {
	w := h.counter(sl)
	w0, used := atomic.LoadUint64(&w[0]), int64(atomic.LoadUint64(&w[1]))
	var ends int64
	if sl.kind == kindSliding {
		newest := int64(w0) >> 8
		if ends = sl.sliding().Ends(newest); !sl.same(newest, int64(w0&0xff), used, now, c.Amount) {
			return false
		}
	} else if ends = int64(w0); now >= ends || used > sl.amount-c.Amount {
		return false
	}
	if c.Amount == 0 || !h.mu.LockUnchanged(count) {
		return false
	}
	used += c.Amount
	put(&w[1], uint64(used))
	if sl.kind == kindSliding && w[2] != 0 {
		newest := s.newest(w)
		put(newest, *newest+uint64(c.Amount))
	}
	h.mu.UnlockTo(count + 2)
	c.Used, c.RetryAfter, c.Reset, c.Shared = used, 0, duration(ends-now), false
	return true
}

// quick decides the charges, of which there is at least one, and returns true, or
// does nothing and returns false.
func (s *MemoryStore) quick(charges []Charge, now int64, take bool) bool {
	h, lay, count := s.seek(&charges[0])
	return h != nil && s.quickFrom(charges, h, lay, count, now, take)
}

// quickFrom is quick with the record that seek has found.
func (s *MemoryStore) quickFrom(charges []Charge, h *head, lay *layout, count uint64, now int64, take bool) bool {
	since := now - s.birth
	n, fits := s.foretell(charges, lay.slots, h, since, take)
	switch {
	case n < len(charges):
		if n == 0 {
			return false
		}
		var room [mostSpots]spot
		room[0] = spot{h, lay, count, n}
		return s.quickKeys(&room, charges, since, take, fits)
	case take && fits:
		if !h.mu.LockUnchanged(count) {
			return false
		}
		s.fulfil(charges, lay, h, now)
		h.mu.UnlockTo(count + 2)
		return true
	case take && n > 1: // some may have fitted
		if n, _ = s.foretell(charges, lay.slots, h, since, false); n == 0 {
			return false
		}
	}
	return h.mu.Unchanged(count)
}

// quickKeys is quick for charges of several keys, of which the first has been
// foretold.
func (s *MemoryStore) quickKeys(room *[mostSpots]spot, charges []Charge, since int64, take, fits bool) bool {
	n := 1
	for rest := charges[room[0].n:]; len(rest) > 0; n++ {
		if n == len(room) {
			return false
		}
		p := &room[n]
		if p.head, p.lay, p.count = s.seek(&rest[0]); p.head == nil {
			return false
		}
		for i := range n {
			if room[i].head == p.head {
				return false // a key that stands in two places
			}
		}
		var fit bool
		if p.n, fit = s.foretell(rest, p.lay.slots, p.head, since, take); p.n == 0 {
			return false
		}
		rest, fits = rest[p.n:], fits && fit
	}
	spots := room[:n]
	if take && fits {
		return s.fulfilKeys(spots, charges, since+s.birth)
	}
	if take {
		rest := charges
		for i := range spots {
			p := &spots[i]
			if n, _ := s.foretell(rest, p.lay.slots, p.head, since, false); n != p.n {
				return false
			}
			rest = rest[p.n:]
		}
	}
	for i := range spots {
		if !spots[i].head.mu.Unchanged(spots[i].count) {
			return false
		}
	}
	return true
}

// fulfilKeys is fulfil for several keys, if all of their records are as they
// were. Nobody waits for a lock here, so that their order does not matter.
func (s *MemoryStore) fulfilKeys(spots []spot, charges []Charge, now int64) bool {
	for i := range spots {
		if !spots[i].head.mu.LockUnchanged(spots[i].count) {
			for i--; i >= 0; i-- {
				spots[i].head.mu.UnlockTo(spots[i].count)
			}
			return false
		}
	}
	for i := len(spots) - 1; i >= 0; i-- { // what was locked last is what most others want
		p := &spots[i]
		first := len(charges) - p.n
		s.fulfil(charges[first:], p.lay, p.head, now)
		p.head.mu.UnlockTo(p.count + 2)
		charges = charges[:first]
	}
	return true
}

// seek returns the record of a charge's key, if it has the charge's limits, how
// these see it, and the count of its lock since when it is.
func (s *MemoryStore) seek(c *Charge) (h *head, lay *layout, count uint64) {
	if c.Limits == nil {
		return nil, nil, 0
	}
	if lay = c.Limits.cached.Load(); lay == nil || lay.store != s {
		return nil, nil, 0
	}
	if c.Handle == nil {
		_, h, count = s.lookup(s.index.key.sum(c.Key))
	} else if p := c.Handle.place.Load(); p != nil && p.head != nil && p.store == s && same(c.Handle.key, c.Key) {
		h = p.head
		if count = h.mu.Count(); !h.is(p.hashed) {
			return nil, nil, 0
		}
	}
	if h == nil {
		return nil, nil, 0
	}
	if id := h.layout.Load(); id != lay.id {
		if lay = s.seen(lay, id); lay == nil {
			return nil, nil, 0
		}
	}
	return h, lay, count
}

// foretell fills in how the charges will stand, as far as they are of the first
// one's key: with take when those are taken that fit, else when none is. It
// returns how many they are, 0 when the decision cannot be quick, and whether
// all of them fit but shadows.
func (s *MemoryStore) foretell(charges []Charge, slots []slot, h *head, since int64, take bool) (n int, fits bool) {
	fits = true
	last := -1
	first := &charges[0]
	for n = range charges {
		c := &charges[n]
		if n > 0 && (c.Limits != first.Limits || !same(c.Key, first.Key)) {
			return n, fits
		}
		if c.Index <= last || c.Index >= len(slots) {
			return 0, false // in no order, or there is an error to be told
		}
		last = c.Index
		sl := &slots[c.Index]
		if uint64(c.Amount) > uint64(sl.whole) {
			return 0, false
		}
		if sl.kind != kindBucket {
			if !s.foretellWindow(c, sl, h, since+s.birth, take) {
				return 0, false
			}
			fits = fits && (c.RetryAfter == 0 || c.Shadow)
			continue
		}
		empty := sl.ready.EmptySince(since)
		state := max(int64(atomic.LoadUint64(h.word(sl.first))), empty)
		lacks := state - empty
		if !sl.ready.Quick(since) || lacks < 0 {
			return 0, false // before there were buckets, or so much debt that nobody counts it
		}
		c.RetryAfter, c.Reset, c.Shared = 0, 0, false
		if cost := sl.ready.Cost(c.Amount); lacks > sl.ready.Full()-cost && c.Amount > 0 {
			c.RetryAfter = duration(sl.ready.WaitSince(state, cost, since))
			fits = fits && c.Shadow
		} else if take {
			state, lacks = state+cost, lacks+cost
		}
		c.state, c.Used = state, sl.ready.Units(lacks)
		if lacks > 0 {
			c.Reset = duration(sl.ready.FilledSince(state, since))
		}
	}
	return len(charges), fits
}

// movesOn is what foretell notes of a charge by which a sliding window begins a
// step or forgets some: more than a word of it changes.
const movesOn = 1

// foretellWindow is foretell for a charge of a counter that is no bucket.
func (s *MemoryStore) foretellWindow(c *Charge, sl *slot, h *head, now int64, take bool) bool {
	w := h.counter(sl)
	var used, wait, ends int64
	switch sl.kind {
	case kindSliding:
		w0 := atomic.LoadUint64(&w[0])
		newest := int64(w0) >> 8
		used, c.state = int64(atomic.LoadUint64(&w[1])), 0
		ends = sl.sliding().Ends(newest)
		switch {
		case sl.same(newest, int64(w0&0xff), used, now, c.Amount):
		case w0&0xff == 1 && used > sl.amount-c.Amount && c.Amount > 0 && now < ends: // all of it ends at once
			wait = ends - now
		default:
			var one [1]uint64
			st := s.load(w, &one)
			used, wait = sl.sliding().Peek(&st, now, c.Amount, sl.amount)
			c.state = movesOn
		}
	case kindFixed:
		ends, used = int64(atomic.LoadUint64(&w[0])), int64(atomic.LoadUint64(&w[1]))
		switch {
		case now >= ends:
			return false
		case used > sl.amount: // debt, which the next windows begin with
			if sl.size == 0 {
				return false // months have to be counted in UTC
			}
			f, n := sl.fixed(0), algorithm.Counted{End: ends, Used: used}
			ends = now + f.Reset(n, now)
			if c.Amount > 0 {
				wait = f.Wait(n, now, c.Amount)
			}
		case used > sl.amount-c.Amount:
			wait = ends - now
		}
	case kindInFlight:
		used, ends = int64(atomic.LoadUint64(&w[0])), now
		if c.Amount > 0 && used > sl.amount-c.Amount {
			wait = guess
		}
	}
	if take && wait == 0 {
		used += c.Amount
	}
	c.Used, c.RetryAfter, c.Reset, c.Shared = used, duration(wait), 0, false
	if used > 0 {
		c.Reset = duration(ends - now)
	}
	return true
}

// fulfil makes the counters of a locked record what was foretold.
func (s *MemoryStore) fulfil(charges []Charge, lay *layout, h *head, now int64) {
	for i := range charges {
		c := &charges[i]
		if c.RetryAfter != 0 || c.Amount == 0 {
			continue
		}
		sl := &lay.slots[c.Index]
		if sl.kind == kindBucket {
			put(h.word(sl.first), uint64(c.state))
			continue
		}
		w := h.counter(sl)
		switch sl.kind {
		case kindFixed:
			put(&w[1], uint64(c.Used))
		case kindSliding:
			if c.state == movesOn {
				t := s.take(sl, h.words(lay), now, tally{}, c.Amount, c.pool())
				c.Used, c.Reset = t.used, duration(sl.sliding().Ends(t.state)-now)
				continue
			}
			put(&w[1], uint64(c.Used))
			if w[2] != 0 {
				newest := s.newest(w)
				put(newest, *newest+uint64(c.Amount))
			}
		default:
			put(&w[0], uint64(c.Used))
		}
	}
}

// word returns a word of the record, of those that its layout says.
func (d *head) word(i int) *uint64 {
	return (*uint64)(unsafe.Add(unsafe.Pointer(d), unsafe.Sizeof(*d)+8*uintptr(i)))
}

// counter returns the words of a slot.
func (d *head) counter(sl *slot) []uint64 {
	return unsafe.Slice(d.word(sl.first), sl.kind.words())
}

// same reports whether two strings are equal, at once where they are one.
func same(a, b string) bool {
	return len(a) == len(b) && (unsafe.StringData(a) == unsafe.StringData(b) || a == b)
}
