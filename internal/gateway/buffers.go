package gateway

import (
	"math/bits"
	"sync"
)

// bodyBuffers lends the memory that bodies are read into, in sizes that are
// powers of two. What is larger than the largest is made anew each time: it is
// rare, and would be kept for long.
type bodyBuffers struct {
	pools [mostBuffer - leastBuffer + 1]sync.Pool // of *[]byte
}

const leastBuffer, mostBuffer = 10, 20 // as powers of two

// get returns an empty buffer with room for at least so many bytes.
func (p *bodyBuffers) get(size int64) []byte {
	power := max(bits.Len64(uint64(size-1)), leastBuffer)
	if power > mostBuffer {
		return make([]byte, 0, size)
	}
	if b, ok := p.pools[power-leastBuffer].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1<<power)
}

// put takes a buffer back that nobody uses any more.
func (p *bodyBuffers) put(b []byte) {
	power := bits.Len(uint(cap(b))) - 1
	if power < leastBuffer || power > mostBuffer || cap(b) != 1<<power {
		return
	}
	p.pools[power-leastBuffer].Put(&b)
}
