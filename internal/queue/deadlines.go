package queue

import (
	"math"
	"slices"
	"sort"
	"time"
)

// deadlines is until when those in the line wait, the earliest first. Newcomers
// mostly are the last, since they all have the same timeout. Who leaves the line
// leaves a gap, that is closed when it is due or room is needed. The zero
// deadlines are empty.
type deadlines struct {
	list []deadline
	next int // those before it are past
}

type deadline struct {
	at    time.Duration
	place *place // nil in a gap
}

// mostSpareDeadlines is how much room for deadlines is kept when nobody waits.
const mostSpareDeadlines = 4096

// add notes until when p waits.
func (s *deadlines) add(p *place, at time.Duration) {
	if len(s.list) == cap(s.list) {
		s.tidy()
	}
	i := len(s.list)
	if i > s.next && at < s.list[i-1].at { // the timeout was made shorter
		i = s.next + sort.Search(i-s.next, func(i int) bool { return at < s.list[s.next+i].at })
		s.list = slices.Insert(s.list, i, deadline{at, p})
		s.number(i)
		return
	}
	s.list = append(s.list, deadline{at, p})
	p.deadline = int32(i)
}

// of returns until when p waits.
func (s *deadlines) of(p *place) time.Duration { return s.list[p.deadline].at }

// number tells those from i on where their deadlines are.
func (s *deadlines) number(i int) {
	for ; i < len(s.list); i++ {
		if p := s.list[i].place; p != nil {
			p.deadline = int32(i)
		}
	}
}

// remove makes a gap of the deadline of p.
func (s *deadlines) remove(p *place) { s.list[p.deadline].place = nil }

// tidy closes the gaps, and makes as much room as there are deadlines then, so
// that each newcomer pays for a constant part of it.
func (s *deadlines) tidy() {
	kept := s.list[:0]
	for _, d := range s.list[s.next:] {
		if d.place != nil {
			kept = append(kept, d)
		}
	}
	clear(s.list[len(kept):])
	if cap(kept) > max(8*len(kept), mostSpareDeadlines) { // after a rush
		kept = slices.Clone(kept)
	}
	s.list, s.next = slices.Grow(kept, len(kept)+1), 0
	s.number(0)
}

// due returns the first whose time has come at now, and who has to leave before
// this is asked again; nil for nobody, with the time at which to look again.
func (s *deadlines) due(now time.Duration) (p *place, again time.Duration) {
	for ; s.next < len(s.list); s.next++ {
		d := s.list[s.next]
		switch {
		case d.place == nil:
		case d.at > now:
			return nil, d.at
		default:
			return d.place, 0
		}
	}
	s.list, s.next = s.list[:0], 0
	if cap(s.list) > mostSpareDeadlines {
		s.list = nil
	}
	return nil, math.MaxInt64
}
