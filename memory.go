package penstock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"
)

// MemoryOptions are the bounds of a [MemoryStore].
type MemoryOptions struct {
	// MaxKeys is how many counters' keys the store holds at most; 0 for
	// 1,000,000.
	MaxKeys int
	// MaxBytes is how much memory they take at most; 0 for 256 MiB. An empty
	// store takes some 70 KiB of it.
	MaxBytes int64
	// Reserve is how many of MaxKeys only charges with Keep get. Of MaxBytes
	// they have 4 KiB each and 300 KiB for all, but no more than half of it:
	// a key needs less unless it has more than seven windows with something
	// in every step.
	Reserve int
}

const (
	defaultMaxKeys  = 1_000_000
	defaultMaxBytes = 256 << 20
)

// A MemoryStore keeps counters in this process. Its memory is bounded: only
// counters with nothing left on them are dropped, and where there is none to
// drop, charges of new keys are counted together under their Overflow key. Where
// memory lacks even for that counter, or for a key's new limits while what it
// used under the old ones still counts, a decision takes nothing and is an error
// that wraps [ErrStoreUnavailable]. A key itself is not kept, only a keyed hash
// of it. The store runs no goroutine: it sweeps a little whenever it takes in a
// new key, and all of it in Sweep.
type MemoryStore struct {
	clock   *clock
	birth   int64 // of the buckets
	index   index
	pages   pages
	layouts layouts
	budget  budget

	maxKeys, reserve atomic.Int64

	keys       atomic.Int64
	overflowed atomic.Int64

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
		s.index.shards[i].table = &s.index.tables[i]
		s.index.tables[i].Store(newTable(smallestTable))
	}
	s.pages.nowhere = unsafe.Pointer(&make([]uint64, pageWords)[0])
	s.budget.used[newcomers] = int64(unsafe.Sizeof(*s)) + int64(len(s.index.shards))*smallestTable*8 + pageBytes
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
	s.budget.configure(o.MaxBytes, o.Reserve)
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
	return MemoryStats{Keys: s.keys.Load(), Bytes: s.budget.bytes(), Overflowed: s.overflowed.Load()}
}

func (s *MemoryStore) moment(now time.Time) moment {
	if now.IsZero() {
		return s.clock.read()
	}
	return moment{now: now.UnixMicro()}
}

// A group is the charges of one key: a part of the charges of a request.
type group struct {
	hashed  hashed
	place   *place // of the key, if it has a handle
	first   *Charge
	charges []Charge // the first and those after it
	lay     *layout
	head    *head
	count   uint64 // of the record's lock, since when it is the key's
	n       number
	nth     int32 // of the request's
	shared  bool  // hashed is the overflow key
}

// groupRoom is how many groups of a request need no allocation.
const groupRoom = 6

// groupsOf appends the groups of the charges to dst. It is [ValidateCharges]
// at the same time, but for keys that stand in two places, which apart finds.
func (s *MemoryStore) groupsOf(dst []group, charges []Charge) ([]group, error) {
	for i := 0; i < len(charges); {
		n, err := alike(charges[i:])
		if err != nil {
			return nil, err
		}
		c := &charges[i]
		dst = append(dst, group{})
		g := &dst[len(dst)-1]
		g.first, g.charges, g.nth = c, charges[i:i+n], int32(len(dst)-1)
		s.name(g, c)
		g.lay = s.layoutOf(c.Limits)
		for j := range dst[:len(dst)-1] {
			if dst[j].hashed == g.hashed {
				return nil, errApart
			}
		}
		i += n
	}
	return dst, nil
}

// alike is how many charges, from the first on, are of the same key, and what
// is wrong with them.
func alike(charges []Charge) (n int, err error) {
	first := &charges[0]
	if err := first.validate(); err != nil {
		return 1, err
	}
	seen := uint32(1) << (first.Index & 31) // limits
	for n = 1; n < len(charges); n++ {
		c := &charges[n]
		if c.Key != first.Key {
			break
		}
		if err := c.validate(); err != nil {
			return n, err
		}
		if bit := uint32(1) << (c.Index & 31); c.Limits != first.Limits || seen&bit != 0 {
			return n, errApart
		} else {
			seen |= bit
		}
	}
	return n, nil
}

// name makes the group count under the key of its charges.
func (s *MemoryStore) name(g *group, c *Charge) {
	if g.place = s.placeOf(c); g.place != nil {
		g.hashed = g.place.hashed
	} else {
		g.hashed = s.index.key.sum(c.Key)
	}
}

// share makes the group count under its overflow key.
func (s *MemoryStore) share(g *group) {
	g.place, g.hashed, g.shared = nil, s.overflow(g.first, int(g.nth)), true
}

