package config

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"60s", time.Minute, true},
		{"1m30s", 90 * time.Second, true},
		{"2h", 2 * time.Hour, true},
		{"1d", day, true},
		{"1d2h3m4s5ms6us", day + 2*time.Hour + 3*time.Minute + 4*time.Second + 5006*time.Microsecond, true},
		{"0s", 0, true},
		{"366d", maxDuration, true},
		{"", 0, false},
		{"60", 0, false},
		{"s", 0, false},
		{"1.5h", 0, false},
		{"-1s", 0, false},
		{"+1s", 0, false},
		{"1s1m", 0, false},
		{"1m1m", 0, false},
		{"1 s", 0, false},
		{" 1s", 0, false},
		{"1S", 0, false},
		{"01s", 0, false},
		{"1ns", 0, false},
		{"1w", 0, false},
		{"1sec", 0, false},
		{"1s\n", 0, false},
	}
	for _, tt := range tests {
		if got, ok := parseDuration(tt.text); got != tt.want || ok != tt.ok {
			t.Errorf("%q: got %v, %v; want %v, %v", tt.text, got, ok, tt.want, tt.ok)
		}
	}
	for _, text := range []string{"367d", "9223372036854775807d", "99999999999999999999us", "366d1us", "366d8784h"} {
		if got, ok := parseDuration(text); !ok || got <= maxDuration {
			t.Errorf("%q: got %v, %v; want more than a year", text, got, ok)
		}
	}
}

// TestDurations holds parseDuration against time.ParseDuration, which reads
// all of it but days, and durationText against parseDuration.
func TestDurations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ours, theirs strings.Builder
		for _, u := range durationUnits() {
			if rapid.Bool().Draw(t, u.name) {
				n := rapid.Int64Range(0, 366).Draw(t, "n")
				fmt.Fprintf(&ours, "%d%s", n, u.name)
				if u.name == "d" {
					n, u.name = 24*n, "h"
				}
				fmt.Fprintf(&theirs, "%d%s", n, u.name)
			}
		}
		got, ok := parseDuration(ours.String())
		want, err := time.ParseDuration(theirs.String())
		if ok != (err == nil) || got != want {
			t.Fatalf("%s: got %v, %v; want %v, %v", ours.String(), got, ok, want, err)
		}
		if got == 0 {
			return
		}
		if again, ok := parseDuration(durationText(got)); !ok || again != got {
			t.Fatalf("%v is written as %s, which is %v, %v", got, durationText(got), again, ok)
		}
	})
}

func TestParseSize(t *testing.T) {
	tests := []struct {
		text string
		want int64
		ok   bool
	}{
		{"0", 0, true},
		{"1", 1, true},
		{"512B", 512, true},
		{"64MiB", 64 << 20, true},
		{"1GiB", 1 << 30, true},
		{"3KiB", 3072, true},
		{"2TiB", 2 << 40, true},
		{"10MB", 10_000_000, true},
		{"10kB", 10_000, true},
		{"10KB", 10_000, true},
		{"7GB", 7_000_000_000, true},
		{"7TB", 7_000_000_000_000, true},
		{"", 0, false},
		{"MiB", 0, false},
		{"1.5GiB", 0, false},
		{"1 GiB", 0, false},
		{"-1", 0, false},
		{"1Mi", 0, false},
		{"1M", 0, false},
		{"1mib", 0, false},
		{"01", 0, false},
		{"1BB", 0, false},
	}
	for _, tt := range tests {
		if got, ok := parseSize(tt.text); got != tt.want || ok != tt.ok {
			t.Errorf("%q: got %d, %v; want %d, %v", tt.text, got, ok, tt.want, tt.ok)
		}
	}
}

