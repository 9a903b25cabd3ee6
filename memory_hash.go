package penstock

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// hashKey is the secret under which keys are hashed. Unlike a maphash.Seed it
// can be written down, so that counters outlive the process; whoever does not
// know it can neither choose keys that collide nor tell keys from what is kept.
type hashKey [6]uint64

func newHashKey() (k hashKey) {
	var b [8 * len(k)]byte
	_, _ = rand.Read(b[:]) // never fails
	for i := range k {
		k[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return k
}

// hashed is the 128-bit keyed hash of a key: 8 bits choose the shard and, with
// 24 more, the entry; the record holds the other 96.
type hashed struct{ h1, h2 uint64 }

func (h hashed) shard() int  { return int(h.h1 >> 56) }
func (h hashed) tag() uint32 { return uint32(h.h1 >> 32) }

// sum hashes s in two lanes of folded multiplication, which is how wyhash by Wang
// Yi works, each lane with secrets of its own.
func (k *hashKey) sum(s string) hashed {
	h1, h2 := k[0], k[1]
	n := uint64(len(s))
	for len(s) > 16 {
		a, b := word(s), word(s[8:])
		h1, h2 = fold(a^k[2], b^h1), fold(a^h2, b^k[3])
		s = s[16:]
	}
	var a, b uint64
	switch {
	case len(s) >= 8:
		a, b = word(s), word(s[len(s)-8:])
	case len(s) >= 4:
		a, b = half(s), half(s[len(s)-4:])
	case len(s) > 0:
		a = uint64(s[0])<<16 | uint64(s[len(s)/2])<<8 | uint64(s[len(s)-1])
	}
	h1, h2 = fold(a^k[2], b^h1), fold(a^h2, b^k[3])
	return hashed{fold(h1^k[4], n^k[5]), fold(h2^k[5], n^k[4])}
}

// fold multiplies and adds the halves of the product without carry.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func half(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}
