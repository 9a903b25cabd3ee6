package penstock

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"strings"
	"testing"
)

// TestHashTellsKeysApart: no two of a million similar keys are the same, in
// either half, and they spread evenly over shards and entries.
func TestHashTellsKeysApart(t *testing.T) {
	k := newHashKey()
	const n = 1 << 20
	one, two := make(map[uint64]string, n), make(map[uint64]string, n)
	var shards [256]int
	add := func(key string) {
		h := k.sum(key)
		if other, twice := one[h.h1]; twice {
			t.Fatalf("%q and %q", key, other)
		}
		if other, twice := two[h.h2]; twice {
			t.Fatalf("%q and %q", key, other)
		}
		one[h.h1], two[h.h2] = key, key
		shards[h.shard()]++
	}
	for i := range n {
		switch i % 4 {
		case 0:
			add(fmt.Sprintf("plan|addr:10.%d.%d.%d", i>>16&255, i>>8&255, i&255))
		case 1:
			add(fmt.Sprintf("plan|key-sha256:%064x", i))
		case 2:
			add(strings.Repeat("a", i%97) + fmt.Sprint(i))
		default:
			add(fmt.Sprintf("%d|model", i))
		}
	}
	for s, got := range shards {
		if want := n / 256; got < want*9/10 || got > want*11/10 {
			t.Errorf("shard %d has %d of %d", s, got, n)
		}
	}
}

// TestHashAvalanche: each bit of a key changes about half of the hash.
func TestHashAvalanche(t *testing.T) {
	k := newHashKey()
	for length := 1; length < 70; length++ {
		key := []byte(strings.Repeat("k", length))
		base := k.sum(string(key))
		changed, bitsOfKey := 0, 0
		for i := range key {
			for b := range 8 {
				key[i] ^= 1 << b
				h := k.sum(string(key))
				changed += bits.OnesCount64(h.h1^base.h1) + bits.OnesCount64(h.h2^base.h2)
				key[i] ^= 1 << b
				bitsOfKey++
			}
		}
		if mean := float64(changed) / float64(bitsOfKey); mean < 54 || mean > 74 {
			t.Errorf("a bit of a key of %d bytes changes %.1f of 128 bits", length, mean)
		}
	}
}

func TestHashIsKeyed(t *testing.T) {
	a, b := newHashKey(), newHashKey()
	same := a
	if a.sum("alice") == b.sum("alice") || a.sum("alice") != same.sum("alice") || a.sum("") == b.sum("") {
		t.Error("the hash does not depend on its key alone")
	}
}

func BenchmarkHash(b *testing.B) {
	k := newHashKey()
	s1, s2 := maphash.MakeSeed(), maphash.MakeSeed()
	for _, key := range []string{"abcdefghijklmnopqrs", "plan|key-sha256:" + strings.Repeat("a", 64)} {
		var sink uint64
		b.Run(fmt.Sprint("sum/", len(key)), func(b *testing.B) {
			for b.Loop() {
				sink += k.sum(key).h1
			}
		})
		b.Run(fmt.Sprint("maphash/", len(key)), func(b *testing.B) {
			for b.Loop() {
				sink += maphash.String(s1, key) ^ maphash.String(s2, key)
			}
		})
		_ = sink
	}
}
