package policy

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/traffic"
)

const peopleText = `
auth:
  keys:
    - {id: alice, key: key-of-alice, tenant: acme, role: admin}
    - {id: bob, key: key-of-bob, tenant: acme}
    - {id: carol, key: key-of-carol}
`

// someone is a caller as identity makes it.
func someone(id string) *traffic.Caller {
	c := named(id)
	c.Role, c.Addr = traffic.RoleUser, netip.MustParseAddr("192.0.2.7")
	switch id {
	case "alice":
		c.Role, c.Tenant = "admin", "acme"
	case "bob":
		c.Tenant = "acme"
	case "":
		c = &traffic.Caller{ID: "addr:2001:db8:1:2::/64", Role: traffic.RoleAnonymous, Addr: netip.MustParseAddr("2001:db8:1:2::3")}
	case "trusted":
		c = &traffic.Caller{ID: "key-sha256:" + strings.Repeat("7", 64), Verified: true, Role: traffic.RoleUser, Addr: netip.MustParseAddr("10.1.2.3")}
	case "socket":
		c = &traffic.Caller{ID: "addr:unknown", Role: traffic.RoleAnonymous}
	}
	return c
}

// chargedAt is charged, of a request to a target.
func chargedAt(p *Policy, c *traffic.Caller, t Target, a *traffic.Ask) (lines []string) {
	n := p.Need(c, a)
	charges, _ := p.Charges(nil, c, t, a, &n)
	for i := range charges {
		ch := &charges[i]
		mark := ""
		if ch.Shadow {
			mark = ", shadow"
		}
		lines = append(lines, fmt.Sprintf("%s under %s: %d%s", p.Rule(ch).Name, shortKey(ch.Key), ch.Amount, mark))
	}
	return lines
}

func TestRoles(t *testing.T) {
	p := compile(t, peopleText+`
rate_limiting:
  default: {requests_per_minute: 60, concurrent_requests: 3}
  roles:
    anonymous: {requests_per_minute: 5}
    admin: {requests_per_minute: unlimited, concurrent_requests: 9}
  per_key:
    keys:
      alice: {tokens_per_minute: 500}
      unnamed-key: {tokens_per_minute: 600}
`)
	tests := []struct {
		caller *traffic.Caller
		want   []string
	}{
		{someone(""), []string{"roles.anonymous.requests_per_minute", "default.concurrent_requests"}},
		{someone("bob"), []string{"default.requests_per_minute", "default.concurrent_requests"}},
		{someone("trusted"), []string{"default.requests_per_minute", "default.concurrent_requests"}},
		{someone("alice"), []string{"roles.admin.concurrent_requests", "per_key.tokens_per_minute"}}, // over her role's plan
		{holder("unnamed-key"), []string{"default.requests_per_minute", "default.concurrent_requests", "per_key.tokens_per_minute"}},
	}
	for _, tt := range tests {
		var got []string
		for _, line := range chargedAt(p, tt.caller, Target{}, chat("m", 1, 1)) {
			name, key, _ := strings.Cut(line, " under ")
			got = append(got, name)
			if !strings.HasPrefix(key, shortKey(tt.caller.ID)+":") {
				t.Errorf("%s: counted under %s", tt.caller.ID, key)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.caller.ID, diff)
		}
	}
}

func TestEndpoints(t *testing.T) {
	p := limitsOnly(t, `
  per_endpoint:
    - {path: /v1/*, limits: {requests_per_minute: 1, tokens_per_minute: 9}}
    - {path: /v1/chat/completions, methods: [POST], limits: {requests_per_minute: 2, requests_per_hour: unlimited}}
    - {path: /v1/chat/*, methods: [GET, DELETE], limits: {requests_per_minute: 3}}
    - {path: "/prompt*", methods: [PUT, POST], limits: {concurrent_requests: 4}}
    - {path: /v1/free, limits: {requests_per_minute: unlimited}}
`)
	tests := []struct {
		method, path string
		want         []string
	}{
		{"POST", "/v1/chat/completions", []string{"per_endpoint.POST /v1/chat/completions.requests_per_minute under endpoint|POST /v1/chat/completions|addr:192.0.2.1: 1"}},
		{"GET", "/v1/chat/completions", []string{"per_endpoint.DELETE,GET /v1/chat/*.requests_per_minute under endpoint|DELETE,GET /v1/chat/*|addr:192.0.2.1: 1"}},
		{"PUT", "/v1/chat/completions", []string{
			"per_endpoint./v1/*.requests_per_minute under endpoint|/v1/*|addr:192.0.2.1: 1",
			"per_endpoint./v1/*.tokens_per_minute under endpoint|/v1/*|addr:192.0.2.1: 3",
		}},
		{"POST", "/prompt/a/b", []string{"per_endpoint.POST,PUT /prompt*.concurrent_requests under endpoint|POST,PUT /prompt*|addr:192.0.2.1: 1"}},
		{"GET", "/prompt", nil},
		{"POST", "/v1/free", nil},
		{"POST", "/V1/chat", nil},
		{"POST", "", nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, chargedAt(p, visitor(), Target{Method: tt.method, Path: tt.path}, chat("m", 1, 2))); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.method, tt.path, diff)
		}
	}
	if got := p.Rules()[0].Shown; got != "POST /v1/chat/completions.requests_per_minute" {
		t.Errorf("clients read %s", got)
	}
}

