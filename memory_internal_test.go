package penstock

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// What a Store promises is proven in memory_test.go, by storetest. Here is what
// is the memory store's own: its bounds, its index, its rings and its clock.

var (
	ctx  = context.Background()
	noon = time.Date(2026, time.January, 15, 12, 0, 0, 0, time.UTC)
)

func take(t interface{ Fatal(...any) }, s *MemoryStore, now time.Time, charges ...Charge) bool {
	if _, err := s.Take(ctx, now, charges); err != nil {
		t.Fatal(err)
	}
	for i := range charges {
		if charges[i].RetryAfter != 0 {
			return false
		}
	}
	return true
}

func TestMemoryStoreIsBoundedByKeys(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{MaxKeys: 1000, Reserve: 10})
	limits := MustLimits(PerMinute(Requests, 5), PerMinute(Tokens, 1000), InFlight(3))
	one := Amounts{Requests: 1, Tokens: 10}
	listed := func(i int) []Charge {
		c := limits.Charges("listed "+strconv.Itoa(i), one)
		for j := range c {
			c[j].Keep, c[j].Overflow = true, "overflow"
		}
		return c
	}
	for i := range 10 {
		take(t, s, noon, listed(i)...)
	}
	admitted := 0
	for i := range 20_000 {
		c := limits.Charges("flood "+strconv.Itoa(i), one)
		for j := range c {
			c[j].Overflow = "overflow"
		}
		if take(t, s, noon, c...) {
			admitted++
		}
	}
	st := s.Stats()
	// The overflow counter of the flood is one more.
	if st.Keys != 991 { // 10 are reserved and in use, one is the overflow counter's
		t.Errorf("%d keys", st.Keys)
	}
	if want := int(st.Keys) - 10 - 1 + 5; admitted != want {
		t.Errorf("%d of the flood were admitted, want one for each of their keys and 5 for all the others: %d", admitted, want)
	}
	if st.Overflowed != 10 { // five requests, two charges each
		t.Errorf("%d charges on the overflow counter", st.Overflowed)
	}
	for i := range 10 {
		c := listed(i)
		for range 4 {
			if !take(t, s, noon, c...) || c[0].Shared {
				t.Fatalf("a listed caller was drawn into the flood: %+v", c[0])
			}
		}
		if take(t, s, noon, c...) {
			t.Fatal("a listed caller's counter was dropped")
		}
	}
	// The flood is over: what is idle makes room, without a sweep.
	later := noon.Add(2 * time.Minute)
	for i := range 5000 {
		if c := limits.Charges("later "+strconv.Itoa(i), one); !take(t, s, later.Add(time.Duration(i)*time.Second), c...) || c[0].Shared {
			t.Fatalf("caller %d after the flood found no room: %+v", i, c[0])
		}
	}
	if st := s.Stats(); st.Keys > 1001 {
		t.Errorf("%d keys", st.Keys)
	}
}

func TestMemoryStoreIsBoundedByBytes(t *testing.T) {
	const most = 4 << 20
	s := NewMemoryStore(MemoryOptions{MaxBytes: most})
	limits := MustLimits(PerMinute(Tokens, 1<<40))
	for i := range 30_000 { // many keys
		take(t, s, noon, limits.Charges("key "+strconv.Itoa(i), Amounts{Tokens: 1})...)
	}
	for step := range 30 { // and long rings
		for i := range 3000 {
			take(t, s, noon.Add(time.Duration(step)*time.Second), limits.Charges("key "+strconv.Itoa(i), Amounts{Tokens: 1})...)
		}
	}
	if st := s.Stats(); st.Bytes > most || st.Bytes < most/2 {
		t.Errorf("%d bytes", st.Bytes)
	}
	// Without room for another step charges count longer, never shorter.
	for i := range 3000 {
		c := limits.Charges("key "+strconv.Itoa(i), Amounts{Tokens: 1})
		if _, err := s.Look(ctx, noon.Add(59*time.Second), c); err != nil {
			t.Fatal(err)
		}
		if !c[0].Shared && c[0].Used != 31 {
			t.Fatalf("key %d: %d used of 31", i, c[0].Used)
		}
	}
}

