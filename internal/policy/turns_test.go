package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/traffic"
)

const turnsText = peopleText + `
rate_limiting:
  default: {requests_per_minute: 60, weight: 2}
  roles:
    anonymous: {priority: bulk}
    admin: {priority: interactive, weight: 7}
  per_key:
    keys:
      alice: {weight: 3}
      carol: {requests_per_minute: 5, priority: bulk}
      "sha256:7777777777777777777777777777777777777777777777777777777777777777": {weight: 9}
  rules:
    - {name: llama, match: {model: "llama-*"}, priority: default}
    - {name: batches, match: {path: /v1/batches, tenant: acme}, priority: bulk, limit: {requests: 5, per: 1m}}
    - {name: files, match: {path: "/v1/*", method: GET}, priority: interactive}
`

func TestTurn(t *testing.T) {
	p := compile(t, turnsText)
	none := of(traffic.Other)
	none.Dialect = traffic.Plain
	tests := []struct {
		who, method, path string
		ask               *traffic.Ask
		want              string
	}{
		// Plans, merged field by field.
		{"alice", "POST", "/v1/chat/completions", chat("gpt-4", 1, 1), "interactive 3"},
		{"bob", "POST", "/v1/chat/completions", chat("gpt-4", 1, 1), "default 2"},
		{"carol", "POST", "/v1/chat/completions", chat("gpt-4", 1, 1), "bulk 2"},
		{"", "POST", "/v1/chat/completions", chat("gpt-4", 1, 1), "bulk 2"},
		{"trusted", "POST", "/v1/chat/completions", chat("gpt-4", 1, 1), "default 2"}, // of that key, and not listed
		// The first rule that matches goes before the plan, and leaves the weight.
		{"alice", "POST", "/v1/chat/completions", chat("llama-3", 1, 1), "default 3"},
		{"", "POST", "/v1/chat/completions", chat("llama-3", 1, 1), "default 2"},
		{"alice", "GET", "/v1/batches", none, "bulk 3"},
		{"bob", "GET", "/v1/batches", none, "bulk 2"},
		{"carol", "GET", "/v1/batches", none, "interactive 2"},
		{"alice", "POST", "/v1/batches", chat("llama-3", 1, 1), "default 3"},
		{"", "POST", "/v1/files", none, "bulk 2"},
	}
	for _, tt := range tests {
		class, weight := p.Turn(someone(tt.who), Target{Method: tt.method, Path: tt.path}, tt.ask)
		if got := fmt.Sprint(class, " ", weight); got != tt.want {
			t.Errorf("%q %s %s for %q: got %s, want %s", tt.who, tt.method, tt.path, tt.ask.Model, got, tt.want)
		}
	}

	var got []string
	for _, turn := range p.Turns() {
		got = append(got, fmt.Sprint(turn.Name, ", ", turn.Match, ": ", turn.Class, " ", turn.Weight))
	}
	want := []string{
		"default, any: default 2",
		"roles.anonymous, role anonymous: bulk 2",
		"roles.admin, role admin: interactive 7",
		"per_key, key alice: interactive 3",
		"per_key, key carol: bulk 2",
		"per_key, key listed in line 17: default 9",
		"rules.llama, model llama-*: default 0",
		"rules.batches, path /v1/batches, tenant acme: bulk 0",
		"rules.files, path /v1/*, method GET: interactive 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Turns (-want +got):\n%s", diff)
	}
}

// TestTurnUnsaid: who says nothing has the class default and the weight 1, and
// so has everybody where the section is off.
func TestTurnUnsaid(t *testing.T) {
	off := strings.Replace(turnsText, "rate_limiting:", "rate_limiting:\n  enabled: false", 1)
	for _, text := range []string{"{}", off, "rate_limiting: {default: {requests_per_minute: 5}}", "rate_limiting: {per_key: {enabled: false, keys: {abcdefgh: {weight: 5}}}}"} {
		p := compile(t, text)
		for _, who := range []string{"alice", "carol", ""} {
			if class, weight := p.Turn(someone(who), Target{Method: "GET", Path: "/v1/batches"}, chat("llama-3", 1, 1)); class != traffic.ClassDefault || weight != 1 {
				t.Errorf("%s: %q has %v %d", text, who, class, weight)
			}
		}
		if turns := p.Turns(); len(turns) > 0 {
			t.Errorf("%s: says %v", text, turns)
		}
	}
}

