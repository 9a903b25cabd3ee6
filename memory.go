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
	s.layouts.byID = make(map[uint32]*layout)
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
	hashed  hashed
	first   *Charge
	charges []Charge
	lay     *layout
	n       number
	head    *head
	words   []uint64
}

// groupRoom is how many groups of a request need no allocation.
const groupRoom = 6

// groupsOf appends the groups of the charges to dst.
func (s *MemoryStore) groupsOf(dst []group, charges []Charge) []group {
	for i := 0; i < len(charges); {
		j := i + 1
		for j < len(charges) && charges[j].Key == charges[i].Key {
			j++
		}
		dst = append(dst, s.groupOf(charges[i:j]))
		i = j
	}
	return dst
}

// groupOf is the group of charges of one key.
func (s *MemoryStore) groupOf(charges []Charge) group {
	c := &charges[0]
	g := group{hashed: s.index.key.sum(c.Key), first: c, charges: charges, lay: s.layoutOf(c.Limits)}
	g.mark(false)
	return g
}

// mark notes in the charges under which key they are counted.
func (g *group) mark(shared bool) {
	for i := range g.charges {
		g.charges[i].Shared = shared
		g.charges[i].counted = g.hashed
	}
}

// share makes the group count under its overflow key. The i-th group of a
// request has an overflow key of its own even when it does not name one.
func (s *MemoryStore) share(g *group, i int) {
	key := g.first.Overflow
	if key == "" {
		key = "overflow " + strconv.Itoa(i) + " " + g.first.Limits.shape
	}
	g.hashed = s.index.key.sum(key)
	g.mark(true)
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
	if err := ValidateCharges(charges); err != nil {
		return time.Time{}, err
	}
	m := s.moment(at)
	if at.IsZero() {
		at = time.UnixMicro(m.now)
	}
	if len(charges) == 1 { // the common case, and a pass less
		g := s.groupOf(charges)
		s.lockOne(&g, m)
		s.try1(&g, &charges[0], m, take)
		g.head.mu.Unlock()
		return at, nil
	}
	var room [groupRoom]group
	groups := s.groupsOf(room[:0], charges)
	if err := s.lock(groups, m); err != nil {
		return time.Time{}, err
	}
	fits := true
	for i := range groups {
		g := &groups[i]
		for j := range g.charges {
			fits = s.try1(g, &g.charges[j], m, false) && fits
		}
	}
	for i := range groups {
		g := &groups[i]
		if fits && take {
			for j := range g.charges {
				s.try1(g, &g.charges[j], m, true)
			}
		}
		g.head.mu.Unlock()
	}
	return at, nil
}

// try1 tries one charge of a locked group, fills in its Status, and reports
// whether it holds up nothing: it fits, or is a shadow.
func (s *MemoryStore) try1(g *group, c *Charge, m moment, take bool) bool {
	wait, used, reset := s.try(g.slot(c), g.words, m, c.Amount, take)
	c.Used, c.Reset, c.RetryAfter = used, duration(reset), duration(wait)
	if c.Shared && take && wait == 0 && c.Amount > 0 {
		s.overflowed.Add(1)
	}
	return wait == 0 || c.Shadow
}

// slot is where a charge of the group is counted: its Index among the slots
// that the record begins with.
func (g *group) slot(c *Charge) *slot { return &g.lay.slots[c.Index] }

func duration(us int64) time.Duration {
	if us > math.MaxInt64/1000 {
		return Never
	}
	return time.Duration(us) * time.Microsecond
}

var errApartOverflow = errors.New("penstock: charges of different keys have the same Overflow key: give each of a request's keys its own")

// lockOne finds or makes the record of the group and locks it.
func (s *MemoryStore) lockOne(g *group, m moment) {
	for {
		s.resolve(g, 0, nil, m)
		g.head.mu.Lock()
		if s.held(g) {
			return
		}
		g.head.mu.Unlock() // it was dropped or laid out anew before it was locked
	}
}

// lock finds or makes the record of each group and locks them all, in the
// order of their numbers.
func (s *MemoryStore) lock(groups []group, m moment) error {
	for {
		for i := range groups {
			s.resolve(&groups[i], i, groups, m)
		}
		if again, err := inOrder(groups); err != nil {
			return err
		} else if again {
			continue
		}
		for i := range groups {
			groups[i].head.mu.Lock()
		}
		held := true
		for i := range groups {
			held = held && s.held(&groups[i])
		}
		if held {
			return nil
		}
		for i := range groups {
			groups[i].head.mu.Unlock()
		}
	}
}

// inOrder sorts groups by the numbers of their records. It asks to find them
// again when two have the same: the record that the one found was dropped since,
// and went to the other. Two that count under one key are an error.
func inOrder(groups []group) (again bool, err error) {
	for i := 1; i < len(groups); i++ { // insertion sort: there are few
		for j := i; j > 0 && groups[j].n < groups[j-1].n; j-- {
			groups[j], groups[j-1] = groups[j-1], groups[j]
		}
	}
	for i := 1; i < len(groups); i++ {
		if groups[i].n != groups[i-1].n {
			continue
		}
		if groups[i].hashed == groups[i-1].hashed {
			return false, errApartOverflow
		}
		again = true
	}
	return again, nil
}

// held reports whether the record that the group found is still the one of its
// key and begins with its limits.
func (s *MemoryStore) held(g *group) bool {
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

// resolve finds or makes the record of g, the i-th group of a request.
func (s *MemoryStore) resolve(g *group, i int, groups []group, m moment) {
	for {
		g.n = s.find(g.hashed)
		if g.n == 0 && !s.insert(g, groups, m) {
			s.share(g, i)
			continue
		}
		g.head, g.words = s.records.at(g.n)
		if s.held(g) {
			return
		}
		s.relay(g, m)
	}
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
	g := group{hashed: c.counted, first: c, lay: s.layoutOf(c.Limits)}
	a.Over = 0
	for {
		g.n = s.find(g.hashed)
		if g.n == 0 {
			if a.Delta <= 0 {
				return // nothing is left of what was taken
			}
			if !s.insert(&g, nil, m) {
				s.share(&g, 0)
				c.Shared, c.counted = true, g.hashed
				continue
			}
		}
		g.head, g.words = s.records.at(g.n)
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
		s.add(to, g.words, m, a.Delta)
		used := s.used(to, g.words, m)
		a.Over = min(a.Delta, max(0, used-to.whole))
	case a.Delta < 0:
		s.refund(to, g.words, m, from, a.At.UnixMicro(), -a.Delta)
	}
}
