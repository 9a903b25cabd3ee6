package algorithm

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func bucketLimiter(b Bucket) (limiter, *int64) {
	spent := Whole
	return limiter{
		advance: func(int64) {},
		wait:    func(t, cost int64) int64 { return b.Wait(spent, t, cost) },
		fits:    func(t, cost int64) bool { return b.Fits(spent, t, cost) },
		take:    func(t, cost int64) { spent = b.Take(spent, t, cost) },
		left:    func(t int64) int64 { return b.Level(spent, t) },
	}, &spent
}

func TestBucketSteps(t *testing.T) {
	perMinute := NewBucket(60, minute, 10, 0)
	third := NewBucket(1, 3, 2, 0)
	for name, test := range map[string]struct {
		b     Bucket
		steps []step
	}{
		"capacity, then refill": {perMinute, []step{
			{0, 10, true, 0, 0},
			{0, 1, false, second, 0},
			{999 * ms, 1, false, ms, 0},
			{second, 1, true, 0, 0},
			{4 * second, 3, true, 0, 0},
			{hour, 10, true, 0, 0},
		}},
		"a unit is there when it is due, whenever the others were taken": {perMinute, []step{
			{300 * ms, 10, true, 0, 0},
			{second, 1, false, 300 * ms, 0},
			{second + 300*ms, 1, true, 0, 0},
			{hour + 1, 10, true, 0, 0},
			{hour + 2, 1, false, second - 1, 0},
			{hour + second, 1, false, 1, 0},
			{hour + second + 1, 1, true, 0, 0},
		}},
		"never":         {perMinute, []step{{0, 11, false, Never, 10}}},
		"uneven refill": {third, []step{{0, 2, true, 0, 0}, {2, 1, false, 1, 0}, {3, 1, true, 0, 0}, {5, 1, false, 1, 0}, {6, 1, true, 0, 0}}},
		"clock set back": {perMinute, []step{
			{hour, 10, true, 0, 0},
			{hour - second, 1, false, 2 * second, -1},
			{hour + second, 1, true, 0, 0},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := bucketLimiter(test.b)
			run(t, l, test.steps)
		})
	}
}

// TestBucketFarFromItsBirth: a bucket that began in 2026 counts from 1970 to 2090, as
// a simulation may; where even parts of it cannot be counted any more, it holds what
// it holds, and nothing comes before its time.
func TestBucketFarFromItsBirth(t *testing.T) {
	const birth = 56 * 366 * 24 * hour
	for _, amount := range []int64{1, 60, 1001, 4093, 4099, 1_000_007} {
		b := NewBucket(amount, minute, 10, birth)
		for _, now := range []int64{0, birth + 60*366*24*hour} {
			spent := b.Take(Whole, now, 10)
			due := ceilDiv(10*minute, amount)
			if reset := b.Reset(spent, now); reset > due || reset < due-ceilDiv(minute, amount) {
				t.Errorf("%d a minute, at %d: whole in %d, want %d", amount, now, reset, due)
			}
			if level := b.Level(spent, now+due); level != 10 {
				t.Errorf("%d a minute, at %d: %d after %d", amount, now, level, due)
			}
		}
		for _, now := range []int64{math.MinInt64 / 2, -1 << 55, 1 << 58, math.MaxInt64 / 2} {
			spent := Whole
			for n := range 12 {
				fits, wait := b.Fits(spent, now, 1), b.Wait(spent, now, 1)
				if fits != (n < 10) || (wait <= 0) == !fits {
					t.Fatalf("%d a minute, at %d: of the %d. it says %v and to wait %d", amount, now, n+1, fits, wait)
				}
				if fits {
					spent = b.Take(spent, now, 1)
				}
				if reset := b.Reset(spent, now); reset <= 0 {
					t.Fatalf("%d a minute, at %d: whole in %d", amount, now, reset)
				}
			}
		}
	}
}

