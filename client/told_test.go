package client

import (
	"math"
	"math/big"
	"net/http"
	"regexp"
	"testing"
	"time"
)

func TestToldWait(t *testing.T) {
	const (
		ms   = time.Millisecond
		s    = time.Second
		ever = time.Duration(math.MaxInt64)
	)
	now := time.Date(2026, time.January, 1, 9, 0, 0, 250e6, time.UTC)
	for _, tt := range []struct {
		ms, after, date string
		want            time.Duration // 0: none
	}{
		{"", "", "", 0},
		{"", "45", "", 45 * s},
		{"", "1.5", "", 1500 * ms},
		{"", "14.036", "", 14036 * ms},
		{"", "1.001", "", 1001 * ms}, // 1000999999.9999999 in binary
		{"250", "1", "", 250 * ms},
		{"0.5", "1", "", 500 * time.Microsecond},
		{"0", "1", "", s},
		{"-3", "1", "", s},
		{"soon", "1", "", s},
		{"NaN", "1", "", s},
		{"-Inf", "1", "", s},
		{"", "0", "", 0},
		{"", "-1", "", 0},
		{"", "1s", "", 0},
		{"", "1e-10", "", 0},
		{"", "9223372036", "", 9223372036 * s},
		{"", "9223372037", "", ever},
		{"", "99999999999999999999999999", "", ever},
		{"1e400", "1", "", ever},
		{"-1e400", "1", "", s},
		{"", "Thu, 01 Jan 2026 09:00:10 GMT", "", 9750 * ms},
		{"", "Thursday, 01-Jan-26 09:00:10 GMT", "", 9750 * ms},
		{"", "Thu Jan  1 09:00:10 2026", "", 9750 * ms},
		{"", "Thu, 01 Jan 2026 09:00:00 GMT", "", 0},
		{"", "Thu, 01 Jan 2026 09:00:00 GMT", "Thu, 01 Jan 2026 08:59:30 GMT", 30 * s},    // a server that is late
		{"", "Thu, 01 Jan 2026 10:00:10 GMT", "Thu, 01 Jan 2026 10:00:00 GMT", 10 * s},    // one that is early
		{"", "Thu, 01 Jan 2026 09:00:10 GMT", "now", 9750 * ms},                           // no date
		{"", "Thu, 01 Jan 2026 09:00:10 GMT", "Thu, 01 Jan 2026 09:00:10 GMT", 0},         // no time to come
		{"1000", "Thu, 01 Jan 2026 09:00:10 GMT", "Thu, 01 Jan 2026 09:00:00 GMT", 1 * s}, // milliseconds first
		{"", "Thu, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", ever},
	} {
		h := http.Header{}
		for name, value := range map[string]string{"retry-after-ms": tt.ms, "Retry-After": tt.after, "Date": tt.date} {
			if value != "" {
				h.Set(name, value)
			}
		}
		if got, told := toldWait(h, now); got != tt.want || told != (tt.want > 0) {
			t.Errorf("%+v: got %v, %v", tt, got, told)
		}
	}
}

func TestTooFast(t *testing.T) {
	for _, tt := range []struct {
		status       int
		after, retry string
		want         bool
	}{
		{200, "1", "", false},
		{408, "1", "", false},
		{503, "1", "", false},
		{429, "", "", true},
		{429, "1", "", true},
		{429, "", "true", true},
		{429, "3600", "false", true}, // a budget that is spent
		{429, "", "false", false},    // request_too_large_for_limit
		{429, "0", "false", false},
	} {
		resp := &http.Response{StatusCode: tt.status, Header: http.Header{"Retry-After": {tt.after}, "X-Should-Retry": {tt.retry}}}
		if got := tooFast(resp); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}

// FuzzToldWait: whatever the headers hold, a wait is positive or not told, and
// a plain decimal number is read to the nanosecond, or to what a float64 holds.
func FuzzToldWait(f *testing.F) {
	for _, seed := range []string{"", "0", "45", "0.001", "1.5", "9223372036.854775807", "1e3", "-1", "inf", "0x1p4", "Thu, 01 Jan 2026 09:00:10 GMT"} {
		f.Add(seed, seed)
	}
	decimal := regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{1,9})?$`)
	now := time.Date(2026, time.January, 1, 9, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, ms, after string) {
		wait, told := toldWait(http.Header{"Retry-After-Ms": {ms}, "Retry-After": {after}}, now)
		if told != (wait > 0) || wait < 0 {
			t.Fatalf("%q, %q: %v, %v", ms, after, wait, told)
		}
		if ms != "" || !decimal.MatchString(after) {
			return
		}
		exact, _ := new(big.Rat).SetString(after)
		exact.Mul(exact, big.NewRat(int64(time.Second), 1))
		if exact.Cmp(new(big.Rat).SetInt64(math.MaxInt64)) >= 0 {
			if wait != math.MaxInt64 {
				t.Fatalf("%q: %v", after, wait)
			}
			return
		}
		off := new(big.Rat).Sub(exact, new(big.Rat).SetInt64(int64(wait)))
		most := new(big.Rat).SetInt64(1 + int64(wait)>>52)
		if off.Abs(off).Cmp(most) > 0 {
			t.Fatalf("%q: %d ns", after, wait)
		}
	})
}