func TestMemoryStoreSweep(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	window := MustLimits(PerMinute(Tokens, 100), PerHour(Tokens, 1000))
	bucket := MustLimits(Limit{Unit: Requests, Amount: 60, Window: time.Minute, Algorithm: TokenBucket})
	fixed := MustLimits(Limit{Unit: Requests, Amount: 60, Window: time.Minute, Algorithm: FixedWindow}, InFlight(2))
	const n = 5000
	for i := range n {
		key := strconv.Itoa(i)
		take(t, s, noon, window.Charges("window "+key, Amounts{Tokens: 1})...)
		take(t, s, noon.Add(time.Second), window.Charges("window "+key, Amounts{Tokens: 1})...)
		take(t, s, noon, bucket.Charges("bucket "+key, Amounts{Requests: 30})...)
		take(t, s, noon, fixed.Charges("fixed "+key, Amounts{Requests: 30})...)
	}
	take(t, s, noon, fixed.Charges("in flight", Amounts{Concurrent: 1})...)
	bytes := s.Stats().Bytes
	for _, step := range []struct {
		after time.Duration
		left  int64
	}{
		{time.Second, 3*n + 1},
		{30 * time.Second, 2*n + 1}, // the buckets are full again
		{time.Minute, n + 1},        // the windows of a minute are over
		{time.Hour, n + 1},
		{time.Hour + 2*time.Minute, 1}, // one is still in flight
	} {
		dropped := s.Sweep(noon.Add(step.after))
		if st := s.Stats(); st.Keys != step.left {
			t.Errorf("after %v: dropped %d, %d keys left, want %d", step.after, dropped, st.Keys, step.left)
		}
	}
	if n := len(s.layouts.byShape); n != 1 {
		t.Errorf("%d layouts are kept for one record", n)
	}
	// What was dropped is used again: the same traffic takes no more memory.
	later := noon.Add(3 * time.Hour)
	for i := range n {
		key := strconv.Itoa(i)
		take(t, s, later, window.Charges("another window "+key, Amounts{Tokens: 1})...)
		take(t, s, later.Add(time.Second), window.Charges("another window "+key, Amounts{Tokens: 1})...)
		take(t, s, later, bucket.Charges("another bucket "+key, Amounts{Requests: 30})...)
		take(t, s, later, fixed.Charges("another fixed "+key, Amounts{Requests: 30})...)
	}
	if again := s.Stats().Bytes; again > bytes*11/10 {
		t.Errorf("%d bytes, %d before", again, bytes)
	}
}

// TestMemoryStoreTwoNewKeysInOneShard: the record that a request has just made
// for one of its keys has nothing on it, but is not dropped to make room for
// that of the next.
func TestMemoryStoreTwoNewKeysInOneShard(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	limits := MustLimits(PerMinute(Requests, 5))
	var same []string
	for i := 0; len(same) < 4; i++ {
		if key := strconv.Itoa(i); s.index.key.sum(key).shard() == 0 {
			same = append(same, key)
		}
	}
	var charges []Charge
	for _, key := range same {
		charges = limits.AppendCharges(charges, key, &Amounts{Requests: 1})
	}
	if !take(t, s, noon, charges...) {
		t.Fatal("denied")
	}
}

// TestMemoryStoreOverflowKeysOfOneRequest: keys with the same limits have
// overflow counters of their own within a request, unless told otherwise.
func TestMemoryStoreOverflowKeysOfOneRequest(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{MaxKeys: 1})
	limits := MustLimits(PerMinute(Requests, 5))
	take(t, s, noon, limits.Charges("first", Amounts{Requests: 1})...)
	charges := limits.AppendCharges(limits.Charges("second", Amounts{Requests: 1}), "third", &Amounts{Requests: 1})
	if !take(t, s, noon, charges...) || !charges[0].Shared || !charges[1].Shared {
		t.Fatalf("%+v", charges)
	}
	charges[0].Overflow, charges[1].Overflow = "all", "all"
	if _, err := s.Take(ctx, noon, charges); err == nil {
		t.Error("two keys of a request share a counter and there is no error")
	}
}

