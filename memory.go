package penstock

import (
	"context"
	"math"
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
	// store takes some 70 KiB of it. What is not in it is half a kilobyte for
	// each set of limits that is in use and counts unlike the others.
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

// A MemoryStore keeps counters in this process; [NewMemoryStore] makes one. Its memory is bounded: only
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

// NewMemoryStore returns an empty store. It needs no closing. Times that are handed
// to it, as of a simulation, may lie from 1970 on, up to 70 years before or after
// now: the first fixed window lasts until 1970, and beyond some token buckets are
// not refilled.
func NewMemoryStore(o MemoryOptions) *MemoryStore {
	s := &MemoryStore{clock: newClock()}
	// At the beginning of a day, so that buckets that get whole units at fixed
	// moments (see algorithm.NewBucket) get them at whole seconds, minutes and hours.
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
	s.layouts.byID.Store(&map[uint32]*block{})
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

// Look implements [Store].
func (s *MemoryStore) Look(_ context.Context, now time.Time, charges []Charge) (time.Time, error) {
	if us := now.UnixMicro(); us != noTime && len(charges) > 0 && s.quick(charges, us, false) {
		return now, nil
	}
	return s.decide(now, charges, false)
}

// noTime is the zero time in microseconds.
const noTime = -62135596800000000

// decide is Take and Look where they are not quick.
func (s *MemoryStore) decide(at time.Time, charges []Charge, take bool) (time.Time, error) {
	m := s.moment(at)
	if at.IsZero() {
		at = time.UnixMicro(m.now)
		if take && len(charges) == 1 && s.quickOne(charges, m.now) || len(charges) > 0 && s.quick(charges, m.now, take) {
			return at, nil
		}
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
				if !s.there(g.hashed) {
					return nil // nothing is left of what was taken
				}
				continue
			}
			if !s.insert(&g, nil, m) {
				if g.shared {
					return errFull
				}
				s.share(&g)
				c.Shared, c.nth = true, g.nth
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