// TestBeaten: an entry of per_endpoint that is said never to match is nobody's.
func TestBeaten(t *testing.T) {
	beaten := 0
	rapid.Check(t, func(t *rapid.T) {
		var b builder
		b.policy, b.rate = &Policy{}, &config.RateLimiting{}
		sets := [][]string{nil, {"GET"}, {"POST"}, {"GET", "POST"}}
		entry := rapid.Custom(func(t *rapid.T) config.EndpointLimits {
			return config.EndpointLimits{Path: "/" + rapid.StringMatching(`[ab*]{0,3}`).Draw(t, "path"), Methods: rapid.SampledFrom(sets).Draw(t, "methods")}
		})
		b.rate.PerEndpoint = rapid.SliceOfN(entry, 1, 5).Draw(t, "entries")
		b.endpoints()
		p := b.policy
		used := map[*endpoint]bool{}
		paths := []string{"/"}
		for i := 0; len(paths[i]) < 5; i++ {
			for _, c := range "abx" {
				paths = append(paths, paths[i]+string(c))
			}
		}
		for _, path := range paths {
			for _, method := range []string{"GET", "POST", "PUT"} {
				if e := p.endpointOf(&Target{Method: method, Path: path}); e != nil {
					used[e] = true
				}
			}
		}
		for i := range p.endpoints {
			by := p.beats(i)
			if by != "" {
				beaten++
			}
			if by != "" && used[&p.endpoints[i]] {
				t.Fatalf("%s has requests, and is said to be beaten by %s", p.endpoints[i].name, by)
			}
		}
	})
	if beaten == 0 {
		t.Error("no entry was beaten")
	}
}

