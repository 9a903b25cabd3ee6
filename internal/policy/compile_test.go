package policy

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// TestPlanOfAKey: what an override names takes the place of the default of the
// same name, what it does not name stays, and unlimited lifts.
func TestPlanOfAKey(t *testing.T) {
	const head = `
auth:
  keys:
    - {id: alice, key: key-of-alice}
rate_limiting:
  default: {requests_per_minute: 60, tokens_per_minute: 1000, concurrent_requests: 2}
  per_key:
    keys:
      alice: `
	tests := []struct {
		limits string
		want   []string // of alice's plan
	}{
		{"{requests_per_minute: 120}", []string{
			"per_key.requests_per_minute under key:alice: 1",
			"default.tokens_per_minute under key:alice: 15",
			"default.concurrent_requests under key:alice: 1",
		}},
		{"{concurrent_requests: 9, requests_per_hour: 5}", []string{
			"default.requests_per_minute under key:alice: 1",
			"default.tokens_per_minute under key:alice: 15",
			"per_key.concurrent_requests under key:alice: 1",
			"per_key.requests_per_hour under key:alice: 1",
		}},
		{"{tokens_per_minute: unlimited}", []string{
			"default.requests_per_minute under key:alice: 1",
			"default.concurrent_requests under key:alice: 1",
		}},
		{"{tokens_per_minute: unlimited, requests_per_minute: unlimited, concurrent_requests: unlimited}", nil},
		{"{tokens_per_day: unlimited}", []string{ // lifts nothing
			"default.requests_per_minute under key:alice: 1",
			"default.tokens_per_minute under key:alice: 15",
			"default.concurrent_requests under key:alice: 1",
		}},
	}
	for _, tt := range tests {
		p := compile(t, head+tt.limits)
		if diff := cmp.Diff(tt.want, charged(p, named("alice"), chat("m", 10, 5))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.limits, diff)
		}
		others := []string{
			"default.requests_per_minute under key:bob: 1",
			"default.tokens_per_minute under key:bob: 15",
			"default.concurrent_requests under key:bob: 1",
		}
		if diff := cmp.Diff(others, charged(p, named("bob"), chat("m", 10, 5))); diff != "" {
			t.Errorf("%s, of somebody else (-want +got):\n%s", tt.limits, diff)
		}
	}
	off := compile(t, strings.Replace(head, "per_key:\n", "per_key:\n    enabled: false\n", 1)+"{requests_per_minute: 1}")
	if got := charged(off, named("alice"), chat("m", 10, 5))[0]; got != "default.requests_per_minute under key:alice: 1" {
		t.Errorf("per_key is off, and alice is charged %s", got)
	}
}

// TestPlanNeedsAListedCaller: an ID that only looks like that of a listed key
// has no plan of its own.
func TestPlanNeedsAListedCaller(t *testing.T) {
	p := compile(t, example(t, "06-per-key"))
	c := holder("key_premium_user")
	c.Listed = false
	if got := charged(p, c, chat("m", 1, 1)); got != nil {
		t.Errorf("charged %v", got)
	}
}

