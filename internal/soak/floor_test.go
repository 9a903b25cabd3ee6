package soak

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// floor counts the requests in flight at all workers that live, strictly: each
// from the first line of its handler to its return, or to the end of the process
// that it runs in.
type floor struct {
	most    int                     // that may be
	allowed func(now time.Time) int // that may have come until then; nil: any number

	mu   sync.Mutex
	came int // ever
	n    int
	peak int
	what map[*stay]bool // the n
}

// life is one process of a worker, from its start to its death.
type life struct{ over bool } // guarded by the floor's lock

// stay is one request's stay at a worker.
type stay struct {
	in     *life
	what   string
	began  time.Time
	excess string // what was in flight, where it was more than may be
	gone   bool
}

// enter counts one more.
func (f *floor) enter(l *life, what string) *stay {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &stay{in: l, what: what, began: time.Now()}
	f.came++
	if f.allowed != nil {
		if most := f.allowed(s.began); f.came > most {
			s.excess = fmt.Sprintf("%d have come, and may %d until now", f.came, most)
		}
	}
	if l.over {
		s.gone = true // nobody is there any more
		return s
	}
	f.what[s] = true
	f.n++
	f.peak = max(f.peak, f.n)
	if f.n > f.most {
		var b strings.Builder
		fmt.Fprintf(&b, "%d in flight, of %d slots:\n", f.n, f.most)
		for other := range f.what {
			fmt.Fprintf(&b, "%s for %v\n", other.what, s.began.Sub(other.began))
		}
		s.excess = b.String()
	}
	return s
}

// leave counts it no more.
func (f *floor) leave(s *stay) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(s)
}

// forget requires that the lock is held.
func (f *floor) forget(s *stay) {
	if !s.gone {
		s.gone = true
		f.n--
		delete(f.what, s)
	}
}

// end is the death of a process, and of all that is in flight there.
func (f *floor) end(l *life) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.over = true
	for s := range f.what {
		if s.in == l {
			f.forget(s)
		}
	}
}

// counts returns how many are in flight, and how many there were at most.
func (f *floor) counts() (n, peak int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n, f.peak
}

func (f *floor) String() string {
	_, peak := f.counts()
	return fmt.Sprintf("at most %d in flight at the workers, of %d slots", peak, f.most)
}