// TestBucketOfManyParts: where the parts would be too many, units are minted whole,
// as many as ever in the end, and nothing comes late.
func TestBucketOfManyParts(t *testing.T) {
	for _, tt := range []struct{ amount, size, capacity int64 }{
		{4099, minute, 10}, {1_000_007, minute, 1 << 40}, {1, minute, 1 << 53}, {1<<53 - 1, 1 << 51, 1},
	} {
		b := NewBucket(tt.amount, tt.size, tt.capacity, 0)
		if b.part != 1 {
			t.Errorf("%+v: %d parts, want 1", tt, b.part)
		}
		spent := b.Take(Whole, 12345, tt.capacity)
		for _, n := range []int64{1, 2, 7} {
			if n > tt.capacity {
				break
			}
			due := ceilDiv(tt.size, tt.amount) * n
			if got := b.Wait(spent, 12345, n); got < 1 || got > due {
				t.Errorf("%+v: %d in %d, want no later than in %d", tt, n, got, due)
			}
		}
		if got := b.Level(b.Take(spent, 12345, 0), 12345+tt.size); got < min(tt.amount, tt.capacity) || got > min(tt.amount, tt.capacity)+1 {
			t.Errorf("%+v: %d after a window", tt, got)
		}
		if lacks := b.Lacks(spent, 12345); lacks != tt.capacity || b.Quick(12345) {
			t.Errorf("%+v: lacks %d, quick %v", tt, lacks, b.Quick(12345))
		}
	}
	for _, tt := range []struct{ amount, size, capacity, part int64 }{
		{60, minute, 10, 1_000_000}, {4093, minute, 10, minute}, {100_000, minute, 100_000, 600}, {1, 2 * second, 1, 2 * second},
	} {
		if b := NewBucket(tt.amount, tt.size, tt.capacity, 0); b.part != tt.part {
			t.Errorf("%+v: %d parts", tt, b.part)
		}
	}
}

func TestBucketDebtRefundAndRebase(t *testing.T) {
	b := NewBucket(60, minute, 10, 0)
	spent := b.Take(Whole, 0, 25)
	if got := b.Level(spent, 0); got != -15 {
		t.Fatalf("level = %d", got)
	}
	if got := b.Wait(spent, 0, 1); got != 16*second {
		t.Errorf("wait = %d", got)
	}
	if got := b.Reset(spent, 0); got != 25*second {
		t.Errorf("reset = %d", got)
	}
	if got := b.Level(b.Refund(spent, 20), 0); got != 5 {
		t.Errorf("level after a refund = %d", got)
	}
	if got := b.Level(b.Refund(spent, 1000), 0); got != 10 {
		t.Errorf("level after too large a refund = %d", got)
	}
	wide := NewBucket(600, minute, 100, 0)
	if got := wide.Level(b.Rebase(spent, 5*second, wide), 5*second); got != -10 {
		t.Errorf("level after a change of rate = %d", got)
	}
	if got := b.Level(wide.Rebase(Whole, 0, b), 0); got != 10 {
		t.Errorf("level after a smaller capacity = %d", got)
	}
	// What is not a unit yet stays.
	slow := NewBucket(1, 300_000, 10, 0)
	for _, begin := range []int64{10, 12} { // with a level of 0, and in debt
		spent := b.Take(Whole, 0, begin)
		spent = b.Rebase(spent, 100_000, slow) // a tenth of a unit
		spent = slow.Rebase(spent, 100_001, b) // and a 300,000th
		if got, want := b.Wait(spent, 100_001, 1), (begin-9)*second-100_000-3; got != want {
			t.Errorf("wait after two changes of rate = %d, want %d", got, want)
		}
	}
	whole := NewBucket(1_000_007, minute, 10, 0) // which has no parts
	if got := whole.Level(b.Rebase(b.Take(Whole, 0, 10), 900_000, whole), 900_000); got != 0 {
		t.Errorf("level after a change to whole units = %d", got)
	}
	if got := whole.Level(b.Rebase(b.Take(Whole, 0, 12), 900_000, whole), 900_000); got != -2 {
		t.Errorf("level in debt after a change to whole units = %d", got)
	}
}

