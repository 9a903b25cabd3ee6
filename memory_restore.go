package penstock

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/algorithm"
)

// Restore reads counters that Snapshot wrote. The store must be new: nothing
// was asked of it yet, and nothing is until Restore returns. What no longer
// counts at now is left behind; a zero now is the store's own clock, which from
// here on continues the one of the snapshot: when the wall clock was set back
// in between it goes on from the snapshot's time, so that nothing is free again
// before its time has passed. Limits that have changed since are met as [Store]
// says, when their keys are next seen.
//
// Keys come in even where they are more than MaxKeys, as they stay when
// [MemoryStore.Configure] lowers it, but no memory is taken beyond MaxBytes:
// left is how many keys found no room. After an error, which says that the
// snapshot is not whole or not one, the store is to be thrown away.
func (s *MemoryStore) Restore(r io.Reader, now time.Time) (left int, err error) {
	if s.keys.Load() != 0 || s.layouts.last != 0 {
		return 0, errors.New("penstock: restore into a store that has been used: give a new one")
	}
	d := restored{store: s, r: bufio.NewReaderSize(r, 64<<10)}
	d.head(now)
	for d.err == nil && d.key() {
	}
	if _, err := d.r.Peek(1); d.err == nil && err != io.EOF {
		d.fail("something follows its end", err)
	}
	if d.err != nil {
		return 0, fmt.Errorf("penstock: restore: %w", d.err)
	}
	return d.left, nil
}

// restored is a snapshot that is being read. From its first error on it reads
// zeros.
type restored struct {
	store *MemoryStore
	r     *bufio.Reader
	err   error

	moment        // at which it is restored
	at      int64 // when it was written
	birth   int64 // of its buckets
	first   bool  // it is of the first version
	layouts []*layout
	left    int

	// The counter that was read last, at the moment.
	steps   algorithm.Steps
	ring    [algorithm.RingCap]uint64
	counted algorithm.Counted
	spent   int64
}

var errDamaged = errors.New("the snapshot is damaged")

// fail notes what is wrong, unless something was before; err is the reader's,
// or nil.
func (d *restored) fail(what string, err error) {
	switch {
	case d.err != nil:
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		d.err = fmt.Errorf("%w: it ends early", errDamaged)
	case err != nil:
		d.err = err
	default:
		d.err = fmt.Errorf("%w: %s", errDamaged, what)
	}
}

func (d *restored) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	b, err := d.r.Peek(binary.MaxVarintLen64) // short at the end
	n, size := binary.Uvarint(b)
	switch {
	case size > 0:
		_, _ = d.r.Discard(size) // it is there
	case len(b) == binary.MaxVarintLen64:
		d.fail("a number is out of bounds", nil)
	default:
		d.fail("", err)
	}
	return n
}

// number reads a number from 0 to most.
func (d *restored) number(most int64) int64 {
	n := d.uvarint()
	if n > uint64(most) {
		d.fail("a number is out of bounds", nil)
		return 0
	}
	return int64(n)
}

// signed reads a number from -most to most.
func (d *restored) signed(most int64) int64 {
	u := d.uvarint()
	n := int64(u>>1) ^ -int64(u&1)
	if n > most || n < -most {
		d.fail("a number is out of bounds", nil)
		return 0
	}
	return n
}

// word reads 8 bytes.
func (d *restored) word() uint64 {
	var b [8]byte
	if d.err == nil {
		if _, err := io.ReadFull(d.r, b[:]); err != nil {
			d.fail("", err)
		}
	}
	return binary.LittleEndian.Uint64(b[:])
}

// text reads n bytes. It takes no more memory than there are.
func (d *restored) text(n int64) string {
	var b strings.Builder
	if d.err == nil {
		if _, err := io.CopyN(&b, d.r, n); err != nil {
			d.fail("", err)
		}
	}
	return b.String()
}

// The bounds of times and durations, in microseconds: the arithmetic holds
// wherever they are sums of a few such. Times are within them of the moment at
// which they are restored, too: else they could be written down and not read again.
const (
	farTime = 1 << 55 // about the year 3111
	decade  = 10 * 366 * 24 * int64(time.Hour/time.Microsecond)
)

// head reads what stands before the keys.
func (d *restored) head(now time.Time) {
	s := d.store
	head := d.text(int64(len(snapshotHead)))
	if d.first = head == firstSnapshotHead; head != snapshotHead && !d.first {
		d.fail("", nil)
		d.err = errors.New("this is no snapshot, or one of another version of penstock")
		return
	}
	d.at = d.signed(farTime)
	skew := d.signed(farTime)
	d.birth = d.signed(farTime)
	for i := range s.index.key {
		s.index.key[i] = d.word()
	}
	if d.err != nil {
		return
	}
	if now.IsZero() {
		s.clock.resume(d.at, skew)
	}
	d.moment = s.moment(now)
	if age := d.now - d.birth; age <= decade && age >= -decade {
		// So that buckets go on to be filled at the same microseconds. What has
		// been filled for longer begins anew, since limits are such that ten
		// years of it can be counted.
		s.birth = d.birth
	}
}

// resume makes a clock that nobody has read yet go on from one that showed at
// and was skew from UTC.
func (c *clock) resume(at, skew int64) {
	wall := c.anchor
	c.anchor = max(at, wall-skew)
	c.skew.Store(wall - c.anchor)
}

