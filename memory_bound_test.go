package penstock

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// besieged is a store in a small memory, with listed callers in it who are also
// in a store that has all the memory and sees nobody else.
type besieged struct {
	t        *testing.T
	bounds   MemoryOptions
	s, quiet *MemoryStore
	rnd      *rand.Rand
	now      time.Time
	at       int // of the reloads
	listed   int
	full     int // how often somebody was refused for want of memory
}

// plans of listed callers, one after each reload, each with other sizes, kinds
// and steps.
func plans() []*Limits {
	minute := func(unit Unit, a Algorithm, amount int64) Limit {
		return Limit{Name: "a", Unit: unit, Amount: amount, Window: time.Minute, Algorithm: a}
	}
	fine := minute(Tokens, SlidingWindow, 5000)
	fine.Precision = 500 * time.Millisecond
	return []*Limits{
		MustLimits(minute(Requests, TokenBucket, 40)),
		MustLimits(minute(Requests, SlidingWindow, 40), minute(Tokens, SlidingWindow, 5000)),
		MustLimits(minute(Requests, FixedWindow, 40), fine, PerHour(Tokens, 100_000), InFlight(4)),
		MustLimits(minute(Tokens, TokenBucket, 5000)),
		MustLimits(minute(Requests, SlidingWindow, 40), PerSecond(Requests, 10), fine, PerDay(Tokens, 1_000_000), PerHour(Requests, 1000)),
	}
}

// strangers are limits of those who are not listed.
func strangers() []*Limits {
	return []*Limits{
		MustLimits(PerMinute(Requests, 2)),
		MustLimits(PerMinute(Requests, 20), PerMinute(Tokens, 500)),
		MustLimits(Limit{Name: "requests_per_minute", Unit: Requests, Amount: 2, Window: time.Minute, Algorithm: TokenBucket}),
		MustLimits(PerMinute(Requests, 20), PerHour(Requests, 60), PerDay(Requests, 100), PerMinute(Tokens, 500), PerHour(Tokens, 9000), PerDay(Tokens, 50_000)),
		MustLimits(Limit{Name: "requests_per_minute", Unit: Requests, Amount: 5, Window: time.Minute, Algorithm: FixedWindow}, InFlight(3)),
	}
}

func (b *besieged) bounded(what string) {
	b.t.Helper()
	if st := b.s.Stats(); st.Bytes > b.bounds.MaxBytes {
		b.t.Fatalf("after %s at %v: %d bytes of %d, with %d keys", what, b.now.Sub(noon), st.Bytes, b.bounds.MaxBytes, st.Keys)
	}
}

// stranger sends one request that is not listed.
func (b *besieged) stranger(key string, limits *Limits) {
	charges := limits.Charges(key, Amounts{Requests: 1, Tokens: b.rnd.Int64N(50), Concurrent: 1})
	for i := range charges {
		charges[i].Overflow = "overflow of strangers " + strconv.Itoa(len(limits.limits))
	}
	r, err := New(b.s).ReserveAt(ctx, b.now, charges...)
	switch {
	case errors.Is(err, ErrStoreUnavailable):
		b.full++
	case err != nil:
		b.t.Fatal(err)
	case r.Allowed:
		if err := r.SettleAt(ctx, b.now, Amounts{Tokens: b.rnd.Int64N(60)}); err != nil {
			b.t.Fatal(err)
		}
	}
	b.bounded("a stranger")
}

// ask sends one request of a listed caller to both stores.
func (b *besieged) ask(limits *Limits) {
	b.t.Helper()
	key := "listed " + strconv.Itoa(b.rnd.IntN(b.listed))
	amounts := Amounts{Requests: 1, Tokens: b.rnd.Int64N(300), Concurrent: 1}
	charges := limits.Charges(key, amounts)
	for i := range charges {
		charges[i].Keep, charges[i].Overflow = true, "overflow of listed"
	}
	same := append([]Charge(nil), charges...)
	one, err := New(b.s).ReserveAt(ctx, b.now, charges...)
	if err != nil {
		b.t.Fatal(err)
	}
	other, err := New(b.quiet).ReserveAt(ctx, b.now, same...)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range charges {
		if charges[i].Status != same[i].Status || charges[i].Shared {
			b.t.Fatalf("at %v: %s has %+v on %s (shared: %v), without the others %+v", b.now.Sub(noon), key, charges[i].Status, charges[i].Limit().Name, charges[i].Shared, same[i].Status)
		}
	}
	if one.Allowed {
		used := Amounts{Tokens: b.rnd.Int64N(400)}
		if err := errors.Join(one.SettleAt(ctx, b.now, used), other.SettleAt(ctx, b.now, used)); err != nil {
			b.t.Fatal(err)
		}
	}
	b.bounded("a listed caller")
}

