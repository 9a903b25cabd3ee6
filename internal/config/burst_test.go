package config

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBurst(t *testing.T) {
	const (
		section = "p.yaml:1:17: rate_limiting.burst"
		form    = "p.yaml:1:37: rate_limiting.burst.multiplier: expected a positive number with at most 9 decimals, such as 2.0, got "
	)
	tests := []struct{ burst, rest, want string }{
		{"multiplier: 2.0, window: 10s", "default: {requests_per_minute: 60}", ""},
		{"multiplier: 2, window: 59999999us", "default: {requests_per_minute: 60}", "warning: " + section + ": smooths nothing where it lets a whole window's amount pass in 59999999us, " +
			"as of rate_limiting.default.requests_per_minute: write a smaller multiplier or window"},
		{"multiplier: 0.000000001, window: 10s", "default: {requests_per_minute: 60}", ""},
		{"multiplier: 6.000000000, window: 10s", "default: {requests_per_minute: 60}", "warning: " + section + ": smooths nothing where it lets a whole window's amount pass in 10s, " +
			"as of rate_limiting.default.requests_per_minute: write a smaller multiplier or window"},
		{"multiplier: 5.999999999, window: 10s", "default: {requests_per_minute: 60}", ""},
		{"multiplier: 2.0, window: 10s", "", "warning: p.yaml:1:1: rate_limiting: there is no limit, so everything passes\nwarning: " + section + ": smooths nothing: there is no limit with a window"},
		{"multiplier: 2.0, window: 10s", "default: {concurrent_requests: 5}", "warning: " + section + ": smooths nothing: there is no limit with a window"},
		{"enabled: false", "default: {requests_per_second: 5}", ""},
		{"enabled: false, multiplier: 2.0, window: 10s", "default: {requests_per_second: 5}", ""},
		{"multiplier: 0, window: 10s", "", form + "0"},
		{"multiplier: -1, window: 10s", "", form + "-1"},
		{"multiplier: 2e0, window: 10s", "", form + "2e0"},
		{`multiplier: "2", window: 10s`, "", form + `the string "2"`},
		{"multiplier: 0.0000000001, window: 10s", "", form + "0.0000000001"},
		{"multiplier: [2], window: 10s", "", strings.TrimSuffix(form, "got ") + "got a list"},
		{"multiplier: 2", "", "p.yaml:1:17: rate_limiting.burst: multiplier or window is missing: write how many times the rate may pass, and over how long: multiplier: 2.0, window: 10s"},
		{"multiplier: 2.0, window: 1m", "default: {requests_per_minute: 60}", "p.yaml:1:50: rate_limiting.burst.window: 1m is not shorter than 1m, the window of rate_limiting.default.requests_per_minute, which it is to smooth: write a shorter one"},
		{"multiplier: 2.0, window: 10s", "default: {requests_per_minute: 60, tokens_per_second: 60}", "p.yaml:1:50: rate_limiting.burst.window: 10s is not shorter than 1s, the window of rate_limiting.default.tokens_per_second, which it is to smooth: write a shorter one"},
		{"multiplier: 2.0, window: 10s", "default: {requests_per_minute: 60, requests_per_second: unlimited}", "warning: p.yaml:1:112: rate_limiting.default.requests_per_second: unlimited lifts nothing here: it is said where a limit is overridden"},
		{"multiplier: 2.0, window: 10s", "default: {requests_per_minute: 60}, per_model: {models: {m: {requests_per_second: 1}}}", `p.yaml:1:50: rate_limiting.burst.window: 10s is not shorter than 1s, the window of rate_limiting.per_model.models["m"].requests_per_second, which it is to smooth: write a shorter one`},
		{"multiplier: 2.0, window: 10s", "default: {requests_per_minute: 60}, window: {size: 5s}", "p.yaml:1:50: rate_limiting.burst.window: 10s is not shorter than 5s, the window of rate_limiting.default.requests_per_minute, which it is to smooth: write a shorter one"},
		{"multiplier: 2.0, window: 27d", "default: {requests_per_month: 60}", "warning: " + section + ": smooths nothing where it lets a whole window's amount pass in 27d, as of rate_limiting.default.requests_per_month: write a smaller multiplier or window"},
		{"multiplier: 2.0, window: 28d", "default: {requests_per_month: 60}", "p.yaml:1:50: rate_limiting.burst.window: 28d is not shorter than 28d, the window of rate_limiting.default.requests_per_month, which it is to smooth: write a shorter one"},
		{"multiplier: 2.0, window: 10s", "default: {tokens_per_minute: 9007199254740992}, window: {size: 24h}", "p.yaml:1:85: rate_limiting.default.tokens_per_minute: too large to be measured over a window of 1d: write at most 6254999482459, or unlimited"},
		{"multiplier: 2.0, window: 10s", "roles: {user: {requests_per_minute: 6}}", ""},
		{"multiplier: 2.0, window: 10s", "per_endpoint: [{path: /a, limits: {requests_per_minute: 6}}]", ""},
		{"multiplier: 1000.0, window: 10s", "default: {tokens_per_minute: 9007199254740992}", "p.yaml:1:37: rate_limiting.burst.multiplier: with it tokens_per_minute of 9007199254740992 comes to more than can be counted: write a smaller one"},
		{"multiplier: 9000000, window: 59s", "default: {cost_per_hour: 9007199.254740992}", "p.yaml:1:37: rate_limiting.burst.multiplier: with it cost_per_hour of 9007199.254740992 comes to more than can be counted: write a smaller one"},
	}
	for _, tt := range tests {
		_, warnings, err := Parse("p.yaml", []byte("rate_limiting: {burst: {"+tt.burst+"}, "+tt.rest+"}"), Flags{}, noEnv)
		var lines []string
		if err != nil {
			lines = append(lines, err.Error())
		}
		for _, w := range warnings {
			lines = append(lines, "warning: "+w.String())
		}
		if got := strings.Join(lines, "\n"); got != tt.want {
			t.Errorf("%s, %s:\ngot  %s\nwant %s", tt.burst, tt.rest, got, tt.want)
		}
	}
}

