package penstock

import (
	"sync"
	"sync/atomic"
)

// The index finds the record of a key. It is cut into shards by the first 8
// bits of the key's hash. A shard is an open-addressing table with linear
// probing, at most three quarters full, whose entries are 32 bits of the hash
// and a record's number. Readers take no lock: they load the table, probe, and
// compare the rest of the hash in the record itself. Whoever changes a shard
// holds its mutex; growth publishes a new table, and since records never move,
// a reader of the old one finds everything in it or looks again under the lock.
type index struct {
	key    hashKey
	tables [256]atomic.Pointer[table] // beside each other, for those who only read
	shards [256]shard
}

type shard struct {
	table *atomic.Pointer[table] // its own of index.tables

	mu     sync.Mutex // guards what follows, and every change of the table
	live   int        // entries that lead to a record
	filled int        // those and the removed ones
	cursor uint32     // where the sweep goes on
	_      [64 - 8 - 8 - 8 - 8 - 4]byte
}

type table struct {
	mask    uint32
	entries []atomic.Uint64
}

// removed is the number in an entry whose record is gone. Probes go on past it.
const removed = 1<<32 - 1

func newTable(size int) *table {
	return &table{mask: uint32(size - 1), entries: make([]atomic.Uint64, size)}
}

const smallestTable = 8

// is reports whether a record is the one of h. It may be asked without the
// record's lock, but then holds for that moment only.
func (d *head) is(h hashed) bool { return d.hash.Load() == h.h2 && d.tail.Load() == uint32(h.h1) }

// find returns the number of the record of h, or 0.
func (s *MemoryStore) find(h hashed) number {
	n, _, _ := s.lookup(h)
	return n
}

// lookup returns the record of h, its number, 0 when there is none, and its
// lock's count before it was seen to be the one of h.
func (s *MemoryStore) lookup(h hashed) (n number, d *head, count uint64) {
	entries := s.index.tables[h.shard()].Load().entries
	tag, mask := h.tag(), uint32(len(entries)-1)
	for i := tag & mask; ; i = (i + 1) & mask {
		e := entries[i].Load()
		if e == 0 {
			return 0, nil, 0
		}
		if uint32(e>>32) != tag || uint32(e) == removed {
			continue
		}
		d = s.pages.record(number(e))
		if count = d.mu.Count(); d.is(h) {
			return number(e), d, count
		}
	}
}

// makeRoom rebuilds the table when one entry more would fill it too much, and
// reports whether there is room for that entry. Where the table has to grow and
// its memory may not, those who are kept fill it up to the last entry but one,
// at which probes end. The shard is locked.
func (s *MemoryStore) makeRoom(x *shard, from pool) bool {
	old := x.table.Load()
	if 4*(x.filled+1) <= 3*len(old.entries) {
		return true
	}
	size := x.size()
	if grown := 8 * int64(size-len(old.entries)); !s.budget.table(from, grown) {
		switch {
		case from != kept:
			return false
		case x.filled+1 < len(old.entries):
			return true
		case x.live+1 == len(old.entries):
			return false
		}
		size = len(old.entries)
	}
	x.rebuild(size)
	return true
}

// tidy rebuilds the table when a quarter of it are entries that were removed, on
// which probes go on, or when it is larger than four times what there is in it.
func (s *MemoryStore) tidy(x *shard) {
	x.mu.Lock()
	defer x.mu.Unlock()
	was, size := len(x.table.Load().entries), x.size()
	if 4*(x.filled-x.live) > was || was > 2*size {
		size = min(size, was)
		s.budget.table(newcomers, 8*int64(size-was))
		x.rebuild(size)
	}
}

// size is how large a table is when it is made: no more than half full.
func (x *shard) size() int {
	size := smallestTable
	for 2*(x.live+1) > size {
		size *= 2
	}
	return size
}

// rebuild makes a table of another size, with the entries that lead to records.
// The shard is locked.
func (x *shard) rebuild(size int) {
	old, t := x.table.Load(), newTable(size)
	for i := range old.entries {
		if e := old.entries[i].Load(); e != 0 && uint32(e) != removed {
			t.put(e)
		}
	}
	x.filled = x.live
	x.table.Store(t)
}

// put adds an entry, for which there is room. The shard is locked and has no
// entry of h.
func (x *shard) put(h hashed, n number) {
	x.table.Load().put(uint64(h.tag())<<32 | uint64(n))
	x.live++
	x.filled++
}

func (t *table) put(e uint64) {
	i := uint32(e>>32) & t.mask
	for t.entries[i].Load() != 0 {
		i = (i + 1) & t.mask
	}
	t.entries[i].Store(e)
}

// replace makes the entry of h lead to another record. The shard is locked.
func (x *shard) replace(h hashed, was, n number) {
	t := x.table.Load()
	tag := uint64(h.tag()) << 32
	for i := h.tag() & t.mask; ; i = (i + 1) & t.mask {
		if t.entries[i].Load() == tag|uint64(was) {
			t.entries[i].Store(tag | uint64(n))
			return
		}
	}
}

// remove takes out the i-th entry. The shard is locked.
func (x *shard) remove(i uint32) {
	t := x.table.Load()
	x.live--
	if t.entries[(i+1)&t.mask].Load() == 0 { // nothing probes past it
		t.entries[i].Store(0)
		x.filled--
		return
	}
	t.entries[i].Store(t.entries[i].Load() | removed)
}

// there reports whether h has a record. Unlike lookup it cannot miss one that is
// being laid out anew elsewhere.
func (s *MemoryStore) there(h hashed) bool {
	x := &s.index.shards[h.shard()]
	x.mu.Lock()
	defer x.mu.Unlock()
	return s.find(h) != 0
}
