package penstock

import (
	"encoding/binary"
	"errors"
	"fmt"
)

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
		g.n, g.head, g.count = s.recall(g.first.Handle, g.place)
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
	// No key that anyone names is this one, since its hash is secret.
	shape := s.index.key.sum(c.Limits.shape)
	var b [24]byte
	binary.LittleEndian.PutUint64(b[:], shape.h1)
	binary.LittleEndian.PutUint64(b[8:], shape.h2)
	binary.LittleEndian.PutUint64(b[16:], uint64(nth))
	return s.index.key.sum(string(b[:]))
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
			g.lay = s.layoutOf(g.first.Limits)
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

// laidOut reports whether the record that the group found has its limits, and
// makes the group see them where they are. If not, it sees them as they are
// alone.
func (s *MemoryStore) laidOut(g *group) bool {
	id := g.head.layout.Load()
	if id == g.lay.id {
		return true
	}
	g.lay = s.layoutOf(g.first.Limits)
	if id == g.lay.id {
		return true
	}
	if v := s.seen(g.lay, id); v != nil {
		g.lay = v
		return true
	}
	return false
}

// seen returns how those whose limits are laid out as lay see records with the
// layout id, nil where they are not all there.
func (s *MemoryStore) seen(lay *layout, id uint32) *layout {
	if l := s.layout(id); l != nil {
		return l.as(lay)
	}
	return nil
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
// whether none but shadows holds up the request.
func (s *MemoryStore) checkAll(charges []Charge, lay *layout, h *head, m moment) (fits bool) {
	words := h.words(lay)
	fits = true
	for i := range charges {
		c := &charges[i]
		t := s.check(&lay.slots[c.Index], words, m, c.Amount)
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
		if take && c.RetryAfter == 0 && c.Amount > 0 {
			t = s.take(sl, words, m.now, t, c.Amount, c.pool())
		}
		c.Used, c.Reset, c.Shared = t.used, duration(sl.reset(t, m)), false
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
