package penstock

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestFloodOfAddresses: a million addresses that were never seen, each asking
// once or more, neither take more memory than there may be nor change a single
// decision for those who are listed: a second store, that sees no flood, says
// what theirs are. No goroutine or timer comes with a key.
func TestFloodOfAddresses(t *testing.T) {
	addresses := 1_000_000
	if testing.Short() || underRace {
		addresses = 100_000
	}
	const maxBytes = 16 << 20
	bounds := MemoryOptions{MaxKeys: addresses / 4, MaxBytes: maxBytes, Reserve: 100}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()

	flooded, quiet := NewMemoryStore(bounds), NewMemoryStore(MemoryOptions{})
	plan := MustLimits(PerMinute(Requests, 20), Limit{Unit: Tokens, Amount: 6000, Window: time.Minute, Algorithm: TokenBucket})
	anonymous := MustLimits(PerMinute(Requests, 2))
	rnd := rand.New(rand.NewPCG(1, 9))
	var charges, same []Charge
	admitted, denied := 0, 0
	now := noon
	for i := range addresses {
		now = now.Add(20 * time.Microsecond) // 50,000 a second
		var ip [16]byte
		binary.BigEndian.PutUint64(ip[:], rnd.Uint64())
		key := netip.AddrFrom16(ip).String()
		charges = anonymous.AppendCharges(charges[:0], key, &Amounts{Requests: 1})
		charges[0].Overflow = "the rest"
		take(t, flooded, now, charges...)
		if i%(addresses/10_000) != 0 {
			continue
		}
		if st := flooded.Stats(); st.Bytes > maxBytes || st.Keys > int64(bounds.MaxKeys)+1 {
			t.Fatalf("after %d addresses: %d keys, %d bytes", i, st.Keys, st.Bytes)
		}
		ask := &Amounts{Requests: 1, Tokens: rnd.Int64N(400)}
		charges = plan.AppendCharges(charges[:0], "listed "+strconv.Itoa(rnd.IntN(100)), ask)
		for j := range charges {
			charges[j].Keep, charges[j].Overflow = true, "the rest"
		}
		same = append(same[:0], charges...)
		if take(t, flooded, now, charges...) {
			admitted++
		} else {
			denied++
		}
		take(t, quiet, now, same...)
		for j := range charges {
			if charges[j].Status != same[j].Status || charges[j].Shared {
				t.Fatalf("after %d addresses %s has %+v, without the flood %+v", i, charges[j].Key, charges[j].Status, same[j].Status)
			}
		}
	}
	if admitted == 0 || denied == 0 {
		t.Errorf("of the listed %d were admitted and %d denied: that proves little", admitted, denied)
	}
	if st := flooded.Stats(); st.Overflowed == 0 {
		t.Errorf("nobody of the flood was counted together: %+v", st)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc) - quiet.Stats().Bytes; grown > maxBytes*11/10 {
		t.Errorf("the heap has grown by %d bytes, %d are allowed", grown, maxBytes)
	}
	runtime.KeepAlive(flooded)
	// Two minutes later nothing of it is left, a piece at a time.
	later := now.Add(2 * time.Minute)
	flooded.Sweep(later)
	if st := flooded.Stats(); st.Keys != 0 {
		t.Errorf("%d keys are left", st.Keys)
	}
}

// TestSweepIsInPieces: what one step of a sweep, or a newcomer in a full store,
// looks at does not grow with the number of keys.
func TestSweepIsInPieces(t *testing.T) {
	const keys = 50_000
	s := NewMemoryStore(MemoryOptions{MaxKeys: keys})
	limits := MustLimits(PerMinute(Requests, 2))
	for i := range keys {
		take(t, s, noon, limits.Charges("key "+strconv.Itoa(i), Amounts{Requests: 1})...)
	}
	x, m := &s.index.shards[0], moment{now: noon.Add(time.Hour).UnixMicro()}
	x.mu.Lock()
	dropped := s.sweepSome(x, 64, nil, m)
	x.mu.Unlock()
	if dropped == 0 || dropped > 64 {
		t.Errorf("a step of 64 dropped %d", dropped)
	}
	before := s.Stats().Keys
	for i := range 10 {
		take(t, s, noon.Add(time.Hour), limits.Charges("new "+strconv.Itoa(i), Amounts{Requests: 1})...)
	}
	if gone := before + 10 - s.Stats().Keys; gone == 0 || gone > 10*sweepOnInsert {
		t.Errorf("ten newcomers dropped %d", gone)
	}
}
