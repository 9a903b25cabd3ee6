package penstock

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// rings hands out the memory of sliding windows with more than one live step:
// rings of 2, 4, … 128 words. They are cut from pages of 4,096 words; a page
// holds rings of one length, and one that is empty again serves any length, so
// that what a busy hour needed is not lost to the next.
type rings struct {
	pages atomic.Pointer[[]*page]

	mu    sync.Mutex  // guards what follows, and growth
	open  [8][]uint32 // by log2 of the length: pages that may have a ring free
	empty []uint32    // pages without a ring in use
}

const pageWords = 4096

type page struct {
	words [pageWords]uint64
	log   int      // of the length of its rings
	used  int      // rings in use
	free  []uint16 // first words of rings that were given back
	next  int      // the first word never used
	open  bool     // is in rings.open
}

// ring names a ring: 0 for none, else the place of its first word plus one in
// the lower 40 bits, and log2 of its length above.
type ring uint64

func (r ring) log() int     { return int(r >> 40) }
func (r ring) place() int64 { return int64(r&(1<<40-1)) - 1 }

// at returns the words of a ring in use. For a reader without a lock, who may
// ask for what is not a ring, it is nil then, or words that mean nothing.
func (s *rings) at(r ring) []uint64 {
	pages := s.pages.Load()
	i, first, log := uint64(r.place())/pageWords, uint64(r.place())%pageWords, r.log()
	if pages == nil || i >= uint64(len(*pages)) || log > 7 || first+1<<log > pageWords {
		return nil
	}
	return (*pages)[i].words[first : first+1<<log]
}

// take returns a ring of at least so many words (2 to 128). Where a new page
// is needed it asks room, which may refuse; then the ring is 0.
func (s *rings) take(words int, room func(bytes int64) bool) ring {
	log := bits.Len(uint(words - 1))
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		open := s.open[log]
		if len(open) == 0 {
			break
		}
		i := open[len(open)-1]
		p := (*s.pages.Load())[i]
		if first, ok := p.take(); ok {
			return ring(log)<<40 | ring(int64(i)*pageWords+int64(first)+1)
		}
		p.open = false
		s.open[log] = open[:len(open)-1]
	}
	i, ok := s.emptyPage(room)
	if !ok {
		return 0
	}
	p := (*s.pages.Load())[i]
	p.log, p.next, p.free, p.open = log, 0, p.free[:0], true
	s.open[log] = append(s.open[log], i)
	first, _ := p.take()
	return ring(log)<<40 | ring(int64(i)*pageWords+int64(first)+1)
}

func (s *rings) emptyPage(room func(bytes int64) bool) (uint32, bool) {
	if n := len(s.empty); n > 0 {
		i := s.empty[n-1]
		s.empty = s.empty[:n-1]
		return i, true
	}
	if !room(pageWords * 8) {
		return 0, false
	}
	var list []*page
	if old := s.pages.Load(); old != nil {
		list = *old
	}
	list = append(list[:len(list):len(list)], new(page))
	s.pages.Store(&list)
	return uint32(len(list) - 1), true
}

func (p *page) take() (first int, ok bool) {
	if n := len(p.free); n > 0 {
		first = int(p.free[n-1])
		p.free = p.free[:n-1]
	} else if p.next+1<<p.log <= pageWords {
		first = p.next
		p.next += 1 << p.log
	} else {
		return 0, false
	}
	p.used++
	return first, true
}

// give takes a ring back.
func (s *rings) give(r ring) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := uint32(r.place() / pageWords)
	p := (*s.pages.Load())[i]
	p.free = append(p.free, uint16(r.place()%pageWords))
	p.used--
	switch {
	case p.used == 0:
		if p.open {
			open := s.open[p.log]
			for j := range open {
				if open[j] == i {
					open[j] = open[len(open)-1]
					s.open[p.log] = open[:len(open)-1]
					break
				}
			}
			p.open = false
		}
		s.empty = append(s.empty, i)
	case !p.open:
		p.open = true
		s.open[p.log] = append(s.open[p.log], i)
	}
}