// TestCeilingOfMemory: no flood, no window that grows, no reload and no restart
// takes more memory than there may be, at no moment, and listed callers notice
// nothing of any.
func TestCeilingOfMemory(t *testing.T) {
	t.Parallel()
	for _, most := range []int64{1 << 20, 2 << 20, 5 << 20 / 2} {
		t.Run(strconv.FormatInt(most>>10, 10)+" KiB", func(t *testing.T) {
			t.Parallel()
			b := &besieged{t: t, bounds: MemoryOptions{MaxBytes: most, Reserve: 40}, listed: 40, now: noon, rnd: rand.New(rand.NewPCG(uint64(most), 4))}
			b.s, b.quiet = NewMemoryStore(b.bounds), NewMemoryStore(MemoryOptions{})
			mine, others := plans(), strangers()
			const steps, burst = 60_000, 20 // what comes at one moment searches for room once
			for i := range steps {
				if i%burst == 0 {
					b.now = b.now.Add(time.Duration(b.rnd.Int64N(burst * int64(200*time.Second) / steps * 2)))
				}
				switch n := b.rnd.IntN(20); {
				case n < 10:
					b.stranger("new "+strconv.Itoa(i), others[(b.at+b.rnd.IntN(2))%len(others)])
				case n < 17: // those who come again: their windows grow, and their limits change
					b.stranger("again "+strconv.Itoa(b.rnd.IntN(3000)), others[b.at%len(others)])
				default:
					b.ask(mine[b.at%len(mine)])
				}
				switch {
				case i%(steps/12) == steps/24: // a reload
					b.at++
				case i%(steps/3) == steps/6: // a restart
					snapshot := new(bytes.Buffer)
					if err := b.s.Snapshot(snapshot, b.now); err != nil {
						t.Fatal(err)
					}
					b.s = NewMemoryStore(b.bounds)
					if left, err := b.s.Restore(snapshot, b.now); err != nil {
						t.Fatal(err)
					} else if left > 0 {
						t.Logf("%d keys were left", left)
					}
					b.bounded("a restart")
				case i%(steps/7) == 0:
					b.s.Sweep(b.now)
					b.bounded("a sweep")
				}
			}
			st := b.s.Stats()
			if st.Overflowed == 0 || st.Keys == 0 {
				t.Errorf("nobody was counted together: %+v", st)
			}
			t.Logf("%+v, %d refused", st, b.full)
		})
	}
}

// fill takes in keys of strangers until they find no room.
func fill(t *testing.T, s *MemoryStore, limits *Limits) {
	t.Helper()
	for i := 0; ; i++ {
		c := limits.Charges("filler "+strconv.Itoa(i), Amounts{Requests: 1})
		if take(t, s, noon, c...); c[0].Shared {
			return
		}
	}
}