// TestWindows: window.size measures the per-minute limits alone, at the same
// rate; a precision makes every other window as fine.
func TestWindows(t *testing.T) {
	const limits = `
  default: {requests_per_second: 5, requests_per_minute: 60, requests_per_hour: 600, requests_per_day: 6000,
    requests_per_month: 60000, concurrent_requests: 3}
`
	tests := []struct{ said, want string }{
		{"", "5/1s sliding 50 x 20ms; 60/1m0s sliding 60 x 1s; 600/1h0m0s sliding 60 x 1m0s; 6000/24h0m0s sliding 60 x 24m0s"},
		{"  window: {size: 60s, precision: 1s}", "5/1s sliding 50 x 20ms; 60/1m0s sliding 60 x 1s; 600/1h0m0s sliding 60 x 1m0s; 6000/24h0m0s sliding 60 x 24m0s"},
		{"  window: {size: 60s, precision: 10s}", "5/1s sliding 5 x 200ms; 60/1m0s sliding 6 x 10s; 600/1h0m0s sliding 6 x 10m0s; 6000/24h0m0s sliding 6 x 4h0m0s"},
		{"  window: {size: 60s, precision: 60s}", "5/1s sliding 1 x 1s; 60/1m0s sliding 1 x 1m0s; 600/1h0m0s sliding 1 x 1h0m0s; 6000/24h0m0s sliding 1 x 24h0m0s"},
		{"  window: {size: 60s, precision: 500ms}", "5/1s sliding 100 x 10ms; 60/1m0s sliding 120 x 500ms; 600/1h0m0s sliding 120 x 30s; 6000/24h0m0s sliding 120 x 12m0s"},
		{"  window: {size: 30s}", "5/1s sliding 50 x 20ms; 30/30s sliding 60 x 500ms; 600/1h0m0s sliding 60 x 1m0s; 6000/24h0m0s sliding 60 x 24m0s"},
		{"  window: {size: 1s}", "5/1s sliding 50 x 20ms; 1/1s sliding 50 x 20ms; 600/1h0m0s sliding 60 x 1m0s; 6000/24h0m0s sliding 60 x 24m0s"},
		{"  window: {size: 24h}", "5/1s sliding 50 x 20ms; 86400/24h0m0s sliding 60 x 24m0s; 600/1h0m0s sliding 60 x 1m0s; 6000/24h0m0s sliding 60 x 24m0s"},
		{"  algorithm: fixed_window", "5/1s fixed_window; 60/1m0s fixed_window; 600/1h0m0s fixed_window; 6000/24h0m0s fixed_window"},
		{"  algorithm: fixed_window\n  window: {size: 90s}", "5/1s fixed_window; 90/1m30s fixed_window; 600/1h0m0s fixed_window; 6000/24h0m0s fixed_window"},
		{"  algorithm: token_bucket", "5/1s bucket of 5; 60/1m0s bucket of 60; 600/1h0m0s bucket of 600; 6000/24h0m0s bucket of 6000"},
		{"  algorithm: token_bucket\n  window: {size: 10s}", "5/1s bucket of 5; 10/10s bucket of 10; 600/1h0m0s bucket of 600; 6000/24h0m0s bucket of 6000"},
	}
	for _, tt := range tests {
		var got []string
		lines := shown(limitsOnly(t, limits+tt.said).Rules())
		for _, line := range lines {
			_, limit, _ := strings.Cut(line, "per caller: ")
			got = append(got, strings.Replace(limit, " requests/", "/", 1))
		}
		want := append(strings.Split(tt.want, "; "), "60000/month fixed_window", "3 concurrent/0s in flight")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.said, diff)
		}
	}
}

// TestLargeAmounts: neither a large amount nor a long window wraps around.
func TestLargeAmounts(t *testing.T) {
	tests := []struct {
		amount int64
		size   time.Duration
		want   int64
	}{
		{1, time.Minute, 1},
		{1_000_000_000, 24 * time.Hour, 1_440_000_000_000},
		{penstock.MaxAmount, 30 * time.Second, penstock.MaxAmount / 2},
		{penstock.MaxAmount, time.Minute, penstock.MaxAmount},
		{penstock.MaxAmount / 1440, 24 * time.Hour, penstock.MaxAmount / 1440 * 1440},
		{penstock.MaxAmount, 24 * time.Hour, math.MaxInt64},
		{math.MaxInt64, 24 * time.Hour, math.MaxInt64},
	}
	for _, tt := range tests {
		if got := scale(tt.amount, tt.size); got != tt.want {
			t.Errorf("%d a minute in %v: %d, want %d", tt.amount, tt.size, got, tt.want)
		}
	}
	p := limitsOnly(t, "  default: {tokens_per_minute: 1000000000}\n  window: {size: 24h}")
	if got := p.Rules()[0].Limit.Amount; got != 1_440_000_000_000 {
		t.Errorf("a thousand million tokens a minute are %d a day", got)
	}
}

