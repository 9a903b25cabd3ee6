package algorithm

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

const (
	us     = int64(1)
	ms     = 1000 * us
	second = 1000 * ms
	minute = 60 * second
	hour   = 60 * minute
)

// A step is one call at one time, in the shape of x/time/rate's tables: take
// cost at t, expect ok, and when refused the wait.
type step struct {
	t    int64
	cost int64
	ok   bool
	wait int64 // when not ok
	left int64 // what remains afterwards
}

// limiter is what the three algorithms have in common, for the tables.
type limiter struct {
	advance func(t int64)
	wait    func(t, cost int64) int64
	fits    func(t, cost int64) bool
	take    func(t, cost int64)
	left    func(t int64) int64
}

func run(t *testing.T, l limiter, steps []step) {
	t.Helper()
	for i, s := range steps {
		l.advance(s.t)
		ok, wait := l.fits(s.t, s.cost), l.wait(s.t, s.cost)
		if ok != s.ok || wait != s.wait {
			t.Fatalf("step %d %+v: ok=%v wait=%d", i, s, ok, wait)
		}
		if ok {
			l.take(s.t, s.cost)
		}
		if left := l.left(s.t); left != s.left {
			t.Fatalf("step %d %+v: left=%d", i, s, left)
		}
	}
}

// charge is one event of the slow models.
type charge struct{ at, amount int64 }

// TestRatioAgainstDivision holds multiplication by the inverse to the 128-bit
// division, at the edges of everything.
func TestRatioAgainstDivision(t *testing.T) {
	number := rapid.OneOf(
		rapid.Int64Range(1, 100),
		rapid.Int64Range(1, math.MaxInt64),
		rapid.SampledFrom([]int64{1, 2, 3, 1 << 31, 1 << 32, 1<<53 - 1, 1 << 53, 1 << 62, math.MaxInt64 - 1, math.MaxInt64}),
		rapid.Map(rapid.IntRange(0, 62), func(n int) int64 { return 1 << n }),
	)
	rapid.Check(t, func(t *rapid.T) {
		a, c, x := number.Draw(t, "a"), number.Draw(t, "c"), number.Draw(t, "x")-1
		if rapid.Bool().Draw(t, "nearly whole") { // where the inverse is one off if ever
			x, _ = mulDiv(x, c, a)
			x = max(0, min(x, math.MaxInt64-1)+rapid.Int64Range(-1, 1).Draw(t, "beside"))
		}
		x = max(x, 0)
		down, up := downRatio(a, c), upRatio(a, c)
		want, more := mulDiv(x, a, c)
		if got := down.of(x); got != want {
			t.Fatalf("%d*%d/%d = %d, want %d", x, a, c, got, want)
		}
		if more {
			want = add(want, 1)
		}
		if got := up.of(x); x > 0 && got != want {
			t.Fatalf("%d*%d/%d rounded up = %d, want %d", x, a, c, got, want)
		}
	})
}

func TestNothingOverflows(t *testing.T) {
	b := NewBucket(1<<53, 1, 1<<53, 0)
	spent := b.Take(Whole, math.MaxInt64/2, 1<<53)
	if b.Level(spent, math.MaxInt64/2) > 1<<53 || b.Wait(spent, math.MaxInt64/2, 1) < 0 {
		t.Error("bucket beyond its scale")
	}
	if _, lacks, wait := b.Look(math.MaxInt64, 0, 1); lacks < 1<<53 || wait < 0 {
		t.Errorf("bucket in debt without end: lacks %d, wait %d", lacks, wait)
	}
	f := Fixed{Amount: 1, Size: 24 * hour}
	c := f.Take(f.Advance(Counted{}, 0), math.MaxInt64)
	if c = f.Take(c, math.MaxInt64); c.Used != math.MaxInt64 {
		t.Errorf("used = %d", c.Used)
	}
	if w := f.Wait(c, 0, 1); w <= 0 {
		t.Errorf("wait = %d", w)
	}
	p := Sliding{Size: minute, Step: second}
	s := &Steps{Ring: make([]uint64, 2)}
	p.Take(s, 0, math.MaxInt64)
	p.Take(s, 0, math.MaxInt64)
	if s.Total != amountMask {
		t.Errorf("total = %d", s.Total)
	}
}