// TestNoRoomToGrow: where there is no memory for a key's new limits it is
// refused, and what it used is neither lost nor counted twice; limits that need
// less always find room.
func TestNoRoomToGrow(t *testing.T) {
	bucket := Limit{Name: "b", Unit: Requests, Amount: 60, Window: time.Hour, Algorithm: TokenBucket}
	small, large := MustLimits(bucket), []Limit{bucket}
	for i := range 20 {
		large = append(large, Limit{Name: strconv.Itoa(i), Unit: Tokens, Amount: 100, Window: time.Hour})
	}
	many := MustLimits(large...)
	s := NewMemoryStore(MemoryOptions{MaxBytes: 256 << 10})
	ask := func(key string, limits *Limits) (Charge, error) {
		c := limits.Charges(key, Amounts{Requests: 1, Tokens: 2})
		_, err := s.Take(ctx, noon, c)
		return c[0], err
	}
	for range 10 {
		_, err1 := ask("shrinks", many)
		_, err2 := ask("grows", small)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
	}
	grown := small.Charges("grows", Amounts{Requests: 1})
	fill(t, s, small)
	for i := range 40 { // what is left in pages of the larger size
		if _, err := ask("large "+strconv.Itoa(i), many); err != nil {
			t.Fatal(err)
		}
	}
	before := s.Stats()
	if _, err := ask("grows", many); !errors.Is(err, ErrStoreUnavailable) {
		t.Fatalf("there is room to grow: %v, %+v", err, s.Stats())
	}
	if after := s.Stats(); after != before {
		t.Errorf("%+v, before it was refused %+v", after, before)
	}
	if c, err := ask("grows", small); err != nil || c.Used != 11 {
		t.Errorf("by its old limits it has used %d of 11, %v", c.Used, err)
	}
	if _, err := s.Adjust(ctx, noon, []Adjustment{{Charge: &grown[0], At: noon, Delta: -4}}); err != nil {
		t.Error(err)
	}
	smaller := MustLimits(bucket, Limit{Name: "0", Unit: Tokens, Amount: 100, Window: time.Hour})
	for _, limits := range []*Limits{smaller, small, many, smaller, many} { // it keeps its record
		if _, err := ask("shrinks", limits); err != nil {
			t.Fatal(err)
		}
	}
	if c := standing(t, s, noon, many, "shrinks"); c[0].Used != 15 || c[1].Used != 28 || c[2].Used != 24 {
		t.Errorf("the one that shrank has %+v", c[:3])
	}
	s.Configure(MemoryOptions{})
	if c, err := ask("grows", many); err != nil || c.Used != 8 {
		t.Errorf("with more memory it has used %d of 8, %v", c.Used, err)
	}
}

// TestNoMemoryAtAll: where not even an overflow counter has room, decisions and
// extras are refused, and refunds of what is not there do nothing.
func TestNoMemoryAtAll(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{MaxBytes: 1})
	limits := MustLimits(PerMinute(Tokens, 10))
	empty := s.Stats()
	for _, keep := range []bool{false, true} {
		c := limits.Charges("key", Amounts{Tokens: 1})
		c[0].Keep = keep
		if _, err := s.Take(ctx, noon, c); !errors.Is(err, ErrStoreUnavailable) {
			t.Errorf("Take: %v", err)
		}
		if _, err := s.Look(ctx, noon, c); !errors.Is(err, ErrStoreUnavailable) {
			t.Errorf("Look: %v", err)
		}
		c[0].Shared = false
		if _, err := s.Adjust(ctx, noon, []Adjustment{{Charge: &c[0], At: noon, Delta: 1}}); !errors.Is(err, ErrStoreUnavailable) {
			t.Errorf("Adjust: %v", err)
		}
		if _, err := s.Adjust(ctx, noon, []Adjustment{{Charge: &c[0], At: noon, Delta: -1}}); err != nil {
			t.Error(err)
		}
	}
	if st := s.Stats(); st != empty {
		t.Errorf("%+v, empty it was %+v", st, empty)
	}
}

// TestTablesThatCannotGrow: strangers fill three quarters of a table, those who
// are kept all of it but one entry, and go on doing so when others have gone.
func TestTablesThatCannotGrow(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	limits := MustLimits(PerMinute(Requests, 5))
	next := 0
	inShard := func(keep bool) Charge {
		for ; ; next++ {
			if key := strconv.Itoa(next); s.index.key.sum(key).shard() == 0 {
				next++
				c := limits.Charges(key, Amounts{Requests: 1})
				c[0].Keep = keep
				if s.index.key.sum("overflow").shard() == 0 {
					t.Skip("the overflow key is in the same shard")
				}
				c[0].Overflow = "overflow"
				return c[0]
			}
		}
	}
	took := func(now time.Time, keep bool) bool {
		c := []Charge{inShard(keep)}
		take(t, s, now, c...)
		return !c[0].Shared
	}
	took(noon, false)
	took(noon, true) // there are records in both pools
	s.Configure(MemoryOptions{MaxBytes: 1})
	for i, want := range []struct{ keep, own bool }{
		{false, true},
		{false, true},
		{false, true},
		{false, true}, // six of eight
		{false, false},
		{true, true}, // seven of eight
		{true, false},
		{false, false},
	} {
		if own := took(noon, want.keep); own != want.own {
			t.Errorf("key %d (kept: %v) has a counter of its own: %v", i, want.keep, own)
		}
	}
	// All but one are idle two minutes later, and the places of those who went are used again.
	for i := range 50 {
		if !took(noon.Add(time.Duration(2+2*i)*time.Minute), true) {
			t.Errorf("%d keys after the others went there is no room", i)
		}
	}
}

