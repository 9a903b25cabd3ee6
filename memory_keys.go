package penstock

import (
	"math"
	"slices"
	"time"
)

// Taking in keys, laying out their records anew when their limits change, and
// dropping what nothing is left of. All of it happens under the lock of the
// key's shard, which is taken before that of a record.

// sweepOnInsert is how many entries of its shard an insertion looks at: more
// than one, so that what is idle goes faster than new keys come.
const sweepOnInsert = 4

// lingering is how long, in microseconds, counters on which nothing is left any
// more are left alone, as long as there is ample room. Without it those whose
// buckets are full again at once would drop each other: whoever comes back is new.
const lingering = 10_000_000

// lately is the moment at which counters must have been idle to be dropped.
func (s *MemoryStore) lately(m moment) moment {
	if s.keys.Load() <= s.bound()/4*3 && s.budget.ample() {
		m.now -= lingering
	}
	return m
}

// bound is how many keys there may be without those that are reserved.
func (s *MemoryStore) bound() int64 { return s.maxKeys.Load() - s.reserve.Load() }

// insert makes a record for the key of the group, or finds the one that was
// made meanwhile. It returns false when the key is new, has no room reserved,
// and the store is full.
//
// Records of the other groups of the request are not dropped to make room: a
// new one has nothing on it before it is charged.
func (s *MemoryStore) insert(g *group, groups []group, m moment) bool {
	x := &s.index.shards[g.hashed.shard()]
	x.mu.Lock()
	defer x.mu.Unlock()
	if g.n = s.find(g.hashed); g.n != 0 {
		return true
	}
	from, bound := g.pool(), s.bound()
	s.sweepSome(x, sweepOnInsert, groups, s.lately(m))
	if from == kept {
		bound = math.MaxInt64
	}
	few := func() bool { return s.keys.Load() <= bound }
	room := func() bool {
		if s.makeRoom(x, from) {
			g.n = s.pages.takeFor(g.lay.class, from, s.budget.take)
		}
		return g.n != 0
	}
	if s.keys.Add(1); !few() && !s.makeSpace(x, few, groups, m) || !room() && !s.makeSpace(x, room, groups, m) {
		s.keys.Add(-1)
		return false
	}
	for !s.hold(g.lay, 1) {
		g.lay = s.cacheLayout(g.first.Limits)
	}
	head := s.pages.record(g.n)
	words := head.words(g.lay)
	for i := range g.lay.slots {
		g.lay.slots[i].fresh(words)
	}
	head.occupy(g.hashed, g.lay)
	x.put(g.hashed, g.n)
	return true
}

// barrenFor is how long the store is not searched again for something to drop
// when there was nothing, in microseconds: in a flood that is a hundredth of
// the time at most.
const barrenFor = 10_000

// makeSpace drops idle keys, of the locked shard x or of any other, until that is
// enough, and reports whether it is.
func (s *MemoryStore) makeSpace(x *shard, enough func() bool, except []group, m moment) bool {
	if barren := s.barren.Load(); m.now < barren && m.now >= barren-barrenFor {
		return false
	}
	const atOnce = 16
	if s.sweepSome(x, 4*atOnce, except, m) > 0 && enough() {
		return true
	}
	for range s.index.shards {
		y := &s.index.shards[s.rover.Add(1)%uint64(len(s.index.shards))]
		if y == x || !y.mu.TryLock() { // waiting for a second shard could go round in a circle
			continue
		}
		dropped := s.sweepSome(y, atOnce, except, m)
		y.mu.Unlock()
		if dropped > 0 && enough() {
			return true
		}
	}
	s.barren.Store(m.now + barrenFor)
	return false
}

// occupy makes a free record that of the key. Its words are written: whoever
// still has its number from before sees the key last, and them with it.
func (d *head) occupy(h hashed, l *layout) {
	d.layout.Store(l.id)
	d.tail.Store(uint32(h.h1))
	d.hash.Store(h.h2)
}

// relay lays out the record of the group's key anew, so that it has the group's
// limits. Limits that it had before and that still count something, or did until
// lately, stay with them. It returns false, with the record as it was, when there
// is no memory for one that is larger than what the key has.
func (s *MemoryStore) relay(g *group, m moment) bool {
	x := &s.index.shards[g.hashed.shard()]
	x.mu.Lock()
	defer x.mu.Unlock()
	n := s.find(g.hashed)
	if n == 0 {
		return true
	}
	head := s.pages.record(n)
	head.mu.Lock()
	defer head.mu.Unlock()
	old := s.layout(head.layout.Load())
	words := head.words(old)
	g.lay = s.layoutOf(g.first.Limits)
	if old == g.lay || old.as(g.lay) != nil {
		return true
	}
	next := s.nextLayout(old, words, g, m)
	to := s.placeFor(next, n, g.pool())
	if to == 0 {
		s.hold(next, -1)
		return false
	}
	fresh := make([]uint64, classWords[next.class])
	for i := range next.slots {
		sl := &next.slots[i]
		sl.fresh(fresh)
		if from := old.find(&sl.gauge); from != nil {
			s.convert(from, words, sl, fresh, m, g.pool())
		}
	}
	for i := range old.slots {
		s.free(&old.slots[i], words)
	}
	s.hold(old, -1)
	if to == n {
		putAll(head.words(next), fresh)
		head.layout.Store(next.id)
		return true
	}
	toHead := s.pages.record(to)
	putAll(toHead.words(next), fresh)
	toHead.occupy(g.hashed, next)
	x.replace(g.hashed, n, to)
	s.vacate(head, n)
	return true
}