// TestRuleKeys: under which key a request is counted by what a rule counts per.
func TestRuleKeys(t *testing.T) {
	tests := []struct {
		per, match string
		caller     *traffic.Caller
		to         Target
		ask        *traffic.Ask
		want       string
		keep       bool
	}{
		{"", "", someone(""), Target{}, chat("m", 1, 1), "rule|r", true},
		{"caller", "", someone("bob"), Target{}, chat("m", 1, 1), "rule|r|7:key:bob", true},
		{"caller", "", someone(""), Target{}, chat("m", 1, 1), "rule|r|22:addr:2001:db8:1:2::/64", false},
		{"key", "", someone("bob"), Target{}, chat("m", 1, 1), "rule|r|7:key:bob", true},
		{"key", "", someone("trusted"), Target{}, chat("m", 1, 1), "rule|r|75:key-sha256:7777", false},
		{"key", "", someone(""), Target{}, chat("m", 1, 1), "rule|r|0:", false},
		{"tenant", "", someone("alice"), Target{}, chat("m", 1, 1), "rule|r|4:acme", true},
		{"tenant", "", someone(""), Target{}, chat("m", 1, 1), "rule|r|0:", true},
		{"role", "", someone("alice"), Target{}, chat("m", 1, 1), "rule|r|5:admin", true},
		{"role", "", someone(""), Target{}, chat("m", 1, 1), "rule|r|9:anonymous", true},
		{"model, caller", "", someone("bob"), Target{}, chat("gpt-4-0613", 1, 1), "rule|r|7:key:bob|10:gpt-4-0613", false},
		{"model", "model: [gpt-4, 'gpt-*']", someone("bob"), Target{}, chat("gpt-4-0613", 1, 1), "rule|r|5:gpt-4", false}, // as the rule knows it
		{"model", "model: ['gpt-*', gpt-4]", someone("bob"), Target{}, chat("gpt-4-0613", 1, 1), "rule|r|5:gpt-4", false},
		{"model", "model: 'gpt-*'", someone("bob"), Target{}, chat("gpt-4-0613", 1, 1), "rule|r|10:gpt-4-0613", false},
		{"model", "", someone("bob"), Target{}, chat(strings.Repeat("m", 200), 1, 1), "rule|r|128:" + strings.Repeat("m", 128), false},
		{"model", "", someone("bob"), Target{}, of(traffic.Other), "rule|r|0:", false},
		{"path", "", someone("bob"), Target{Method: "GET", Path: "/a|1:b"}, of(traffic.Other), "rule|r|6:/a|1:b", false},
		{"path", "", someone("bob"), Target{Method: "GET", Path: "/" + strings.Repeat("a", 200)}, of(traffic.Other), "rule|r|128:/" + strings.Repeat("a", 127), false},
		{"ip", "", someone("bob"), Target{}, chat("m", 1, 1), "rule|r|12:192.0.2.7/32", false},
		{"ip", "", someone(""), Target{}, chat("m", 1, 1), "rule|r|17:2001:db8:1:2::/64", false},
		{"ip6_48", "", someone("bob"), Target{}, chat("m", 1, 1), "rule|r|12:192.0.2.7/32", false},
		{"ip6_48", "", someone(""), Target{}, chat("m", 1, 1), "rule|r|15:2001:db8:1::/48", false},
		{"ip", "", someone("socket"), Target{}, chat("m", 1, 1), "rule|r|0:", false},
		{"tenant, ip6_48, caller, path, role, model, key", "", someone("alice"), Target{Method: "POST", Path: "/p"}, chat("m", 1, 1), "rule|r|9:key:alice|9:key:alice|4:acme|5:admin|1:m|2:/p|12:192.0.2.7/32", false},
	}
	for _, tt := range tests {
		match := ""
		if tt.match != "" {
			match = "match: {" + tt.match + "}, "
		}
		per := ""
		if tt.per != "" {
			per = "per: [" + tt.per + "], "
		}
		p := compile(t, peopleText+"rate_limiting: {rules: [{name: r, "+match+per+"limit: {requests: 5, per: 1m}}]}")
		n := p.Need(tt.caller, tt.ask)
		charges, _ := p.Charges(nil, tt.caller, tt.to, tt.ask, &n)
		got := strings.ReplaceAll(charges[0].Key, strings.Repeat("7", 64), "7777")
		if len(charges) != 1 || got != tt.want || charges[0].Keep != tt.keep {
			t.Errorf("per %s, %s of %s:\n got %v, kept: %v\nwant %s, kept: %v", tt.per, tt.match, tt.caller.ID, got, charges[0].Keep, tt.want, tt.keep)
		}
	}
}

