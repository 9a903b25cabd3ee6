package penstock

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func newPages() *pages {
	return &pages{nowhere: unsafe.Pointer(&make([]uint64, pageWords)[0])}
}

// TestPagesAgainstAMap takes and gives back pieces of all sizes at random, as
// long as the budget has room: none overlaps another or changes its words, pools
// share no page, what was given out is what is in use and empty, and a page that
// is empty serves any size and, when there is no other, any pool.
func TestPagesAgainstAMap(t *testing.T) {
	type piece struct {
		words []uint64
		stamp uint64
		from  pool
	}
	rapid.Check(t, func(t *rapid.T) {
		p := newPages()
		most := rapid.Int64Range(0, 12).Draw(t, "pages")
		given, inPool := int64(0), [pools]int64{}
		room := func(from pool, bytes int64) bool {
			if given+bytes/pageBytes > most {
				return false
			}
			given += bytes / pageBytes
			inPool[from] += bytes / pageBytes
			return true
		}
		live := map[number]piece{}
		stamp := uint64(0)
		check := func(n number) {
			for i, w := range live[n].words {
				if w != live[n].stamp {
					t.Fatalf("word %d of piece %d was overwritten", i, n)
				}
			}
		}
		give := func(n number) {
			check(n)
			p.give(n)
			delete(live, n)
		}
		for range rapid.IntRange(1, 3000).Draw(t, "steps") {
			if rand.IntN(5) < 3 {
				size, from := rand.IntN(numSizes), pool(rand.IntN(int(pools)))
				n := p.take(size, from, room)
				if n == 0 {
					if given < most {
						t.Fatalf("refused with %d of %d pages", given, most)
					}
					continue
				}
				if _, twice := live[n]; twice || n%pageWords+number(sizeWords(size)) > pageWords || p.size(n) != size {
					t.Fatalf("piece %d of size %d", n, size)
				}
				words := unsafe.Slice((*uint64)(p.at(n)), sizeWords(size))
				stamp++
				for i := range words {
					words[i] = stamp
				}
				live[n] = piece{words, stamp, from}
				continue
			}
			for n := range live {
				give(n)
				break
			}
		}
		of := map[number]pool{}
		for n, l := range live {
			check(n)
			if from, ok := of[n>>pageBits]; ok && from != l.from {
				t.Fatalf("pools %d and %d share a page", from, l.from)
			}
			of[n>>pageBits] = l.from
		}
		for n := range live {
			give(n)
		}
		if given != inPool[newcomers]+inPool[moved]+inPool[kept] {
			t.Fatalf("%d pages, %v", given, inPool)
		}
		taken := int64(0) // all of it for one size and pool
		for p.take(numSizes-1, kept, room) != 0 {
			taken++
		}
		if want := max(0, most*pageWords/128-1); taken != want || given != most {
			t.Fatalf("%d pieces in %d pages, want %d in %d", taken, given, want, most)
		}
	})
}

// TestReleasedPagesAreNobodys: who comes with a number of before finds zeros, or
// a record that is not its own.
func TestReleasedPagesAreNobodys(t *testing.T) {
	p := newPages()
	room := func(pool, int64) bool { return true }
	n := p.take(0, newcomers, room)
	h := hashed{1 << 40, 7}
	p.record(n).occupy(h, &layout{id: 3})
	if !p.record(n).is(h) {
		t.Fatal("a record is not the one that it is")
	}
	old := p.record(n)
	old.hash.Store(0)
	p.give(n)
	if !p.release(room) || p.release(room) {
		t.Error("there was one empty page to release")
	}
	if d := p.record(n); d == old || d.is(h) || d.mu.Count() != 0 {
		t.Errorf("a released record: %+v", d)
	}
	again := p.take(numClasses-1, kept, room)
	if again>>pageBits != n>>pageBits {
		t.Errorf("page %d is not used again, but %d", n>>pageBits, again>>pageBits)
	}
	if p.record(again) == old || p.record(n) == old {
		t.Error("a page got another size in the same memory")
	}
}

// TestRingsForAnyone: a reader without a lock may ask for what is no ring.
func TestRingsForAnyone(t *testing.T) {
	p := newPages()
	if p.ring(ring(2)<<40|1) != nil {
		t.Error("words of no page")
	}
	r := p.takeRing(4, newcomers, func(pool, int64) bool { return true })
	if len(p.ring(r)) != 4 {
		t.Errorf("a ring of %d", len(p.ring(r)))
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		r := ring(rnd.Uint64() >> rnd.IntN(64) & (1<<ringBits - 1))
		if w := p.ring(r); w != nil && (len(w) == 0 || len(w) > 128) {
			t.Fatalf("%x: %d words", r, len(w))
		}
	}
	if p.takeRing(4, kept, func(pool, int64) bool { return false }) != 0 {
		t.Error("a ring without room")
	}
}
