package penstock

import "sync/atomic"

// A Handle is a key that remembers where a [MemoryStore] keeps its counters, so
// that it is neither hashed nor looked up: for the few keys that many requests
// are charged to, like listed callers and rules that count for all. It goes into
// [Charge].Handle.
//
// What it remembers is tried and not trusted: when the counters have been
// dropped, laid out anew elsewhere or belong to another store, they are looked up
// as without it. So a Handle may be kept for ever, used with any Limits and by
// any number of goroutines; it keeps no counter, and other stores do without it.
// Of a store's memory it keeps the store itself and, until it is used again, the
// 16 KiB in which the counters were.
type Handle struct {
	key   string
	place atomic.Pointer[place]
}

// place is where a store has, or had, the record of a key.
type place struct {
	store  *MemoryStore
	hashed hashed
	n      number // 0 when it is not known
	head   *head  // of n
}

// NewHandle returns a handle of key.
func NewHandle(key string) *Handle { return &Handle{key: key} }

// Key returns the key that the handle is of.
func (h *Handle) Key() string { return h.key }

// placeOf returns the place that the charge's handle remembers of this store, or
// nil for a charge without a handle. A handle of another key is none.
func (s *MemoryStore) placeOf(c *Charge) *place {
	h := c.Handle
	if h == nil || h.key != c.Key {
		return nil
	}
	if p := h.place.Load(); p != nil && p.store == s {
		return p
	}
	p := &place{store: s, hashed: s.index.key.sum(h.key)}
	h.place.Store(p)
	return p
}

// recall is lookup of the key of a handle, whose place is p.
func (s *MemoryStore) recall(h *Handle, p *place) (n number, d *head, count uint64) {
	if d = p.head; d != nil {
		if count = d.mu.Count(); d.is(p.hashed) {
			return p.n, d, count
		}
	}
	if n, d, count = s.lookup(p.hashed); n != 0 {
		h.place.Store(&place{s, p.hashed, n, d})
	}
	return n, d, count
}
