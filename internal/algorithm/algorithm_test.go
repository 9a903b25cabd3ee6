package algorithm

import (
	"math"
	"testing"
	"time"

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

func slidingLimiter(p Sliding, amount int64) (limiter, *Steps) {
	s := &Steps{Ring: make([]uint64, RingCap)}
	return limiter{
		advance: func(t int64) { p.Advance(s, t) },
		wait:    func(t, cost int64) int64 { return p.Wait(s, t, cost, amount) },
		fits:    func(_, cost int64) bool { return cost <= amount-s.Total },
		take:    func(t, cost int64) { p.Take(s, t, cost) },
		left:    func(int64) int64 { return amount - s.Total },
	}, s
}

func fixedLimiter(f Fixed) (limiter, *Counted) {
	c := &Counted{}
	return limiter{
		advance: func(t int64) { *c = f.Advance(*c, t) },
		wait:    func(t, cost int64) int64 { return f.Wait(*c, t, cost) },
		fits:    func(_, cost int64) bool { return f.Fits(*c, cost) },
		take:    func(_, cost int64) { *c = f.Take(*c, cost) },
		left:    func(int64) int64 { return f.Amount - c.Used },
	}, c
}

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

func TestSlidingSteps(t *testing.T) {
	minuteBySecond := Sliding{Size: minute, Step: second}
	for name, test := range map[string]struct {
		p      Sliding
		amount int64
		steps  []step
	}{
		"a charge counts until size after the end of its step": {minuteBySecond, 10, []step{
			{0, 10, true, 0, 0},
			{0, 1, false, 61 * second, 0},
			{60*second + 999999, 1, false, 1, 0},
			{61 * second, 10, true, 0, 0},
		}},
		"the wait is for as much as is asked": {minuteBySecond, 10, []step{
			{500 * ms, 4, true, 0, 6},
			{1500 * ms, 4, true, 0, 2},
			{2500 * ms, 2, true, 0, 0},
			{3 * second, 4, false, 58 * second, 0},
			{3 * second, 5, false, 59 * second, 0},
			{3 * second, 9, false, 60 * second, 0},
		}},
		"a denied charge takes nothing": {minuteBySecond, 5, []step{
			{0, 5, true, 0, 0},
			{10 * second, 1, false, 51 * second, 0},
			{20 * second, 1, false, 41 * second, 0},
			{61 * second, 5, true, 0, 0},
		}},
		"more than the amount never passes": {minuteBySecond, 5, []step{
			{0, 6, false, Never, 5},
			{0, math.MaxInt64, false, Never, 5},
		}},
		"nothing always passes": {minuteBySecond, 5, []step{
			{0, 5, true, 0, 0},
			{0, 0, true, 0, 0},
		}},
		"a clock set back frees nothing": {minuteBySecond, 5, []step{
			{100 * second, 3, true, 0, 2},
			{50 * second, 2, true, 0, 0}, // falls in step 100
			{50 * second, 1, false, 111 * second, 0},
			{160 * second, 1, false, second, 0},
			{161 * second, 5, true, 0, 0},
		}},
		"every step in use": {Sliding{Size: 3 * second, Step: second}, 4, []step{
			{0, 1, true, 0, 3},
			{second, 1, true, 0, 2},
			{2 * second, 1, true, 0, 1},
			{3 * second, 1, true, 0, 0},
			{3 * second, 1, false, second, 0},
			{4 * second, 1, true, 0, 0},
			{4 * second, 2, false, 2 * second, 0},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := slidingLimiter(test.p, test.amount)
			run(t, l, test.steps)
		})
	}
}

func TestFixedSteps(t *testing.T) {
	perMinute := Fixed{Amount: 10, Size: minute}
	march := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	for name, test := range map[string]struct {
		f     Fixed
		steps []step
	}{
		"aligned to multiples of the size": {perMinute, []step{
			{90 * second, 10, true, 0, 0},
			{90 * second, 1, false, 30 * second, 0},
			{2*minute - 1, 1, false, 1, 0},
			{2 * minute, 10, true, 0, 0},
			{2 * minute, 1, false, minute, 0},
		}},
		"never": {perMinute, []step{{0, 11, false, Never, 10}}},
		"clock set back": {perMinute, []step{
			{10 * minute, 10, true, 0, 0},
			{5 * minute, 1, false, 6 * minute, 0},
			{11 * minute, 10, true, 0, 0},
		}},
		"a calendar month": {Fixed{Amount: 3, Month: true}, []step{
			{march - hour, 3, true, 0, 0},
			{march - hour, 1, false, hour, 0},
			{march, 3, true, 0, 0},
			{march, 1, false, 31 * 24 * hour, 0},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := fixedLimiter(test.f)
			run(t, l, test.steps)
		})
	}
}

func TestFixedCarriesDebt(t *testing.T) {
	f := Fixed{Amount: 10, Size: minute}
	c := f.Advance(Counted{}, 0)
	c = f.Take(c, 37) // settled after admission: 27 too many
	for i, want := range []int64{37, 27, 17, 7, 0, 0} {
		c = f.Advance(c, int64(i)*minute)
		if c.Used != want {
			t.Fatalf("window %d starts with %d, want %d", i, c.Used, want)
		}
	}
	c = f.Take(f.Advance(Counted{}, 0), 37)
	if got := f.Wait(c, 0, 1); got != 3*minute {
		t.Errorf("wait of 1 = %d, want until the window that starts with 7", got)
	}
	if got := f.Wait(c, 0, 4); got != 4*minute {
		t.Errorf("wait of 4 = %d", got)
	}
	if got := f.Reset(c, 0); got != 4*minute {
		t.Errorf("reset = %d", got)
	}
	if c = f.Advance(c, 3*minute); c.Used != 7 { // windows without a look between
		t.Errorf("after three windows at once: %d", c.Used)
	}
	month := Fixed{Amount: 10, Month: true}
	start := time.Date(2026, time.January, 31, 12, 0, 0, 0, time.UTC).UnixMicro()
	c = month.Take(month.Advance(Counted{}, start), 25)
	april := time.Date(2026, time.April, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	if got := start + month.Reset(c, start); got != april {
		t.Errorf("whole again at %v", time.UnixMicro(got).UTC())
	}
	if c := month.Advance(c, time.Date(2026, time.March, 5, 0, 0, 0, 0, time.UTC).UnixMicro()); c.Used != 5 {
		t.Errorf("two months later: %d", c.Used)
	}
}

func TestFixedSkewNeverShortensAWindow(t *testing.T) {
	f := Fixed{Amount: 10, Size: minute}
	c := f.Take(f.Advance(Counted{}, 10*second), 10)
	f.Skew = 55 * second // the wall clock was set forward
	if c = f.Advance(c, 20*second); c.Used != 10 {
		t.Fatalf("the window that was in force ended early: %+v", c)
	}
	c = f.Advance(c, minute)
	if want := 2*minute + 5*second; c.End != want { // 60..65 is the rest of an aligned window: not shorter than a minute
		t.Fatalf("end = %d, want %d", c.End, want)
	}
	c = f.Advance(c, c.End)
	if want := 3*minute + 5*second; c.End != want {
		t.Fatalf("aligned again: end = %d, want %d", c.End, want)
	}
}

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

func TestSlidingTakeWithoutRoomCountsLonger(t *testing.T) {
	p := Sliding{Size: minute, Step: second}
	s := &Steps{Ring: make([]uint64, 1)}
	p.Take(s, 0, 3)
	if !p.Opens(s, second) {
		t.Fatal("a charge in a new step needs a word")
	}
	p.Take(s, second, 4)
	if s.Total != 7 || s.Len != 1 {
		t.Fatalf("%+v", s)
	}
	if p.Advance(s, 61*second); s.Total != 7 {
		t.Error("the older charge was forgotten early or late")
	}
	if p.Advance(s, 62*second); s.Total != 0 {
		t.Error("the charges outlived their step")
	}
}

func TestSlidingRefundGoesHome(t *testing.T) {
	p := Sliding{Size: 10 * second, Step: second}
	s := &Steps{Ring: make([]uint64, RingCap)}
	for _, at := range []int64{0, second, 2 * second} {
		p.Advance(s, at)
		p.Take(s, at, 5)
	}
	p.Refund(s, p, 2*second, 1500*ms, 3)
	if s.Total != 12 {
		t.Fatalf("total = %d", s.Total)
	}
	if p.Advance(s, 11*second); s.Total != 7 { // step 0 has left with its 5
		t.Errorf("total = %d", s.Total)
	}
	if p.Refund(s, p, 11*second, 0, 5); s.Total != 7 { // forgotten: nowhere
		t.Errorf("total = %d", s.Total)
	}
	if p.Refund(s, p, 11*second, 2*second, 50); s.Total != 2 { // never more than is there
		t.Errorf("total = %d", s.Total)
	}
	if s.Newest != 1 || s.Len != 1 {
		t.Errorf("an empty newest step was kept: %+v", s)
	}
	if p.Refund(s, p, 11*second, second, 2); s.Len != 0 || p.Reset(s, 11*second) != 0 {
		t.Errorf("an empty window is not whole: %+v", s)
	}
}

// charge is one event of the slow models.
type charge struct{ at, amount int64 }

// TestSlidingAgainstEveryEvent holds the ring against a model that keeps every
// charge and sums those that count: those whose step ended less than a size
// ago.
func TestSlidingAgainstEveryEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stepLen := rapid.SampledFrom([]int64{1, 3, 1000, second}).Draw(t, "step")
		p := Sliding{Size: stepLen * rapid.Int64Range(1, MostSteps).Draw(t, "steps"), Step: stepLen}
		amount := rapid.Int64Range(1, 50).Draw(t, "amount")
		s := &Steps{Ring: make([]uint64, RingCap)}
		var all []charge
		used := func(now int64) (sum int64) {
			for _, c := range all {
				if floorDiv(c.at, p.Step)*p.Step+p.Step+p.Size > now {
					sum += c.amount
				}
			}
			return sum
		}
		now := rapid.Int64Range(0, 1<<50).Draw(t, "start")
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				cost := rapid.Int64Range(0, amount+1).Draw(t, "peeked cost")
				total, peeked := p.Peek(s, now, cost, amount)
				p.Advance(s, now)
				if got, want := s.Total, used(now); got != want || total != want {
					t.Fatalf("total = %d, peeked %d, want %d", got, total, want)
				}
				if wait := p.Wait(s, now, cost, amount); cost > 0 && peeked != wait || cost == 0 && peeked != 0 {
					t.Fatalf("wait = %d, peeked %d", wait, peeked)
				}
				if got := p.Reset(s, now); got > 0 && (used(now+got) != 0 || used(now+got-1) == 0) || got == 0 && used(now) != 0 {
					t.Fatalf("reset = %d is not the first moment at which nothing counts", got)
				}
			},
			"pass": func(t *rapid.T) {
				now += rapid.OneOf(rapid.Int64Range(0, 2*p.Step), rapid.Int64Range(0, 2*p.Size)).Draw(t, "time")
			},
			"take": func(t *rapid.T) {
				cost := rapid.Int64Range(1, amount).Draw(t, "cost")
				wait := p.Wait(s, now, cost, amount)
				fits := used(now)+cost <= amount
				if fits != (wait == 0) {
					t.Fatalf("wait = %d, fits = %v", wait, fits)
				}
				if !fits {
					if used(now+wait)+cost > amount || used(now+wait-1)+cost <= amount {
						t.Fatalf("wait = %d is not the first moment at which %d fits", wait, cost)
					}
					return
				}
				p.Take(s, now, cost)
				all = append(all, charge{now, cost})
			},
			"extra": func(t *rapid.T) {
				extra := rapid.Int64Range(1, 2*amount).Draw(t, "extra")
				p.Take(s, now, extra)
				all = append(all, charge{now, extra})
			},
			"refund": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip("nothing taken")
				}
				c := &all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				back := rapid.Int64Range(0, c.amount).Draw(t, "back")
				p.Refund(s, p, now, c.at, back)
				c.amount -= back
			},
		})
	})
}