// TestBucketAgainstEveryMicrosecond holds the closed form against a model that
// pours in the refill microsecond by microsecond, in exact fractions.
func TestBucketAgainstEveryMicrosecond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Int64Range(1, 20).Draw(t, "amount")
		size := rapid.Int64Range(1, 50).Draw(t, "size")
		birth := rapid.Int64Range(-100, 100).Draw(t, "birth")
		b := NewBucket(amount, size, rapid.Int64Range(1, 30).Draw(t, "capacity"), birth)
		spent := Whole
		now := birth + rapid.Int64Range(-50, 50).Draw(t, "start")
		// The model: the level in size-ths of a unit.
		full := b.Capacity * size
		level := full
		pour := func(level int64) int64 { return min(level+amount, full) }
		first := func(reached func(level int64) bool) (wait int64) {
			for l := level; !reached(l); wait++ {
				l = pour(l)
			}
			return wait
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if got, want := b.Level(spent, now), floorDiv(level, size); got != want {
					t.Fatalf("level = %d, want %d", got, want)
				}
				if got, want := b.Reset(spent, now), first(func(l int64) bool { return l == full }); got != want {
					t.Fatalf("reset = %d, want %d", got, want)
				}
			},
			"pass": func(t *rapid.T) {
				for range rapid.IntRange(0, 200).Draw(t, "time") {
					now++
					level = pour(level)
				}
			},
			"take": func(t *rapid.T) {
				cost := rapid.Int64Range(1, b.Capacity).Draw(t, "cost")
				if got, want := b.Wait(spent, now, cost), first(func(l int64) bool { return l >= cost*size }); got != want {
					t.Fatalf("wait = %d, want %d", got, want)
				}
				fits := cost*size <= level
				if fits != b.Fits(spent, now, cost) {
					t.Fatalf("fits = %v at level %d/%d", !fits, level, size)
				}
				settled, lacks, looked := b.Look(spent, now, cost)
				if wait, want := b.Wait(spent, now, cost), ceilDiv(full-level, size); looked != wait || lacks != want {
					t.Fatalf("Look waits %d, lacks %d; want %d, %d", looked, lacks, wait, want)
				}
				if l := b.Lacks(spent, now); b.Lacks(b.Lacking(l, now), now) != l {
					t.Fatalf("a state that lacks %d lacks %d", l, b.Lacks(b.Lacking(l, now), now))
				}
				if lacks > 0 && b.Filled(settled, now) != b.Reset(spent, now) {
					t.Fatalf("filled in %d, want %d", b.Filled(settled, now), b.Reset(spent, now))
				}
				if got, want := b.Charged(settled, cost), b.Take(spent, now, cost); got != want {
					t.Fatalf("charged %d, want %d", got, want)
				}
				if since := now - b.birth; b.Quick(since) != (since >= 0) {
					t.Fatalf("quick %d after the birth: %v", since, b.Quick(since))
				} else if since >= 0 {
					empty := b.EmptySince(since)
					if s := max(spent, empty); s != settled || b.Units(s-empty) != lacks {
						t.Fatalf("EmptySince = %d, by which it is %d and lacks %d, want %d and %d", empty, s, b.Units(s-empty), settled, lacks)
					}
					if got, want := b.FilledSince(settled, since), b.Filled(settled, now); lacks > 0 && got != want {
						t.Fatalf("FilledSince = %d, want %d", got, want)
					}
					if got := b.WaitSince(settled, b.Parts(cost), since); looked > 0 && got != looked {
						t.Fatalf("WaitSince = %d, want %d", got, looked)
					}
				}
				if fits {
					level -= cost * size
					spent = b.Take(spent, now, cost)
				}
			},
			"extra": func(t *rapid.T) {
				extra := rapid.Int64Range(1, 2*b.Capacity).Draw(t, "extra")
				spent = b.Take(spent, now, extra)
				level -= extra * size
			},
			"refund": func(t *rapid.T) {
				back := rapid.Int64Range(0, b.Capacity).Draw(t, "back")
				spent = b.Refund(spent, back)
				level = min(level+back*size, full)
			},
		})
	})
}

// TestRebaseOfTheMostDebt: what is rounded down stays debt where it can just be counted.
func TestRebaseOfTheMostDebt(t *testing.T) {
	from, to := NewBucket(1, 1000, 1, 0), NewBucket(1, 1001, 1, 0)
	const lacks = math.MaxInt64/1001*1000 + 1000 // near what is math.MaxInt64 in parts of to
	for lack := int64(lacks); lack < lacks+5000; lack++ {
		if level := to.Level(from.Rebase(from.Lacking(lack, 0), 0, to), 0); level >= 0 {
			t.Fatalf("%d parts of debt became a level of %d", lack, level)
		}
	}
}