// placeFor returns a record for a key that has the record n and gets the layout
// next: n itself where it is of the right size, or larger and there is no other;
// 0 where there is none.
func (s *MemoryStore) placeFor(next *layout, n number, from pool) (to number) {
	class := s.pages.size(n)
	if class == next.class {
		return n
	}
	if to = s.pages.take(next.class, from, s.budget.take); to == 0 && next.class < class {
		return n
	}
	if to == 0 && from == newcomers {
		to = s.pages.take(next.class, moved, s.budget.take)
	}
	return to
}

// pool is whose memory the group's record is to be.
func (g *group) pool() pool {
	if g.shared {
		return kept
	}
	return g.first.pool()
}

// pool is whose memory the charge's counter is to be.
func (c *Charge) pool() pool {
	if c.Keep {
		return kept
	}
	return newcomers
}

func putAll(to, from []uint64) {
	for i := range from {
		put(&to[i], from[i])
	}
}

// nextLayout is the layout of the group's limits and of those in the record,
// laid out as old, that are not among them but still count something, or did
// until lately: keys are charged under several sets by turns. It is held for one
// record.
func (s *MemoryStore) nextLayout(old *layout, words []uint64, g *group, m moment) *layout {
	m = s.lately(m)
	gauges := slices.Clip(g.first.Limits.gauges)
	room := classWords[len(classWords)-1]
	for i := range gauges {
		room -= gauges[i].kind.words()
	}
	for i := range old.slots {
		sl := &old.slots[i]
		if g.lay.find(&sl.gauge) == nil && sl.kind.words() <= room && !s.idle(sl, words, m) {
			gauges = append(gauges, sl.gauge)
			room -= sl.kind.words()
		}
	}
	shape := g.first.Limits.shape
	if len(gauges) > len(g.lay.slots) {
		shape = shapeOf(gauges)
	}
	s.layouts.mu.Lock()
	defer s.layouts.mu.Unlock()
	next := s.intern(shape, gauges)
	s.layouts.hold(next, 1)
	return next
}

// vacate frees a record. It is locked.
func (s *MemoryStore) vacate(h *head, n number) {
	h.hash.Store(0)
	h.tail.Store(0)
	h.layout.Store(0)
	s.pages.give(n)
}

// Sweep drops all counters on which nothing is left, and returns how many keys
// went. Only newcomers wait for it, for a few microseconds, or at worst until a
// shard is done, which at a million keys takes half a millisecond. It may be
// called at any time; a zero now is the store's own clock. Call it every minute
// or so where callers come and go.
func (s *MemoryStore) Sweep(now time.Time) int {
	m := s.moment(now)
	const atOnce = 64
	dropped := 0
	for i := range s.index.shards {
		x := &s.index.shards[i]
		for done, size := 0, 1; done < size; done += atOnce {
			x.mu.Lock()
			if size = len(x.table.Load().entries); done < size {
				dropped += s.sweepSome(x, atOnce, nil, m)
			}
			x.mu.Unlock()
		}
		s.tidy(x)
	}
	s.dropLayouts()
	s.pages.trim(s.budget.take)
	return dropped
}

// sweepSome looks at the next entries of a shard and drops those on which
// nothing is left, except those of the groups. The shard is locked.
func (s *MemoryStore) sweepSome(x *shard, entries int, except []group, m moment) (dropped int) {
	t := x.table.Load()
	for range min(entries, len(t.entries)) {
		x.cursor = (x.cursor + 1) & t.mask
		e := t.entries[x.cursor].Load()
		if e == 0 || uint32(e) == removed {
			continue
		}
		if !reached(except, number(e)) && s.drop(number(e), m) {
			x.remove(x.cursor)
			dropped++
		}
	}
	return dropped
}

// reached reports whether one of the groups has the record n.
func reached(groups []group, n number) bool {
	for i := range groups {
		if groups[i].n == n {
			return true
		}
	}
	return false
}

// drop frees a record when nothing is on it, and looks without a lock first,
// since mostly something is. One that is in use is not idle, so nobody waits
// for its lock. The shard of its key is locked.
func (s *MemoryStore) drop(n number, m moment) bool {
	head := s.pages.record(n)
	l := s.layout(head.layout.Load())
	words := head.words(l)
	if !s.allIdle(l, words, m) || !head.mu.TryLock() {
		return false
	}
	defer head.mu.Unlock()
	if !s.allIdle(l, words, m) {
		return false
	}
	for i := range l.slots {
		s.free(&l.slots[i], words)
	}
	s.hold(l, -1)
	s.vacate(head, n)
	s.keys.Add(-1)
	return true
}

func (s *MemoryStore) allIdle(l *layout, words []uint64, m moment) bool {
	for i := range l.slots {
		if !s.idle(&l.slots[i], words, m) {
			return false
		}
	}
	return true
}
