package penstock

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/penstock-dev/penstock/internal/algorithm"
)

// A layout says where in a record's words each limit is counted, and how what
// stands there is to be read. Layouts are shared: records of keys with the
// same limits have the same layout.
//
// A record has the limits that its key has now. With them stand those that it
// had before and that still count something, so that a caller who changes plans
// and back, or is charged under one set of limits and another by turns, does not
// start anew: each set sees of the layout what is its own (see as).
type layout struct {
	id    uint32
	store *MemoryStore
	slots []slot
	class int
	shape string
	// How sets of some of the limits see the layout; replaced, never changed.
	views atomic.Pointer[[]*layout]
	// Guarded by layouts.mu: how many records have this layout, whether it is one
	// of layouts.idle, and whether it was dropped because no record had it.
	records       int
	idle, dropped bool
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

// as returns l as those see it whose limits are laid out as set where they are
// alone: their slots, in their order, where they are in records laid out as l. It
// is nil when some are not there, or other than they are now.
func (l *layout) as(set *layout) *layout {
	views := l.views.Load()
	if views != nil {
		for _, v := range *views {
			if same(v.shape, set.shape) {
				return v
			}
		}
	}
	var slots []slot
	for i := range set.slots {
		sl := l.find(&set.slots[i].gauge)
		if sl == nil || sl.gauge != set.slots[i].gauge {
			return nil
		}
		slots = append(slots, *sl)
	}
	v := &layout{id: l.id, store: l.store, slots: slots, class: l.class, shape: set.shape}
	known := []*layout{v}
	if views != nil {
		known = append(known, *views...)
	}
	l.views.CompareAndSwap(views, &known) // who comes too late makes it again
	return v
}

// layouts are all layouts of a store. One that no record has any more is
// dropped when there are some such, and by Sweep.
type layouts struct {
	// By their number: blocks of them, so that one more changes little.
	byID atomic.Pointer[map[uint32]*block] // replaced, never changed

	mu      sync.Mutex // guards what follows, and every change of byID and its blocks
	byShape map[string]*layout
	last    uint32
	idle    []*layout // no record had them when they came here
}

const blockSize = 256

// A block has layouts whose numbers follow each other; nil: dropped, or not there
// yet.
type block struct {
	layouts [blockSize]atomic.Pointer[layout]
	left    int
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
	s.layouts.mu.Lock()
	defer s.layouts.mu.Unlock()
	const few = 64 // so that little is done at once
	if len(s.layouts.idle) >= few {
		s.layouts.drop()
	}
	l := s.intern(limits.shape, limits.gauges)
	limits.cached.Store(l)
	return l
}

// intern returns the layout of the given gauges. It is called with layouts.mu
// held.
func (s *MemoryStore) intern(shape string, gauges []gauge) *layout {
	if l := s.layouts.byShape[shape]; l != nil {
		return l
	}
	s.layouts.last++
	l := &layout{id: s.layouts.last, store: s, shape: shape}
	words := 0
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
	byID := *s.layouts.byID.Load()
	b := byID[l.id/blockSize]
	if b == nil {
		b = new(block)
		byID = maps.Clone(byID)
		byID[l.id/blockSize] = b
		s.layouts.byID.Store(&byID)
	}
	b.layouts[l.id%blockSize].Store(l)
	b.left++
	s.layouts.hold(l, 0)
	return l
}

// layout returns the layout with the given number, nil for one that was
// dropped.
func (s *MemoryStore) layout(id uint32) *layout {
	b := (*s.layouts.byID.Load())[id/blockSize]
	if b == nil {
		return nil
	}
	return b.layouts[id%blockSize].Load()
}

// hold counts a record more (or, with -1, less) with the layout l. It returns
// false when l has been dropped in the meantime.
func (s *MemoryStore) hold(l *layout, n int) bool {
	s.layouts.mu.Lock()
	defer s.layouts.mu.Unlock()
	return s.layouts.hold(l, n)
}

// hold is the store's hold, with mu held.
func (ls *layouts) hold(l *layout, n int) bool {
	if l.dropped {
		return false
	}
	if l.records += n; l.records == 0 && !l.idle {
		l.idle = true
		ls.idle = append(ls.idle, l)
	}
	return true
}

// dropLayouts forgets the layouts that no record has.
func (s *MemoryStore) dropLayouts() {
	s.layouts.mu.Lock()
	defer s.layouts.mu.Unlock()
	s.layouts.drop()
}

// drop is dropLayouts with mu held.
func (ls *layouts) drop() {
	for _, l := range ls.idle {
		if l.idle = false; l.records > 0 {
			continue
		}
		l.dropped = true
		delete(ls.byShape, l.shape)
		byID := *ls.byID.Load()
		b := byID[l.id/blockSize]
		b.layouts[l.id%blockSize].Store(nil)
		if b.left--; b.left == 0 {
			byID = maps.Clone(byID)
			delete(byID, l.id/blockSize)
			ls.byID.Store(&byID)
		}
	}
	clear(ls.idle)
	ls.idle = ls.idle[:0]
}