// TestRulesWithoutLimit are charged for nothing and keep no room for a counter.
func TestRulesWithoutLimit(t *testing.T) {
	const limited = "rate_limiting:\n  rules:\n    - {name: b, match: {path: /v1/*}, per: [tenant], limit: {requests: 5, per: 1m}}\n"
	p, without := compile(t, limited+"    - {name: c, priority: bulk}\n    - {name: d, match: {model: gpt-4}, priority: interactive}\n"), compile(t, limited)
	to := Target{Method: "POST", Path: "/v1/chat/completions"}
	if diff := cmp.Diff(chargedAt(without, someone("bob"), to, chat("gpt-4", 5, 5)), chargedAt(p, someone("bob"), to, chat("gpt-4", 5, 5))); diff != "" {
		t.Errorf("charges (-without +with):\n%s", diff)
	}
	if len(p.Precheck(nil, someone("bob"), to)) != 1 || len(p.Rules()) != 1 {
		t.Errorf("got %d early charges by %d rules, want 1 by 1", len(p.Precheck(nil, someone("bob"), to)), len(p.Rules()))
	}
	if got, want := p.Kept(7), without.Kept(7); got != want {
		t.Errorf("room for %d counters is kept, want %d", got, want)
	}
}

// TestTurnsMerge holds what plans of any shape come to to what their words say.
func TestTurnsMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := map[string]traffic.Class{"": traffic.ClassDefault, "interactive": traffic.ClassInteractive, "default": traffic.ClassDefault, "bulk": traffic.ClassBulk}
		said := func(what string) config.Turn {
			return config.Turn{
				Priority: rapid.SampledFrom([]string{"", "interactive", "default", "bulk"}).Draw(t, what+" priority"),
				Weight:   rapid.SampledFrom([]int64{0, 1, 2, 1000}).Draw(t, what+" weight"),
			}
		}
		section := func(turn config.Turn) string {
			s := "{requests_per_minute: 5"
			if turn.Priority != "" {
				s += ", priority: " + turn.Priority
			}
			if turn.Weight != 0 {
				s += fmt.Sprint(", weight: ", turn.Weight)
			}
			return s + "}"
		}
		layers := []config.Turn{said("default"), said("role"), said("key")}
		text := peopleText + "rate_limiting:\n  default: " + section(layers[0]) +
			"\n  roles: {admin: " + section(layers[1]) + "}\n  per_key: {keys: {alice: " + section(layers[2]) + ", bob: " + section(layers[2]) + "}}\n"
		p := compile(t, text)
		for who, has := range map[string][]config.Turn{"": layers[:1], "carol": layers[:1], "alice": layers, "bob": {layers[0], layers[2]}} {
			want := config.Turn{Weight: 1}
			for _, turn := range has {
				if turn.Priority != "" {
					want.Priority = turn.Priority
				}
				if turn.Weight != 0 {
					want.Weight = turn.Weight
				}
			}
			if class, weight := p.Turn(someone(who), Target{}, &traffic.Ask{}); class != words[want.Priority] || weight != want.Weight {
				t.Fatalf("%s\n%q: got %v %d, want %v", text, who, class, weight, want)
			}
		}
	})
}

// TestTurnAllocatesNothing, whatever decides.
func TestTurnAllocatesNothing(t *testing.T) {
	p := compile(t, turnsText)
	for _, who := range []string{"alice", "bob", ""} {
		c, a := someone(who), chat("llama-3", 1, 1)
		to := Target{Method: "GET", Path: "/v1/batches", Others: []string{"/v1/batches/x"}}
		if n := testing.AllocsPerRun(100, func() {
			p.Turn(c, to, a)
			a.Model = "gpt-4"
		}); n > 0 {
			t.Errorf("%q: %v allocations", who, n)
		}
	}
}

