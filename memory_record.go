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
	mu     lock // guards all of the record
}

// number names a record: its slab in the upper 22 bits, its place there in the
// lower 10. Records are locked in the order of numbers.
type number uint32

const slabLen = 1024

// classWords is how many words the records of a class have: 1 for a bucket, 2
// for a fixed window, 3 for a sliding one, and sums of them. With its head a
// record of 1 or 5 lies in one cache line.
var classWords = [...]int{1, 2, 3, 5, 7, 9, 13, 21, 33, 65, 3 * MaxLimits}

// classFor is the smallest class with room for so many words.
func classFor(words int) int {
	for c, n := range classWords {
		if words <= n {
			return c
		}
	}
	return -1
}

const headWords = int(unsafe.Sizeof(head{}) / 8)

// A slab is the records of one class that lie together.
type slab struct {
	first  unsafe.Pointer // of slabLen records
	stride uint32         // bytes a record
	class  uint32
}

// records are the records of all classes.
type records struct {
	slabs atomic.Pointer[[]slab] // they only grow

	mu   sync.Mutex // guards what follows, and growth
	free [len(classWords)][]number
}

// at returns the record with a number that is or was in use.
func (r *records) at(n number) *head {
	s := &(*r.slabs.Load())[n/slabLen]
	// The first words are a head: it is as long as they are, and like them it
	// has no pointers and lies at a multiple of 8.
	return (*head)(unsafe.Add(s.first, n%slabLen*number(s.stride)))
}

// words returns the words of a record with the layout l, or with one of the same
// class.
func (d *head) words(l *layout) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Add(unsafe.Pointer(d), unsafe.Sizeof(*d))), classWords[l.class])
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
	var list []slab
	if old := r.slabs.Load(); old != nil {
		list = *old
	}
	first := number(len(list)) * slabLen
	stride := headWords + classWords[class]
	words := make([]uint64, slabLen*stride)
	list = append(list, slab{first: unsafe.Pointer(&words[0]), stride: uint32(8 * stride), class: uint32(class)})
	r.slabs.Store(&list)
	for n := first + slabLen - 1; n > first; n-- {
		r.free[class] = append(r.free[class], n)
	}
	if first != 0 { // no index entry can say number 0
		r.free[class] = append(r.free[class], first)
	}
	return true
}

func slabBytes(class int) int64 {
	return slabLen * int64(8*(headWords+classWords[class])+4)
}

// give frees a record that no index entry leads to any more.
func (r *records) give(n number) {
	r.mu.Lock()
	class := (*r.slabs.Load())[n/slabLen].class
	r.free[class] = append(r.free[class], n)
	r.mu.Unlock()
}
