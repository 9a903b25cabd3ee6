package penstock

import (
	"context"
	"errors"
	"math"
	"strconv"
	"sync/atomic"
	"time"
)

// MemoryOptions are the bounds of a [MemoryStore].
type MemoryOptions struct {
	// MaxKeys is how many counters' keys the store holds at most; 0 for
	// 1,000,000.
	MaxKeys int
	// MaxBytes is how much memory they take at most; 0 for 256 MiB.
	MaxBytes int64
	// Reserve is how many of MaxKeys only charges with Keep get.
	Reserve int
}

const (
	defaultMaxKeys  = 1_000_000
	defaultMaxBytes = 256 << 20
	bytesAKept      = 512 // what a reserved key is taken to need
)

// A MemoryStore keeps counters in this process. Its memory is bounded: only
// counters with nothing left on them are dropped, and where there is none to
// drop, charges of new keys are counted together under their Overflow key. A
// key itself is not kept, only a keyed hash of it. It runs no goroutine: it
// sweeps a little whenever it takes in a new key, and all of it in Sweep.
type MemoryStore struct {
	clock   *clock
	birth   int64 // of the buckets
	index   index
	records records
	rings   rings
	layouts layouts

	maxKeys, maxBytes, reserve atomic.Int64

	keys, bytes atomic.Int64
	overflowed  atomic.Int64

	rover  atomic.Uint64 // the shard that was searched last for something to drop
	barren atomic.Int64  // until when that is not tried again
}

var _ Store = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store. It needs no closing.
func NewMemoryStore(o MemoryOptions) *MemoryStore {
	s := &MemoryStore{clock: newClock()}
	// At the beginning of a day, so that buckets are filled up at whole
	// seconds, minutes and hours.
	const day = 24 * int64(time.Hour/time.Microsecond)
	s.birth = s.clock.anchor / day * day
	s.index.key = newHashKey()
	for i := range s.index.shards {
		s.index.shards[i].table.Store(newTable(smallestTable))
	}
	s.bytes.Store(int64(len(s.index.shards)) * smallestTable * 8)
	s.layouts.byShape = make(map[string]*layout)
	s.layouts.byID.Store(&map[uint32]*layout{})
	s.Configure(o)
	return s
}

