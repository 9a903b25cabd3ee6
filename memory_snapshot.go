package penstock

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/penstock-dev/penstock/internal/algorithm"
)

// A snapshot is the counters of a store written down. It says nothing of how a
// store keeps them: amounts are whole numbers, times are microseconds of the
// store's clock, and limits are what [NewLimits] was given. Numbers are varints
// as in encoding/binary; those marked * may be negative.
//
//	snapshotHead
//	the time*, what to add to it to get UTC*, and when buckets began to fill*
//	the secret of the keyed hash: 48 bytes
//	for each key on which something counts
//	    its limits' number, from 1; the next number that was not used yet is
//	    followed by the limits: how many, and of each its name (length and
//	    bytes), unit, algorithm, whether it is overdrawn, amount, capacity,
//	    window, precision
//	    the key's hash: 16 bytes
//	    of each limit what counts (nothing for requests in flight)
//	        sliding window  how many steps; of each, the oldest first, how many
//	                        steps it lies after the one before (the first:
//	                        after the one of the snapshot's time*), and its
//	                        amount
//	        fixed window    what is used and, unless that is 0, when the window
//	                        ends, counted from the snapshot's time*
//	        token bucket    what the level lacks to the capacity at that time, in
//	                        parts of a unit: as many as the window has microseconds,
//	                        over what these and the amount have in common; where
//	                        algorithm.NewBucket says so, one
//	0
//
// The first version had whole units of a bucket, rounded up.
const (
	snapshotHead      = "penstock counters 2\n"
	firstSnapshotHead = "penstock counters 1\n"
)

// Snapshot writes all counters to w, for Restore to read into another store. It
// may be called at any time, and holds up nobody for long: a part of the keys
// (one in 256) is closed to newcomers while it is read, a key that is in use
// while it is copied, and nothing while w is written to. Every key is as it was
// at one moment between the call and its return.
//
// What is in flight is not written: it ends with the process. What was reserved
// for it stays charged. A zero now is the store's own clock. Who reads the
// snapshot can tell which keys it holds, and choose keys that collide: keep it
// where nobody else can read it. The error is that of w.
func (s *MemoryStore) Snapshot(w io.Writer, now time.Time) error {
	e := snapshot{store: s, moment: s.moment(now), numbers: map[uint32]int{}}
	e.buf = append(e.buf, snapshotHead...)
	e.buf = binary.AppendVarint(e.buf, e.now)
	e.buf = binary.AppendVarint(e.buf, e.skew)
	e.buf = binary.AppendVarint(e.buf, s.birth)
	for _, k := range s.index.key {
		e.buf = binary.LittleEndian.AppendUint64(e.buf, k)
	}
	for i := range s.index.shards {
		e.shard(&s.index.shards[i])
		const enough = 64 << 10
		if len(e.buf) < enough {
			continue
		}
		if _, err := w.Write(e.buf); err != nil {
			return fmt.Errorf("penstock: snapshot: %w", err)
		}
		e.buf = e.buf[:0]
	}
	if _, err := w.Write(append(e.buf, 0)); err != nil {
		return fmt.Errorf("penstock: snapshot: %w", err)
	}
	return nil
}

// snapshot is a snapshot that is being written.
type snapshot struct {
	store *MemoryStore
	moment
	numbers map[uint32]int // of the layouts that were written, by id
	buf     []byte         // what is not written to the file yet
}

// shard appends the keys of a shard. Its lock keeps the index as it is; keys in
// it are charged meanwhile, one by one.
func (e *snapshot) shard(x *shard) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.table.Load()
	for i := range t.entries {
		if entry := t.entries[i].Load(); entry != 0 && uint32(entry) != removed {
			e.record(uint32(entry>>32), number(entry))
		}
	}
}

// record appends the key of a record, if something counts there.
func (e *snapshot) record(tag uint32, n number) {
	head := e.store.pages.record(n)
	head.mu.Lock()
	defer head.mu.Unlock()
	l := e.store.layout(head.layout.Load())
	words := head.words(l)
	begin, counts := len(e.buf), false
	number, known := e.numbers[l.id]
	if !known {
		number = len(e.numbers) + 1
	}
	e.buf = binary.AppendUvarint(e.buf, uint64(number))
	if !known {
		e.limits(l)
	}
	e.buf = binary.LittleEndian.AppendUint64(e.buf, uint64(tag)<<32|uint64(head.tail.Load()))
	e.buf = binary.LittleEndian.AppendUint64(e.buf, head.hash.Load())
	for i := range l.slots {
		counts = e.counter(&l.slots[i], words[l.slots[i].first:]) || counts
	}
	if !counts {
		e.buf = e.buf[:begin]
		return
	}
	e.numbers[l.id] = number
}

// limits appends the limits that a layout counts.
func (e *snapshot) limits(l *layout) {
	e.buf = binary.AppendUvarint(e.buf, uint64(len(l.slots)))
	for i := range l.slots {
		l := l.slots[i].limit()
		overdraw := byte(0)
		if l.Overdraw {
			overdraw = 1
		}
		e.buf = binary.AppendUvarint(e.buf, uint64(len(l.Name)))
		e.buf = append(e.buf, l.Name...)
		e.buf = append(e.buf, byte(l.Unit), byte(l.Algorithm), overdraw)
		for _, n := range [...]int64{l.Amount, l.Capacity, max(l.Window.Microseconds(), 0), l.Precision.Microseconds()} {
			e.buf = binary.AppendUvarint(e.buf, uint64(n))
		}
	}
}

// limit is the limit that a gauge was made of.
func (g *gauge) limit() Limit {
	l := Limit{Name: g.name, Unit: g.unit, Amount: g.amount, Window: time.Duration(g.size) * time.Microsecond, Overdraw: g.overdraw}
	switch g.kind {
	case kindSliding:
		l.Precision = time.Duration(g.step) * time.Microsecond
	case kindFixed:
		l.Algorithm = FixedWindow
		if g.size == 0 {
			l.Window = Month
		}
	case kindBucket:
		l.Algorithm, l.Capacity = TokenBucket, g.whole
	}
	return l
}

// counter appends what counts in a slot, whose words begin with w, and reports
// whether anything does.
func (e *snapshot) counter(sl *slot, w []uint64) bool {
	switch sl.kind {
	case kindSliding:
		var one [1]uint64
		st, p := e.store.load(w, &one), sl.sliding()
		p.Advance(&st, e.now)
		e.buf = binary.AppendUvarint(e.buf, uint64(st.Len))
		before := e.now / p.Step
		for i := range st.Len {
			step, amount := st.At(i)
			if i == 0 {
				e.buf = binary.AppendVarint(e.buf, step-before)
			} else {
				e.buf = binary.AppendUvarint(e.buf, uint64(step-before))
			}
			e.buf = binary.AppendUvarint(e.buf, uint64(amount))
			before = step
		}
		return st.Total > 0
	case kindFixed:
		c := sl.fixed(e.skew).Advance(algorithm.Counted{End: int64(w[0]), Used: int64(w[1])}, e.now)
		e.buf = binary.AppendUvarint(e.buf, uint64(c.Used))
		if c.Used > 0 {
			e.buf = binary.AppendVarint(e.buf, c.End-e.now)
		}
		return c.Used > 0
	case kindBucket:
		b := sl.bucket(e.store.birth)
		lacks := b.Lacks(int64(w[0]), e.now)
		e.buf = binary.AppendUvarint(e.buf, uint64(lacks))
		return lacks > 0
	}
	return false
}
