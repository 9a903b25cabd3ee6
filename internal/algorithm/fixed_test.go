package algorithm

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

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

// TestFixedSkewMakesAWindowLate: a clock that was set forward by little, as when a
// machine was paused, does not make one budget that of two windows.
func TestFixedSkewMakesAWindowLate(t *testing.T) {
	f := Fixed{Amount: 10, Size: hour}
	c := f.Take(f.Advance(Counted{}, 10*second), 10)
	f.Skew = 7 * second
	for i := int64(1); i < 4; i++ {
		c = f.Take(f.Advance(c, c.End), 10)
		if want := (i + 1) * hour; c.End != want || c.Used != 10 {
			t.Fatalf("window %d: %+v, want one until %d", i, c, want)
		}
	}
	if c = f.Advance(c, c.End+hour); c.End != 6*hour-7*second {
		t.Errorf("nobody had a window: aligned again, not until %d", c.End)
	}

	f = Fixed{Amount: 10, Month: true}
	at := func(m time.Month, d, sec int) int64 { return time.Date(2026, m, d, 0, 0, sec, 0, time.UTC).UnixMicro() }
	c = f.Take(f.Advance(Counted{}, at(time.January, 20, 0)), 10)
	f.Skew = 2 * second
	for m := time.February; m < time.December; m++ { // edges of the store's clock are two seconds late in UTC
		if c = f.Advance(c, at(m, 1, 0)); c.Used != 0 || c.End != at(m+1, 1, 0) {
			t.Fatalf("%v: %+v lasts until %v", m, c, time.UnixMicro(c.End).UTC())
		}
		c = f.Take(c, 10)
	}
}

// TestFixedRefundAfterTheClockWasSet: it goes to the window that it was taken from,
// wherever that lies now in UTC.
func TestFixedRefundAfterTheClockWasSet(t *testing.T) {
	begin := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	for name, f := range map[string]Fixed{"month": {Amount: 100, Month: true}, "day": {Amount: 100, Size: 24 * hour}} {
		for _, skew := range []int64{2 * second, -2 * second, 5 * hour, -5 * hour} {
			f.Skew = 0
			c := f.Advance(Counted{}, begin+12*hour)
			end := c.End
			before, after := end-6*hour, end-5*hour // the clock is set between them
			c = f.Take(f.Advance(c, before), 40)
			f.Skew = skew
			c = f.Take(f.Advance(c, after), 50)
			c = f.Refund(f.Advance(c, after), after, 45)
			c = f.Refund(f.Advance(c, after), before, 35)
			if c.Used != 10 || c.End != end {
				t.Errorf("%s, set by %d: %+v, want 10 used until %d", name, skew, c, end)
			}
			// What was taken before a window is none of its.
			if c = f.Take(f.Advance(c, c.End), 60); f.Refund(c, before, 5) != c || f.Refund(c, end-1, 5) != c {
				t.Errorf("%s, set by %d: a refund of the window before", name, skew)
			}
		}
	}
}

// TestFixedWaitWithSkew: a wait is true wherever windows lie since the clock was set.
func TestFixedWaitWithSkew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Fixed{Amount: rapid.Int64Range(1, 20).Draw(t, "amount"), Size: hour, Month: rapid.Bool().Draw(t, "month")}
		size := f.Size
		if f.Month {
			size = 30 * 24 * hour
		}
		now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
		c := f.Advance(Counted{}, now)
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				c = f.Advance(c, now)
				if c.End <= now {
					t.Fatalf("%+v is over at %d", c, now)
				}
				cost := rapid.Int64Range(1, f.Amount).Draw(t, "cost")
				if wait := f.Wait(c, now, cost); wait > 0 && (!f.Fits(f.Advance(c, now+wait), cost) || f.Fits(f.Advance(c, now+wait-1), cost)) {
					t.Fatalf("%+v: %d is not the first moment at which %d fit", c, wait, cost)
				}
				if reset := f.Reset(c, now); reset > 0 && (f.Advance(c, now+reset).Used != 0 || f.Advance(c, now+reset-1).Used == 0) {
					t.Fatalf("%+v: %d is not the first moment at which nothing is used", c, reset)
				}
			},
			"pass":   func(t *rapid.T) { now += rapid.Int64Range(0, 3*size).Draw(t, "time") },
			"edge":   func(*rapid.T) { now = c.End },
			"set":    func(t *rapid.T) { f.Skew += rapid.Int64Range(-size, size).Draw(t, "by") },
			"little": func(t *rapid.T) { f.Skew += rapid.Int64Range(-size/100, size/100).Draw(t, "by") },
			"take":   func(t *rapid.T) { c = f.Take(c, rapid.Int64Range(1, 5*f.Amount).Draw(t, "cost")) },
			"window": func(t *rapid.T) { // is no shorter than it should be
				if next := f.Advance(c, c.End); next.End-c.End < min(size, shortestMonth) {
					t.Fatalf("after %+v: %+v", c, next)
				}
			},
		})
	})
}

// TestMonthsFollowEachOtherWithSkew: what is carried out of a month leaves with the
// next ones, a little earlier or later where the clock was set since, but not days
// later, since there is no 31st of February.
func TestMonthsFollowEachOtherWithSkew(t *testing.T) {
	at := func(m time.Month) int64 { return time.Date(2026, m, 1, 0, 0, 0, 0, time.UTC).UnixMicro() }
	day := 24 * hour
	for _, skew := range []int64{-13 * day, -2 * second, 0, 2 * second, 13 * day} {
		f := Fixed{Amount: 10, Month: true, Skew: skew}
		c := Counted{End: at(time.February), Used: 35} // of January, and of three months more
		if got, want := f.Reset(c, c.End-1), at(time.May)-c.End+1; got != want {
			t.Errorf("skew %d: nothing is used in %d s, want %d", skew, got/second, want/second)
		}
		for _, m := range []time.Month{time.February, time.March, time.April} {
			if c = f.Advance(c, at(m)); c.End != at(m+1) {
				t.Errorf("skew %d: %v ends %d s late", skew, m, (c.End-at(m+1))/second)
			}
		}
	}
}