// findGroup finds the record of the group; its number is 0 when there is none.
func (s *MemoryStore) findGroup(g *group) {
	if g.place != nil {
		g.n, g.head, g.count = s.recall(g.place)
	} else {
		g.n, g.head, g.count = s.lookup(g.hashed)
	}
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
	if s.decideOne(charges, m, take) {
		return at, nil
	}
	var room [groupRoom]group
	groups, err := s.groupsOf(room[:0], charges)
	if err == nil {
		err = s.decideAll(groups, m, take)
	}
	if err != nil {
		return time.Time{}, err
	}
	return at, nil
}

// decideOne decides charges of one key that has its record, laid out as it
// should be, which nobody changes meanwhile. It does nothing and returns false
// when it is not so. It is what decideAll does, for the commonest case.
func (s *MemoryStore) decideOne(charges []Charge, m moment, take bool) bool {
	if len(charges) == 0 {
		return false
	}
	c := &charges[0]
	if len(charges) == 1 {
		if c.validate() != nil {
			return false
		}
	} else if n, err := alike(charges); n < len(charges) || err != nil {
		return false
	}
	lay := s.layoutOf(c.Limits)
	var n number
	var head *head
	var count uint64
	if p := s.placeOf(c); p != nil {
		n, head, count = s.recall(p)
	} else {
		n, head, count = s.lookup(s.index.key.sum(c.Key))
	}
	if n == 0 || head.layout.Load() != lay.id {
		return false
	}
	if sl := &lay.slots[c.Index]; len(charges) == 1 && sl.kind == kindBucket && c.Amount <= sl.whole {
		return sl.decideBucket(c, head, &head.words(lay)[sl.first], count, m, take)
	}
	if fits := s.checkAll(charges, lay, head, m); !take || !fits {
		if !head.mu.Unchanged(count) {
			return false
		}
		s.finish(charges, lay, head, m, false)
		return true
	}
	if !head.mu.LockUnchanged(count) {
		return false
	}
	s.finish(charges, lay, head, m, true)
	head.mu.Unlock()
	return true
}

// decideBucket is checkAll and finish of one charge of a token bucket, whose
// state is the word.
func (sl *slot) decideBucket(c *Charge, h *head, word *uint64, count uint64, m moment, take bool) bool {
	state, used, wait := sl.ready.Look(int64(atomic.LoadUint64(word)), m.now, c.Amount)
	if take && wait == 0 && c.Amount > 0 {
		if !h.mu.LockUnchanged(count) {
			return false
		}
		state, used = sl.ready.Charged(state, c.Amount), used+c.Amount
		put(word, uint64(state))
		h.mu.Unlock()
	} else if !h.mu.Unchanged(count) {
		return false
	}
	c.Used, c.RetryAfter, c.Reset, c.Shared = used, duration(wait), 0, false
	if used > 0 {
		c.Reset = duration(sl.ready.Filled(state, m.now))
	}
	return true
}

// mostTries is how often a decision that takes nothing is tried without a lock
// while others keep changing what it is about.
const mostTries = 4

