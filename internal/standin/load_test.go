package standin

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// sample returns the mean, the coefficient of variation and the largest of n
// draws.
func sample(n int, draw func() float64) (mean, cv, most float64) {
	sum, squares := 0.0, 0.0
	for range n {
		x := draw()
		sum += x
		squares += x * x
		most = max(most, x)
	}
	mean = sum / float64(n)
	return mean, math.Sqrt(squares/float64(n)-mean*mean) / mean, most
}

func near(got, want, share float64) bool { return math.Abs(got-want) <= share*want }

// schedule returns the load's requests before d, in order of time.
func (l Load) schedule(d time.Duration) []Request {
	var schedule []Request
	for r := range l.All() {
		if r.At >= d {
			break
		}
		schedule = append(schedule, r)
	}
	return schedule
}

func TestLengths(t *testing.T) {
	tests := []struct {
		l        Lengths
		mean, cv float64 // cv below 0: not looked at, for a cut that takes much of it
		max      float64
	}{
		{DefaultInput(), 1155, 0.93, 14050},
		{DefaultOutput(), 211, 0.71, 1000},
		{Lengths{Mean: 100, CV: 0.2}, 100, 0.2, 1600},
		{Lengths{Mean: 100, CV: 3}, 100, -1, 1600},
		{Lengths{Mean: 700, CV: 2, Max: 1000}, 700, -1, 1000},
		{Lengths{Mean: 990, CV: 2, Max: 1000}, 802, -1, 1000}, // as near as it gets
		{Lengths{Mean: 7}, 7, 0, 7},
		{Lengths{Mean: 7.6}, 8, 0, 8},
		{Lengths{Mean: 70, CV: 1, Max: 50}, 50, 0, 50},
		{Lengths{}, 1, 0, 1},
		{Lengths{Mean: math.NaN()}, 1, 0, 1},
		{Lengths{Mean: math.Inf(1)}, 1 << 40, 0, 1 << 40},
	}
	for _, tc := range tests {
		rng, draw := rand.New(rand.NewPCG(1, 1)), tc.l.sampler()
		mean, cv, most := sample(200_000, func() float64 {
			n := draw(rng)
			if n < 1 {
				t.Fatalf("%+v: a length of %d", tc.l, n)
			}
			return float64(n)
		})
		if !near(mean, tc.mean, 0.01) || tc.cv >= 0 && math.Abs(cv-tc.cv) > 0.02 || most > tc.max {
			t.Errorf("%+v: mean %.1f, cv %.3f, most %.0f", tc.l, mean, cv, most)
		}
	}
}

func TestGamma(t *testing.T) {
	for _, cv := range []float64{0.3, 1, 2, 5} {
		rng, shape := rand.New(rand.NewPCG(2, 2)), 1/(cv*cv)
		mean, got, _ := sample(400_000, func() float64 { return gamma(rng, shape) / shape })
		if !near(mean, 1, 0.03) || !near(got, cv, 0.03) {
			t.Errorf("cv %v: mean %.3f, cv %.3f", cv, mean, got)
		}
	}
}

// TestDefaultLoad has the shape of the trace that it follows.
func TestDefaultLoad(t *testing.T) {
	l := Load{Seed: 3, Callers: []Caller{{Name: "a", StreamShare: 0.25, Model: "m"}, {Name: "b", StreamShare: 1}, {Name: "c", CV: 4}}}
	const span = 6 * time.Hour
	all := l.schedule(span)
	if rate := float64(len(all)) / span.Seconds(); !near(rate, 5.5, 0.03) {
		t.Errorf("%.2f requests a second", rate)
	}
	i := 0
	mean, cv, most := sample(len(all), func() float64 { i++; return float64(all[i-1].InputTokens) })
	if !near(mean, 1155, 0.02) || !near(cv, 0.93, 0.05) || most > 14050 || most < 9000 {
		t.Errorf("prompts: mean %.0f, cv %.2f, most %.0f", mean, cv, most)
	}
	i = 0
	mean, cv, most = sample(len(all), func() float64 { i++; return float64(all[i-1].OutputTokens) })
	if !near(mean, 211, 0.02) || !near(cv, 0.71, 0.05) || most > 1000 || most < 950 {
		t.Errorf("answers: mean %.0f, cv %.2f, most %.0f", mean, cv, most)
	}
	var count, streams [3]float64
	var gaps [3][]float64
	var last [3]time.Duration
	for _, r := range all {
		count[r.Caller]++
		if r.Stream {
			streams[r.Caller]++
		}
		gaps[r.Caller] = append(gaps[r.Caller], (r.At - last[r.Caller]).Seconds())
		last[r.Caller] = r.At
		if r.Model != l.Callers[r.Caller].Model {
			t.Fatalf("%+v", r)
		}
	}
	wantCV := []float64{1, 1, 4}
	for c := range 3 {
		i = 0
		_, cv, _ := sample(len(gaps[c]), func() float64 { i++; return gaps[c][i-1] })
		if share := streams[c] / count[c]; math.Abs(share-l.Callers[c].StreamShare) > 0.01 || !near(cv, wantCV[c], 0.05) || !near(count[c], float64(len(all))/3, 0.1) {
			t.Errorf("caller %d: %.0f requests, streams %.3f, cv of the gaps %.2f", c, count[c], share, cv)
		}
	}
	if !slices.IsSortedFunc(all, func(a, b Request) int { return int(a.At - b.At) }) {
		t.Error("not in order of time")
	}
}

// TestScheduleIsRepeatable also holds that callers do not disturb each other.
func TestScheduleIsRepeatable(t *testing.T) {
	own := Caller{Rate: 2, CV: 2, Input: Lengths{Mean: 50}, Output: Lengths{Mean: 9, CV: 0.5, Max: 20}, StreamShare: 0.5}
	one := Load{Seed: 1, Callers: []Caller{own}}.schedule(time.Minute)
	if !slices.Equal(one, Load{Seed: 1, Callers: []Caller{own}}.schedule(time.Minute)) || len(one) < 50 {
		t.Error("not the same again")
	}
	if slices.Equal(one, Load{Seed: 2, Callers: []Caller{own}}.schedule(time.Minute)) {
		t.Error("the seed does not decide")
	}
	two := Load{Seed: 1, Callers: []Caller{own, own}}.schedule(time.Minute)
	second := slices.DeleteFunc(slices.Clone(two), func(r Request) bool { return r.Caller == 0 })
	first := slices.DeleteFunc(two, func(r Request) bool { return r.Caller == 1 })
	if !slices.Equal(one, first) {
		t.Error("another caller changes the first one's requests")
	}
	if len(second) == len(first) && second[0].At == first[0].At {
		t.Error("two callers go in step")
	}
}

func TestLoadEdges(t *testing.T) {
	if all := (Load{}).schedule(time.Hour); len(all) != 0 {
		t.Errorf("nobody sent %d requests", len(all))
	}
	rare := Load{Callers: []Caller{{Rate: 1e-300, CV: 1e300}, {Rate: 1e-300, CV: 1e-300}, {Rate: math.NaN(), CV: math.NaN()}}}
	n, last := 0, time.Duration(0)
	for r := range rare.All() {
		if n++; n > 10_000 {
			break
		}
		if r.At < last {
			t.Fatalf("%v after %v", r.At, last)
		}
		last = r.At
	}
}
