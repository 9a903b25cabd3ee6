package penstock

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/penstock-dev/penstock/internal/algorithm"
)

// A layout says where in a record's words each limit is counted, and how what
// stands there is to be read. Layouts are shared: records of keys with the
// same limits have the same layout.
//
// A record begins with the limits that its key has now. Behind them stand
// those that it had before and that still count something, so that a caller
// who changes plans and back does not start anew.
type layout struct {
	id     uint32
	store  *MemoryStore
	slots  []slot
	class  int
	prefix *layout // the layout of the first slots alone, when there are more
	shape  string
	// Guarded by layouts.mu: how many records have this layout, and whether it
	// was dropped because none had.
	records int
	dropped bool
}

type slot struct {
	gauge
	first int              // word
	ready algorithm.Bucket // of a token bucket
}

func (k kind) words() int {
	switch k {
	case kindFixed:
		return 2
	case kindSliding:
		return 3
	}
	return 1
}

// find returns the slot that counts what g counts, or nil.
func (l *layout) find(g *gauge) *slot {
	for i := range l.slots {
		if l.slots[i].sameCounter(g) {
			return &l.slots[i]
		}
	}
	return nil
}

// layouts are all layouts of a store. One that no record has any more is
// dropped by the next sweep.
type layouts struct {
	byID atomic.Pointer[map[uint32]*layout] // replaced, never changed

	mu      sync.Mutex // guards what follows, and replacement
	byShape map[string]*layout
	last    uint32
}

// layoutOf returns the layout of records whose key has these limits and no
// other.
func (s *MemoryStore) layoutOf(limits *Limits) *layout {
	if l := limits.cached.Load(); l != nil && l.store == s {
		return l
	}
	return s.cacheLayout(limits)
}

func (s *MemoryStore) cacheLayout(limits *Limits) *layout {
	l := s.intern(limits.shape, nil, limits.gauges)
	limits.cached.Store(l)
	return l
}

// intern returns the layout of the given gauges, the first of which are those
// of prefix if there is one.
func (s *MemoryStore) intern(shape string, prefix *layout, gauges []gauge) *layout {
	s.layouts.mu.Lock()
	defer s.layouts.mu.Unlock()
	if prefix != nil {
		shape = strconv.Itoa(int(prefix.id)) + "+" + shape
	}
	if l := s.layouts.byShape[shape]; l != nil {
		return l
	}
	s.layouts.last++
	l := &layout{id: s.layouts.last, store: s, shape: shape, prefix: prefix}
	words := 0
	if prefix != nil {
		l.slots = append(l.slots, prefix.slots...)
		for i := range prefix.slots {
			words += prefix.slots[i].kind.words()
		}
	}
	for _, g := range gauges {
		sl := slot{gauge: g, first: words}
		if g.kind == kindBucket {
			sl.ready = g.bucket(s.birth)
		}
		l.slots = append(l.slots, sl)
		words += g.kind.words()
	}
	l.class = classFor(words)
	s.layouts.byShape[shape] = l
	byID := maps.Clone(*s.layouts.byID.Load())
	byID[l.id] = l
	s.layouts.byID.Store(&byID)
	return l
}

// layout returns the layout with the given number, nil for one that was
// dropped.
func (s *MemoryStore) layout(id uint32) *layout {
	return (*s.layouts.byID.Load())[id]
}

// hold counts a record more (or, with -1, less) with the layout l. It returns
// false when l has been dropped in the meantime.
func (s *MemoryStore) hold(l *layout, n int) bool {
	s.layouts.mu.Lock()
	defer s.layouts.mu.Unlock()
	if l.dropped {
		return false
	}
	l.records += n
	return true
}

// dropLayouts forgets the layouts that no record has.
func (s *MemoryStore) dropLayouts() {
	s.layouts.mu.Lock()
	defer s.layouts.mu.Unlock()
	byID := make(map[uint32]*layout)
	for shape, l := range s.layouts.byShape {
		if l.records == 0 {
			l.dropped = true
			delete(s.layouts.byShape, shape)
		} else {
			byID[l.id] = l
		}
	}
	s.layouts.byID.Store(&byID)
}
