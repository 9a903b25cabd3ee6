package server

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Test04: money alone. gpt-4 costs $30 a million tokens of input and $60 of
// output; a dollar a minute instead of it in thousandths.
func Test04(t *testing.T) {
	r := start(t, example(t, "04-cost", "cost_per_minute: 1.00 -> cost_per_minute: 0.01"))
	r.set(noon())
	// 100 in and 100 out are $0.009.
	r.want("the first", r.chat("gpt-4", 100, 100), 200, "X-RateLimit-Limit: 10000000")
	r.settled()
	r.want("a tenth of a cent is left", r.chat("gpt-4", 10, 12), 429, "X-RateLimit-Limit: 10000000", "X-RateLimit-Remaining: 1000000", "Retry-After: 61")
	a := r.chat("gpt-4", 10, 10) // $0.0009
	r.want("for as much as that", a, 200, "X-RateLimit-Remaining: 100000", "X-RateLimit-Warning: cost_per_minute: 99% used")
	r.want("another caller has its own", r.chat("gpt-4", 10, 10, "X-Forwarded-For: 192.0.2.7"), 200, "X-RateLimit-Remaining: 9100000")
	r.settled()
	r.advance(61 * time.Second)
	r.want("a minute later", r.chat("gpt-4", 1, 1), 200, "X-RateLimit-Limit: 10000000")
	// Of a model that is listed nowhere: $75 and $150.
	r.want("a model of our own", r.chat("our-own", 20, 40), 200, "X-RateLimit-Remaining: 2410000")
	r.settled()
	for series, want := range map[string]string{
		`penstock_cost_usd_total{model="our-own"}`:                  "0.0075",
		`penstock_unlisted_price_total{model="our-own"}`:            "1",
		`penstock_near_limit_total{rule="default.cost_per_minute"}`: "2",
	} {
		if got := r.metric(series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
	r.log.line(t, "pricing.default")
}

// Test15: bursts are smoothed. 6 a minute, of which 2 in any ten seconds.
func Test15(t *testing.T) {
	r := start(t, example(t, "15-burst", "window: 10s -> window: 10s\n  default: {requests_per_minute: 6}"))
	r.set(noon())
	for round, wait := range []int{11, 11, 39} { // at last for the minute
		for i := range 2 {
			r.want(fmt.Sprint("round ", round, ", request ", i), r.chat("m", 1, 1), 200)
		}
		a := r.chat("m", 1, 1)
		r.want("too many at once", a, 429, fmt.Sprint("Retry-After: ", wait))
		if a.header.Get("X-RateLimit-Warning") != "" {
			t.Errorf("a denial warns: %v", a.header)
		}
		r.want("another caller", r.ask("GET", "/v1/models", "", fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", round+1)), 200)
		r.advance(11 * time.Second)
	}
	r.want("the minute is used up", r.chat("m", 1, 1), 429, "X-RateLimit-Limit: 6")
	r.advance(28*time.Second - time.Millisecond) // of the 61 since noon
	r.want("a moment too early", r.chat("m", 1, 1), 429)
	r.advance(time.Millisecond)
	r.want("a minute after the first", r.chat("m", 1, 1), 200)
}

// TestWhoIsWhat: the roles and tenants that the file gives to keys are those that
// plans and rules go by.
func TestWhoIsWhat(t *testing.T) {
	r := start(t, `
trusted_proxies: [loopback]
auth:
  keys:
    - {id: alice, key: alice-s3cret, tenant: acme, role: admin}
    - {id: bob, key: bob-s3cret, tenant: acme}
    - {id: carol, key: carol-s3cret}
rate_limiting:
  default: {requests_per_hour: 50}
  roles:
    anonymous: {requests_per_hour: 10}
    admin: {requests_per_hour: 90}
  per_endpoint: [{path: /v1/embeddings, methods: [POST], limits: {requests_per_hour: 1}}]
  rules:
    - {name: tenant, match: {tenant: acme}, per: [tenant], limit: {output_tokens: 100, per: 1h}, candidate: 60}
    - {name: one, match: {key: carol, model: "claude-*"}, per: [caller, model], limit: {requests: 1, per: 1h}}
`)
	r.set(noon())
	alice, bob, carol := "Authorization: Bearer alice-s3cret", "Authorization: Bearer bob-s3cret", "Authorization: Bearer carol-s3cret"
	plan := func(who string, limit int, headers ...string) {
		t.Helper()
		r.want(who, r.ask("GET", "/v1/models", "", headers...), 200, fmt.Sprint("x-ratelimit-limit-requests: ", limit))
	}
	plan("nobody", 10)
	plan("nobody with a key that nobody knows", 10, "Authorization: Bearer other-s3cret")
	plan("a user", 50, bob)
	plan("an administrator", 90, alice)

	// Two callers of a tenant have one budget, another caller is not of it.
	r.want("alice", r.chat("m", 1, 50, alice), 200)
	r.settled()
	r.want("bob has what she left", r.chat("m", 1, 51, bob), 429, "X-RateLimit-Limit: 100", "X-RateLimit-Remaining: 50")
	r.want("and no more", r.chat("m", 1, 50, bob), 200, "X-RateLimit-Remaining: 0")
	r.settled()
	r.want("carol has nothing to do with it", r.chat("m", 1, 200, carol), 200)

	r.want("a claude", r.chat("claude-a", 1, 1, carol), 200)
	r.want("the same", r.chat("claude-a", 1, 1, carol), 429, "X-RateLimit-Limit: 1")
	r.want("another one", r.chat("claude-b", 1, 1, carol), 200)

	for _, who := range []string{bob, carol} {
		r.want("an endpoint", r.ask("POST", "/v1/embeddings", `{"model":"m","input":"x"}`, who), 200)
		r.want("once each", r.ask("POST", "/v1/embeddings", `{"model":"m","input":"x"}`, who), 429, "X-RateLimit-Limit: 1")
	}
	for series, want := range map[string]string{
		`penstock_shadow_hits_total{rule="rules.tenant.candidate"}`:                                           "1",
		`penstock_rate_limit_hits_total{key="bob",rule="rules.tenant"}`:                                       "1",
		`penstock_rate_limit_hits_total{key="carol",rule="rules.one"}`:                                        "1",
		`penstock_rate_limit_hits_total{key="bob",rule="per_endpoint.POST /v1/embeddings.requests_per_hour"}`: "1",
	} {
		if got := r.metric(series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
}

// TestUnmeteredPaths: what passes unread shows under its path wherever the
// configuration names that.
func TestUnmeteredPaths(t *testing.T) {
	r := start(t, `
routes: {allow: [/slots]}
rate_limiting:
  per_endpoint: [{path: /a, limits: {requests_per_hour: 100}}, {path: "/glob/*", limits: {requests_per_hour: 100}}]
  rules: [{name: b, match: {path: [/b, /c]}, limit: {requests: 100, per: 1h}}]
  bypass: {paths: [/d]}
`)
	for _, path := range []string{"/slots", "/a", "/b", "/c", "/d", "/e", "/glob/e"} {
		r.ask("POST", path, "{}")
	}
	for path, want := range map[string]string{"/slots": "1", "/a": "1", "/b": "1", "/c": "1", "/d": "1", "other": "2", "/glob/*": ""} {
		if got := r.metric(`penstock_unmetered_total{path="` + path + `"}`); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// TestRulesAreCountedFromTheStart: what rules may count is 0 before the first request,
// and after a reload that brings them, so that rate() sees the first one.
func TestRulesAreCountedFromTheStart(t *testing.T) {
	const rules = `rate_limiting:
  default: {requests_per_minute: 10, concurrent_requests: 5}
  burst: {multiplier: 2, window: 1s}
  rules:
    - {name: watched, mode: shadow, limit: {requests: 5, per: 1m}}
    - {name: held, limit: {requests: 50, per: 1m}, candidate: 5}
`
	r := start(t, rules)
	zero := func(series, want string) {
		t.Helper()
		if got := r.metric("penstock_" + series); got != want {
			t.Errorf("%s is %q, want %q", series, got, want)
		}
	}
	zero(`shadow_hits_total{rule="rules.watched"}`, "0")
	zero(`shadow_hits_total{rule="rules.held.candidate"}`, "0")
	zero(`shadow_hits_total{rule="rules.held"}`, "")
	zero(`near_limit_total{rule="rules.held"}`, "0")
	zero(`near_limit_total{rule="default.requests_per_minute"}`, "0")
	zero(`near_limit_total{rule="default.concurrent_requests"}`, "") // which no request is ever near to
	if all := r.admin("GET", "/metrics").body; strings.Count(all, "\npenstock_near_limit_total{") != 2 {
		t.Errorf("there are more rules to be near to than two, such as what smooths:\n%s", all)
	}
	r.reload(strings.ReplaceAll(rules, "watched", "seen"))
	zero(`shadow_hits_total{rule="rules.seen"}`, "0")
}