// TestCeilingUnderContention: many at once take, grow, shrink, give back and
// sweep in a memory that is too small, so that pages go from size to size and
// pool to pool under those who read without a lock. Nothing passes the ceiling
// and nothing of the listed callers is miscounted.
func TestCeilingUnderContention(t *testing.T) {
	t.Parallel()
	const most, listed, goroutines, rounds = 1 << 20, 20, 4, 4000
	s := NewMemoryStore(MemoryOptions{MaxBytes: most, Reserve: listed})
	hour := func(n int) (limits []Limit) {
		for i := range n {
			limits = append(limits, Limit{Name: strconv.Itoa(i), Unit: Requests, Amount: 1 << 40, Window: time.Hour})
		}
		return limits
	}
	var sets []*Limits
	for _, n := range []int{1, 2, 3, 5, 9} {
		sets = append(sets, MustLimits(hour(n)...))
	}
	var taken [listed]atomic.Int64
	var clock, shared, full atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 3))
			for i := range rounds {
				now := noon.Add(time.Duration(clock.Add(1)) * 10 * time.Millisecond)
				k := rnd.IntN(listed)
				set := sets[rnd.IntN(len(sets))]
				charges := set.Charges("listed "+strconv.Itoa(k), Amounts{Requests: 1})
				for i := range charges {
					charges[i].Keep = true
				}
				if _, err := s.Take(ctx, now, charges); err != nil || charges[0].Shared {
					t.Errorf("listed %d: %v, shared: %v", k, err, charges[0].Shared)
					return
				}
				taken[k].Add(1)
				charges = set.Charges("stranger "+strconv.Itoa(rnd.IntN(30_000)), Amounts{Requests: 1})
				_, err := s.Take(ctx, now, charges)
				switch {
				case errors.Is(err, ErrStoreUnavailable):
					full.Add(1)
				case err != nil:
					t.Error(err)
				case charges[0].Shared:
					shared.Add(1)
				case rnd.IntN(2) == 0: // those who give all of it back can go
					var back []Adjustment
					for i := range charges {
						back = append(back, Adjustment{Charge: &charges[i], At: now, Delta: -1})
					}
					if _, err := s.Adjust(ctx, now, back); err != nil {
						t.Error(err)
					}
				}
				if i%500 == 0 {
					s.Sweep(now)
				}
				if st := s.Stats(); st.Bytes > most {
					t.Errorf("%+v", st)
					return
				}
			}
		})
	}
	wg.Wait()
	if shared.Load() == 0 {
		t.Error("nobody shared a counter")
	}
	for k := range taken {
		c := sets[0].Charges("listed "+strconv.Itoa(k), Amounts{Requests: 1})
		if _, err := s.Look(ctx, noon.Add(time.Minute), c); err != nil || c[0].Used != taken[k].Load() {
			t.Errorf("listed %d: %d used of %d, %v", k, c[0].Used, taken[k].Load(), err)
		}
	}
	t.Logf("%d shared, %d refused, %+v", shared.Load(), full.Load(), s.Stats())
}

// TestIdleKeysLinger: keys whose buckets are full again at once are not dropped by
// each other's return, but where room becomes scarce, of keys or of bytes, they
// make it for those that come.
func TestIdleKeysLinger(t *testing.T) {
	fast := MustLimits(Limit{Unit: Requests, Amount: 1000, Window: time.Second, Algorithm: TokenBucket})
	const keys = 4000
	for _, tt := range []struct {
		name   string
		bounds MemoryOptions
		all    bool // are there in the end
	}{
		{"ample", MemoryOptions{}, true},
		{"many for the keys that there may be", MemoryOptions{MaxKeys: keys}, false},
		{"many for the bytes that there may be", MemoryOptions{MaxBytes: 300 << 10}, false},
		{"more than there may be", MemoryOptions{MaxKeys: keys / 4}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := NewMemoryStore(tt.bounds)
			s.BornAt(noon.AddDate(0, 0, -1))
			now := noon
			for range 4 {
				for i := range keys {
					now = now.Add(10 * time.Microsecond)
					if !take(t, s, now, fast.Charges(strconv.Itoa(i), Amounts{Requests: 1})...) {
						t.Fatal("denied")
					}
				}
				now = now.Add(time.Second)
			}
			if n := s.Stats(); (n.Keys == keys) != tt.all || n.Overflowed != 0 {
				t.Errorf("%d of %d keys are there, and %d charges were shared", n.Keys, keys, n.Overflowed)
			}
		})
	}
}