// TestIdleTurns: what is in flight, and classes, that can never come to count.
func TestIdleTurns(t *testing.T) {
	const slots = "admission: {max_concurrent_requests: 10, queue_size: 20}\n"
	for _, tt := range []struct {
		what, text string
		want       []string
	}{
		{"as many as slots", slots + "rate_limiting: {default: {concurrent_requests: 10}}", nil},
		{"more than slots", slots + "rate_limiting: {default: {concurrent_requests: 11}, global: {concurrent_requests: 30}}", []string{
			"default.concurrent_requests: 11 is above admission.max_concurrent_requests of 10: the others wait in its queue, where they count, too",
			"global.concurrent_requests: 30 is above admission.max_concurrent_requests of 10: the others wait in its queue, where they count, too",
		}},
		{"more than may wait", slots + "rate_limiting: {rules: [{name: a, limit: {concurrent: 31}}]}", []string{
			"rules[0].limit: rule a: 31 is above admission.max_concurrent_requests of 10 and its queue of 20, which deny first",
		}},
		{"more than slots, a shadow", slots + "rate_limiting: {rules: [{name: a, limit: {concurrent: 31}, mode: shadow}]}", nil},
		{"slots that move", "admission: {adaptive: {min: 1, max: 10}, queue_size: 0}\nrate_limiting: {roles: {anonymous: {concurrent_requests: 10}}, default: {concurrent_requests: 11}}", []string{
			"default.concurrent_requests: 11 is above admission.adaptive.max of 10 and its queue of 0, which deny first",
		}},
		{"slots of the other kind", "rate_limiting: {concurrent: {max_concurrent: 10}, default: {concurrent_requests: 111}}", []string{
			"default.concurrent_requests: 111 is above concurrent.max_concurrent of 10 and its queue of 100, which deny first",
		}},
		{"no slots", "rate_limiting: {default: {concurrent_requests: 10000}}", nil},

		{"a class behind another", slots + peopleText + `
rate_limiting:
  rules:
    - {name: a, match: {path: /v1/*, role: [admin, user]}, limit: {requests: 5, per: 1m}}
    - {name: b, match: {path: /v1/*}, priority: bulk}
    - {name: c, match: {path: /v1/x, key: alice}, priority: interactive}
    - {name: d, match: {path: /v2/x}, priority: interactive}
    - {name: e, priority: bulk}
    - {name: f, match: {model: gpt-4}, priority: interactive}
    - {name: g, match: {role: guest}, priority: interactive}
    - {name: h, match: {path: /v1/models, model: gpt-4}, priority: interactive}`, []string{
			"rules[2].priority: rule c: never applies: rule b comes before it, and has one for every request that it matches",
			"rules[5].priority: rule f: never applies: rule e comes before it, and has one for every request that it matches",
			"rules[6].match: rule g: never matches: nobody has the role guest; auth.keys says who does",
			"rules[7].match: rule h: never matches: no body of these requests is read, so that they have no model",
		}},
		{"a class without a price", slots + "rate_limiting: {global: {cost_per_day: 100}, rules: [{name: a, match: {model: mine-7b}, priority: bulk}]}", nil},
	} {
		if diff := cmp.Diff(tt.want, idle(t, tt.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, diff)
		}
	}
}

// BenchmarkTurn asks whose turn it is: of a plan alone, and past three rules.
func BenchmarkTurn(b *testing.B) {
	to := Target{Method: "POST", Path: "/v1/chat/completions"}
	for _, of := range []struct{ what, text string }{
		{"plan", peopleText + "rate_limiting: {default: {priority: bulk, weight: 5}, roles: {admin: {weight: 7}}}"},
		{"rules", turnsText},
	} {
		b.Run(of.what, func(b *testing.B) {
			p, c, a := compile(b, of.text), someone("alice"), chat("gpt-4", 10, 5)
			b.ReportAllocs()
			for b.Loop() {
				p.Turn(c, to, a)
			}
		})
	}
}
