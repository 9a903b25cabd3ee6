package config

import (
	"fmt"
	"io"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// gateText writes a gate as tables have it.
func gateText(g Gate) string {
	if g == (Gate{}) {
		return "open"
	}
	s := fmt.Sprint(g.Slots, " slots")
	if a := g.Adaptive; a.Enabled {
		s += fmt.Sprintf(" of %d-%d by %s", a.Min, a.Max, a.Signal)
	}
	if g.Capacity > 0 {
		s += fmt.Sprintf(", bucket %d + %d per %s", g.Capacity, g.Refill.Amount, durationText(g.Refill.Per))
	}
	return s + fmt.Sprintf(", queue %d for %s", g.QueueSize, durationOrZero(g.QueueTimeout))
}

// TestGate runs command lines over files: what they come to, or what is wrong,
// and what is warned of.
func TestGate(t *testing.T) {
	const (
		adaptive   = "admission: {adaptive: {min: 4, max: 64}}"
		concurrent = "rate_limiting: {concurrent: {max_concurrent: 10, queue_timeout: 30s}}"
		noEffect   = ": has no effect: there is no limit of what is in flight; admission.max_concurrent_requests, or --max-concurrent-requests, sets one"
		number     = "expected a whole number up to 2147483647, or -1 for no limit, got "
		rate       = "expected a number such as 50 or 0.5, from 0 to 1000000000 and with at most 6 decimals, got "
		nobody     = "a queue of 100 in which nobody may wait: say how long with --queue-timeout-secs or admission.queue_timeout, or that there is no queue with --queue-size 0 or admission.queue_size: 0"
	)
	tests := []struct {
		file, args string
		want       string // the gate, or all that is wrong
		warnings   []string
	}{
		// Every command line of the document.
		{args: "--worker-urls http://w1:8000 http://w2:8000 --max-concurrent-requests 100 --rate-limit-tokens-per-second 50 --queue-size 200 --queue-timeout-secs 30", want: "100 slots, bucket 100 + 50 per 1s, queue 200 for 30s"},
		{args: "--max-concurrent-requests 50 --queue-size 25 --queue-timeout-secs 5", want: "50 slots, bucket 50 + 50 per 1s, queue 25 for 5s"},
		{args: "--max-concurrent-requests 200 --queue-size 500 --queue-timeout-secs 60", want: "200 slots, bucket 200 + 200 per 1s, queue 500 for 1m"},
		{args: "--max-concurrent-requests -1", want: "open"},

		{args: "", want: "open"},
		{args: "--max-concurrent-requests=-1", want: "open"},
		{args: "--max-concurrent-requests 0", want: "open"},
		{args: "--max-concurrent-requests -7", want: "open"},
		{args: "--max-concurrent-requests -99999999999999999999", want: "open"},
		{args: "--max-concurrent-requests 1", want: "1 slots, bucket 1 + 1 per 1s, queue 100 for 1m"},
		{args: "--max-concurrent-requests 2147483647", want: "2147483647 slots, bucket 2147483647 + 2147483647 per 1s, queue 100 for 1m"},
		{args: "--max-concurrent-requests 2147483648", want: `--max-concurrent-requests: ` + number + `"2147483648"`},
		{args: "--max-concurrent-requests 1.5", want: `--max-concurrent-requests: ` + number + `"1.5"`},
		{args: "--max-concurrent-requests --1", want: `--max-concurrent-requests: needs a value`},
		{args: "--max-concurrent-requests=", want: `--max-concurrent-requests: ` + number + `""`},
		{args: "--max-concurrent-requests=--1", want: `--max-concurrent-requests: ` + number + `"--1"`},

		// The refill.
		{args: "--max-concurrent-requests 5 --rate-limit-tokens-per-second 0", want: "5 slots, queue 100 for 1m"},
		{args: "--max-concurrent-requests 5 --rate-limit-tokens-per-second 0.0", want: "5 slots, queue 100 for 1m"},
		{args: "--max-concurrent-requests 5 --rate-limit-tokens-per-second 0.5", want: "5 slots, bucket 5 + 1 per 2s, queue 100 for 1m"},
		{args: "--max-concurrent-requests 5 --rate-limit-tokens-per-second=-1", want: `--rate-limit-tokens-per-second: ` + rate + `"-1"`},
		{args: "--max-concurrent-requests 5 --rate-limit-tokens-per-second -0.5", want: `--rate-limit-tokens-per-second: ` + rate + `"-0.5"`},
		{args: "--max-concurrent-requests 5 --rate-limit-tokens-per-second 1e3", want: `--rate-limit-tokens-per-second: ` + rate + `"1e3"`},

		// The queue.
		{args: "--max-concurrent-requests 5 --queue-size 0", want: "5 slots, bucket 5 + 5 per 1s, queue 0 for 1m"},
		{args: "--max-concurrent-requests 5 --queue-size 0 --queue-timeout-secs 0", want: "5 slots, bucket 5 + 5 per 1s, queue 0 for 0"},
		{args: "--max-concurrent-requests 5 --queue-timeout-secs 0", want: "--queue-timeout-secs: " + nobody},
		{file: "admission: {queue_timeout: 0s}", args: "--max-concurrent-requests 5", want: "p.yaml:1:28: admission.queue_timeout: " + nobody},
		{file: "admission: {queue_timeout: 0s}", args: "--max-concurrent-requests 5 --queue-timeout-secs 1", want: "5 slots, bucket 5 + 5 per 1s, queue 100 for 1s"},
		{args: "--max-concurrent-requests 5 --queue-size -1", want: `--queue-size: expected a whole number from 0 to 2147483647, got "-1"`},
		{args: "--max-concurrent-requests 5 --queue-size 2147483648", want: `--queue-size: expected a whole number from 0 to 2147483647, got "2147483648"`},
		{args: "--max-concurrent-requests 5 --queue-timeout-secs -1", want: `--queue-timeout-secs: expected a whole number of seconds from 0 to 31622400, got "-1"`},
		{args: "--max-concurrent-requests x --rate-limit-tokens-per-second x --queue-size x", want: "--max-concurrent-requests: " + number + "\"x\"\n--rate-limit-tokens-per-second: " + rate + "\"x\"\n" + `--queue-size: expected a whole number from 0 to 2147483647, got "x"`},

		// What has no effect.
		{args: "--rate-limit-tokens-per-second 5 --queue-size 5 --queue-timeout-secs 0", want: "open", warnings: []string{"--rate-limit-tokens-per-second" + noEffect, "--queue-size" + noEffect, "--queue-timeout-secs" + noEffect}},
		{file: "admission: {max_concurrent_requests: 100, queue_size: 5}", args: "--max-concurrent-requests -1", want: "open", warnings: []string{"p.yaml:1:55: admission.queue_size" + noEffect}},

		// The slots that move.
		{file: adaptive, want: "4 slots of 4-64 by auto, queue 100 for 1m"},
		{file: adaptive, args: "--max-concurrent-requests 16", want: "16 slots of 4-64 by auto, queue 100 for 1m"},
		{file: adaptive, args: "--max-concurrent-requests 64 --rate-limit-tokens-per-second 0", want: "64 slots of 4-64 by auto, queue 100 for 1m"},
		{file: adaptive, args: "--rate-limit-tokens-per-second 50", want: "4 slots of 4-64 by auto, bucket 64 + 50 per 1s, queue 100 for 1m"},
		{file: adaptive, args: "--max-concurrent-requests -1", want: "open", warnings: []string{"p.yaml:1:13: admission.adaptive" + noEffect}},
		{file: adaptive, args: "--max-concurrent-requests 3", want: "--max-concurrent-requests: admission.adaptive at p.yaml:1:13 moves the slots between 4 and 64, and they cannot start at 3: write a number between, or remove it to start at 4"},
		{file: adaptive, args: "--queue-timeout-secs 0", want: "--queue-timeout-secs: " + nobody},

		// Beside rate_limiting.concurrent.
		{file: concurrent, want: "10 slots, queue 100 for 30s"},
		{file: concurrent, args: "--max-concurrent-requests 5", want: "--max-concurrent-requests: rate_limiting.concurrent at p.yaml:1:17 limits what is in flight, too: keep one of them"},
		{file: concurrent, args: "--max-concurrent-requests -1", want: "10 slots, queue 100 for 30s"},
		{file: "rate_limiting: {enabled: false, concurrent: {max_concurrent: 10}}", args: "--max-concurrent-requests 5", want: "5 slots, bucket 5 + 5 per 1s, queue 100 for 1m", warnings: []string{"p.yaml:1:26: rate_limiting.enabled: false, so nothing but what is in flight is limited, by admission"}},
		{file: "rate_limiting: {concurrent: {enabled: false, max_concurrent: 10}}", args: "--max-concurrent-requests 5", want: "5 slots, bucket 5 + 5 per 1s, queue 100 for 1m"},
	}
	for _, tt := range tests {
		_, flags, err := ParseServeFlags(strings.Fields(tt.args), io.Discard)
		var c *Config
		var warnings []Warning
		switch {
		case err != nil:
		case tt.file == "":
			c, warnings, err = Load("", flags, noEnv)
		default:
			c, warnings, err = Parse("p.yaml", []byte(tt.file), flags, noEnv)
		}
		got := fmt.Sprint(err)
		if err == nil {
			got = gateText(c.Gate())
		}
		if got != tt.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", tt.file, tt.args, got, tt.want)
		}
		var texts []string
		for _, w := range warnings {
			if !strings.HasSuffix(w.Message, "so everything passes") { // which is true of many
				texts = append(texts, w.String())
			}
		}
		if diff := cmp.Diff(tt.warnings, texts); diff != "" {
			t.Errorf("%s %s: warnings (-want +got):\n%s", tt.file, tt.args, diff)
		}
	}
}

