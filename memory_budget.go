package penstock

import "sync"

// A pool is whose memory it is. Pages of one are not for another: else a flood
// would fill what is left of every page that was opened for somebody else.
type pool uint8

const (
	newcomers pool = iota
	moved          // keys that are in, and whose records had to grow
	kept           // keys with Keep, and those that are shared
	pools
)

// budget is MaxBytes, and who has how much of it. What it gives out is never
// more, at no moment:
//
//   - newcomers leave alone what is reserved, and an eighth of all;
//   - of that eighth records that grow have a half, so that their keys need not
//     compete with a flood;
//   - the rest is for those who are kept and for the counters that are shared.
type budget struct {
	mu            sync.Mutex
	most, reserve int64
	used          [pools]int64
}

// take takes bytes for a pool, or with less than none gives them back, and
// reports whether they were there.
func (b *budget) take(from pool, bytes int64) bool { return b.give(from, from, bytes) }

// table is take for what all pools have in common. It is counted as newcomers',
// whoever it is that needs it.
func (b *budget) table(from pool, bytes int64) bool { return b.give(from, newcomers, bytes) }

// give gives bytes to a pool as far as another may have them.
func (b *budget) give(from, to pool, bytes int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bytes > 0 {
		bound := b.most
		switch from {
		case newcomers:
			bound -= b.reserve + b.most/8
		case moved:
			bound /= 16
		}
		if b.used[from]+bytes > bound || b.sum()+bytes > b.most {
			return false
		}
	}
	b.used[to] += bytes
	return true
}

// ample reports whether newcomers have a quarter left of what they may have.
func (b *budget) ample() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	bound := b.most - b.reserve - b.most/8
	return b.used[newcomers] <= bound/4*3
}

func (b *budget) sum() int64 { return b.used[newcomers] + b.used[moved] + b.used[kept] }

// bytesAKept is what a reserved key is taken to need: its entry, its record and
// the rings of seven windows of 60 steps.
const bytesAKept = 4 << 10

// configure sets the bounds. Pieces of every size are reserved a page beyond what
// reserved keys need, since none shares a page with another.
func (b *budget) configure(most int64, reserve int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.most, b.reserve = most, 0
	if reserve > 0 {
		b.reserve = min(int64(reserve)*bytesAKept+int64(numSizes)*pageBytes, most/2)
	}
}

// bytes is how much is given out.
func (b *budget) bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sum()
}
