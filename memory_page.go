package penstock

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

// pages hands out the memory of counters: records, and the rings of sliding
// windows. It is cut from pages of 16 KiB; a page holds pieces of one size, and
// one that is empty again serves any size, so that what a busy hour or other
// limits needed is not lost to the next. Pages hold no pointers, so that the
// collector does not scan them.
//
// Readers take no lock, and may come with the number of a piece that was given
// back since. So a page never gets another size in the same memory: what they
// lead to is what it was, or zeros, or another page that was never seen to hold
// their key.
type pages struct {
	list    atomic.Pointer[[]unsafe.Pointer] // the words of each, loaded atomically; it only grows
	nowhere unsafe.Pointer                   // zeros, for what was released

	mu       sync.Mutex // guards what follows, and every change of list
	infos    []pageInfo
	released []uint32 // places in list that have no page now
	open     [pools][numSizes][]uint32
	empty    [pools][]uint32
}

type pageInfo struct {
	pool pool
	size uint8
	used uint16 // pieces in use
	next uint16 // the first word never used
	free uint16 // the first word of the piece that was given back last, plus one; the last word of that leads on
	at   int32  // where it stands in open or empty; -1: in neither
}

const (
	pageBits  = 11
	pageWords = 1 << pageBits
	mostPages = 1 << (32 - pageBits)
	// pageBytes is what a page takes, with what is noted of it.
	pageBytes = 8*pageWords + 2*(int64(unsafe.Sizeof(pageInfo{}))+8+2*4)
)

// number names a piece: its page, and in the lower 11 bits its first word. Records
// are locked in the order of numbers. No piece has the number 0.
type number uint32

// A size of pieces: those of records by class, then those of rings from 2 words
// to 128.
const (
	numClasses = len(classWords)
	numRings   = 7
	numSizes   = numClasses + numRings
)

func sizeWords(size int) int {
	if size < numClasses {
		return headWords + classWords[size]
	}
	return 2 << (size - numClasses)
}

// at returns the first word of a piece that is or was in use.
func (p *pages) at(n number) unsafe.Pointer {
	words := atomic.LoadPointer(&(*p.list.Load())[n>>pageBits])
	return unsafe.Add(words, 8*(n%pageWords))
}

// take returns a piece of the size from the pool. Where that needs a new page it
// asks room, which may refuse; then the number is 0.
func (p *pages) take(size int, from pool, room func(from pool, bytes int64) bool) number {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open[from][size]) == 0 && !p.openPage(size, from, room) {
		return 0
	}
	return p.piece(size, from)
}

// takeFor is take for a record of a class. Where there is no piece of its size
// it gets a larger one that was given back.
func (p *pages) takeFor(class int, from pool, room func(from pool, bytes int64) bool) number {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open[from][class]) == 0 && !p.openPage(class, from, room) {
		for class++; class < numClasses && len(p.open[from][class]) == 0; {
			class++
		}
	}
	if class == numClasses {
		return 0
	}
	return p.piece(class, from)
}

// piece takes a piece of an open page.
func (p *pages) piece(size int, from pool) number {
	open := &p.open[from][size]
	i := (*open)[len(*open)-1]
	g, words := &p.infos[i], uint16(sizeWords(size))
	var first uint16
	if g.free != 0 {
		first = g.free - 1
		g.free = uint16(*p.link(i, first, words))
	} else {
		first = g.next
		g.next += words
	}
	g.used++
	if g.free == 0 && g.next+words > pageWords {
		p.leave(open, i)
	}
	return number(i)<<pageBits | number(first)
}

// link is the word of a free piece that leads on to the next.
func (p *pages) link(i uint32, first, words uint16) *uint64 {
	return (*uint64)(p.at(number(i)<<pageBits | number(first+words-1)))
}

// give takes a piece back that nothing leads to any more.
func (p *pages) give(n number) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, first := uint32(n>>pageBits), uint16(n%pageWords)
	g := &p.infos[i]
	put(p.link(i, first, uint16(sizeWords(int(g.size)))), uint64(g.free))
	g.free = first + 1
	g.used--
	open := &p.open[g.pool][g.size]
	if g.at < 0 {
		p.enter(open, i)
	}
	if g.used == 0 {
		p.leave(open, i)
		p.enter(&p.empty[g.pool], i)
	}
}

