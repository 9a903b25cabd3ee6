package config

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWindow(t *testing.T) {
	const (
		size      = "p.yaml:1:32: rate_limiting.window.size: "
		bounds    = size + "a per-minute limit is measured over 1s to 24h: beyond that write per-second or per-day limits"
		precision = ": rate_limiting.window.precision: "
	)
	tests := []struct{ window, limits, want string }{
		{"size: 60s", "requests_per_minute: 7", ""},
		{"size: 30s", "requests_per_minute: 60", ""},
		{"size: 1500ms", "requests_per_minute: 40", ""},
		{"size: 59m", "requests_per_minute: 7", ""},
		{"size: 30s", "requests_per_hour: 7", ""},
		{"size: 30s", "requests_per_minute: unlimited", ""},
		{"size: 1s", "requests_per_minute: 60", ""},
		{"size: 1d", "requests_per_minute: 60", ""},
		{"size: 999ms", "requests_per_minute: 60", bounds},
		{"size: 86401s", "requests_per_minute: 60", bounds},
		{"size: 500us", "requests_per_minute: 60", bounds},
		{"size: 30s", "requests_per_minute: 7", size + "7 a minute is not whole over 30s: write 1m"},
		{"size: 90s", "requests_per_minute: 7", size + "7 a minute is not whole over 90s: write 1m or 2m"},
		{"size: 3599s", "requests_per_minute: 7", size + "7 a minute is not whole over 3599s: write 59m or 1h"},
		{"size: 7s", "requests_per_minute: 60, tokens_per_minute: 100", size + "100 a minute is not whole over 7s: write 6s or 9s"},
		{"size: 7001ms", "requests_per_minute: 60, tokens_per_minute: 100", size + "60 and 100 a minute is not whole over 7001ms: write 6s or 9s"},
		{
			"size: 7001ms", "requests_per_minute: 1, tokens_per_minute: 2, input_tokens_per_minute: 3, output_tokens_per_minute: 4",
			size + "1, 2, 3 and 4 a minute is not whole over 7001ms: write 1m",
		},
		{"size: 60s, precision: 1s", "requests_per_minute: 7", ""},
		{"size: 60s, precision: 500ms", "requests_per_minute: 7", ""},
		{"size: 60s, precision: 60s", "requests_per_minute: 7", ""},
		{"precision: 1s", "requests_per_minute: 7", ""},
		{"size: 60s, precision: 499ms", "requests_per_minute: 7", "p.yaml:1:48" + precision + "window.size, 1m, must be 1 to 120 steps of it: write 500ms"},
		{"size: 60s, precision: 7s", "requests_per_minute: 7", "p.yaml:1:48" + precision + "window.size, 1m, must be 1 to 120 steps of it: write 7500ms"},
		{"size: 60s, precision: 50s", "requests_per_minute: 7", "p.yaml:1:48" + precision + "window.size, 1m, must be 1 to 120 steps of it: write 1m"},
		{"size: 60s, precision: 1h", "requests_per_minute: 7", "p.yaml:1:48" + precision + "window.size, 1m, must be 1 to 120 steps of it: write 1m"},
		{"size: 7s, precision: 1us", "requests_per_hour: 7", "p.yaml:1:47" + precision + "window.size, 7s, must be 1 to 120 steps of it: write 62500us"},
		{"size: 30m", fmt.Sprintf("requests_per_minute: %d", maxAmount/30), ""},
		{"size: 30m", fmt.Sprintf("requests_per_minute: %d", maxAmount/30+1), "p.yaml:1:69: rate_limiting.default.requests_per_minute: too large to be measured over a window of 30m: write at most 300239975158033, or unlimited"},
		{"size: 24h", "requests_per_minute: 100000000000000", "p.yaml:1:69: rate_limiting.default.requests_per_minute: too large to be measured over a window of 1d: write at most 6254999482459, or unlimited"},
		{"size: 59m", fmt.Sprintf("requests_per_minute: %d", maxAmount), "p.yaml:1:69: rate_limiting.default.requests_per_minute: too large to be measured over a window of 59m: write at most 152664394148152, or unlimited"},
	}
	for _, tt := range tests {
		got := errorText("rate_limiting: {window: {" + tt.window + "}, default: {" + tt.limits + "}}")
		if got != tt.want {
			t.Errorf("%s, %s:\ngot  %s\nwant %s", tt.window, tt.limits, got, tt.want)
		}
	}

	for _, algorithm := range []string{"fixed_window", "token_bucket"} {
		got := errorText("rate_limiting: {algorithm: " + algorithm + ", window: {size: 60s, precision: 1s}}")
		if want := precision + "means nothing to a " + algorithm + ": remove it"; !strings.HasSuffix(got, want) {
			t.Errorf("got  %s\nwant …%s", got, want)
		}
	}
	six := "rate_limiting: {window: {size: 2s}, default: {requests_per_minute: 2, tokens_per_minute: 3, input_tokens_per_minute: 30}, " +
		"limits: {output_tokens_per_minute: 5}, per_model: {models: {a: {requests_per_minute: 7}, b: {requests_per_minute: 7}, c: {requests_per_minute: 8}}}, " +
		"global: {requests_per_minute: 1}}"
	if got, want := errorText(six), size+"2, 3, 5, 7, 8 and 1 more a minute is not whole over 2s: write 1m"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestWindowSizes holds the check of window.size against fractions: it says
// yes exactly when every limit comes out whole, and what it proposes is the
// nearest sizes for which it says yes.
func TestWindowSizes(t *testing.T) {
	whole := func(amount int64, size time.Duration) bool {
		return new(big.Rat).Mul(big.NewRat(amount, 1), big.NewRat(int64(size), int64(time.Minute))).IsInt()
	}
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.OneOf(
			rapid.Map(rapid.IntRange(1001, 3599999), func(n int) time.Duration { return time.Duration(n) * time.Millisecond }),
			rapid.Map(rapid.IntRange(2, 3599), func(n int) time.Duration { return time.Duration(n) * time.Second }),
		)
		size := sizes.Draw(t, "size")
		limits := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(1, 500), rapid.Int64Range(1, maxAmount/1440)), 1, 4).Draw(t, "amounts")
		fits := func(size time.Duration) bool {
			return !slices.ContainsFunc(limits, func(a int64) bool { return !whole(a, size) })
		}
		r := &reader{places: places{}}
		for _, a := range limits {
			l := Limits{{Name: "requests_per_minute", Per: "minute", Amount: a}}
			r.tiers = append(r.tiers, tier{own: l})
		}
		r.checkWindow(size)
		if ok := len(r.errors.list) == 0; ok != fits(size) {
			t.Fatalf("accepted is %v, fits is %v", ok, fits(size))
		}
		if fits(size) {
			return
		}
		_, proposals, _ := strings.Cut(r.errors.list[0].Message, ": write ")
		var below, above time.Duration
		for _, p := range strings.Split(proposals, " or ") {
			d, ok := parseDuration(p)
			if !ok || !fits(d) || d < minWindow || d > maxWindow {
				t.Fatalf("proposes %s", p)
			}
			if d < size {
				below = d
			} else {
				above = d
			}
		}
		// Any size that fits, off a grid, is no nearer.
		for i := 1; i <= 200; i++ {
			d := size + time.Duration(rapid.IntRange(-60_000_000, 60_000_000).Draw(t, "off"))*time.Microsecond
			if d >= minWindow && d <= maxWindow && fits(d) && (below < d && d < size || size < d && (above == 0 || d < above)) {
				t.Fatalf("%s fits too, beside %s", d, proposals)
			}
		}
	})
}

// TestNearestStep holds the proposed precision against every divisor.
func TestNearestStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1001, 3_599_999).Draw(t, "ms") * 1000
		step := rapid.OneOf(rapid.Int64Range(1, 2*size), rapid.Int64Range(1, size/20)).Draw(t, "us")
		got := nearestStep(time.Duration(size)*time.Microsecond, time.Duration(step)*time.Microsecond).Microseconds()
		if size%got != 0 || size/got > maxSteps {
			t.Fatalf("%d us makes no steps of %d us", got, size)
		}
		for n := int64(1); n <= maxSteps; n++ {
			if d := size / n; size%n == 0 && max(d-step, step-d) < max(got-step, step-got) {
				t.Fatalf("%d is nearer to %d than %d", d, step, got)
			}
		}
	})
}