// Configure changes the store's bounds. Counters that are in it stay, even
// when they are more than the new bounds allow.
func (s *MemoryStore) Configure(o MemoryOptions) {
	if o.MaxKeys == 0 {
		o.MaxKeys = defaultMaxKeys
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	s.maxKeys.Store(int64(o.MaxKeys))
	s.maxBytes.Store(o.MaxBytes)
	s.reserve.Store(int64(o.Reserve))
}

// MemoryStats are the figures of a [MemoryStore].
type MemoryStats struct {
	// Keys is how many keys have counters now; Bytes the memory of all
	// counters, with what is free for new ones.
	Keys, Bytes int64
	// Overflowed is how many charges were counted under an Overflow key.
	Overflowed int64
}

// Stats returns the store's figures.
func (s *MemoryStore) Stats() MemoryStats {
	return MemoryStats{Keys: s.keys.Load(), Bytes: s.bytes.Load(), Overflowed: s.overflowed.Load()}
}

func (s *MemoryStore) moment(now time.Time) moment {
	if now.IsZero() {
		return s.clock.read()
	}
	return moment{now: now.UnixMicro()}
}

// A group is the charges of one key: a part of the charges of a request.
type group struct {
	hashed hashed
	first  *Charge
	from   int // the first of its tallies,
	to     int // and the one behind its last
	lay    *layout
	nth    int  // of the request's
	shared bool // hashed is the overflow key
	n      number
	head   *head
	words  []uint64
	count  uint64 // of the record's lock, since when it is the key's
}

// groupRoom and chargeRoom are how many groups and charges of a request need no
// allocation.
const groupRoom, chargeRoom = 6, 8

// groupsOf appends the groups of the charges to dst.
func (s *MemoryStore) groupsOf(dst []group, charges []Charge) []group {
	for i := 0; i < len(charges); {
		c := &charges[i]
		j := i + 1
		for j < len(charges) && charges[j].Limits == c.Limits && charges[j].Key == c.Key {
			j++
		}
		dst = append(dst, group{})
		g := &dst[len(dst)-1]
		g.first, g.from, g.to, g.nth = c, i, j, len(dst)-1
		g.hashed, g.lay = s.index.key.sum(c.Key), s.layoutOf(c.Limits)
		i = j
	}
	return dst
}

// share makes the group count under its overflow key.
func (s *MemoryStore) share(g *group) {
	g.hashed, g.shared = s.overflow(g.first, g.nth), true
}

// overflow is the overflow key of a charge. The nth key of a request has one of
// its own even when it does not name one.
func (s *MemoryStore) overflow(c *Charge, nth int) hashed {
	if c.Overflow != "" {
		return s.index.key.sum(c.Overflow)
	}
	return s.index.key.sum("overflow " + strconv.Itoa(nth) + " " + c.Limits.shape)
}

// Take implements [Store].
func (s *MemoryStore) Take(_ context.Context, now time.Time, charges []Charge) (time.Time, error) {
	return s.decide(now, charges, true)
}

// Look implements [Store].
func (s *MemoryStore) Look(_ context.Context, now time.Time, charges []Charge) (time.Time, error) {
	return s.decide(now, charges, false)
}

func (s *MemoryStore) decide(at time.Time, charges []Charge, take bool) (time.Time, error) {
	m := s.moment(at)
	if at.IsZero() {
		at = time.UnixMicro(m.now)
	}
	if len(charges) == 1 && charges[0].validate() == nil && s.decideOne(&charges[0], m, take) {
		return at, nil
	}
	if err := ValidateCharges(charges); err != nil {
		return time.Time{}, err
	}
	var groups [groupRoom]group
	var room [chargeRoom]tally
	tallies := room[:]
	if len(charges) > len(room) {
		tallies = make([]tally, len(charges))
	}
	return at, s.decideAll(charges, s.groupsOf(groups[:0], charges), tallies[:len(charges)], m, take)
}

// decideOne decides a charge whose key has its record, laid out as it should
// be, and that nobody changes meanwhile. It does nothing and returns false when
// it is not so. It is what decideAll does, for the commonest case.
func (s *MemoryStore) decideOne(c *Charge, m moment, take bool) bool {
	lay, h := s.layoutOf(c.Limits), s.index.key.sum(c.Key)
	n, head, words := s.lookup(h)
	if n == 0 {
		return false
	}
	count := head.mu.Count()
	if !head.is(h) || head.layout.Load() != lay.id {
		return false
	}
	sl := &lay.slots[c.Index]
	t := tally{slot: sl, words: words[sl.first:]}
	s.check(&t, m, c.Amount)
	if !take || t.wait > 0 {
		if !head.mu.Unchanged(count) {
			return false
		}
	} else {
		if head.mu.Lock() != count {
			head.mu.Unlock()
			return false
		}
		s.take(&t, m, c.Amount)
		head.mu.Unlock()
	}
	c.report(&t, m)
	return true
}

// mostTries is how often a decision that takes nothing is tried without a lock
// while others keep changing what it is about.
const mostTries = 4

// decideAll decides charges, whose groups are given, each with a tally. Records
// are read without a lock: who is denied, or only looks, is done when they
// stayed as they were. Whoever takes locks them for as long as that takes, and
// reads again what was changed in between.
func (s *MemoryStore) decideAll(charges []Charge, groups []group, tallies []tally, m moment, take bool) error {
	for tries := 1; ; tries++ {
		for i := range groups {
			s.reach(&groups[i], groups, m)
		}
		if again, err := apart(groups); err != nil {
			return err
		} else if again {
			continue
		}
		fits := s.checkAll(charges, groups, tallies, m)
		if take && fits || tries >= mostTries {
			if lockAll(groups) {
				if !s.held(groups) {
					unlockAll(groups)
					continue
				}
				fits = s.checkAll(charges, groups, tallies, m)
			}
			if take && fits {
				s.takeAll(charges, tallies, m)
			}
			unlockAll(groups)
		} else if !unchanged(groups) {
			continue
		}
		for i := range charges {
			charges[i].report(&tallies[i], m)
		}
		for i := range groups {
			if g := &groups[i]; g.shared {
				s.reportShared(charges[g.from:g.to], g.nth, take && fits)
			}
		}
		return nil
	}
}

var errApartOverflow = errors.New("penstock: charges of different keys have the same Overflow key: give each of a request's keys its own")

// apart asks to reach the groups again when two have the same record: the one
// that the first found was dropped since, and went to the other. Two that count
// under one key are an error.
func apart(groups []group) (again bool, err error) {
	for i := range groups {
		for j := range i {
			if groups[i].n != groups[j].n {
				continue
			}
			if groups[i].hashed == groups[j].hashed {
				return false, errApartOverflow
			}
			again = true
		}
	}
	return again, nil
}

// reach finds or makes the record of a group.
func (s *MemoryStore) reach(g *group, groups []group, m moment) {
	for {
		if g.n, g.head, g.words = s.lookup(g.hashed); g.n == 0 {
			if !s.insert(g, groups, m) {
				s.share(g)
			}
			continue
		}
		g.count = g.head.mu.Count()
		if s.isOf(g) {
			return
		}
		s.relay(g, m)
	}
}

// isOf reports whether the record that the group found is still the one of its
// key and begins with its limits.
func (s *MemoryStore) isOf(g *group) bool {
	if !g.head.is(g.hashed) {
		return false
	}
	id := g.head.layout.Load()
	if id == g.lay.id {
		return true
	}
	l := s.layout(id)
	return l != nil && l.prefix == g.lay
}

// unchanged reports whether no record was changed since it was reached.
func unchanged(groups []group) bool {
	for i := range groups {
		if g := &groups[i]; !g.head.mu.Unchanged(g.count) {
			return false
		}
	}
	return true
}

// lockAll locks the records, in the order of their numbers, and reports whether
// one was changed since it was reached.
func lockAll(groups []group) (changed bool) {
	last := number(0)
	for range groups {
		var next *group
		for i := range groups { // there are few
			if g := &groups[i]; g.n > last && (next == nil || g.n < next.n) {
				next = g
			}
		}
		last = next.n
		changed = next.head.mu.Lock() != next.count || changed
	}
	return changed
}

func unlockAll(groups []group) {
	for i := range groups {
		groups[i].head.mu.Unlock()
	}
}

// held reports whether the locked records are still those of their groups.
func (s *MemoryStore) held(groups []group) bool {
	for i := range groups {
		if !s.isOf(&groups[i]) {
			return false
		}
	}
	return true
}

// checkAll fills in the tallies, and reports whether no charge but shadows
// holds up the request.
func (s *MemoryStore) checkAll(charges []Charge, groups []group, tallies []tally, m moment) (fits bool) {
	fits = true
	for i := range groups {
		g := &groups[i]
		slots, words := g.lay.slots, g.words // the record begins with these
		of := tallies[g.from:g.to]
		for j := range of {
			c, t := &charges[g.from+j], &of[j]
			t.slot = &slots[c.Index]
			t.words = words[t.slot.first:]
			s.check(t, m, c.Amount)
			fits = fits && (t.wait == 0 || c.Shadow)
		}
	}
	return fits
}

// takeAll takes every charge that fits. The records are locked.
func (s *MemoryStore) takeAll(charges []Charge, tallies []tally, m moment) {
	for i := range tallies {
		if t := &tallies[i]; t.wait == 0 {
			s.take(t, m, charges[i].Amount)
		}
	}
}

// report fills in what the store says of a charge.
func (c *Charge) report(t *tally, m moment) {
	c.Used, c.Reset, c.RetryAfter = t.used, duration(t.reset(m)), duration(t.wait)
	c.Shared = false
}

// reportShared is report of what was counted under the overflow key.
func (s *MemoryStore) reportShared(charges []Charge, nth int, taken bool) {
	for i := range charges {
		c := &charges[i]
		c.Shared, c.nth = true, int32(nth)
		if taken && c.RetryAfter == 0 && c.Amount > 0 {
			s.overflowed.Add(1)
		}
	}
}

func duration(us int64) time.Duration {
	if us > math.MaxInt64/1000 {
		return Never
	}
	return time.Duration(us) * time.Microsecond
}

// Adjust implements [Store].
func (s *MemoryStore) Adjust(_ context.Context, now time.Time, adjustments []Adjustment) (time.Time, error) {
	m := s.moment(now)
	for i := range adjustments {
		s.adjust(&adjustments[i], m)
	}
	return time.UnixMicro(m.now), nil
}

func (s *MemoryStore) adjust(a *Adjustment, m moment) {
	c := a.Charge
	a.Over = 0
	g := group{first: c, lay: s.layoutOf(c.Limits), shared: c.Shared, nth: int(c.nth)}
	if c.Shared {
		s.share(&g)
	} else {
		g.hashed = s.index.key.sum(c.Key)
	}
	for {
		if g.n, g.head, g.words = s.lookup(g.hashed); g.n == 0 {
			if a.Delta <= 0 {
				return // nothing is left of what was taken
			}
			if !s.insert(&g, nil, m) {
				s.share(&g)
				c.Shared, c.nth = true, 0
			}
			continue
		}
		g.head.mu.Lock()
		if g.head.is(g.hashed) {
			break
		}
		g.head.mu.Unlock()
	}
	defer g.head.mu.Unlock()
	from := &c.Limits.gauges[c.Index]
	to := s.layout(g.head.layout.Load()).find(from)
	switch {
	case to == nil:
	case a.Delta > 0:
		used := s.add(to, g.words, m, a.Delta)
		a.Over = min(a.Delta, max(0, used-to.whole))
	case a.Delta < 0:
		s.refund(to, g.words, m, from, a.At.UnixMicro(), -a.Delta)
	}
}