// TestBurstOf holds the arithmetic against fractions.
func TestBurstOf(t *testing.T) {
	for _, tt := range []struct {
		multiplier int64
		window     time.Duration
		amount     int64
		size       time.Duration
		want       int64
	}{
		{2e9, 10 * time.Second, 60, time.Minute, 20},
		{2e9, 10 * time.Second, 1, time.Minute, 1},
		{2e9, 10 * time.Second, 61, time.Minute, 21},
		{1, time.Microsecond, 1, 28 * day, 1},
		{1_500_000_000, 10 * time.Second, 100_000, time.Minute, 25_000},
		{math.MaxInt64, 1 << 62, math.MaxInt64, 1, math.MaxInt64},
	} {
		if got := (Burst{Multiplier: tt.multiplier, Window: tt.window}).Of(tt.amount, tt.size); got != tt.want {
			t.Errorf("%+v: %d, want %d", tt, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := Burst{Multiplier: rapid.Int64Range(1, 1e12).Draw(t, "multiplier"), Window: time.Duration(rapid.Int64Range(1, int64(day)).Draw(t, "window"))}
		amount, size := rapid.Int64Range(1, maxAmount).Draw(t, "amount"), rapid.Int64Range(1, int64(31*day)).Draw(t, "size")
		got := b.Of(amount, time.Duration(size))
		exact := new(big.Rat).Mul(big.NewRat(amount, 1), big.NewRat(b.Multiplier, 1e9))
		exact.Mul(exact, big.NewRat(int64(b.Window), size))
		if got == math.MaxInt64 {
			if exact.Cmp(new(big.Rat).SetInt64(math.MaxInt64-1)) <= 0 {
				t.Fatalf("%s is too large?", exact.FloatString(3))
			}
			return
		}
		// The least whole number that is not below.
		if new(big.Rat).SetInt64(got).Cmp(exact) < 0 || new(big.Rat).SetInt64(got-1).Cmp(exact) >= 0 {
			t.Fatalf("%d of %s", got, exact.FloatString(3))
		}
	})
}