// key reads one key. It returns false at the end.
func (d *restored) key() bool {
	n := d.number(int64(len(d.layouts)) + 1)
	if n == 0 {
		return false
	}
	if n > int64(len(d.layouts)) {
		d.layout()
	}
	h := hashed{d.word(), d.word()}
	if d.err != nil {
		return false
	}
	l := d.layouts[n-1]
	var words []uint64
	full := false
	for i := range l.slots {
		sl := &l.slots[i]
		if !d.counter(sl) || full || d.err != nil {
			continue
		}
		if words == nil {
			if words = d.admit(h, l); words == nil {
				full = true
				continue
			}
		}
		d.put(sl, words[sl.first:])
	}
	return d.err == nil
}

// layout reads limits.
func (d *restored) layout() {
	var gauges []gauge
	words := 0
	for range d.number(int64(classWords[len(classWords)-1])) {
		l := Limit{Name: d.text(d.number(math.MaxInt32))}
		l.Unit, l.Algorithm = Unit(d.number(math.MaxUint8)), Algorithm(d.number(math.MaxUint8))
		l.Overdraw = d.number(1) == 1
		l.Amount, l.Capacity = d.number(MaxAmount), d.number(MaxAmount)
		l.Window = time.Duration(d.number(math.MaxInt64/1000)) * time.Microsecond
		l.Precision = time.Duration(d.number(math.MaxInt64/1000)) * time.Microsecond
		if l.Algorithm == FixedWindow && l.Window == 0 {
			l.Window = Month
		}
		g, err := l.compile()
		if d.err != nil {
			return
		}
		if err != nil {
			d.fail(err.Error(), nil)
			return
		}
		if slices.ContainsFunc(gauges, func(o gauge) bool { return o.sameCounter(&g) }) {
			d.fail("a limit stands there twice", nil)
			return
		}
		gauges = append(gauges, g)
		words += g.kind.words()
	}
	if classFor(words) < 0 {
		d.fail("a key has too many limits", nil)
		return
	}
	d.store.layouts.mu.Lock()
	defer d.store.layouts.mu.Unlock()
	d.layouts = append(d.layouts, d.store.intern(shapeOf(gauges), gauges))
}

// counter reads what counts in a slot, and reports whether anything does at the
// moment.
func (d *restored) counter(sl *slot) bool {
	switch sl.kind {
	case kindSliding:
		p, st := sl.sliding(), &d.steps
		*st = algorithm.Steps{Ring: d.ring[:]}
		before := d.at / p.Step
		first := before
		for i := range d.number(p.Size/p.Step + 1) {
			if i == 0 {
				before += d.signed(farTime / p.Step)
				first = before
			} else {
				before += d.number(farTime / p.Step)
				if before == st.Newest || before-first > p.Size/p.Step {
					d.fail("the steps of a window are out of order", nil)
					return false
				}
			}
			if i := before - d.now/p.Step; i > farTime/p.Step || i < -farTime/p.Step {
				d.fail("a step of a window is out of bounds", nil)
				return false
			}
			const most = 1 << 55 // more than any limit; 121 of them and a charge are below 2^63
			p.Take(st, before*p.Step, min(d.number(math.MaxInt64), most))
		}
		p.Advance(st, d.now)
		return st.Total > 0
	case kindFixed:
		d.counted = algorithm.Counted{Used: d.number(math.MaxInt64)}
		if d.counted.Used > 0 {
			d.counted.End = d.at + d.signed(farTime)
		}
		if left := d.counted.End - d.now; d.counted.Used > 0 && (left > farTime || left < -farTime) {
			d.fail("the end of a window is out of bounds", nil)
			return false
		}
		d.counted = sl.fixed(d.skew).Advance(d.counted, d.now)
		return d.counted.Used > 0
	case kindBucket:
		b := sl.bucket(d.birth)
		lacks := d.number(math.MaxInt64)
		if d.first {
			lacks = b.Parts(lacks)
		}
		spent := b.Lacking(lacks, d.at)
		d.spent = b.Rebase(spent, d.now, sl.bucket(d.store.birth))
		return b.Lacks(spent, d.now) > 0
	}
	return false
}

// put writes the counter that was read last into the fresh words of its slot.
func (d *restored) put(sl *slot, w []uint64) {
	switch sl.kind {
	case kindSliding:
		d.store.pack(w, &d.steps, sl.sliding(), newcomers, pools-1) // as in admit
	case kindFixed:
		w[0], w[1] = uint64(d.counted.End), uint64(d.counted.Used)
	case kindBucket:
		w[0] = uint64(d.spent)
	}
}

// admit makes a record for a key, and returns its words; nil where there is no
// room, or the key is there already.
func (d *restored) admit(h hashed, l *layout) []uint64 {
	s := d.store
	if s.find(h) != 0 {
		d.fail("a key stands there twice", nil)
		return nil
	}
	x := &s.index.shards[h.shard()]
	x.mu.Lock()
	defer x.mu.Unlock()
	var n number
	// Nobody knows here who is kept. All of the memory is for what counts.
	for from := newcomers; n == 0 && from < pools; from++ {
		if s.makeRoom(x, from) {
			n = s.pages.take(l.class, from, s.budget.take)
		}
	}
	if n == 0 {
		d.left++
		return nil
	}
	s.hold(l, 1)
	s.keys.Add(1)
	head := s.pages.record(n)
	words := head.words(l)
	for i := range l.slots {
		l.slots[i].fresh(words)
	}
	head.occupy(h, l)
	x.put(h, n)
	return words
}
