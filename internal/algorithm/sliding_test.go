package algorithm

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

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