// TestRoomOfIdleKeys: in a store that is full of bytes newcomers share a counter
// only where nobody is idle, wherever in the store it be, and however large its
// record.
func TestRoomOfIdleKeys(t *testing.T) {
	large := func(window time.Duration) *Limits { // so that tables need no growth
		var limits []Limit
		for i := range 20 {
			limits = append(limits, Limit{Name: strconv.Itoa(i), Unit: Requests, Amount: 1000, Window: window})
		}
		return MustLimits(limits...)
	}
	hour, second := large(time.Hour), large(time.Second)
	for _, tt := range []struct {
		name      string
		idle      int // of every so many keys one
		newcomers *Limits
		come      int
		shared    int64 // charges of theirs
	}{
		{"few are idle", 30, hour, 5, 0},
		{"records that are smaller", 1, MustLimits(Limit{Unit: Requests, Amount: 1, Window: time.Hour, Algorithm: TokenBucket, Capacity: 9}), 60, 0},
		{"nobody is idle", math.MaxInt, hour, 20, 20 * 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := NewMemoryStore(MemoryOptions{MaxBytes: 300 << 10})
			s.BornAt(noon.AddDate(0, 0, -1))
			for i := 0; s.Stats().Overflowed < 20; i++ {
				limits := hour
				if (i+1)%tt.idle == 0 {
					limits = second
				}
				take(t, s, noon, limits.Charges(strconv.Itoa(i), Amounts{Requests: 1})...)
			}
			full := s.Stats()
			for i := range tt.come {
				now := noon.Add(time.Minute + time.Duration(i)*20*time.Millisecond)
				take(t, s, now, tt.newcomers.Charges("new "+strconv.Itoa(i), Amounts{Requests: 1})...)
			}
			if n := s.Stats(); n.Overflowed-full.Overflowed != tt.shared || n.Bytes > 300<<10 {
				t.Errorf("of %d newcomers %d charges are shared, want %d: %+v, before %+v", tt.come, n.Overflowed-full.Overflowed, tt.shared, n, full)
			}
		})
	}
}

// TestSweepTidies: who stays when many have gone is found as soon as if they had
// never come: no table is much too large, and none is full of what was removed.
func TestSweepTidies(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	minute, day := MustLimits(PerMinute(Requests, 5)), MustLimits(PerDay(Requests, 5))
	const flood, stay = 50_000, 5_000
	for i := range flood {
		take(t, s, noon, minute.Charges(strconv.Itoa(i), Amounts{Requests: 1})...)
		if i < stay {
			take(t, s, noon, day.Charges("stays "+strconv.Itoa(i), Amounts{Requests: 1})...)
		}
	}
	before := s.Stats().Bytes
	if n := s.Sweep(noon.Add(time.Hour)); n != flood {
		t.Fatalf("%d of %d keys went", n, flood)
	}
	for i := range s.index.shards {
		x := &s.index.shards[i]
		if size := len(x.table.Load().entries); 4*(x.filled-x.live) > size || size > 2*x.size() {
			t.Errorf("shard %d has %d places for %d keys, and in %d more something that was removed", i, size, x.live, x.filled-x.live)
		}
	}
	for i := range stay {
		if c := day.Charges("stays "+strconv.Itoa(i), Amounts{Requests: 5}); take(t, s, noon.Add(time.Hour), c...) {
			t.Fatalf("key %d was forgotten", i)
		}
	}
	if after := s.Stats().Bytes; after >= before {
		t.Errorf("%d bytes, before %d", after, before)
	}
}
