package penstock

import (
	"sync/atomic"
	"unsafe"
)

// A record holds the counters of one key: a head, and as many words as its
// layout says. It never moves while it is in use; one that was freed is used
// again for another key, which is why whoever locks one must check that it is
// still the same.
type head struct {
	// The key, a 128-bit keyed hash: hash has 64 bits of it, tail 32, and the
	// index entry that leads here the other 32. Zero in a free record.
	hash atomic.Uint64
	tail atomic.Uint32
	// layout is the number of the layout of the words; 0 in a free record.
	layout atomic.Uint32
	mu     lock // guards all of the record
}

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

// record returns the record with a number that is or was in use.
func (p *pages) record(n number) *head {
	// The first words are a head: it is as long as they are, and like them it
	// has no pointers and lies at a multiple of 8.
	return (*head)(p.at(n))
}

// words returns the words of a record with the layout l, or with one of the same
// class.
func (d *head) words(l *layout) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Add(unsafe.Pointer(d), unsafe.Sizeof(*d))), classWords[l.class])
}
