package policy

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
)

// TestBurstSteps asks as fast as it can, and waits a little in between: 20 pass
// in any ten seconds, and after 60 the minute is the cool-down.
func TestBurstSteps(t *testing.T) {
	p := limitsOnly(t, `
  default: {requests_per_minute: 60}
  burst: {multiplier: 2.0, window: 10s}
`)
	k := newAsker(t, penstock.MemoryOptions{})
	began := k.now
	const burst, minute = "default.requests_burst", "default.requests_per_minute"
	for _, step := range []struct {
		at     time.Duration
		passed int
		by     string // what denies the next one
	}{
		{0, 20, burst},
		{5 * time.Second, 0, burst},
		{10 * time.Second, 0, burst}, // the step of the charges ended 200ms after they were made
		{10200 * time.Millisecond, 20, burst},
		{20 * time.Second, 0, burst},
		{20400 * time.Millisecond, 20, minute},
		{31 * time.Second, 0, minute},
		{59 * time.Second, 0, minute},
		{61 * time.Second, 20, burst},         // the first 20 are a minute and a step old
		{71200 * time.Millisecond, 20, burst}, // the second
		{82 * time.Second, 20, minute},        // the third
		{1000 * time.Second, 20, burst},
	} {
		k.now = began.Add(step.at)
		if n, by := k.passes(p, visitor(), chat("m", 1, 1)); n != step.passed || by != step.by {
			t.Errorf("at %v: %d passed, then %s; want %d, %s", step.at, n, by, step.passed, step.by)
		}
	}
}

// TestBurstOfALargeRequest: one that is larger than the burst passes when nothing
// is used, and leaves a debt that keeps out what comes next. A guess is cut as
// the limit that is smoothed cuts it.
func TestBurstOfALargeRequest(t *testing.T) {
	p := limitsOnly(t, `
  default: {tokens_per_minute: 600}
  burst: {multiplier: 1.0, window: 10s}
`)
	k := newAsker(t, penstock.MemoryOptions{})
	if diff := cmp.Diff([]string{
		"default.tokens_per_minute under addr:192.0.2.1: 600",
		"default.tokens_burst under addr:192.0.2.1: 600",
	}, charged(p, visitor(), chat("m", 5000, -1))); diff != "" {
		t.Error(diff)
	}
	if by := k.ask(p, visitor(), chat("m", 250, 50)); by != "" {
		t.Errorf("300 of 600, with 100 in ten seconds: denied by %s", by)
	}
	for _, step := range []struct {
		at   time.Duration
		want string
	}{
		{5 * time.Second, "default.tokens_burst"},
		{10 * time.Second, "default.tokens_burst"},
		{10200 * time.Millisecond, ""},
	} {
		a := chat("m", 2, 1)
		n := p.Need(visitor(), a)
		charges, _ := p.Charges(nil, visitor(), Target{}, a, &n)
		d, err := k.limiter.LookAt(context.Background(), k.now.Add(step.at), charges...)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if !d.Allowed {
			got = p.Rule(d.Binding()).Name
		}
		if got != step.want {
			t.Errorf("after %v: denied by %q, want %q", step.at, got, step.want)
		}
	}
	// What can never pass is told by the limit, not by what smooths it.
	a := chat("m", 50_000, -1)
	n := p.Need(visitor(), a)
	if _, large := p.Charges(nil, visitor(), Target{}, a, &n); large == nil || large.Rule.Name != "default.tokens_per_minute" {
		t.Errorf("too large: %+v", large)
	}
}

// TestBursts: the shortest limit of each unit of every set is smoothed.
func TestBursts(t *testing.T) {
	p := compile(t, peopleText+`
rate_limiting:
  default: {requests_per_hour: 3600, requests_per_minute: 120, tokens_per_month: 2419200, concurrent_requests: 2}
  roles: {admin: {requests_per_second: 4, requests_per_minute: unlimited}}
  per_key: {keys: {bob: {cost_per_day: 8.64}}}
  per_model: {models: {m: {input_tokens_per_minute: 30}}}
  per_endpoint: [{path: /p, methods: [POST], limits: {output_tokens_per_minute: 32}}]
  global: {requests_per_second: 20}
  rules: [{name: r, limit: {requests: 5, per: 1m}}]
  window: {size: 30s}
  burst: {multiplier: 1.5, window: 500ms}
`)
	var got []string
	for _, r := range p.Rules() {
		if r.Burst {
			got = append(got, fmt.Sprintf("%s, %s: %d in %v, at most %d, global: %v", r.Name, r.Shown, r.Limit.Amount, r.Limit.Window, r.most, r.Global))
		}
	}
	want := []string{
		"default.requests_burst, requests_burst: 2 in 500ms, at most 60, global: false",
		"default.tokens_burst, tokens_burst: 1 in 500ms, at most 2419200, global: false",
		"roles.admin.requests_burst, requests_burst: 3 in 500ms, at most 4, global: false",
		"default.tokens_burst, tokens_burst: 1 in 500ms, at most 2419200, global: false",
		"default.requests_burst, requests_burst: 2 in 500ms, at most 60, global: false",
		"default.tokens_burst, tokens_burst: 1 in 500ms, at most 2419200, global: false",
		"per_key.cost_burst, cost_burst: 75000 in 500ms, at most 8640000000, global: false",
		"per_model.m.input_tokens_burst, m.input_tokens_burst: 1 in 500ms, at most 15, global: false",
		"per_endpoint.POST /p.output_tokens_burst, POST /p.output_tokens_burst: 1 in 500ms, at most 16, global: false",
		"global.requests_burst, global.requests_burst: 15 in 500ms, at most 20, global: true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMostLimits: every limit that there is, each unit smoothed, is one set that
// a store takes.
func TestMostLimits(t *testing.T) {
	text := "  default: {concurrent_requests: 1"
	for _, unit := range []string{"requests", "tokens", "input_tokens", "output_tokens", "cost"} {
		for _, per := range []string{"second", "minute", "hour", "day", "month"} {
			text += ", " + unit + "_per_" + per + ": 5"
		}
	}
	p := limitsOnly(t, text+"}\n  burst: {multiplier: 1.5, window: 500ms}")
	if n := len(p.Rules()); n != 31 {
		t.Errorf("%d limits, want 31", n)
	}
}

// TestUncountableBurst: a burst that cannot be counted is an error.
func TestUncountableBurst(t *testing.T) {
	c := config.Default()
	c.RateLimiting.Enabled = true
	c.RateLimiting.Burst = config.Burst{Enabled: true, Multiplier: 1e18, Window: 10 * time.Second}
	c.RateLimiting.Default = config.Limits{{Name: "requests_per_minute", Unit: "requests", Per: "minute", Amount: penstock.MaxAmount}}
	const want = "policy: default.requests_per_minute: penstock: limit 1 (requests_burst): an amount of 9223372036854775807: it must lie between 1 and 9007199254740992"
	if _, err := New(&c, nil); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}