// TestAdmissionExamples: the examples say what the document's command lines do.
func TestAdmissionExamples(t *testing.T) {
	for name, args := range map[string]string{
		"admission.yaml":             "--worker-urls http://w1:8000 http://w2:8000 --max-concurrent-requests 100 --rate-limit-tokens-per-second 50 --queue-size 200 --queue-timeout-secs 30",
		"admission-batch.yaml":       "--max-concurrent-requests 200 --queue-size 500 --queue-timeout-secs 60",
		"admission-interactive.yaml": "--max-concurrent-requests 50 --queue-size 25 --queue-timeout-secs 5",
	} {
		got, warnings, err := Load(filepath.Join(examples, name), Flags{}, noEnv)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%s: %v %v", name, warnings, err)
		}
		_, flags, err := ParseServeFlags(strings.Fields(args), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := Load("", flags, noEnv)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(says(*want), says(*got)); diff != "" {
			t.Errorf("%s (-flags +file):\n%s", name, diff)
		}
	}
}

// TestParseRate holds rates to what math/big makes of them.
func TestParseRate(t *testing.T) {
	for s, want := range map[string]Rate{
		"0": {0, time.Second}, "0.000": {0, time.Second}, "50": {50, time.Second}, "2.50": {5, 2 * time.Second},
		"0.000001": {1, 1_000_000 * time.Second}, "1000000000.000000": {1_000_000_000, time.Second}, "33.333": {33_333, 1000 * time.Second},
	} {
		if got, ok := parseRate(s); !ok || got != want {
			t.Errorf("%s: got %v, %v; want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", ".5", "5.", "-1", "+1", "1e3", "01", "1_000", "0.0000001", "1000000000.000001", "1000000001", "99999999999999999999", "5.5.5", "٣"} {
		if got, ok := parseRate(s); ok {
			t.Errorf("%q: got %v", s, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`-?[0-9]{0,11}(\.[0-9]{0,8})?`).Draw(t, "rate")
		got, ok := parseRate(s)
		ones, decimals, dotted := strings.Cut(s, ".")
		want, isNumber := new(big.Rat).SetString(s)
		plain := isNumber && ones != "" && (len(ones) == 1 || ones[0] != '0') && ones[0] != '-' && (!dotted || decimals != "") && len(decimals) <= 6
		if ok != (plain && want.Cmp(big.NewRat(1_000_000_000, 1)) <= 0) {
			t.Fatalf("%q: got %v, %v", s, got, ok)
		}
		if ok && (new(big.Rat).SetFrac64(got.Amount, int64(got.Per/time.Second)).Cmp(want) != 0 || got.Per%time.Second != 0) {
			t.Fatalf("%q: got %v", s, got)
		}
	})
}
