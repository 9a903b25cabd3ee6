package penstock

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// parts are what a decision by a handle does, one more thing at a time. Each is
// called as Take is.
type parts struct{ *MemoryStore }

//go:noinline
func (parts) call(_ context.Context, now time.Time, _ []Charge) (time.Time, error) { return now, nil }

// swap has the bucket's arithmetic, and one word that is swapped: all that there is
// to a counter which is never dropped, has no neighbours in its record and says no
// more than yes.
//
//go:noinline
func (p parts) swap(_ context.Context, now time.Time, charges []Charge) (time.Time, error) {
	c := &charges[0]
	sl := &c.Limits.cached.Load().slots[c.Index]
	w := (*int64)(unsafe.Pointer(c.Handle.place.Load().head.word(sl.first)))
	old := atomic.LoadInt64(w)
	empty := sl.ready.EmptySince(now.UnixMicro() - p.birth)
	state := max(old, empty)
	used := state - empty
	cost := sl.ready.Parts(c.Amount)
	if used > sl.ready.Full()-cost || !atomic.CompareAndSwapInt64(w, old, state+cost) {
		c.RetryAfter = 1
	}
	return now, nil
}

// lock has the record's lock instead.
//
//go:noinline
func (p parts) lock(_ context.Context, now time.Time, charges []Charge) (time.Time, error) {
	c := &charges[0]
	h, sl := c.Handle.place.Load().head, &c.Limits.cached.Load().slots[c.Index]
	w, count := h.word(sl.first), h.mu.Count()
	empty := sl.ready.EmptySince(now.UnixMicro() - p.birth)
	state := max(int64(atomic.LoadUint64(w)), empty)
	used := state - empty
	cost := sl.ready.Parts(c.Amount)
	if used > sl.ready.Full()-cost || !h.mu.LockUnchanged(count) {
		c.RetryAfter = 1
		return now, nil
	}
	put(w, uint64(state+cost))
	h.mu.UnlockTo(count + 2)
	return now, nil
}

// find asks, too, whether the record is still that of the key, and has its limits.
//
//go:noinline
func (p parts) find(_ context.Context, now time.Time, charges []Charge) (time.Time, error) {
	c := &charges[0]
	at, lay := c.Handle.place.Load(), c.Limits.cached.Load()
	h := at.head
	count := h.mu.Count()
	if !same(c.Handle.key, c.Key) || !h.is(at.hashed) || h.layout.Load() != lay.id {
		return now, errApart
	}
	sl := &lay.slots[c.Index]
	w := h.word(sl.first)
	empty := sl.ready.EmptySince(now.UnixMicro() - p.birth)
	state := max(int64(atomic.LoadUint64(w)), empty)
	used := state - empty
	cost := sl.ready.Parts(c.Amount)
	if used > sl.ready.Full()-cost || !h.mu.LockUnchanged(count) {
		c.RetryAfter = 1
		return now, nil
	}
	put(w, uint64(state+cost))
	h.mu.UnlockTo(count + 2)
	return now, nil
}

// tell says how the limit stands, too.
//
//go:noinline
func (p parts) tell(_ context.Context, now time.Time, charges []Charge) (time.Time, error) {
	c := &charges[0]
	at, lay := c.Handle.place.Load(), c.Limits.cached.Load()
	h := at.head
	count := h.mu.Count()
	if !same(c.Handle.key, c.Key) || !h.is(at.hashed) || h.layout.Load() != lay.id {
		return now, errApart
	}
	sl := &lay.slots[c.Index]
	w, since := h.word(sl.first), now.UnixMicro()-p.birth
	empty := sl.ready.EmptySince(since)
	state := max(int64(atomic.LoadUint64(w)), empty)
	used := state - empty
	cost := sl.ready.Parts(c.Amount)
	if used > sl.ready.Full()-cost || !h.mu.LockUnchanged(count) {
		c.RetryAfter = 1
		return now, nil
	}
	state, used = state+cost, used+cost
	put(w, uint64(state))
	h.mu.UnlockTo(count + 2)
	c.Used, c.RetryAfter, c.Reset, c.Shared = sl.ready.Units(used), 0, duration(sl.ready.FilledSince(state, since)), false
	return now, nil
}

// BenchmarkParts is what Take of one charge by a handle is made of.
func BenchmarkParts(b *testing.B) {
	limits := MustLimits(Limit{Unit: Requests, Amount: int64(time.Minute), Window: time.Minute, Algorithm: TokenBucket})
	store := NewMemoryStore(MemoryOptions{})
	handle := NewHandle("caller-000000000000")
	charges := limits.Charges(handle.Key(), Amounts{Requests: 1})
	charges[0].Handle = handle
	p := parts{store}
	for _, bb := range []struct {
		name string
		take func(context.Context, time.Time, []Charge) (time.Time, error)
	}{{"call", p.call}, {"swap", p.swap}, {"lock", p.lock}, {"find", p.find}, {"tell", p.tell}, {"take", store.Take}} {
		b.Run(bb.name, func(b *testing.B) {
			now := time.Now()
			if _, err := store.Take(context.Background(), now, charges); err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				if i++; i%64 == 0 {
					now = time.Now()
				}
				if _, err := bb.take(context.Background(), now, charges); err != nil || charges[0].RetryAfter != 0 {
					b.Fatal(err, charges[0].RetryAfter)
				}
			}
		})
	}
}
