package queue

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// drive uses a queue without goroutines that wait, to see whose turn it is.
type drive struct {
	t       *testing.T
	q       *Queue
	slots   []Slot
	asks    map[*place]Ask
	pending []*place
}

func newDrive(t *testing.T, o Options) *drive {
	t.Helper()
	if o.Size == 0 {
		o.Size, o.Timeout = 1<<20, 1e6*time.Hour
	}
	q, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &drive{t: t, q: q, asks: map[*place]Ask{}}
}

// enter lets somebody in, or into the line.
func (d *drive) enter(a Ask) {
	d.t.Helper()
	if err := d.try(a); err != nil {
		d.t.Fatal(err)
	}
}

func (d *drive) try(a Ask) error {
	d.q.mu.Lock()
	defer d.q.mu.Unlock()
	if p := d.q.pass(&a); p != nil {
		d.slots = append(d.slots, Slot{place: p, turn: p.turn})
		d.asks[p] = a
		return nil
	}
	p, _, err := d.q.join(&a, d.q.now())
	if err == nil {
		d.pending = append(d.pending, p)
		d.asks[p] = a
	}
	return err
}

func (d *drive) enterMany(n int, a Ask) {
	d.t.Helper()
	for range n {
		d.enter(a)
	}
}

// next ends the stay that has a slot for longest, whose turn comes by that, and
// returns what it asked.
func (d *drive) next() Ask {
	d.t.Helper()
	s := d.slots[0]
	d.slots = d.slots[1:]
	s.Release()
	i := slices.IndexFunc(d.pending, func(p *place) bool { return len(p.answer) > 0 })
	if i < 0 {
		d.t.Fatal("nobody was let in")
	}
	p := d.pending[i]
	if <-p.answer; p.refused != nil {
		d.t.Fatal(p.refused)
	}
	d.pending = slices.Delete(d.pending, i, i+1)
	d.slots = append(d.slots, Slot{place: p, turn: p.turn})
	return d.asks[p]
}

// turns returns the callers of the next n turns.
func (d *drive) turns(n int) string {
	d.t.Helper()
	var b strings.Builder
	for range n {
		b.WriteString(d.next().Caller)
	}
	return b.String()
}

func (d *drive) check(want string) {
	d.t.Helper()
	if got := d.turns(len(want)); got != want {
		d.t.Errorf("the turns were %s, want %s", got, want)
	}
}