// TestSlidingRemapEndsNoEarlier: after a change of the steps every charge
// counts at least as long as before, and no longer than one new step more.
func TestSlidingRemapEndsNoEarlier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 120 * second
		steps := rapid.SampledFrom([]int64{1, 2, 3, 5, 10, 60, 120})
		p := Sliding{Size: size, Step: size / steps.Draw(t, "old")}
		q := Sliding{Size: size, Step: size / steps.Draw(t, "new")}
		from := &Steps{Ring: make([]uint64, RingCap)}
		var all []charge
		now := int64(0)
		for range rapid.IntRange(0, 100).Draw(t, "charges") {
			now += rapid.Int64Range(0, size/8).Draw(t, "pass")
			p.Advance(from, now)
			p.Take(from, now, 1)
			all = append(all, charge{now, 1})
		}
		p.Advance(from, now)
		to := &Steps{Ring: make([]uint64, RingCap)}
		p.Remap(from, q, to)
		if to.Total != from.Total {
			t.Fatalf("total = %d, was %d", to.Total, from.Total)
		}
		undone := &Steps{Ring: make([]uint64, RingCap)}
		p.Remap(from, q, undone)
		for _, c := range all {
			q.Refund(undone, p, now, c.at, 1)
		}
		if undone.Total != 0 || undone.Len != 0 {
			t.Fatalf("refunds did not find %d of their charges under the new steps", undone.Total)
		}
		count := func(step, now int64) (n int64) {
			for _, c := range all {
				if floorDiv(c.at, p.Step)*p.Step+p.Step+p.Size+step > now {
					n += c.amount
				}
			}
			return n
		}
		for at := now; at < now+2*size+q.Step; at += size / 240 {
			q.Advance(to, at)
			if to.Total < count(0, at) || to.Total > count(q.Step, at) {
				t.Fatalf("%d microseconds later %d count, want %d to %d", at-now, to.Total, count(0, at), count(q.Step, at))
			}
		}
	})
}