// size returns the size of a piece in use.
func (p *pages) size(n number) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.infos[n>>pageBits].size)
}

// enter and leave keep a list of pages.
func (p *pages) enter(list *[]uint32, i uint32) {
	p.infos[i].at = int32(len(*list))
	*list = append(*list, i)
}

func (p *pages) leave(list *[]uint32, i uint32) {
	l, at := *list, p.infos[i].at
	last := l[len(l)-1]
	l[at] = last
	p.infos[last].at = at
	p.infos[i].at = -1
	*list = l[:len(l)-1]
}

// openPage opens a page for pieces of a size: one of the pool that is empty, or a
// new one. Where there is no room for that, empty ones of the other pools are
// given up for it.
func (p *pages) openPage(size int, from pool, room func(from pool, bytes int64) bool) bool {
	if e := p.empty[from]; len(e) > 0 {
		i := e[len(e)-1]
		p.leave(&p.empty[from], i)
		if int(p.infos[i].size) != size {
			p.make(i, size, from)
		}
		p.enter(&p.open[from][size], i)
		return true
	}
	if len(p.infos)-len(p.released) == mostPages {
		return false
	}
	if !room(from, pageBytes) && !(p.release(room) && room(from, pageBytes)) {
		return false
	}
	var i uint32
	if n := len(p.released); n > 0 {
		i = p.released[n-1]
		p.released = p.released[:n-1]
	} else {
		i = uint32(len(p.infos))
		p.infos = append(p.infos, pageInfo{})
		var list []unsafe.Pointer
		if old := p.list.Load(); old != nil {
			list = *old
		}
		list = append(list, p.nowhere)
		p.list.Store(&list)
	}
	p.make(i, size, from)
	p.enter(&p.open[from][size], i)
	return true
}

// make gives the i-th page new memory.
func (p *pages) make(i uint32, size int, from pool) {
	p.infos[i] = pageInfo{pool: from, size: uint8(size), at: -1}
	if i == 0 { // there is no number 0
		p.infos[i].next = uint16(sizeWords(size))
	}
	words := make([]uint64, pageWords)
	atomic.StorePointer(&(*p.list.Load())[i], unsafe.Pointer(&words[0]))
}

// trim gives up what is empty.
func (p *pages) trim(room func(from pool, bytes int64) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(room)
}

// release gives up all empty pages, and reports whether there were any.
func (p *pages) release(room func(from pool, bytes int64) bool) (some bool) {
	for from := range p.empty {
		for _, i := range p.empty[from] {
			p.infos[i].at = -1
			atomic.StorePointer(&(*p.list.Load())[i], p.nowhere)
			p.released = append(p.released, i)
			room(pool(from), -pageBytes)
			some = true
		}
		p.empty[from] = p.empty[from][:0]
	}
	return some
}

// ring names a ring: 0 for none, else its number, and log2 of its length from bit
// 40 on.
type ring uint64

func (r ring) log() int       { return int(r >> 40) }
func (r ring) number() number { return number(r) }

// ring returns the words of a ring in use. For a reader without a lock, who may
// ask for what is not a ring, it is nil then, or words that mean nothing.
func (p *pages) ring(r ring) []uint64 {
	list, n, log := p.list.Load(), r.number(), r.log()
	if list == nil || int(n>>pageBits) >= len(*list) || log > numRings || n%pageWords+1<<log > pageWords {
		return nil
	}
	return unsafe.Slice((*uint64)(p.at(n)), 1<<log)
}

// takeRing returns a ring of at least so many words (2 to 128), or 0 where room
// refuses.
func (p *pages) takeRing(words int, from pool, room func(from pool, bytes int64) bool) ring {
	log := bits.Len(uint(words - 1))
	n := p.take(numClasses+log-1, from, room)
	if n == 0 {
		return 0
	}
	return ring(log)<<40 | ring(n)
}