// TestMemoryStoreSettlesOnTheOverflowCounter: what was charged to an overflow
// counter is given back there, even when the key has a counter of its own by
// then.
func TestMemoryStoreSettlesOnTheOverflowCounter(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{MaxKeys: 1})
	l := New(s)
	limits := MustLimits(PerMinute(Tokens, 100))
	take(t, s, noon, limits.Charges("first", Amounts{Tokens: 1})...)
	r, err := l.ReserveAt(ctx, noon, limits.Charges("second", Amounts{Tokens: 60})...)
	if err != nil || !r.Allowed || !r.Charges[0].Shared {
		t.Fatalf("%+v %v", r, err)
	}
	s.Configure(MemoryOptions{})
	take(t, s, noon, limits.Charges("second", Amounts{Tokens: 100})...)
	if err := r.SettleAt(ctx, noon, Amounts{Tokens: 10}); err != nil {
		t.Fatal(err)
	}
	s.Configure(MemoryOptions{MaxKeys: 1})
	c := limits.Charges("third", Amounts{Tokens: 1})
	if _, err := s.Look(ctx, noon, c); err != nil || c[0].Used != 10 {
		t.Errorf("the overflow counter has %d, %v", c[0].Used, err)
	}
	c = limits.Charges("second", Amounts{Tokens: 1})
	if _, err := s.Look(ctx, noon, c); err != nil || c[0].Used != 100 {
		t.Errorf("the key's own counter has %d, %v", c[0].Used, err)
	}
}

// TestMemoryStoreIndexAgainstAMap inserts, finds and drops at random.
func TestMemoryStoreIndexAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewMemoryStore(MemoryOptions{})
		limits := MustLimits(PerSecond(Requests, 10))
		until := map[string]time.Time{} // when a key's counter is idle
		now := noon
		for range rapid.IntRange(1, 2000).Draw(t, "steps") {
			key := strconv.Itoa(rand.IntN(500))
			switch rand.IntN(20) {
			case 0:
				now = now.Add(time.Duration(rand.IntN(2000)) * time.Millisecond)
			case 1:
				s.Sweep(now)
				live := int64(0)
				for _, end := range until {
					if end.After(now) {
						live++
					}
				}
				if st := s.Stats(); st.Keys != live {
					t.Fatalf("%d keys after a sweep, want %d", st.Keys, live)
				}
			default:
				c := limits.Charges(key, Amounts{Requests: 1})
				if take(t, s, now, c...) {
					until[key] = now.Add(c[0].Reset)
				}
			}
		}
		for key, end := range until {
			if n := s.find(s.index.key.sum(key)); end.After(now) && n == 0 {
				t.Fatalf("a counter with use on it was dropped")
			}
		}
	})
}

// TestApart: a record that was dropped and given to another of the request's
// keys before it was locked is found again; only a key that is shared is wrong.
func TestApart(t *testing.T) {
	a, b := hashed{1, 1}, hashed{2, 2}
	tests := []struct {
		name   string
		groups []group
		again  bool
		err    error
	}{
		{"apart", []group{{hashed: a, n: 7}, {hashed: b, n: 2}}, false, nil},
		{"given to another", []group{{hashed: a, n: 3}, {hashed: b, n: 3}}, true, nil},
		{"one key", []group{{hashed: a, n: 3}, {hashed: a, n: 3}}, false, errApartOverflow},
		{"one key of three", []group{{hashed: a, n: 3}, {hashed: b, n: 1}, {hashed: a, n: 3}}, false, errApartOverflow},
	}
	for _, tt := range tests {
		if again, err := apart(tt.groups); again != tt.again || err != tt.err {
			t.Errorf("%s: %v, %v", tt.name, again, err)
		}
	}
}