// TestNoOverflow holds sizes and durations of any length against big
// integers: exact up to the largest that is allowed, above it beyond.
func TestNoOverflow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[1-9][0-9]{0,30}`).Draw(t, "digits")
		n, _ := new(big.Int).SetString(digits, 10)
		check := func(what string, got int64, ok bool, want *big.Int, most int64) {
			t.Helper()
			exact := want.IsInt64() && want.Int64() <= most
			if !ok || exact && got != want.Int64() || !exact && got <= most {
				t.Fatalf("%s%s: got %d, %v", digits, what, got, ok)
			}
		}
		for _, u := range durationUnits() {
			got, ok := parseDuration(digits + u.name)
			check(u.name, int64(got), ok, new(big.Int).Mul(n, big.NewInt(u.size)), int64(maxDuration))
		}
		for suffix, size := range map[string]int64{"": 1, "kB": 1e3, "MiB": 1 << 20, "TB": 1e12, "TiB": 1 << 40} {
			got, ok := parseSize(digits + suffix)
			check(suffix, got, ok, new(big.Int).Mul(n, big.NewInt(size)), maxSize)
		}
	})
}

func TestExpand(t *testing.T) {
	tests := []struct {
		text, want string
		whole      bool
		err        string
	}{
		{"", "", false, ""},
		{"plain", "plain", false, ""},
		{"${TEST_RPM}", "120", true, ""},
		{"a ${TEST_RPM} b${TEST_PORT}", "a 120 b3456", false, ""},
		{"${TEST_RPM}${TEST_PORT}", "1203456", false, ""},
		{"${TEST_RPM:-5}", "120", true, ""},
		{"${TEST_UNSET:-5}", "5", true, ""},
		{"${TEST_UNSET:-}", "", true, ""},
		{"${TEST_EMPTY:-5}", "5", true, ""},
		{"${TEST_EMPTY}", "", true, ""},
		{"${TEST_UNSET:-a:-b}", "a:-b", true, ""},
		{"${TEST_UNSET:-$x}", "$x", true, ""},
		{"$${TEST_RPM}", "${TEST_RPM}", false, ""},
		{"$$$${a", "$${a", false, ""},
		{"$", "$", false, ""},
		{"a$b $1 $", "a$b $1 $", false, ""},
		{"}", "}", false, ""},
		{"${TEST_RPM}}", "120}", false, ""},
		{"$${}${TEST_RPM}", "${}120", false, ""},
		{"$${TEST_RPM", "${TEST_RPM", false, ""},
		{"${TEST_UNSET}", "", false, "the variable TEST_UNSET is not set: set it, or write ${TEST_UNSET:-default}"},
		{"${", "", false, "a ${ without its }: write $${ for the characters themselves"},
		{"a ${b", "", false, "a ${ without its }: write $${ for the characters themselves"},
		{"${}", "", false, "no variable's name in ${}: write ${VAR} or ${VAR:-default}, or $${ for the characters themselves"},
		{"${a-b}", "", false, "no variable's name in ${}: write ${VAR} or ${VAR:-default}, or $${ for the characters themselves"},
		{"${ A }", "", false, "no variable's name in ${}: write ${VAR} or ${VAR:-default}, or $${ for the characters themselves"},
		{"${A:-${B}}", "", false, "the default of ${A} holds another ${}: a default is plain text"},
	}
	for _, tt := range tests {
		got, whole, err := expand(tt.text, testEnv)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if got != tt.want || whole != tt.whole || message != tt.err {
			t.Errorf("%s: got %q, %v, %q; want %q, %v, %q", tt.text, got, whole, message, tt.want, tt.whole, tt.err)
		}
	}
	dollars := func(string) (string, bool) { return "${A}$$", true }
	if got, _, err := expand("${B}x${B}", dollars); got != "${A}$$x${A}$$" || err != nil {
		t.Errorf("a value was expanded again: %q, %v", got, err)
	}
}

// TestExpandParts builds a text of parts whose expansion is known.
func TestExpandParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text, want strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "parts") {
			plain := rapid.StringMatching(`[a-z{} :\-]*`).Draw(t, "plain")
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				text.WriteString("${TEST_RPM}" + plain)
				want.WriteString("120" + plain)
			case 1:
				plain = strings.ReplaceAll(plain, "}", "")
				text.WriteString("${TEST_UNSET:-" + plain + "}")
				want.WriteString(plain)
			case 2:
				text.WriteString("$$" + plain)
				want.WriteString("$" + plain)
			case 3:
				text.WriteString("$ " + plain)
				want.WriteString("$ " + plain)
			default:
				plain = "x" + plain
				text.WriteString(plain)
				want.WriteString(plain)
			}
		}
		if got, _, err := expand(text.String(), testEnv); err != nil || got != want.String() {
			t.Fatalf("%q: got %q, %v; want %q", text.String(), got, err, want.String())
		}
	})
}
