package policy

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// tb is what both testing.T and rapid.T are.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func parse(t tb, text string) *config.Config {
	t.Helper()
	c, _, err := config.Parse("penstock.yaml", []byte(text), config.Flags{}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func compile(t tb, text string) *Policy {
	t.Helper()
	p, err := New(parse(t, text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// limitsOnly compiles what stands under rate_limiting, each line indented by
// two.
func limitsOnly(t tb, text string) *Policy {
	t.Helper()
	return compile(t, "rate_limiting:\n"+text)
}

// shown writes the rules down, one a line: name (as clients read it): for
// which requests, per whom: amount of unit per window, how it is counted.
func shown(rules []Rule) (lines []string) {
	for _, r := range rules {
		l := r.Limit
		how := l.Algorithm.String()
		switch {
		case l.Unit == penstock.Concurrent:
			how = "in flight"
		case l.Algorithm == penstock.SlidingWindow:
			how = fmt.Sprintf("sliding %d x %v", l.Window/l.Precision, l.Precision)
		case l.Algorithm == penstock.TokenBucket:
			how = fmt.Sprintf("bucket of %d", l.Capacity)
		}
		name := r.Name
		if last := r.Name[strings.LastIndexByte(r.Name, '.')+1:]; last != r.Shown {
			name += " (" + r.Shown + ")"
		}
		window := l.Window.String()
		if l.Window == penstock.Month {
			window = "month"
		}
		lines = append(lines, fmt.Sprintf("%s: %s, per %s: %d %v/%s %s", name, r.Match, r.Per, l.Amount, l.Unit, window, how))
	}
	return lines
}

// documents are the rules that the documents' configurations come to.
func documents() map[string][]string {
	return map[string][]string{
		"01-basic": {
			"default.requests_per_minute: any, per caller: 60 requests/1m0s sliding 60 x 1s",
			"default.tokens_per_minute: any, per caller: 100000 tokens/1m0s sliding 60 x 1s",
			"default.concurrent_requests: any, per caller: 10 concurrent/0s in flight",
		},
		"02-requests": {
			"default.requests_per_minute: any, per caller: 60 requests/1m0s sliding 60 x 1s",
			"default.requests_per_hour: any, per caller: 1000 requests/1h0m0s sliding 60 x 1m0s",
			"default.requests_per_day: any, per caller: 10000 requests/24h0m0s sliding 60 x 24m0s",
		},
		"03-tokens": {
			"default.tokens_per_minute: any, per caller: 100000 tokens/1m0s sliding 60 x 1s",
			"default.tokens_per_hour: any, per caller: 1000000 tokens/1h0m0s sliding 60 x 1m0s",
			"default.input_tokens_per_minute: any, per caller: 50000 input_tokens/1m0s sliding 60 x 1s",
			"default.output_tokens_per_minute: any, per caller: 50000 output_tokens/1m0s sliding 60 x 1s",
		},
		"04-cost": {
			"default.cost_per_minute: any, per caller: 1000000000 cost/1m0s sliding 60 x 1s",
			"default.cost_per_hour: any, per caller: 20000000000 cost/1h0m0s sliding 60 x 1m0s",
			"default.cost_per_day: any, per caller: 100000000000 cost/24h0m0s sliding 60 x 24m0s",
		},
		"05-concurrent": nil, // slots of the gateway, not rules
		"06-per-key": {
			"per_key.requests_per_minute: key listed in line 8, per caller: 200 requests/1m0s sliding 60 x 1s",
			"per_key.tokens_per_minute: key listed in line 8, per caller: 500000 tokens/1m0s sliding 60 x 1s",
			"per_key.requests_per_minute: key listed in line 11, per caller: 10 requests/1m0s sliding 60 x 1s",
			"per_key.tokens_per_minute: key listed in line 11, per caller: 10000 tokens/1m0s sliding 60 x 1s",
		},
		"08-per-model": {
			"per_model.claude-3-opus.requests_per_minute (claude-3-opus.requests_per_minute): model claude-3-opus, per caller and model: 20 requests/1m0s sliding 60 x 1s",
			"per_model.claude-3-opus.tokens_per_minute (claude-3-opus.tokens_per_minute): model claude-3-opus, per caller and model: 50000 tokens/1m0s sliding 60 x 1s",
			"per_model.claude-3-sonnet.requests_per_minute (claude-3-sonnet.requests_per_minute): model claude-3-sonnet, per caller and model: 60 requests/1m0s sliding 60 x 1s",
			"per_model.claude-3-sonnet.tokens_per_minute (claude-3-sonnet.tokens_per_minute): model claude-3-sonnet, per caller and model: 200000 tokens/1m0s sliding 60 x 1s",
			"per_model.gpt-4.requests_per_minute (gpt-4.requests_per_minute): model gpt-4, per caller and model: 30 requests/1m0s sliding 60 x 1s",
			"per_model.gpt-4.tokens_per_minute (gpt-4.tokens_per_minute): model gpt-4, per caller and model: 100000 tokens/1m0s sliding 60 x 1s",
		},
		"09-storage-memory": nil,
		"11-headers":        nil,
		"12-error-response": nil,
		"13-sliding-window": nil,
		"14-fixed-window":   nil,
		"15-burst":          nil,
		"16-bypass":         nil,
	}
}

func example(t tb, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples/configs", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("../../examples/configs/[0-9]*.yaml")
	if want := len(documents()); err != nil || len(files) != want {
		t.Fatalf("%d examples, %v; want %d", len(files), err, want)
	}
	for name, want := range documents() {
		p := compile(t, example(t, name))
		if diff := cmp.Diff(want, shown(p.Rules())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestDocumentsMerged puts what two documents show into one file, as their
// readers do.
func TestDocumentsMerged(t *testing.T) {
	body := func(name string) string {
		_, rest, ok := strings.Cut(example(t, name), "rate_limiting:\n")
		if !ok {
			t.Fatalf("%s has no rate_limiting", name)
		}
		return rest
	}
	seconds := func(lines []string) []string {
		lines = slices.Clone(lines)
		for i := range lines {
			lines[i] = strings.ReplaceAll(lines[i], "sliding 60 x 1s", "fixed_window")
		}
		return lines
	}
	tests := []struct {
		a, b string
		want []string
	}{
		{"01-basic", "13-sliding-window", documents()["01-basic"]},
		{"01-basic", "14-fixed-window", seconds(documents()["01-basic"])},
		{"08-per-model", "14-fixed-window", seconds(documents()["08-per-model"])},
		{"01-basic", "05-concurrent", documents()["01-basic"]},
		{"01-basic", "16-bypass", documents()["01-basic"]},
		{"04-cost", "06-per-key", append(
			documents()["04-cost"],
			"default.cost_per_minute: key listed in line 13, per caller: 1000000000 cost/1m0s sliding 60 x 1s",
			"default.cost_per_hour: key listed in line 13, per caller: 20000000000 cost/1h0m0s sliding 60 x 1m0s",
			"default.cost_per_day: key listed in line 13, per caller: 100000000000 cost/24h0m0s sliding 60 x 24m0s",
			"per_key.requests_per_minute: key listed in line 13, per caller: 200 requests/1m0s sliding 60 x 1s",
			"per_key.tokens_per_minute: key listed in line 13, per caller: 500000 tokens/1m0s sliding 60 x 1s",
			"default.cost_per_minute: key listed in line 16, per caller: 1000000000 cost/1m0s sliding 60 x 1s",
			"default.cost_per_hour: key listed in line 16, per caller: 20000000000 cost/1h0m0s sliding 60 x 1m0s",
			"default.cost_per_day: key listed in line 16, per caller: 100000000000 cost/24h0m0s sliding 60 x 24m0s",
			"per_key.requests_per_minute: key listed in line 16, per caller: 10 requests/1m0s sliding 60 x 1s",
			"per_key.tokens_per_minute: key listed in line 16, per caller: 10000 tokens/1m0s sliding 60 x 1s",
		)},
		{"04-cost", "08-per-model", append(documents()["04-cost"], documents()["08-per-model"]...)},
		{"01-basic", "15-burst", append(
			documents()["01-basic"],
			"default.requests_burst: any, per caller: 20 requests/10s sliding 50 x 200ms",
			"default.tokens_burst: any, per caller: 33334 tokens/10s sliding 50 x 200ms",
		)},
		{"04-cost", "15-burst", append(documents()["04-cost"], "default.cost_burst: any, per caller: 333333334 cost/10s sliding 50 x 200ms")},
		{"01-basic", "08-per-model", append(documents()["01-basic"], documents()["08-per-model"]...)},
		{"01-basic", "06-per-key", append(
			documents()["01-basic"],
			// Their own two, and the third as everybody has it.
			"per_key.requests_per_minute: key listed in line 14, per caller: 200 requests/1m0s sliding 60 x 1s",
			"per_key.tokens_per_minute: key listed in line 14, per caller: 500000 tokens/1m0s sliding 60 x 1s",
			"default.concurrent_requests: key listed in line 14, per caller: 10 concurrent/0s in flight",
			"per_key.requests_per_minute: key listed in line 17, per caller: 10 requests/1m0s sliding 60 x 1s",
			"per_key.tokens_per_minute: key listed in line 17, per caller: 10000 tokens/1m0s sliding 60 x 1s",
			"default.concurrent_requests: key listed in line 17, per caller: 10 concurrent/0s in flight",
		)},
	}
	for _, tt := range tests {
		text := example(t, tt.a) + strings.ReplaceAll(body(tt.b), "  enabled: true\n  default", "  default")
		p := compile(t, text)
		if diff := cmp.Diff(tt.want, shown(p.Rules())); diff != "" {
			t.Errorf("%s and %s (-want +got):\n%s", tt.a, tt.b, diff)
		}
	}
}

// The callers of the tables.
func visitor() *traffic.Caller { return &traffic.Caller{ID: "addr:192.0.2.1", Name: "192.0.2.1"} }

func holder(key string) *traffic.Caller {
	digest := sha256.Sum256([]byte(key))
	return &traffic.Caller{ID: CallerID(config.Key{Digest: digest}), Name: "key-1", Verified: true, Listed: true}
}

func named(id string) *traffic.Caller {
	return &traffic.Caller{ID: CallerID(config.Key{ID: id}), Name: id, Verified: true, Listed: true}
}

// chat is a request of so many input tokens that asks for at most so many
// output tokens; negative: it does not say.
func chat(model string, input, output int64) *traffic.Ask {
	return &traffic.Ask{
		Endpoint:   traffic.Endpoint{Dialect: traffic.OpenAI, Kind: traffic.ChatCompletions},
		Model:      model,
		Input:      input,
		LeastInput: (input*4 + 127) / 128,
		TextBytes:  input * 4,
		MaxOutput:  output,
		Answers:    1,
	}
}

func of(kind traffic.Kind) *traffic.Ask {
	return &traffic.Ask{Endpoint: traffic.Endpoint{Dialect: traffic.OpenAI, Kind: kind}}
}

// charged writes down what a request is charged: rule, key, amount.
func charged(p *Policy, c *traffic.Caller, a *traffic.Ask) (lines []string) {
	n := p.Need(c, a)
	charges, large := p.Charges(nil, c, Target{}, a, &n)
	for i := range charges {
		ch := &charges[i]
		lines = append(lines, fmt.Sprintf("%s under %s: %d", p.Rule(ch).Name, shortKey(ch.Key), ch.Amount))
	}
	if large != nil {
		lines = append(lines, large.Rule.Name+": "+large.Message)
	}
	return lines
}

// shortKey cuts a digest to what tells it apart.
func shortKey(key string) string {
	before, digest, ok := strings.Cut(key, "key-sha256:")
	if !ok {
		return key
	}
	return before + "key-sha256:" + digest[:4]
}

func TestDocumentsCharges(t *testing.T) {
	tests := []struct {
		file   string
		caller *traffic.Caller
		ask    *traffic.Ask
		want   []string
	}{
		{"01-basic", visitor(), chat("m", 100, 50), []string{
			"default.requests_per_minute under addr:192.0.2.1: 1",
			"default.tokens_per_minute under addr:192.0.2.1: 150",
			"default.concurrent_requests under addr:192.0.2.1: 1",
		}},
		{"01-basic", visitor(), of(traffic.Other), []string{
			"default.requests_per_minute under addr:192.0.2.1: 1",
			"default.concurrent_requests under addr:192.0.2.1: 1",
		}},
		{"01-basic", visitor(), of(traffic.ModelList), []string{
			"default.requests_per_minute under addr:192.0.2.1: 1",
		}},
		{"02-requests", visitor(), chat("m", 100, 50), []string{
			"default.requests_per_minute under addr:192.0.2.1: 1",
			"default.requests_per_hour under addr:192.0.2.1: 1",
			"default.requests_per_day under addr:192.0.2.1: 1",
		}},
		{"03-tokens", visitor(), chat("m", 100, -1), []string{
			"default.tokens_per_minute under addr:192.0.2.1: 1124",
			"default.tokens_per_hour under addr:192.0.2.1: 1124",
			"default.input_tokens_per_minute under addr:192.0.2.1: 100",
			"default.output_tokens_per_minute under addr:192.0.2.1: 1024",
		}},
		{"03-tokens", visitor(), of(traffic.Other), nil},
		{"04-cost", visitor(), chat("m", 100, 50), []string{ // at 75 and 150 dollars a million
			"default.cost_per_minute under addr:192.0.2.1: 15000000",
			"default.cost_per_hour under addr:192.0.2.1: 15000000",
			"default.cost_per_day under addr:192.0.2.1: 15000000",
		}},
		{"04-cost", visitor(), chat("m", 100_000, 50), []string{ // cut: it is a guess
			"default.cost_per_minute under addr:192.0.2.1: 1000000000",
			"default.cost_per_hour under addr:192.0.2.1: 7507500000",
			"default.cost_per_day under addr:192.0.2.1: 7507500000",
		}},
		{"04-cost", visitor(), of(traffic.Other), nil},
		{"05-concurrent", visitor(), chat("m", 100, 50), nil},
		{"15-burst", visitor(), chat("m", 100, 50), nil},
		{"06-per-key", holder("key_premium_user"), chat("m", 100, 50), []string{
			"per_key.requests_per_minute under key-sha256:0bd7: 1",
			"per_key.tokens_per_minute under key-sha256:0bd7: 150",
		}},
		{"06-per-key", holder("key_free_tier"), chat("m", 30000, 50000), []string{
			"per_key.requests_per_minute under key-sha256:6d21: 1",
			"per_key.tokens_per_minute under key-sha256:6d21: 10000", // cut: both are guesses
		}},
		{"06-per-key", holder("another_key"), chat("m", 100, 50), nil},
		{"06-per-key", visitor(), chat("m", 100, 50), nil},
		{"08-per-model", visitor(), chat("gpt-4", 100, 50), []string{
			"per_model.gpt-4.requests_per_minute under model|gpt-4|addr:192.0.2.1: 1",
			"per_model.gpt-4.tokens_per_minute under model|gpt-4|addr:192.0.2.1: 150",
		}},
		{"08-per-model", visitor(), chat("gpt-4-2024-05-13", 100, 50), []string{
			"per_model.gpt-4.requests_per_minute under model|gpt-4|addr:192.0.2.1: 1",
			"per_model.gpt-4.tokens_per_minute under model|gpt-4|addr:192.0.2.1: 150",
		}},
		{"08-per-model", visitor(), chat("claude-3-opus-latest", 1, 1), []string{
			"per_model.claude-3-opus.requests_per_minute under model|claude-3-opus|addr:192.0.2.1: 1",
			"per_model.claude-3-opus.tokens_per_minute under model|claude-3-opus|addr:192.0.2.1: 2",
		}},
		{"08-per-model", visitor(), chat("gpt-4o", 100, 50), nil},
		{"08-per-model", visitor(), chat("", 100, 50), nil},
		{"09-storage-memory", visitor(), chat("m", 100, 50), nil},
		{"11-headers", visitor(), chat("m", 100, 50), nil},
		{"12-error-response", visitor(), chat("m", 100, 50), nil},
		{"13-sliding-window", visitor(), chat("m", 100, 50), nil},
		{"14-fixed-window", visitor(), chat("m", 100, 50), nil},
		{"16-bypass", visitor(), chat("m", 100, 50), nil},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		seen[tt.file] = true
		if diff := cmp.Diff(tt.want, charged(compile(t, example(t, tt.file)), tt.caller, tt.ask)); diff != "" {
			t.Errorf("%s, %s, %+v (-want +got):\n%s", tt.file, tt.caller.Name, tt.ask, diff)
		}
	}
	for name := range documents() {
		if !seen[name] {
			t.Errorf("nothing is asked of %s", name)
		}
	}
}
