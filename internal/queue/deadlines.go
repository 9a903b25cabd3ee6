package queue

import (
	"math"
	"slices"
	"time"
)

// deadlines is until when those in the line wait. Those who came with the same
// timeout are in a row, which is in order by itself; there are several rows only
// while some wait who came before the timeout was changed. The zero deadlines are
// empty.
type deadlines struct {
	rows []deadlineRow
}

// deadlineRow is deadlines of one timeout, the earliest first. Who leaves the line
// leaves a gap.
type deadlineRow struct {
	timeout time.Duration
	// ring holds those from number head up to tail, each at its number modulo the
	// length, which is a power of two.
	ring       []deadline
	head, tail uint
}

type deadline struct {
	at    time.Duration
	place *place // nil in a gap
}

const (
	leastDeadlines = 16
	// mostSpareDeadlines is how much room for deadlines is kept when nobody waits.
	mostSpareDeadlines = 4096
)

// add notes that p waits from now on for the timeout, and returns until when.
func (s *deadlines) add(p *place, now, timeout time.Duration) (until time.Duration) {
	until = now + min(timeout, math.MaxInt64-now)
	if len(s.rows) == 0 || s.rows[0].timeout != timeout {
		s.front(timeout)
	}
	r := &s.rows[0]
	r.skip()
	if r.tail-r.head == uint(len(r.ring)) {
		r.tidy()
	}
	d := r.number(r.tail)
	*d, p.deadline = deadline{until, p}, d
	r.tail++
	return until
}

// front makes the row of a timeout the first, and drops those that are empty.
func (s *deadlines) front(timeout time.Duration) {
	s.rows = slices.DeleteFunc(s.rows, func(r deadlineRow) bool {
		r.skip()
		return r.head == r.tail && r.timeout != timeout
	})
	i := slices.IndexFunc(s.rows, func(r deadlineRow) bool { return r.timeout == timeout })
	if i < 0 {
		i = len(s.rows)
		s.rows = append(s.rows, deadlineRow{timeout: timeout})
	}
	s.rows[0], s.rows[i] = s.rows[i], s.rows[0]
}

// due returns one whose time has come at now, and who has to leave before this is
// asked again; nil for nobody, with the time at which to look again.
func (s *deadlines) due(now time.Duration) (p *place, again time.Duration) {
	again = math.MaxInt64
	for i := range s.rows {
		r := &s.rows[i]
		r.skip()
		if r.head == r.tail {
			continue
		}
		d := r.number(r.head)
		if d.at <= now {
			return d.place, 0
		}
		again = min(again, d.at)
	}
	return nil, again
}

func (r *deadlineRow) number(n uint) *deadline { return &r.ring[n&uint(len(r.ring)-1)] }

// skip passes the gaps at the front.
func (r *deadlineRow) skip() {
	for r.head != r.tail && r.number(r.head).place == nil {
		r.head++
	}
	if r.head == r.tail && len(r.ring) > mostSpareDeadlines {
		r.ring = nil
	}
}

// tidy makes room in a full ring: it closes the gaps where they are half of it, so
// that each newcomer pays for a constant part of that, and else doubles it.
func (r *deadlineRow) tidy() {
	from, waiting := *r, 0
	for i := range from.ring {
		if from.ring[i].place != nil {
			waiting++
		}
	}
	if waiting > len(from.ring)/2 || len(from.ring) == 0 {
		r.ring = make([]deadline, max(leastDeadlines, 2*len(from.ring)))
	}
	r.tail = r.head
	for n := from.head; n != from.tail; n++ {
		d := *from.number(n)
		*from.number(n) = deadline{}
		if d.place != nil {
			*r.number(r.tail) = d
			d.place.deadline = r.number(r.tail)
			r.tail++
		}
	}
}
