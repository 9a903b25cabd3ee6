package penstock

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// A record holds the counters of one key: a head, and as many words as its
// layout says. Records live in slabs of 1,024 of one class and hold no
// pointers, so that the collector does not scan them. They never move while
// they are in use; a record that was freed is used again for another key,
// which is why whoever locks one must check that it is still the same.
type head struct {
	// The key, a 128-bit keyed hash: hash has 64 bits of it, tail 32, and the
	// index entry that leads here the other 32. Zero in a free record.
	hash atomic.Uint64
	tail atomic.Uint32
	// layout is the number of the layout of the words; 0 in a free record.
	layout atomic.Uint32
	mu     sync.Mutex // guards the words
}

// number names a record: its class in the upper 4 bits, its place in the slabs
// of that class in the lower 28. Records are locked in the order of numbers.
type number uint32

const (
	placeBits = 28
	slabLen   = 1024
)

// classWords is how many words the records of a class have: 1 for a bucket, 2
// for a fixed window, 3 for a sliding one, and sums of them.
var classWords = [...]int{1, 2, 3, 4, 5, 7, 9, 13, 21, 33, 65, 3 * MaxLimits}

// classFor is the smallest class with room for so many words.
func classFor(words int) int {
	for c, n := range classWords {
		if words <= n {
			return c
		}
	}
	return -1
}

type record[W any] struct {
	head
	words W
}

type slab[W any] [slabLen]record[W]

// slabs are all slabs of one class; they only grow.
type slabs[W any] struct {
	list atomic.Pointer[[]*slab[W]]
}

func (s *slabs[W]) at(place uint32) *record[W] {
	return &(*s.list.Load())[place/slabLen][place%slabLen]
}

// grow adds a slab, and returns its first place.
func (s *slabs[W]) grow() uint32 {
	var list []*slab[W]
	if old := s.list.Load(); old != nil {
		list = *old
	}
	list = append(list[:len(list):len(list)], new(slab[W]))
	s.list.Store(&list)
	return uint32(len(list)-1) * slabLen
}

// records are the records of all classes.
type records struct {
	c0  slabs[[1]uint64]
	c1  slabs[[2]uint64]
	c2  slabs[[3]uint64]
	c3  slabs[[4]uint64]
	c4  slabs[[5]uint64]
	c5  slabs[[7]uint64]
	c6  slabs[[9]uint64]
	c7  slabs[[13]uint64]
	c8  slabs[[21]uint64]
	c9  slabs[[33]uint64]
	c10 slabs[[65]uint64]
	c11 slabs[[3 * MaxLimits]uint64]

	mu   sync.Mutex // guards what follows, and growth
	free [len(classWords)][]number
}

// at returns the record with a number that is or was in use.
func (r *records) at(n number) (*head, []uint64) {
	place := uint32(n) & (1<<placeBits - 1)
	switch n >> placeBits {
	case 0:
		x := r.c0.at(place)
		return &x.head, x.words[:]
	case 1:
		x := r.c1.at(place)
		return &x.head, x.words[:]
	case 2:
		x := r.c2.at(place)
		return &x.head, x.words[:]
	case 3:
		x := r.c3.at(place)
		return &x.head, x.words[:]
	case 4:
		x := r.c4.at(place)
		return &x.head, x.words[:]
	case 5:
		x := r.c5.at(place)
		return &x.head, x.words[:]
	case 6:
		x := r.c6.at(place)
		return &x.head, x.words[:]
	case 7:
		x := r.c7.at(place)
		return &x.head, x.words[:]
	case 8:
		x := r.c8.at(place)
		return &x.head, x.words[:]
	case 9:
		x := r.c9.at(place)
		return &x.head, x.words[:]
	case 10:
		x := r.c10.at(place)
		return &x.head, x.words[:]
	default:
		x := r.c11.at(place)
		return &x.head, x.words[:]
	}
}

// take returns the number of a free record of the class. Where a new slab is
// needed it asks room, which may refuse.
func (r *records) take(class int, room func(bytes int64) bool) (number, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.free[class]) == 0 && !r.grow(class, room) {
		return 0, false
	}
	last := len(r.free[class]) - 1
	n := r.free[class][last]
	r.free[class] = r.free[class][:last]
	return n, true
}

func (r *records) grow(class int, room func(bytes int64) bool) bool {
	if !room(slabBytes(class)) {
		return false
	}
	var first uint32
	switch class {
	case 0:
		first = r.c0.grow()
	case 1:
		first = r.c1.grow()
	case 2:
		first = r.c2.grow()
	case 3:
		first = r.c3.grow()
	case 4:
		first = r.c4.grow()
	case 5:
		first = r.c5.grow()
	case 6:
		first = r.c6.grow()
	case 7:
		first = r.c7.grow()
	case 8:
		first = r.c8.grow()
	case 9:
		first = r.c9.grow()
	case 10:
		first = r.c10.grow()
	default:
		first = r.c11.grow()
	}
	for i := uint32(slabLen); i > 0; i-- {
		n := number(class)<<placeBits | number(first+i-1)
		if n != 0 { // no index entry can say number 0
			r.free[class] = append(r.free[class], n)
		}
	}
	return true
}

func slabBytes(class int) int64 {
	return slabLen * int64(unsafe.Sizeof(head{})+8*uintptr(classWords[class])+4)
}

// give frees a record that no index entry leads to any more.
func (r *records) give(n number) {
	r.mu.Lock()
	r.free[n>>placeBits] = append(r.free[n>>placeBits], n)
	r.mu.Unlock()
}