// decideAll decides the charges of groups. Records are read without a
// lock: who is denied, or only looks, is done when they stayed as they were.
// Whoever takes locks them for as long as that takes, and reads again what was
// changed in between.
func (s *MemoryStore) decideAll(groups []group, m moment, take bool) error {
	for tries := 1; ; tries++ {
		for i := range groups {
			if err := s.reach(&groups[i], groups, m); err != nil {
				return err
			}
		}
		if again, err := apart(groups); err != nil {
			return err
		} else if again {
			continue
		}
		fits := s.checkGroups(groups, m)
		locked := take && fits || tries >= mostTries
		if !locked {
			if !unchanged(groups) {
				continue
			}
		} else if lockAll(groups) {
			if !s.held(groups) {
				unlockAll(groups)
				continue
			}
			fits = s.checkGroups(groups, m)
		}
		for i := range groups {
			g := &groups[i]
			s.finish(g.charges, g.lay, g.head, m, take && fits)
		}
		if locked {
			unlockAll(groups)
		}
		for i := range groups {
			if g := &groups[i]; g.shared {
				s.reportShared(g.charges, g.nth, take && fits)
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

// errFull is what is said where a counter can neither be made nor shared.
var errFull = fmt.Errorf("penstock: %w: its memory is full of counters that are in use: raise MaxBytes", ErrStoreUnavailable)

// reach finds or makes the record of a group.
func (s *MemoryStore) reach(g *group, groups []group, m moment) error {
	for {
		if s.findGroup(g); g.n == 0 {
			if s.insert(g, groups, m) {
				continue
			}
			if g.shared {
				return errFull
			}
			s.share(g)
			continue
		}
		if s.laidOut(g) {
			return nil
		}
		if !s.relay(g, m) {
			return errFull
		}
	}
}

// laidOut reports whether the record that the group found begins with its
// limits.
func (s *MemoryStore) laidOut(g *group) bool {
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
	var room [groupRoom]int
	order := room[:0]
	for i := range groups { // there are few
		j := i
		for order = append(order, i); j > 0 && groups[order[j-1]].n > groups[i].n; j-- {
			order[j] = order[j-1]
		}
		order[j] = i
	}
	for _, i := range order {
		g := &groups[i]
		changed = g.head.mu.Lock() != g.count || changed
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
		if g := &groups[i]; !g.head.is(g.hashed) || !s.laidOut(g) {
			return false
		}
	}
	return true
}

func (s *MemoryStore) checkGroups(groups []group, m moment) (fits bool) {
	fits = true
	for i := range groups {
		g := &groups[i]
		fits = s.checkAll(g.charges, g.lay, g.head, m) && fits
	}
	return fits
}

// checkAll checks charges of one key, notes in them what it finds, and reports
// whether none but shadows holds up the request. Like finish it does itself
// what is to be done of a bucket: that takes no longer than a call.
func (s *MemoryStore) checkAll(charges []Charge, lay *layout, h *head, m moment) (fits bool) {
	words := h.words(lay)
	fits = true
	for i := range charges {
		c := &charges[i]
		sl := &lay.slots[c.Index]
		var t tally
		if sl.kind == kindBucket && c.Amount <= sl.whole {
			t.state, t.used, t.wait = sl.ready.Look(int64(atomic.LoadUint64(&words[sl.first])), m.now, c.Amount)
		} else {
			t = s.check(sl, words, m, c.Amount)
		}
		c.Used, c.RetryAfter, c.state = t.used, duration(t.wait), t.state
		fits = fits && (t.wait == 0 || c.Shadow)
	}
	return fits
}

// finish fills in what else the store says of charges that were checked, and
// with take takes those that fit: then the record is locked, and as it was.
func (s *MemoryStore) finish(charges []Charge, lay *layout, h *head, m moment, take bool) {
	words := h.words(lay)
	for i := range charges {
		c := &charges[i]
		sl := &lay.slots[c.Index]
		t := tally{used: c.Used, state: c.state}
		switch {
		case !take || c.RetryAfter != 0 || c.Amount == 0:
		case sl.kind == kindBucket:
			t.used, t.state = t.used+c.Amount, sl.ready.Charged(t.state, c.Amount)
			put(&words[sl.first], uint64(t.state))
		default:
			t = s.take(sl, words, m.now, t, c.Amount, c.pool())
		}
		c.Used, c.Shared = t.used, false
		switch {
		case t.used == 0:
			c.Reset = 0
		case sl.kind == kindBucket:
			c.Reset = duration(sl.ready.Filled(t.state, m.now))
		case sl.kind == kindSliding:
			c.Reset = duration(sl.sliding().Ends(t.state) - m.now)
		default:
			c.Reset = duration(sl.reset(t, m))
		}
	}
}

// reportShared is what finish leaves to say of what was counted under the overflow key.
func (s *MemoryStore) reportShared(charges []Charge, nth int32, taken bool) {
	for i := range charges {
		c := &charges[i]
		c.Shared, c.nth = true, nth
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
	var err error
	for i := range adjustments {
		if e := s.adjust(&adjustments[i], m); e != nil {
			err = e
		}
	}
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMicro(m.now), nil
}

func (s *MemoryStore) adjust(a *Adjustment, m moment) error {
	c := a.Charge
	a.Over = 0
	g := group{first: c, lay: s.layoutOf(c.Limits), shared: c.Shared, nth: c.nth}
	if c.Shared {
		s.share(&g)
	} else {
		s.name(&g, c)
	}
	for {
		if s.findGroup(&g); g.n == 0 {
			if a.Delta <= 0 {
				return nil // nothing is left of what was taken
			}
			if !s.insert(&g, nil, m) {
				if g.shared {
					return errFull
				}
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
	lay := s.layout(g.head.layout.Load())
	to, words := lay.find(from), g.head.words(lay)
	switch {
	case to == nil:
	case a.Delta > 0:
		used := s.add(to, words, m, a.Delta, c.pool())
		a.Over = min(a.Delta, max(0, used-to.whole))
	case a.Delta < 0:
		s.refund(to, words, m, from, a.At.UnixMicro(), -a.Delta)
	}
	return nil
}