// slowMatch says in plain words whether a rule is for a request.
func slowMatch(r *config.Rule, c *traffic.Caller, t Target, a *traffic.Ask) bool {
	any := func(list []string, ok func(s string) bool) bool {
		return len(list) == 0 || slices.ContainsFunc(list, ok)
	}
	glob := func(pattern, text, more string) bool {
		return regexp.MustCompile(`(?s)^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + more + `$`).MatchString(text)
	}
	ip := len(r.Match.IPs) == 0
	for _, n := range r.Match.IPs {
		ip = ip || n.Contains(c.Addr)
	}
	return ip &&
		any(r.Match.Models, func(s string) bool {
			version := ""
			if !strings.Contains(s, "*") {
				version = "(-latest|-0613)?"
			}
			return a.Metered() && glob(s, a.Model, version)
		}) &&
		any(r.Match.Paths, func(s string) bool {
			return slices.ContainsFunc(append([]string{t.Path}, t.Others...), func(p string) bool { return glob(s, p, "") })
		}) &&
		any(r.Match.Methods, func(s string) bool { return s == t.Method }) &&
		any(r.Match.Roles, func(s string) bool { return s == c.Role }) &&
		any(r.Match.Tenants, func(s string) bool { return s == c.Tenant }) &&
		any(r.Match.Keys, func(s string) bool { return c.ID == "key:"+s })
}

// slowValues says what a request counts as under a rule.
func slowValues(r *config.Rule, c *traffic.Caller, t Target, a *traffic.Ask) (values []string) {
	for _, per := range r.Per {
		v := ""
		switch per {
		case "caller":
			v = c.ID
		case "key":
			if c.Verified {
				v = c.ID
			}
		case "tenant":
			v = c.Tenant
		case "role":
			v = c.Role
		case "model":
			if a.Metered() {
				v = a.Model
				for _, m := range r.Match.Models {
					if v == m || v == m+"-latest" || v == m+"-0613" {
						v = m
						break
					}
				}
			}
		case "path":
			v = t.Path
		case "ip", "ip6_48":
			bits := 64
			if per == "ip6_48" {
				bits = 48
			}
			if c.Addr.Is4() {
				bits = 32
			}
			if p, err := c.Addr.Prefix(bits); err == nil && c.Addr.IsValid() {
				v = p.String()
			}
		}
		values = append(values, v)
	}
	return values
}

// drawRules draws rules that match about half of what drawRequest draws.
func drawRules(t *rapid.T) []config.Rule {
	some := func(name string, from ...string) []string {
		if rapid.Bool().Draw(t, name+"?") {
			return nil
		}
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, 2, rapid.ID).Draw(t, name)
	}
	rules := make([]config.Rule, rapid.IntRange(1, 5).Draw(t, "rules"))
	for i := range rules {
		r := config.Rule{
			Name: string(rune('a' + i)),
			Match: config.Match{
				Models:  some("models", "m", "a", "m*", "*a", "*"),
				Paths:   some("paths", "/v1/*", "/v1/chat", "/*t", "/"),
				Methods: some("methods", "GET", "POST"),
				Roles:   some("roles", "admin", "user", "anonymous"),
				Tenants: some("tenants", "acme", "ltd"),
				Keys:    some("keys", "alice", "bob"),
			},
			Per:    rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"caller", "key", "tenant", "role", "model", "path", "ip"}), 0, 3, rapid.ID).Draw(t, "per"),
			Shadow: rapid.Bool().Draw(t, "shadow"),
			Limit: config.RuleLimit{
				Unit:      rapid.SampledFrom([]string{"requests", "tokens", "cost", "concurrent"}).Draw(t, "unit"),
				Amount:    rapid.Int64Range(1, 1e9).Draw(t, "amount"),
				Algorithm: "sliding_window",
				Window:    time.Minute,
			},
		}
		if r.Limit.Unit == "concurrent" {
			r.Limit.Algorithm, r.Limit.Window = "", 0
		}
		if rapid.Bool().Draw(t, "candidate?") {
			r.Candidate = r.Limit.Amount + 1
		}
		if rapid.IntRange(0, 3).Draw(t, "ip?") == 0 {
			r.Match.IPs = []netip.Prefix{netip.MustParsePrefix(rapid.SampledFrom([]string{"192.0.2.0/24", "2001:db8::/32"}).Draw(t, "ip"))}
		}
		rules[i] = r
	}
	return rules
}

func drawRequest(t *rapid.T) (*traffic.Caller, Target, *traffic.Ask) {
	c := someone(rapid.SampledFrom([]string{"alice", "bob", "carol", "", "trusted", "socket"}).Draw(t, "caller"))
	path := rapid.SampledFrom([]string{"/", "/v1/chat", "/v1/x/y", "/x"})
	to := Target{Method: rapid.SampledFrom([]string{"GET", "POST", "PUT"}).Draw(t, "method"), Path: path.Draw(t, "path")}
	to.Others = rapid.SliceOfN(path, 0, 2).Draw(t, "others")
	a := chat(rapid.SampledFrom([]string{"", "m", "m-latest", "m-0613", "mx", "a", "x|1:a"}).Draw(t, "model"), rapid.Int64Range(0, 50).Draw(t, "input"), 7)
	if rapid.IntRange(0, 3).Draw(t, "plain?") == 0 {
		a = of(traffic.Other)
	}
	return c, to, a
}

// TestRulesAreAWalk: whatever the rules, a request is charged by those that a slow
// matcher says, one after the other, and two requests share a counter exactly
// where they count as the same.
func TestRulesAreAWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := config.Default()
		c.RateLimiting.Enabled, c.RateLimiting.Rules = true, drawRules(t)
		p, err := New(&c, nil)
		if err != nil {
			t.Fatal(err)
		}
		counters := map[string]string{} // what counts the same, by key
		for range 8 {
			who, to, ask := drawRequest(t)
			n := p.Need(who, ask)
			charges, _ := p.Charges(nil, who, to, ask, &n)
			if err := penstock.ValidateCharges(charges); err != nil {
				t.Fatal(err)
			}
			var want, got []string
			for i := range c.RateLimiting.Rules {
				r := &c.RateLimiting.Rules[i]
				unit := units[r.Limit.Unit]
				if !slowMatch(r, who, to, ask) || n.Amounts[unit] == 0 && !(ask.Metered() && ofUsage(unit)) {
					continue
				}
				want = append(want, fmt.Sprintf("rules.%s %v", r.Name, r.Shadow))
				if r.Candidate != 0 {
					want = append(want, fmt.Sprintf("rules.%s.candidate true", r.Name))
				}
				key := charges[min(len(want), len(charges))-1].Key
				values := r.Name + fmt.Sprintf("%q", slowValues(r, who, to, ask))
				if was, ok := counters[key]; ok && was != values {
					t.Fatalf("%s and %s are both counted under %s", was, values, key)
				}
				for k, v := range counters {
					if v == values && k != key {
						t.Fatalf("%s is counted under %s and %s", v, k, key)
					}
				}
				counters[key] = values
			}
			for i := range charges {
				rule := p.Rule(&charges[i])
				got = append(got, fmt.Sprintf("%s %v", rule.Name, charges[i].Shadow))
				if rule.Shadow != charges[i].Shadow || strings.HasSuffix(rule.Name, ".candidate") && !rule.Shadow {
					t.Fatalf("%+v is charged as %+v", rule, charges[i])
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s %+v %+v (-want +got):\n%s", who.ID, to, ask, diff)
			}

			// What is looked at before the body is some of what is charged then,
			// and all of it that decides and needs nothing of the body.
			charged := map[string]bool{}
			for i := range charges {
				charged[p.Rule(&charges[i]).Name+charges[i].Key] = true
			}
			early := p.Precheck(nil, who, to)
			for i := range early {
				if rule := p.Rule(&early[i]); rule.Shadow || !charged[rule.Name+early[i].Key] {
					t.Fatalf("%s under %s is looked at, and then not charged", rule.Name, early[i].Key)
				}
			}
			for i := range charges {
				rule := p.Rule(&charges[i])
				r := c.RateLimiting.Rules[slices.IndexFunc(c.RateLimiting.Rules, func(r config.Rule) bool { return "rules."+r.Name == strings.TrimSuffix(rule.Name, ".candidate") })]
				known := len(r.Match.Models) == 0 && !slices.Contains(r.Per, "model") && (r.Limit.Unit == "requests" || r.Limit.Unit == "concurrent")
				if known && !rule.Shadow && !slices.ContainsFunc(early, func(e penstock.Charge) bool { return p.Rule(&e) == rule }) {
					t.Fatalf("%s is known before the body, and not looked at", rule.Name)
				}
			}
		}
	})
}

// TestShadowsDecideNothing: a shadow and a candidate deny nothing, and their
// Status says what they would have done.
func TestShadowsDecideNothing(t *testing.T) {
	p := limitsOnly(t, `
  rules:
    - {name: enforced, per: [caller], limit: {requests: 4, per: 1m}, candidate: 2}
    - {name: dark, limit: {tokens: 100, per: 1m}, mode: shadow, candidate: 1000}
`)
	k := newAsker(t, penstock.MemoryOptions{})
	var got []string
	for range 5 {
		a := chat("m", 40, 20)
		n := p.Need(visitor(), a)
		charges, large := p.Charges(nil, visitor(), Target{}, a, &n)
		if large != nil {
			t.Fatal(large)
		}
		r, err := k.limiter.ReserveAt(context.Background(), k.now, charges...)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%v:", r.Allowed)
		for i := range r.Charges {
			line += fmt.Sprintf(" %d/%d", r.Charges[i].Used, r.Charges[i].Limit().Size())
		}
		got = append(got, line)
	}
	want := []string{
		"true: 1/4 1/2 60/100 60/1000",
		"true: 2/4 2/2 60/100 120/1000",
		"true: 3/4 2/2 60/100 180/1000",
		"true: 4/4 2/2 60/100 240/1000",
		"false: 4/4 2/2 60/100 240/1000",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	// One that is too large for a shadow is not too large, and the shadow never
	// passes.
	a := chat("m", 3201, 1) // at least 101 tokens
	n := p.Need(visitor(), a)
	charges, large := p.Charges(nil, visitor(), Target{}, a, &n)
	if large != nil {
		t.Fatal(large.Message)
	}
	d, err := penstock.New(nil).Look(context.Background(), charges...)
	if err != nil || !d.Allowed || charges[2].RetryAfter != penstock.Never || charges[3].RetryAfter == penstock.Never {
		t.Errorf("%v: %+v", err, d)
	}
}

// TestRulesExample: what the example of rules comes to.
func TestRulesExample(t *testing.T) {
	c, _, err := config.Parse("rules.yaml", []byte(example(t, "rules")), config.Flags{}, func(name string) (string, bool) { return "value-of-" + name, true })
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Idle(c, kinds); got != nil {
		t.Errorf("warned of %v", got)
	}
	want := []string{
		"default.requests_per_minute under key:bob: 1",
		"per_endpoint.POST /v1/embeddings.requests_per_minute under endpoint|POST /v1/embeddings|key:bob: 1",
		"rules.tenant-budget under rule|tenant-budget|4:acme: 900000",
		"rules.tenant-budget.candidate under rule|tenant-budget|4:acme: 900000, shadow",
		"rules.per-address under rule|per-address|12:192.0.2.7/32: 1, shadow",
	}
	ask := of(traffic.Embeddings)
	ask.Input, ask.Model = 12, "mine"
	if diff := cmp.Diff(want, chargedAt(p, someone("bob"), Target{Method: "POST", Path: "/v1/embeddings"}, ask)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var lines []string
	for _, r := range p.Rules() {
		lines = append(lines, fmt.Sprintf("%s: %s, per %s", r.Name, r.Match, r.Per))
	}
	wantRules := []string{
		"default.requests_per_minute: any, per caller",
		"roles.anonymous.requests_per_minute: role anonymous, per caller",
		"roles.admin.requests_per_minute: role admin, per caller",
		"per_endpoint.POST /v1/embeddings.requests_per_minute: POST /v1/embeddings, per caller and endpoint",
		"rules.heavy-models: model claude-*, method POST, per caller and model",
		"rules.tenant-budget: tenant acme, per tenant",
		"rules.tenant-budget.candidate: tenant acme, per tenant",
		"rules.per-address: any, per ip",
	}
	if diff := cmp.Diff(wantRules, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRuleOverflow: who finds no room for a counter of its own shares one of the
// same rule: who is not verified one, and each tenant one.
func TestRuleOverflow(t *testing.T) {
	p := compile(t, peopleText+`
rate_limiting:
  rules:
    - {name: a, per: [caller], limit: {requests: 1, per: 1m}}
    - {name: b, per: [model], limit: {requests: 1, per: 1m}}
`)
	foreign := someone("trusted")
	foreign.Tenant = "not listed"
	for _, tt := range []struct {
		caller *traffic.Caller
		want   string
	}{
		{someone(""), "overflow"},
		{someone("trusted"), "overflow of "},
		{someone("alice"), "overflow of acme"},
		{foreign, "overflow of not listed"},
	} {
		a := chat("m", 1, 1)
		n := p.Need(tt.caller, a)
		charges, _ := p.Charges(nil, tt.caller, Target{}, a, &n)
		for i, rule := range []string{"rule|a|", "rule|b|"} {
			if got := charges[i].Overflow; got != rule+tt.want {
				t.Errorf("%s: %q, want %s%s", tt.caller.ID, got, rule, tt.want)
			}
		}
	}
}

// TestKeptByRules counts the keys of rules that really are kept.
func TestKeptByRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := config.Default()
		c.RateLimiting.Enabled, c.RateLimiting.Rules = true, drawRules(t)
		p, err := New(&c, nil)
		if err != nil {
			t.Fatal(err)
		}
		keys := map[string]bool{}
		for range 60 {
			who, to, ask := drawRequest(t)
			n := p.Need(who, ask)
			charges, _ := p.Charges(nil, who, to, ask, &n)
			for i := range charges {
				if charges[i].Keep {
					keys[charges[i].Key] = true
				}
			}
		}
		if most := p.Kept(3); len(keys) > most {
			t.Fatalf("%d keys are kept, Kept says %d: %v", len(keys), most, keys)
		}
	})
}