// TestUncountable: what cannot be counted is an error that names the rule.
func TestUncountable(t *testing.T) {
	c := config.Default()
	c.RateLimiting.Enabled = true
	c.RateLimiting.Window.Size = 24 * time.Hour
	c.RateLimiting.Global = config.Limits{{Name: "tokens_per_minute", Unit: "tokens", Per: "minute", Amount: penstock.MaxAmount}}
	c.RateLimiting.Default = config.Limits{{Name: "requests_per_minute", Unit: "requests", Per: "minute", Amount: penstock.MaxAmount}}
	const want = "policy: default.requests_per_minute: penstock: limit 0 (requests_per_minute): " +
		"an amount of 9223372036854775807: it must lie between 1 and 9007199254740992"
	if _, err := New(&c, nil); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestGlobal(t *testing.T) {
	p := limitsOnly(t, `
  default: {requests_per_minute: 60}
  per_model:
    models:
      m: {requests_per_minute: 30}
  global: {requests_per_minute: 100, tokens_per_hour: 1000}
`)
	want := []string{
		"default.requests_per_minute under addr:192.0.2.1: 1",
		"per_model.m.requests_per_minute under model|m|addr:192.0.2.1: 1",
		"global.requests_per_minute under global: 1",
		"global.tokens_per_hour under global: 15",
	}
	if diff := cmp.Diff(want, charged(p, visitor(), chat("m", 10, 5))); diff != "" {
		t.Error(diff)
	}
	seen := map[string]bool{}
	for _, r := range p.Rules() {
		if want := strings.HasPrefix(r.Name, "global."); r.Global != want {
			t.Errorf("%s: Global is %v", r.Name, r.Global)
		}
		if seen[r.Shown] {
			t.Errorf("two rules of a request are shown as %s", r.Shown)
		}
		seen[r.Shown] = true
	}
	n := p.Need(visitor(), chat("m", 10, 5))
	charges, _ := p.Charges(nil, visitor(), Target{}, chat("m", 10, 5), &n)
	if last := charges[len(charges)-1]; !last.Keep || last.Overflow != "" {
		t.Errorf("what all share has no room kept for it: %+v", last)
	}
}

// TestOff: without the section, or with it switched off, nothing is charged
// and nothing is bypassed.
func TestOff(t *testing.T) {
	for _, text := range []string{"", "{}", `
rate_limiting:
  enabled: false
  default: {requests_per_minute: 1}
  global: {requests_per_minute: 1}
  per_model: {models: {m: {requests_per_minute: 1}}}
  bypass: {paths: [/v1/x], ips: [192.0.2.0/24]}
`} {
		if text == "" {
			text = "listen: 127.0.0.1:3000"
		}
		p := compile(t, text)
		if got := charged(p, visitor(), chat("m", 1, 1)); got != nil {
			t.Errorf("%s: charged %v", text, got)
		}
		if len(p.Rules()) != 0 || len(p.Standing(nil, nil)) != 0 || len(p.Standing(nil, visitor())) != 0 || len(p.Precheck(nil, visitor(), Target{})) != 0 {
			t.Errorf("%s: there are rules", text)
		}
		c := visitor()
		c.Bypass = true
		if p.Bypass(c, "/v1/x", true) {
			t.Errorf("%s: bypassed, though nothing is limited", text)
		}
	}
}

// TestPrecheck: only what headers tell is looked at, which is the request
// itself, never the model or tokens.
func TestPrecheck(t *testing.T) {
	p := limitsOnly(t, `
  default: {requests_per_minute: 60, tokens_per_minute: 1000, input_tokens_per_minute: 500, concurrent_requests: 3}
  per_model:
    models:
      "*": {requests_per_minute: 30, tokens_per_minute: 3}
  global: {requests_per_second: 100, tokens_per_hour: 1000}
`)
	var got []string
	room := make([]penstock.Charge, 0, 8)
	charges := p.Precheck(room, visitor(), Target{})
	for i := range charges {
		got = append(got, p.Rule(&charges[i]).Name)
		if charges[i].Amount != 1 {
			t.Errorf("%s is asked for %d", got[i], charges[i].Amount)
		}
	}
	want := []string{"default.requests_per_minute", "default.concurrent_requests", "global.requests_per_second"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if &room[:1][0] != &charges[0] {
		t.Error("the room that was given was not used")
	}
}

// TestStanding: to look at how a caller stands takes nothing.
func TestStanding(t *testing.T) {
	p := limitsOnly(t, `
  default: {requests_per_minute: 60, tokens_per_minute: 1000}
  per_model: {scope: all, models: {big: {requests_per_minute: 5}}}
  rules:
    - {name: mine, per: [caller], limit: {requests: 1, per: 1m}}
    - {name: ours, limit: {tokens: 900, per: 1m}, candidate: 800}
    - {name: tried, limit: {tokens: 700, per: 1m}, mode: shadow}
    - {name: late, match: {path: /v1/batches}, priority: bulk}
  global: {requests_per_second: 100}
`)
	for _, tt := range []struct {
		caller *traffic.Caller
		want   []string
		keep   bool
	}{
		{named("alice"), []string{"default.requests_per_minute", "default.tokens_per_minute"}, true},
		{visitor(), []string{"default.requests_per_minute", "default.tokens_per_minute"}, false},
		{nil, []string{"global.requests_per_second", "per_model.big.requests_per_minute", "rules.ours"}, true},
	} {
		var got []string
		charges := p.Standing(nil, tt.caller)
		for i := range charges {
			got = append(got, p.Rule(&charges[i]).Name)
			if charges[i].Amount != 0 || charges[i].Keep != tt.keep {
				t.Errorf("%v: a charge of %d, kept: %v", tt.caller, charges[i].Amount, charges[i].Keep)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%v: %s", tt.caller, diff)
		}
	}
}

// TestKept: a store keeps room for what the known few can have at most.
func TestKept(t *testing.T) {
	tests := []struct {
		text   string
		listed int
		want   int
	}{
		{"  default: {requests_per_minute: 1}", 0, 1},
		{"  default: {requests_per_minute: 1}", 5, 6},
		{"  per_model: {models: {a: {requests_per_minute: 1}, b: {requests_per_minute: 1}}}", 5, 16},
		{"  per_model: {scope: all, models: {a: {requests_per_minute: 1}, b: {requests_per_minute: 1}}}", 5, 8},
		{"  rules: [{name: x, per: [caller], limit: {requests: 1, per: 1m}}]", 5, 11},
		{"  rules: [{name: x, per: [caller, model], limit: {requests: 1, per: 1m}}]", 5, 6},
		{"  rules: [{name: x, match: {model: [a, b*]}, per: [caller, model], limit: {requests: 1, per: 1m}}]", 5, 6},
		{"  rules: [{name: x, match: {model: [a, b]}, per: [model, caller], limit: {requests: 1, per: 1m}}]", 5, 16},
		{"  rules: [{name: x, match: {model: [a, b]}, per: [model], limit: {requests: 1, per: 1m}}]", 5, 8},
	}
	for _, tt := range tests {
		if got := limitsOnly(t, tt.text).Kept(tt.listed); got != tt.want {
			t.Errorf("%s, %d listed: %d, want %d", tt.text, tt.listed, got, tt.want)
		}
	}
}

// TestKeptIsEnough counts the keys that really are kept.
func TestKeptIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scope := rapid.SampledFrom([]string{"caller", "all"}).Draw(t, "scope")
		listed := rapid.IntRange(0, 4).Draw(t, "listed")
		models := rapid.IntRange(1, 4).Draw(t, "models")
		text := "  default: {requests_per_minute: 5}\n  global: {requests_per_second: 3}\n  per_model:\n    scope: " + scope + "\n    models:\n"
		for i := range models {
			text += "      m" + string(rune('a'+i)) + ": {requests_per_minute: 4}\n"
		}
		p := limitsOnly(t, text)
		keys := map[string]bool{}
		for i := range listed + 3 {
			who := named("k" + string(rune('a'+i)))
			who.Listed = i < listed
			for j := range models {
				a := chat("m"+string(rune('a'+j)), 1, 1)
				n := p.Need(who, a)
				charges, _ := p.Charges(nil, who, Target{}, a, &n)
				for k := range charges {
					if charges[k].Keep {
						keys[charges[k].Key] = true
					}
				}
			}
		}
		if len(keys) > p.Kept(listed) {
			t.Fatalf("%d keys are kept, Kept says %d: %v", len(keys), p.Kept(listed), keys)
		}
	})
}