// TestMemoryStoreUnderContention: of what many goroutines take at once, exactly
// the limit is admitted, over shared and own keys, while limits change, keys
// come and go and the store is swept.
func TestMemoryStoreUnderContention(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	l := New(s)
	own := []*Limits{
		MustLimits(PerHour(Requests, 500), PerHour(Tokens, 100_000), InFlight(64)),
		MustLimits(PerHour(Tokens, 100_000), PerHour(Requests, 500), InFlight(64), PerDay(Tokens, 1_000_000)),
	}
	global := MustLimits(PerHour(Requests, 3000), InFlight(1000))
	var admitted [8]atomic.Int64
	var tokens [8]atomic.Int64
	var inFlight, mostInFlight atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			for i := range 1500 {
				k := rnd.IntN(8)
				charges := own[rnd.IntN(2)].Charges("own "+strconv.Itoa(k), Amounts{Requests: 1, Tokens: 50, Concurrent: 1})
				charges = global.AppendCharges(charges, "global", &Amounts{Requests: 1, Concurrent: 1})
				charges = own[0].AppendCharges(charges, fmt.Sprint("once ", g, i), &Amounts{Tokens: 1})
				r, err := l.ReserveAt(ctx, noon, charges...)
				if err != nil {
					t.Error(err)
					return
				}
				if i%100 == 0 {
					s.Sweep(noon)
				}
				if !r.Allowed {
					continue
				}
				admitted[k].Add(1)
				n := inFlight.Add(1)
				for m := mostInFlight.Load(); n > m && !mostInFlight.CompareAndSwap(m, n); m = mostInFlight.Load() {
				}
				used := int64(rnd.IntN(80))
				inFlight.Add(-1)
				if rnd.IntN(4) == 0 {
					admitted[k].Add(-1)
					err = r.CancelAt(ctx, noon)
				} else {
					tokens[k].Add(used)
					err = r.SettleAt(ctx, noon, Amounts{Tokens: used})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	sum := int64(0)
	for k := range admitted {
		c := own[0].Charges("own "+strconv.Itoa(k), Amounts{Requests: 1, Tokens: 1, Concurrent: 1})
		if _, err := s.Look(ctx, noon, c); err != nil {
			t.Fatal(err)
		}
		if c[0].Used != admitted[k].Load() || c[1].Used != tokens[k].Load() || c[2].Used != 0 {
			t.Errorf("key %d: %d requests, %d tokens, %d in flight; want %d, %d, 0", k, c[0].Used, c[1].Used, c[2].Used, admitted[k].Load(), tokens[k].Load())
		}
		sum += admitted[k].Load()
	}
	c := global.Charges("global", Amounts{Requests: 1, Concurrent: 1})
	if _, err := s.Look(ctx, noon, c); err != nil || c[0].Used != sum || c[1].Used != 0 || sum > 3000 {
		t.Errorf("global: %d requests, %d in flight, want %d and 0 (%v)", c[0].Used, c[1].Used, sum, err)
	}
	if mostInFlight.Load() > 64 {
		t.Errorf("%d in flight", mostInFlight.Load())
	}
}

func TestMemoryStoreAllocatesNothing(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("NOT CHECKED: where the compiler has no atomic words of 64 bits, those of a window's only step are on the heap")
	}
	s := NewMemoryStore(MemoryOptions{})
	now := noon
	for _, limits := range []*Limits{
		MustLimits(PerMinute(Requests, 1<<40)),
		MustLimits(Limit{Unit: Requests, Amount: 1 << 40, Window: time.Hour, Algorithm: TokenBucket}),
		MustLimits(PerMinute(Requests, 1<<40), PerHour(Requests, 1<<40), PerDay(Requests, 1<<40), InFlight(1<<40)),
		MustLimits(PerMinute(Requests, 1)),
	} {
		charges := limits.Charges(limits.shape, Amounts{Requests: 1, Concurrent: 1})
		for range 200 { // the rings have grown
			now = now.Add(time.Second)
			take(t, s, now, charges...)
		}
		if n := testing.AllocsPerRun(100, func() {
			now = now.Add(time.Second)
			if _, err := s.Take(ctx, now, charges); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations a decision", limits.At(0), n)
		}
	}
	rule := MustLimits(Limit{Unit: Requests, Amount: 1 << 40, Window: time.Hour, Algorithm: FixedWindow})
	var charges []Charge
	for i := range groupRoom {
		charges = append(charges, rule.Charges("rule "+strconv.Itoa(i), Amounts{Requests: 1})...)
	}
	take(t, s, now, charges...)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.Take(ctx, now, charges); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a decision on %d keys", n, groupRoom)
	}
	full := NewMemoryStore(MemoryOptions{MaxKeys: 1})
	take(t, full, now, charges[:1]...)
	newcomer := rule.Charges("newcomer", Amounts{Requests: 1})
	take(t, full, now, newcomer...)
	if n := testing.AllocsPerRun(100, func() { take(t, full, now, newcomer...) }); n != 0 || !newcomer[0].Shared {
		t.Errorf("%v allocations a charge that is shared: %v", n, newcomer[0].Shared)
	}
}

// TestMemoryStoreValidates: the store, which looks at charges in its own order,
// refuses those that ValidateCharges refuses and no other, and takes nothing of
// them.
func TestMemoryStoreValidates(t *testing.T) {
	sets := []*Limits{
		MustLimits(PerMinute(Requests, 1<<40), PerMinute(Tokens, 1<<40)),
		MustLimits(PerMinute(Requests, 1<<40), PerMinute(Tokens, 1<<40)), // alike, and another
		nil,
	}
	rapid.Check(t, func(t *rapid.T) {
		charges := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Charge {
			return Charge{
				Key:    rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"),
				Limits: sets[rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 2}).Draw(t, "limits")],
				Index:  rapid.SampledFrom([]int{0, 0, 1, 1, 0, 1, 2, -1}).Draw(t, "index"),
				Amount: rapid.SampledFrom([]int64{0, 1, 1, MaxAmount / 4, -1, MaxAmount + 1}).Draw(t, "amount"),
			}
		}), 0, 4).Draw(t, "charges")
		s := NewMemoryStore(MemoryOptions{})
		want := ValidateCharges(charges)
		if _, err := s.Take(ctx, noon, charges); (err == nil) != (want == nil) {
			t.Fatalf("Take: %v, ValidateCharges: %v", err, want)
		}
		if want == nil {
			return
		}
		for _, key := range []string{"a", "b", "c"} {
			c := sets[0].Charges(key, Amounts{Requests: 1, Tokens: 1})
			if _, err := s.Look(ctx, noon, c); err != nil || c[0].Used != 0 || c[1].Used != 0 {
				t.Fatalf("after a request that was refused: %+v, %v", c, err)
			}
		}
	})
}

