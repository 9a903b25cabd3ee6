package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/config"
)

func idle(t tb, text string) (lines []string) {
	if !strings.Contains(text, "estimate:") {
		text += "\nestimate: {output: 1, media_part: 0}\n"
	}
	c, _, err := config.Parse("penstock.yaml", []byte(text), config.Flags{}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range p.Idle(c) {
		lines = append(lines, strings.TrimPrefix(w.String(), "rate_limiting."))
	}
	return lines
}

func TestIdle(t *testing.T) {
	tests := []struct {
		what, text string
		want       []string
	}{
		{"off", "rate_limiting: {enabled: false, default: {requests_per_minute: 60}, global: {requests_per_second: 1}}", nil},
		{"global, over a shorter window", "rate_limiting: {default: {requests_per_minute: 60, requests_per_hour: 3599}, global: {requests_per_second: 1}}", []string{
			"default.requests_per_minute: never denies: global.requests_per_second lets at most 60 pass in the same time",
		}},
		{"global, over a month", "rate_limiting: {default: {requests_per_month: 2678400}, global: {requests_per_second: 1}}", []string{
			"default.requests_per_month: never denies: global.requests_per_second lets at most 2678400 pass in the same time",
		}},
		{"global, less than a month", "rate_limiting: {default: {requests_per_month: 2678399}, global: {requests_per_second: 1}}", nil},
		{"global, over a longer window", "rate_limiting: {default: {requests_per_second: 60}, global: {requests_per_month: 1, requests_per_hour: 1}}", nil},
		{"global of all tokens", "rate_limiting: {default: {input_tokens_per_minute: 101, output_tokens_per_minute: 100}, global: {tokens_per_minute: 100}}", []string{
			"default.input_tokens_per_minute: 101 is above global.tokens_per_minute of 100, which denies first",
		}},
		{"global of requests bounds no tokens", "rate_limiting: {default: {tokens_per_minute: 100}, global: {requests_per_minute: 1}}", nil},
		{"what config knows", "rate_limiting: {default: {requests_per_minute: 60, tokens_per_minute: 10, input_tokens_per_minute: 20, concurrent_requests: 9}, global: {requests_per_minute: 6, concurrent_requests: 3}}", nil},
		{"all tokens, over a shorter window", "rate_limiting: {default: {tokens_per_second: 10, input_tokens_per_minute: 600, output_tokens_per_minute: 599}}", []string{
			"default.input_tokens_per_minute: never denies: default.tokens_per_second lets at most 600 pass in the same time",
		}},
		{"window.size counts", "rate_limiting: {window: {size: 30s}, default: {requests_per_minute: 60}, global: {requests_per_second: 1}}", []string{
			"default.requests_per_minute: never denies: global.requests_per_second lets at most 30 pass in the same time",
		}},
		{"a window that is no multiple", "rate_limiting: {algorithm: fixed_window, window: {size: 90s}, default: {requests_per_hour: 60}, global: {requests_per_minute: 2}}", nil},
		{"a window that is no multiple, in one", "rate_limiting: {window: {size: 7h}, default: {requests_per_day: 2100}, global: {requests_per_minute: 1}}", []string{
			"default.requests_per_day: never denies: global.requests_per_minute lets at most 2100 pass in the same time", // 5 x 420
		}},
		{"buckets", "rate_limiting: {algorithm: token_bucket, default: {requests_per_minute: 60, requests_per_hour: 3599}, global: {requests_per_second: 1}}", []string{
			"default.requests_per_minute: never denies: global.requests_per_second holds no more and is refilled no faster",
		}},
		{"a bucket before a month", "rate_limiting: {algorithm: token_bucket, default: {requests_per_month: 33}, global: {requests_per_day: 1}}", []string{
			"default.requests_per_month: never denies: global.requests_per_day lets at most 33 pass in the same time",
		}},
		{"a bucket before a smaller month", "rate_limiting: {algorithm: token_bucket, default: {requests_per_month: 32}, global: {requests_per_day: 1}}", nil},
		{"a key that bypasses", `
auth: {keys: [{id: alice, key: key-of-alice}, {id: carol, key: key-of-carol}]}
rate_limiting:
  default: {requests_per_minute: 60}
  global: {requests_per_second: 1}
  per_key: {keys: {bob-has-a-key: {requests_per_hour: 3600}, alice: {requests_per_hour: 1}, carol: {requests_per_hour: 1, tokens_per_hour: unlimited}}}
  bypass: {keys: [key-of-alice]}
`, []string{
			"default.requests_per_minute: never denies: global.requests_per_second lets at most 60 pass in the same time",
			"per_key.keys[0].requests_per_hour: never denies: global.requests_per_second lets at most 3600 pass in the same time",
			"per_key.keys[1]: never matches: this key is one of bypass.keys, and skips every limit",
		}},
		{"models", `
rate_limiting:
  default: {requests_per_minute: 60}
  per_model: {models: {a: {requests_per_minute: 61}, b: {requests_per_minute: 60}, c: {requests_per_hour: 3600}, d: {tokens_per_minute: 1}, e: {requests_per_minute: unlimited}}}
`, []string{
			`per_model.models["a"].requests_per_minute: 61 is above default.requests_per_minute of 60, which denies first`,
			`per_model.models["c"].requests_per_hour: never denies: default.requests_per_minute lets at most 3600 pass in the same time`,
		}},
		{"models of all callers", "rate_limiting: {default: {requests_per_minute: 60}, per_model: {scope: all, models: {a: {requests_per_minute: 61}}}}", nil},
		{"models, and a plan that has more", `
rate_limiting:
  default: {requests_per_minute: 60}
  per_key: {keys: {premium-key-1: {requests_per_minute: 70}, premium-key-2: {requests_per_minute: 80}}}
  per_model: {models: {a: {requests_per_minute: 70}, b: {requests_per_minute: 81}}}
`, []string{
			`per_model.models["b"].requests_per_minute: 81 is above default.requests_per_minute of 60, which denies first`,
		}},
		{"models, and a plan without limits", "rate_limiting: {default: {requests_per_minute: 60}, per_key: {keys: {premium-key: {requests_per_minute: unlimited}}}, per_model: {models: {a: {requests_per_minute: 90}}}}", nil},
		{"models without plans", "rate_limiting: {per_model: {models: {a: {requests_per_minute: 90}}}}", nil},
		{"requests that take all of a limit", `
estimate: {output: 100, media_part: 200}
rate_limiting:
  default: {tokens_per_minute: 200, tokens_per_hour: 150, output_tokens_per_minute: 99, input_tokens_per_minute: 199}
  global: {output_tokens_per_day: 50}
`, []string{
			"default.tokens_per_hour: an image or file is taken for estimate.media_part of 200, and so takes all of it until the request has ended",
			"default.output_tokens_per_minute: a request that names no maximum is taken for estimate.output of 100, and so takes all of it until it has ended",
			"default.input_tokens_per_minute: an image or file is taken for estimate.media_part of 200, and so takes all of it until the request has ended",
			"global.output_tokens_per_day: a request that names no maximum is taken for estimate.output of 100, and so takes all of it until it has ended",
		}},
		{"money that buys no token", `
rate_limiting: {default: {cost_per_day: 0.000074999}, limits: {cost_per_hour: 0.000075}}
`, []string{
			"default.cost_per_day: one input token costs 0.000075 by pricing.default, so that no request to a model that is not listed can pass",
		}},
		{"money, where every model is listed", `
pricing: {models: {"*": {input: 1}}}
rate_limiting: {default: {cost_per_day: 0.000074999}}
`, nil},
		{"money under money", "rate_limiting: {default: {cost_per_day: 5}, global: {cost_per_hour: 0.20}}", []string{
			"default.cost_per_day: never denies: global.cost_per_hour lets at most 4.80 pass in the same time",
		}},
		{"money for models", "rate_limiting: {default: {cost_per_day: 5}, per_model: {models: {gpt-4: {cost_per_day: 4}, mine: {cost_per_day: 3}, 'm*': {cost_per_day: 2}}}, rules: [{name: r, match: {model: [mine, theirs]}, limit: {requests: 1, per: 1m}}]}", []string{
			"rate_limiting: the model mine costs pricing.default: neither pricing.models nor the built-in table lists it",
			"rate_limiting: the model theirs costs pricing.default: neither pricing.models nor the built-in table lists it",
		}},
		{"bursts bound nothing", "rate_limiting: {default: {requests_per_minute: 60, requests_per_hour: 1200}, global: {requests_per_day: 28800}, burst: {multiplier: 0.5, window: 10s}}", nil},
		{"roles", `
auth: {keys: [{id: alice, key: key-of-alice, role: admin}, {id: bob, key: key-of-bob, role: root}]}
rate_limiting:
  default: {requests_per_minute: 60}
  global: {requests_per_second: 1}
  roles: {anonymous: {requests_per_hour: 3600}, user: {requests_per_minute: 70}, admin: {requests_per_minute: 59}, root: {requests_per_minute: 5}}
  bypass: {keys: [bob]}
`, []string{
			"default.requests_per_minute: never denies: global.requests_per_second lets at most 60 pass in the same time",
			`roles["anonymous"].requests_per_hour: never denies: global.requests_per_second lets at most 3600 pass in the same time`,
			`roles["user"]: never matches: nobody has this role; auth.keys says who does`,
			`roles["root"]: never matches: nobody has this role; auth.keys says who does`,
		}},
		{"the role of keys that are not listed", "auth: {unknown_keys: trust}\nrate_limiting: {roles: {user: {requests_per_minute: 7}}}", nil},
		{"the role of a key of per_key", "rate_limiting: {roles: {user: {requests_per_minute: 7}}, per_key: {keys: {premium-key: {requests_per_minute: 9}}}}", nil},
		{"endpoints", `
rate_limiting:
  default: {requests_per_minute: 60}
  per_endpoint:
    - {path: "/v1/*", methods: [GET], limits: {requests_per_minute: 61}}
    - {path: "/v1/*", limits: {requests_per_minute: 50}}
    - {path: "/v1/*", methods: [POST], limits: {requests_per_minute: 50}}
    - {path: /v1/models, limits: {requests_per_minute: 50}}
    - {path: "/v1/*/x", limits: {requests_per_minute: 50}}
    - {path: "/v1/**", methods: [GET, PUT], limits: {requests_per_minute: 50}}
`, []string{
			"per_endpoint[0].limits.requests_per_minute: 61 is above default.requests_per_minute of 60, which denies first",
			"per_endpoint[2]: never matches: /v1/* matches every request that it does, and comes before it",
			"per_endpoint[5]: never matches: /v1/* matches every request that it does, and comes before it",
		}},
		{"rules", `
auth: {keys: [{id: alice, key: key-of-alice, role: admin, tenant: acme}, {id: bob, key: key-of-bob, role: root, tenant: ltd}]}
rate_limiting:
  default: {requests_per_minute: 60}
  global: {requests_per_minute: 80}
  bypass: {keys: [bob]}
  rules:
    - {name: a, match: {role: [root, boss]}, limit: {requests: 1, per: 1m}}
    - {name: b, match: {tenant: [ltd, other]}, limit: {requests: 1, per: 1m}}
    - {name: c, match: {key: bob}, limit: {requests: 1, per: 1m}}
    - {name: d, match: {key: [bob, alice], role: [root, anonymous, admin], tenant: acme}, limit: {requests: 1, per: 1m}}
    - {name: j, match: {key: alice, role: anonymous}, limit: {requests: 1, per: 1m}}
    - {name: e, per: [caller], limit: {requests: 70, per: 60s}}
    - {name: f, per: [ip], limit: {requests: 70, per: 60s}}
    - {name: g, limit: {requests: 90, per: 60s}, candidate: 100}
    - {name: h, limit: {requests: 90, per: 60s}, mode: shadow}
    - {name: i, match: {model: a}, per: [caller, model], limit: {requests: 120, per: 2m}}
`, []string{
			"rules[0].match: never matches: nobody has the role root or boss; auth.keys says who does",
			"rules[1].match: never matches: nobody is of the tenant ltd or other; auth.keys says who is",
			"rules[2].match: never matches: every key that it names is one of bypass.keys, and skips every limit",
			"rules[4].match: never matches: no caller is all that it names of role, tenant and key",
			"rules[5].limit: 70 is above default.requests_per_minute of 60, which denies first",
			"rules[7].limit: 90 is above global.requests_per_minute of 80, which denies first",
			"rules[9].limit: never denies: default.requests_per_minute lets at most 120 pass in the same time",
		}},
		{"globs", `
rate_limiting:
  per_model:
    models:
      "*a*": {requests_per_minute: 1}
      "a*": {requests_per_minute: 1}
      "a**": {requests_per_minute: 1}
      "*b": {requests_per_minute: 1}
      "ab*": {requests_per_minute: 1}
      "ab": {requests_per_minute: 1}
      "*": {requests_per_minute: 1}
      "***": {requests_per_minute: 1}
`, []string{
			`per_model.models["a*"]: never matches: "*a*" stands before it, is as long, and matches every name that it does`,
			`per_model.models["a**"]: never matches: "*a*" stands before it, is as long, and matches every name that it does`,
			`per_model.models["***"]: never matches: "*" stands before it, is as long, and matches every name that it does`,
		}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, idle(t, tt.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, diff)
		}
	}
	for name := range documents() {
		if got := idle(t, example(t, name)); got != nil {
			t.Errorf("%s, as the documents have it: %v", name, got)
		}
	}
}

// TestShadowed: an entry that is said never to match is nobody's, and every
// other one has a name of its own.
func TestShadowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &Policy{}
		entries := rapid.SliceOfNDistinct(rapid.StringMatching(`[ab*]{1,4}`), 1, 5, rapid.ID).Draw(t, "entries")
		for _, name := range entries {
			p.models = append(p.models, model{name: name})
			p.modelOf.Add(name, &model{name: name})
		}
		// All short names: the stars of an entry of four letters need no more
		// than one letter each, and x is in no entry.
		var names []string
		var grow func(prefix string)
		grow = func(prefix string) {
			names = append(names, prefix)
			if len(prefix) < 4 {
				for _, c := range "abx" {
					grow(prefix + string(c))
				}
			}
		}
		grow("")
		used := map[string]bool{}
		for _, name := range names {
			if m, ok := p.modelOf.Of(name); ok {
				used[m.name] = true
			}
		}
		for i, e := range entries {
			if by := p.shadows(i); (by != "") == used[e] {
				t.Fatalf("%q: shadowed by %q, and some name is its: %v", e, by, used[e])
			}
		}
	})
}
