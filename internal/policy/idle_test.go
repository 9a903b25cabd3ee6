package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/traffic"
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
	for _, w := range p.Idle(c, kinds) {
		if w.File != "penstock.yaml" || w.Line == 0 || w.Column == 0 {
			t.Fatalf("no place: %+v", w)
		}
		lines = append(lines, strings.TrimPrefix(w.Path, "rate_limiting.")+": "+w.Message)
	}
	return lines
}

// kinds stands in for the provider's routes.
func kinds(path string) []traffic.Endpoint {
	if strings.Contains(path, "*") {
		return nil
	}
	known := map[string]traffic.Kind{
		"/v1/chat/completions": traffic.ChatCompletions, "/v1/embeddings": traffic.Embeddings, "/v1/images/generations": traffic.Images,
		"/prompt": traffic.ComfyPrompt, "/v1/models": traffic.ModelList, "/v1/messages/count_tokens": traffic.CountTokens,
	}
	return []traffic.Endpoint{{Kind: known[path]}}
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
		{"global, over a longer window", "rate_limiting: {default: {requests_per_second: 60}, global: {requests_per_month: 1, requests_per_hour: 1}}", []string{
			"default.requests_per_second: 60 is above global.requests_per_month of 1, which denies first",
		}},
		{"in a plan, over a longer window", "rate_limiting: {default: {requests_per_minute: 100, requests_per_hour: 50, tokens_per_minute: 60, tokens_per_hour: 60, output_tokens_per_second: 60, output_tokens_per_month: 61}, limits: {cost_per_month: 1.00, cost_per_minute: 5}}", []string{
			"default.requests_per_minute: 100 is above default.requests_per_hour of 50, which denies first",
			"default.tokens_per_minute: never denies: default.tokens_per_hour lets at most 60 pass in the same time",
			"default.output_tokens_per_second: never denies: default.tokens_per_minute lets at most 60 pass in the same time",
			"limits.cost_per_minute: 5.00 is above default.cost_per_month of 1.00, which denies first",
		}},
		{"a calendar month begins anew", "rate_limiting: {default: {cost_per_minute: 1.99, cost_per_month: 1}}", nil},
		{"one of a role under one of all", `
rate_limiting: {default: {requests_per_minute: 60, tokens_per_hour: 5000}, roles: {anonymous: {tokens_per_minute: 20000, requests_per_hour: 50}}}
`, []string{
			`roles["anonymous"].tokens_per_minute: 20000 is above default.tokens_per_hour of 5000, which denies first`,
		}},
		{"global of all tokens", "rate_limiting: {default: {input_tokens_per_minute: 101, output_tokens_per_minute: 100}, global: {tokens_per_minute: 100}}", []string{
			"default.input_tokens_per_minute: 101 is above global.tokens_per_minute of 100, which denies first",
		}},
		{"global of requests bounds no tokens", "rate_limiting: {default: {tokens_per_minute: 100}, global: {requests_per_minute: 1}}", nil},
		{"of the same name, and in a plan", "rate_limiting: {default: {requests_per_minute: 60, tokens_per_minute: 10, input_tokens_per_minute: 20, concurrent_requests: 9}, global: {requests_per_minute: 6, concurrent_requests: 3}}", []string{
			"default.requests_per_minute: 60 is above global.requests_per_minute of 6, which denies first",
			"default.input_tokens_per_minute: 20 is above default.tokens_per_minute of 10, which denies first",
			"default.concurrent_requests: 9 is above global.concurrent_requests of 3, which denies first",
		}},
		{"slots", "rate_limiting: {default: {concurrent_requests: 20}, global: {concurrent_requests: 5}, concurrent: {max_concurrent: 5}}", []string{
			"default.concurrent_requests: 20 is above global.concurrent_requests of 5, which denies first",
			"default.concurrent_requests: 20 is above concurrent.max_concurrent of 5: the others wait in its queue, where they count, too",
		}},
		{"slots that are off", "rate_limiting: {default: {concurrent_requests: 20}, concurrent: {enabled: false, max_concurrent: 5}}", nil},
		{"all tokens, over a shorter window", "rate_limiting: {default: {tokens_per_second: 10, input_tokens_per_minute: 600, output_tokens_per_minute: 599}}", []string{
			"default.input_tokens_per_minute: never denies: default.tokens_per_second lets at most 600 pass in the same time",
		}},
		{"window.size counts", "rate_limiting: {window: {size: 30s}, default: {requests_per_minute: 60}, global: {requests_per_second: 1}}", []string{
			"default.requests_per_minute: never denies: global.requests_per_second lets at most 30 pass in the same time",
		}},
		{"a window that is no multiple", "rate_limiting: {algorithm: fixed_window, window: {size: 90s}, default: {requests_per_hour: 60}, global: {requests_per_minute: 2}}", nil},
		{"a window that is no multiple, in one", "rate_limiting: {window: {size: 7h}, default: {requests_per_day: 1680}, global: {requests_per_minute: 1}}", []string{
			"default.requests_per_day: never denies: global.requests_per_minute lets at most 1680 pass in the same time", // 4 x 420
		}},
		{"buckets", "rate_limiting: {algorithm: token_bucket, default: {requests_per_minute: 60, requests_per_hour: 3599}, global: {requests_per_second: 1}}", []string{
			"default.requests_per_minute: never denies: global.requests_per_second lets no more pass at once, and no more in the long run",
		}},
		{"a bucket before a month", "rate_limiting: {algorithm: token_bucket, default: {requests_per_month: 32}, global: {requests_per_day: 1}}", []string{
			"default.requests_per_month: never denies: global.requests_per_day lets at most 32 pass in the same time",
		}},
		{"a bucket before a smaller month", "rate_limiting: {algorithm: token_bucket, default: {requests_per_month: 31}, global: {requests_per_day: 1}}", nil},
		{"a key that bypasses", `
auth: {keys: [{id: alice, key: key-of-alice}, {id: carol, key: key-of-carol}]}
rate_limiting:
  default: {requests_per_minute: 60}
  global: {requests_per_second: 1}
  per_key: {keys: {bob-has-a-key: {requests_per_hour: 3600}, alice: {requests_per_hour: 1}, carol: {requests_per_hour: 1, tokens_per_hour: unlimited}}}
  bypass: {keys: [key-of-alice]}
`, []string{
			"default.requests_per_minute: never denies: global.requests_per_second lets at most 60 pass in the same time",
			"per_key.keys[0].requests_per_hour: never denies: default.requests_per_minute lets at most 3600 pass in the same time",
			"per_key.keys[1]: key alice: never matches: this key is one of bypass.keys, and skips every limit",
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
			"default.tokens_per_minute: 200 is above default.tokens_per_hour of 150, which denies first",
			"default.tokens_per_hour: an image or file is taken for estimate.media_part of 200, and so takes all of it until the request has ended",
			"default.output_tokens_per_minute: 99 is above global.output_tokens_per_day of 50, which denies first",
			"default.output_tokens_per_minute: a request that names no maximum is taken for estimate.output of 100, and so takes all of it until it has ended",
			"default.input_tokens_per_minute: 199 is above default.tokens_per_hour of 150, which denies first",
			"default.input_tokens_per_minute: an image or file is taken for estimate.media_part of 200, and so takes all of it until the request has ended",
			"global.output_tokens_per_day: a request that names no maximum is taken for estimate.output of 100, and so takes all of it until it has ended",
		}},
		{"money that buys no token", `
rate_limiting: {default: {cost_per_day: 0.000074999}, limits: {cost_per_hour: 0.000075}}
`, []string{
			"default.cost_per_day: one input token costs 0.000075 by pricing.default, so that no request to a model that is not listed can pass",
			"limits.cost_per_hour: 0.000075 is above default.cost_per_day of 0.000074999, which denies first",
		}},
		{"money, where every model is listed", `
pricing: {models: {"*": {input: 1}}}
rate_limiting: {default: {cost_per_day: 0.000074999}}
`, nil},
		{"money under money", "rate_limiting: {default: {cost_per_day: 5}, global: {cost_per_hour: 0.20}}", []string{
			"default.cost_per_day: never denies: global.cost_per_hour lets at most 4.80 pass in the same time",
		}},
		{"money for models", "rate_limiting: {default: {cost_per_day: 5}, per_model: {models: {gpt-4: {cost_per_day: 4}, mine: {cost_per_day: 3}, 'm*': {cost_per_day: 2}}}, rules: [{name: r, match: {model: [mine, theirs]}, limit: {requests: 1, per: 1m}}]}", []string{
			"per_model.models[\"mine\"]: the model mine costs pricing.default: neither pricing.models nor the built-in table lists it",
			"rules[0].match.model: rule r: the model theirs costs pricing.default: neither pricing.models nor the built-in table lists it",
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
			`roles["anonymous"].requests_per_hour: never denies: default.requests_per_minute lets at most 3600 pass in the same time`,
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
			"per_endpoint[0].limits.requests_per_minute: GET /v1/*: 61 is above default.requests_per_minute of 60, which denies first",
			"per_endpoint[2]: POST /v1/*: never matches: /v1/* matches every request that it does, and comes before it",
			"per_endpoint[5]: GET,PUT /v1/**: never matches: /v1/* matches every request that it does, and comes before it",
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
			"rules[0].match: rule a: never matches: nobody has the role root or boss; auth.keys says who does",
			"rules[1].match: rule b: never matches: nobody is of the tenant ltd or other; auth.keys says who is",
			"rules[2].match: rule c: never matches: every key that it names is one of bypass.keys, and skips every limit",
			"rules[4].match: rule j: never matches: no caller is all that it names of role, tenant and key",
			"rules[5].limit: rule e: 70 is above default.requests_per_minute of 60, which denies first",
			"rules[7].limit: rule g: 90 is above global.requests_per_minute of 80, which denies first",
			"rules[7].candidate: rule g: 100 is above rules.g of 90, which denies first",
			"rules[8].limit: rule h: 90 is above global.requests_per_minute of 80, which denies first",
			"rules[9].limit: rule i: never denies: default.requests_per_minute lets at most 120 pass in the same time",
		}},
		{"under a rule of some callers", `
auth: {keys: [{id: bob, key: key-of-bob, tenant: acme, role: ops}, {id: carol, key: key-of-carol, tenant: acme}, {id: dave, key: key-of-dave}]}
rate_limiting:
  default: {requests_per_minute: 700}
  roles: {ops: {requests_per_minute: 650}, anonymous: {requests_per_minute: 5}}
  per_key: {keys: {bob: {requests_per_minute: 600}, carol: {requests_per_minute: 4}, dave: {requests_per_minute: 600}, key-without-name: {requests_per_minute: 600}}}
  rules:
    - {name: acme, match: {tenant: acme}, limit: {requests: 5, per: 1m}}
    - {name: ops, match: {role: ops}, per: [ip], limit: {requests: 1, per: 1m}}
    - {name: bob, match: {key: bob}, per: [tenant], limit: {requests: 6, per: 1m}}
    - {name: user, match: {role: user}, limit: {requests: 9, per: 1m}, mode: shadow}
`, []string{
			"per_key.keys[0].requests_per_minute: key bob: 600 is above rules.acme of 5, which denies first",
			"rules[2].limit: rule bob: 6 is above rules.acme of 5, which denies first",
		}},
		{"under a rule of a role", `
auth: {unknown_keys: trust, keys: [{id: bob, key: key-of-bob, role: ops}]}
rate_limiting:
  default: {requests_per_minute: 700, tokens_per_minute: 7}
  roles: {ops: {requests_per_minute: 650}, user: {requests_per_minute: 60}}
  rules:
    - {name: ops, match: {role: [ops, user]}, per: [role], limit: {requests: 5, per: 1m}}
    - {name: all, per: [tenant], limit: {tokens: 6, per: 1h}}
`, []string{
			"default.tokens_per_minute: 7 is above rules.all of 6, which denies first",
			`roles["ops"].requests_per_minute: 650 is above rules.ops of 5, which denies first`,
			`roles["user"].requests_per_minute: 60 is above rules.ops of 5, which denies first`,
		}},
		{"under a rule of the same or more requests", `
rate_limiting:
  per_endpoint: [{path: /v1/x, methods: [POST], limits: {requests_per_minute: 70}}]
  per_model: {models: {m: {tokens_per_minute: 70}, n: {tokens_per_minute: 70}}}
  rules:
    - {name: a, match: {path: /v1/x}, per: [caller], limit: {requests: 100, per: 1m}}
    - {name: b, match: {path: "/v1/*"}, limit: {requests: 50, per: 1m}}
    - {name: c, match: {path: [/v1/x, /v2/x]}, per: [caller], limit: {requests: 100, per: 1m}}
    - {name: d, match: {path: /v1/x, method: [GET, POST]}, limit: {requests: 60, per: 1m}}
    - {name: e, match: {path: /v1/x, method: [POST], ip: [10.0.0.0/8]}, limit: {requests: 40, per: 1m}}
    - {name: f, match: {path: /v1/x, method: [POST, GET], ip: [10.1.0.0/16]}, limit: {requests: 45, per: 1m}}
    - {name: g, match: {model: "m*"}, limit: {tokens: 60, per: 1m}}
    - {name: h, match: {model: [m, m2]}, per: [model, ip], limit: {tokens: 65, per: 1m}, mode: shadow}
    - {name: i, match: {model: [m, n]}, per: [model], limit: {tokens: 65, per: 1m}}
    - {name: j, match: {model: n}, per: [model, ip6_48], limit: {tokens: 80, per: 1m}}
    - {name: k, match: {model: n}, per: [model, ip], limit: {tokens: 80, per: 2m}}
`, []string{
			"per_model.models[\"m\"].tokens_per_minute: 70 is above rules.g of 60, which denies first",
			"per_endpoint[0].limits.requests_per_minute: POST /v1/x: 70 is above rules.b of 50, which denies first",
			"rules[0].limit: rule a: 100 is above rules.b of 50, which denies first",
			"rules[3].limit: rule d: 60 is above rules.b of 50, which denies first",
			"rules[7].limit: rule h: 65 is above rules.g of 60, which denies first",
			"rules[9].limit: rule j: 80 is above rules.i of 65, which denies first",
		}},
		{"under a rule that is counted per what tells", `
auth: {keys: [{id: bob, key: key-of-bob, tenant: acme}, {id: carol, key: key-of-carol, tenant: acme}]}
rate_limiting:
  rules:
    - {name: a, per: [ip6_48], limit: {requests: 50, per: 1m}}
    - {name: b, per: [path, ip], limit: {requests: 60, per: 1m}}
    - {name: c, per: [key], limit: {tokens: 50, per: 1m}}
    - {name: d, per: [caller], limit: {tokens: 60, per: 1m}}
    - {name: e, per: [tenant], limit: {tokens: 60, per: 1m}}
    - {name: f, match: {tenant: acme}, per: [role], limit: {tokens: 61, per: 1m}}
    - {name: g, match: {key: bob}, per: [path], limit: {tokens: 62, per: 1m}}
    - {name: h, match: {key: [bob, carol]}, per: [path], limit: {output_tokens: 60, per: 1m}}
    - {name: i, per: [ip], limit: {tokens: 60, per: 1m}}
`, []string{
			"rules[1].limit: rule b: 60 is above rules.a of 50, which denies first",
			"rules[3].limit: rule d: 60 is above rules.c of 50, which denies first",
			"rules[5].limit: rule f: 61 is above rules.e of 60, which denies first",
			"rules[6].limit: rule g: 62 is above rules.c of 50, which denies first",
		}},
		{"another window than the name's", "rate_limiting: {window: {size: 30s}, default: {requests_per_second: 100, requests_per_minute: 120}, global: {requests_per_minute: 90}}", []string{
			"default.requests_per_second: 100 is above default.requests_per_minute of 60 in 30s, which denies first",
			"default.requests_per_minute: 60 in 30s is above global.requests_per_minute of 45 in 30s, which denies first",
		}},
		{"candidates and shadows", `
rate_limiting:
  rules:
    - {name: a, limit: {requests: 100, per: 1m}, candidate: 200}
    - {name: b, limit: {requests: 80, per: 1h}, candidate: 200, mode: shadow}
    - {name: c, match: {path: /v1/x}, per: [caller], limit: {requests: 101, per: 1m}, mode: shadow}
    - {name: d, match: {path: /v1/x}, per: [caller], limit: {requests: 5, per: 1m}, candidate: 90}
    - {name: e, match: {path: /v1/x}, per: [ip], limit: {requests: 99, per: 1m}, mode: shadow}
    - {name: f, limit: {tokens: 50, per: 1m, algorithm: token_bucket}, candidate: 51}
    - {name: g, limit: {requests: 500, per: 1m, algorithm: token_bucket, capacity: 50}, mode: shadow}
    - {name: h, limit: {requests: 500, per: 1m, algorithm: token_bucket, capacity: 100}, mode: shadow}
`, []string{
			"rules[0].candidate: rule a: 200 is above rules.a of 100, which denies first",
			"rules[2].limit: rule c: 101 is above rules.a of 100, which denies first",
			"rules[3].candidate: rule d: 90 is above rules.d of 5, which denies first",
			"rules[5].candidate: rule f: never denies: rules.f lets no more pass at once, and no more in the long run",
			"rules[7].limit: rule h: never denies: rules.a lets no more pass at once, and no more in the long run",
		}},
		{"limits that never count", `
estimate: {output: 1024, media_part: 1000}
rate_limiting:
  per_endpoint:
    - {path: /prompt, limits: {tokens_per_minute: 5, requests_per_minute: 5}}
    - {path: /v1/embeddings, limits: {output_tokens_per_minute: 5, tokens_per_minute: 999, input_tokens_per_minute: 999, requests_per_minute: 5}}
    - {path: "/v1/*", methods: [GET, DELETE], limits: {cost_per_day: 5}}
    - {path: "/v2/*", limits: {output_tokens_per_minute: 5}}
  rules:
    - {name: a, match: {path: [/prompt, /v1/files]}, limit: {output_tokens: 5, per: 1m}}
    - {name: b, match: {path: /v1/models, model: m}, limit: {requests: 5, per: 1m}}
    - {name: c, match: {method: HEAD, model: m}, limit: {requests: 5, per: 1m}}
    - {name: d, match: {path: /prompt, model: flux}, limit: {requests: 5, per: 1m}}
    - {name: e, match: {path: /v1/messages/count_tokens}, limit: {tokens: 5, per: 1m}}
    - {name: f, match: {path: [/v1/files, /v1/images/generations]}, limit: {output_tokens: 5, per: 1m}}
    - {name: g, match: {path: [/v1/files, /v1/images/generations]}, limit: {tokens: 999, per: 1m}}
    - {name: h, match: {path: [/v1/files, /v1/chat/completions]}, limit: {output_tokens: 5, per: 1m}}
    - {name: i, match: {method: PUT, path: /v1/embeddings}, limit: {tokens: 99999, per: 1m}}
`, []string{
			"per_endpoint[1].limits.output_tokens_per_minute: /v1/embeddings: counts nothing: no answer to these requests is made of output tokens",
			"per_endpoint[1].limits.tokens_per_minute: /v1/embeddings: an image or file is taken for estimate.media_part of 1000, and so takes all of it until the request has ended",
			"per_endpoint[1].limits.input_tokens_per_minute: /v1/embeddings: an image or file is taken for estimate.media_part of 1000, and so takes all of it until the request has ended",
			"per_endpoint[0].limits.tokens_per_minute: /prompt: counts nothing: a job of ComfyUI's is a request, without tokens",
			"per_endpoint[2].limits.cost_per_day: DELETE,GET /v1/*: counts nothing: no body of these requests is read, so that they are charged as requests alone",
			"per_endpoint[3].limits.output_tokens_per_minute: /v2/*: a request that names no maximum is taken for estimate.output of 1024, and so takes all of it until it has ended",
			"rules[0].limit: rule a: counts nothing: a job of ComfyUI's is a request, without tokens",
			"rules[1].match: rule b: never matches: no body of these requests is read, so that they have no model",
			"rules[2].match: rule c: never matches: no body of these requests is read, so that they have no model",
			"rules[4].limit: rule e: counts nothing: no body of these requests is read, so that they are charged as requests alone",
			"rules[6].limit: rule g: an image or file is taken for estimate.media_part of 1000, and so takes all of it until the request has ended",
			"rules[7].limit: rule h: a request that names no maximum is taken for estimate.output of 1024, and so takes all of it until it has ended",
		}},
		{"money of models that are listed", `
pricing: {models: {mine: {input: 1}}}
rate_limiting:
  rules:
    - {name: a, match: {model: [mine, gpt-4]}, limit: {cost: 0.000074, per: day}}
    - {name: b, match: {model: [mine, "gpt-*"]}, per: [caller], limit: {cost: 0.000073, per: day}}
`, []string{
			"rules[1].limit: rule b: one input token costs 0.000075 by pricing.default, so that no request to a model that is not listed can pass",
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
		shadowed := p.shadowed()
		for i, e := range entries {
			if by := shadowed[i]; (by != "") == used[e] {
				t.Fatalf("%q: shadowed by %q, and some name is its: %v", e, by, used[e])
			}
		}
	})
}