// TestClock: the clock never jumps, whatever becomes of the wall clock, and
// from a second on it knows how far it is from UTC.
func TestClock(t *testing.T) {
	c := &clock{anchor: noon.UnixMicro()}
	for _, step := range []struct {
		wall  time.Duration // since noon
		since time.Duration // on the monotonic clock
		skew  time.Duration
	}{
		{0, 0, 0},
		{time.Minute, time.Minute, 0},
		{time.Minute + 900*time.Millisecond, time.Minute, 0}, // slewed
		{time.Hour, 2 * time.Minute, 58 * time.Minute},       // set forward
		{time.Hour + time.Second, 2*time.Minute + time.Second, 58 * time.Minute},
		{-time.Hour, 3 * time.Minute, -63 * time.Minute}, // set back
		{4 * time.Minute, 4 * time.Minute, 0},            // set right
	} {
		m := c.place(noon.Add(step.wall).UnixMicro(), step.since)
		if want := noon.Add(step.since).UnixMicro(); m.now != want {
			t.Errorf("%+v: the clock jumped by %d microseconds", step, m.now-want)
		}
		if m.skew != step.skew.Microseconds() {
			t.Errorf("%+v: skew = %d", step, m.skew)
		}
	}
}

// TestClockLooksAtTheWall: the wall clock is not read at every decision, and a
// change of it is seen soon all the same.
func TestClockLooksAtTheWall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		first := c.read()
		if first.skew != 0 || first.now != time.Now().UnixMicro() {
			t.Fatalf("%+v at %v", first, time.Now())
		}
		// As if the wall clock had been set forward: time in here only flows.
		c.anchor -= time.Hour.Microseconds()
		time.Sleep(wallEvery - 1)
		if m := c.read(); m.skew != 0 {
			t.Errorf("%+v: the wall clock was looked at early", m)
		}
		time.Sleep(time.Nanosecond)
		for range 2 { // by looking, and without
			want := moment{now: time.Now().Add(-time.Hour).UnixMicro(), skew: time.Hour.Microseconds()}
			if m := c.read(); m != want {
				t.Errorf("%+v, want %+v", m, want)
			}
		}
	})
}
