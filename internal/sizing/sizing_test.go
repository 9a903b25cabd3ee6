package sizing

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPerWorker(t *testing.T) {
	for _, tt := range []struct {
		gigabytes, counted int64
		want               Range
	}{
		{gigabytes: -1},
		{gigabytes: 0},
		{gigabytes: 15},
		{16, 16, Range{4, 8}},
		{24, 16, Range{4, 8}},
		{39, 16, Range{4, 8}},
		{40, 40, Range{8, 16}},
		{48, 40, Range{8, 16}},
		{79, 40, Range{8, 16}},
		{80, 80, Range{16, 32}},
		{141, 80, Range{16, 32}},
	} {
		counted, got, ok := PerWorker(tt.gigabytes)
		if counted != tt.counted || got != tt.want || ok != (tt.counted > 0) {
			t.Errorf("%d GB: %d, %v, %v", tt.gigabytes, counted, got, ok)
		}
	}
}

func TestSize(t *testing.T) {
	size := func(slots, queue Range, refill int64, timeout time.Duration, startSlots, startQueue int64) (s Size) {
		s = Size{Slots: slots, Queue: queue, Refill: refill, Timeout: timeout}
		s.Start.Slots, s.Start.Queue = startSlots, startQueue
		return s
	}
	for _, tt := range []struct {
		what  string
		fleet Fleet
		want  Size
	}{
		{"the least", Fleet{1, Range{1, 1}, Low, 1}, size(Range{1, 1}, Range{1, 1}, 1, 5*time.Second, 1, 1)},
		{"interactive, as the guidelines' example", Fleet{5, Range{10, 10}, Low, 50 * PerSecond}, size(Range{50, 50}, Range{25, 50}, 60, 5*time.Second, 50, 25)},
		{"two medium GPUs", Fleet{2, Range{8, 16}, Low, 12500}, size(Range{16, 32}, Range{8, 32}, 15, 5*time.Second, 16, 8)},
		{"batch on them", Fleet{2, Range{8, 16}, Medium, 12500}, size(Range{16, 32}, Range{32, 128}, 15, time.Minute, 24, 72)},
		{"no hurry at all", Fleet{2, Range{8, 16}, High, 12500}, size(Range{16, 32}, Range{64, 256}, 15, 2*time.Minute, 32, 256)},
		{"half a place is one", Fleet{1, Range{5, 7}, Low, PerSecond}, size(Range{5, 7}, Range{3, 7}, 2, 5*time.Second, 5, 3)},
		{"a middle between two is the upper", Fleet{3, Range{4, 7}, Medium, PerSecond}, size(Range{12, 21}, Range{24, 84}, 2, time.Minute, 18, 54)},
		{"the refill comes out even", Fleet{1, Range{1, 1}, Low, 5 * PerSecond}, size(Range{1, 1}, Range{1, 1}, 6, 5*time.Second, 1, 1)},
		{"and is rounded up by the least", Fleet{1, Range{1, 1}, Low, 5*PerSecond + 1}, size(Range{1, 1}, Range{1, 1}, 7, 5*time.Second, 1, 1)},
		{"the most", Fleet{Most, Range{Most, Most}, High, mostRate}, size(Range{1e8, 1e8}, Range{4e8, 8e8}, 1_200_000, 2*time.Minute, 1e8, 8e8)},
	} {
		if diff := cmp.Diff(tt.want, tt.fleet.Size()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, diff)
		}
	}
}

// TestSizeIsExact: what comes out is the guidelines' formulas in fractions,
// rounded up, and the numbers to start with are within the ranges.
func TestSizeIsExact(t *testing.T) {
	up := func(r *big.Rat) int64 {
		n := new(big.Int).Add(r.Num(), new(big.Int).Sub(r.Denom(), big.NewInt(1)))
		return n.Div(n, r.Denom()).Int64()
	}
	product := func(n int64, by string) int64 {
		factor, _ := new(big.Rat).SetString(by)
		return up(factor.Mul(factor, new(big.Rat).SetInt64(n)))
	}
	factors := map[Latency][2]string{Low: {"0.5", "1"}, Medium: {"2", "4"}, High: {"4", "8"}}
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Int64Range(1, Most).Draw(t, "low")
		f := Fleet{
			Workers:   rapid.Int64Range(1, Most).Draw(t, "workers"),
			PerWorker: Range{low, rapid.Int64Range(low, Most).Draw(t, "high")},
			Latency:   rapid.SampledFrom(Latencies()).Draw(t, "latency"),
			Rate:      Rate(rapid.Int64Range(1, int64(mostRate)).Draw(t, "rate")),
		}
		s := f.Size()
		depth := factors[f.Latency]
		slots := Range{f.Workers * f.PerWorker.Low, f.Workers * f.PerWorker.High}
		queue := Range{product(slots.Low, depth[0]), product(slots.High, depth[1])}
		if s.Slots != slots || s.Queue != queue {
			t.Errorf("%v slots, %v wait, want %v, %v", s.Slots, s.Queue, slots, queue)
		}
		if want := product(int64(f.Rate), "0.0012"); s.Refill != want {
			t.Errorf("a refill of %d, want %d", s.Refill, want)
		}
		if s.Start.Slots < slots.Low || s.Start.Slots > slots.High || s.Start.Queue < queue.Low || s.Start.Queue > queue.High {
			t.Errorf("starts with %v, beyond the ranges", s.Start)
		}
	})
}

func TestParseRate(t *testing.T) {
	for _, tt := range []struct {
		text  string
		want  Rate
		shown string
	}{
		{"1", 1000, "1"},
		{"50", 50_000, "50"},
		{"12.5", 12_500, "12.5"},
		{"0.001", 1, "0.001"},
		{"0.4", 400, "0.4"},
		{"007.250", 7250, "7.25"},
		{"100", 100_000, "100"},
		{"1000000", mostRate, "1000000"},
		{"1000000.000", mostRate, "1000000"},
	} {
		got, err := ParseRate(tt.text)
		if got != tt.want || err != nil || got.String() != tt.shown {
			t.Errorf("%q: %d, %v, shown as %v", tt.text, int64(got), err, got)
		}
	}
	for _, text := range []string{"", ".", ".5", "5.", "0", "0.000", "0.0001", "1.2345", "1000000.001", "-1", "+1", "1.-5", "1.+5", "1_000", "1e3", "1,5", " 1", "0x10", "1.5.5", "99999999999999999999", "one"} {
		want := fmt.Sprintf("expected requests a second, from 0.001 to 1000000 and with at most 3 decimals, such as 50 or 12.5; got %q", text)
		if got, err := ParseRate(text); err == nil || err.Error() != want || got != 0 {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// FuzzParseRate: what is read is the number that math/big reads, and is read
// again from how it is shown.
func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"12.5", "0.001", "1000000", "007.250", "1.+5", "5."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRate(s)
		if err != nil {
			return
		}
		if strings.Trim(s, "0123456789.") != "" {
			t.Fatalf("%q is a rate", s)
		}
		exact, ok := new(big.Rat).SetString(s)
		if !ok || exact.Cmp(big.NewRat(int64(r), int64(PerSecond))) != 0 {
			t.Fatalf("%q is %v, want %v", s, r, exact)
		}
		if again, err := ParseRate(r.String()); again != r || err != nil {
			t.Fatalf("%q is shown as %q: %v, %v", s, r, again, err)
		}
	})
}