// TestFixedAgainstEveryEvent holds the two numbers against a model that walks
// every window since the first.
func TestFixedAgainstEveryEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Fixed{Amount: rapid.Int64Range(1, 20).Draw(t, "amount"), Size: rapid.Int64Range(1, 100).Draw(t, "size")}
		var c Counted
		var all []charge
		now := rapid.Int64Range(0, 1000).Draw(t, "start")
		used := func(now int64) int64 {
			var carried int64
			for w := int64(0); ; w++ {
				sum := carried
				for _, c := range all {
					if floorDiv(c.at, f.Size) == w {
						sum += c.amount
					}
				}
				if w == floorDiv(now, f.Size) {
					return sum
				}
				carried = max(0, sum-f.Amount)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				c = f.Advance(c, now)
				if c.Used != used(now) {
					t.Fatalf("used = %d, want %d", c.Used, used(now))
				}
				if r := f.Reset(c, now); r > 0 && (used(now+r) != 0 || used(now+r-1) == 0) || r == 0 && c.Used != 0 {
					t.Fatalf("reset = %d", r)
				}
			},
			"pass": func(t *rapid.T) { now += rapid.Int64Range(0, 3*f.Size).Draw(t, "time") },
			"take": func(t *rapid.T) {
				cost := rapid.Int64Range(1, f.Amount).Draw(t, "cost")
				wait := f.Wait(c, now, cost)
				if fits := used(now)+cost <= f.Amount; fits != (wait == 0) || fits != f.Fits(c, cost) {
					t.Fatalf("wait = %d, fits = %v", wait, fits)
				}
				if wait > 0 {
					if used(now+wait)+cost > f.Amount || used(now+wait-1)+cost <= f.Amount {
						t.Fatalf("wait = %d is not the first moment", wait)
					}
					return
				}
				c = f.Take(c, cost)
				all = append(all, charge{now, cost})
			},
			"extra": func(t *rapid.T) {
				extra := rapid.Int64Range(1, 3*f.Amount).Draw(t, "extra")
				c = f.Take(c, extra)
				all = append(all, charge{now, extra})
			},
			"refund": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip("nothing taken")
				}
				e := &all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				back := rapid.Int64Range(0, e.amount).Draw(t, "back")
				c = f.Refund(c, e.at, back)
				if floorDiv(e.at, f.Size) == floorDiv(now, f.Size) { // else to nowhere
					e.amount -= back
				}
			},
		})
	})
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
