package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

const examples = "../../examples/configs"

// exampleNames are the documents' configurations that this version runs.
func exampleNames() []string {
	return []string{
		"01-basic.yaml", "02-requests.yaml", "03-tokens.yaml", "04-cost.yaml", "05-concurrent.yaml", "06-per-key.yaml",
		"08-per-model.yaml", "09-storage-memory.yaml", "11-headers.yaml", "12-error-response.yaml",
		"13-sliding-window.yaml", "14-fixed-window.yaml", "15-burst.yaml", "16-bypass.yaml",
	}
}

func noEnv(string) (string, bool) { return "", false }

var lineMark = regexp.MustCompile(` ?@\d+`)

// says returns what a Config says beyond the defaults, without lines.
func says(c Config) []string {
	lines := without(dump(c), dump(Default()))
	for i := range lines {
		lines[i] = lineMark.ReplaceAllString(lines[i], "")
	}
	return lines
}

func TestExamples(t *testing.T) {
	entries, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff(append(exampleNames(), "admission-batch.yaml", "admission-interactive.yaml", "admission.yaml", "rules.yaml"), names); diff != "" {
		t.Errorf("examples (-want +got):\n%s", diff)
	}

	want := map[string][]string{
		"01-basic.yaml": {
			"RateLimiting.Default.requests_per_minute = 60 of requests per \"minute\"",
			"RateLimiting.Default.tokens_per_minute = 100000 of tokens per \"minute\"",
			"RateLimiting.Default.concurrent_requests = 10 of concurrent per \"\"",
		},
		"02-requests.yaml": {
			"RateLimiting.Default.requests_per_minute = 60 of requests per \"minute\"",
			"RateLimiting.Default.requests_per_hour = 1000 of requests per \"hour\"",
			"RateLimiting.Default.requests_per_day = 10000 of requests per \"day\"",
			"RateLimiting.Strategy = requests",
		},
		"03-tokens.yaml": {
			"RateLimiting.Default.tokens_per_minute = 100000 of tokens per \"minute\"",
			"RateLimiting.Default.tokens_per_hour = 1000000 of tokens per \"hour\"",
			"RateLimiting.Default.input_tokens_per_minute = 50000 of input_tokens per \"minute\"",
			"RateLimiting.Default.output_tokens_per_minute = 50000 of output_tokens per \"minute\"",
			"RateLimiting.Strategy = tokens",
		},
		"04-cost.yaml": {
			"RateLimiting.Default.cost_per_minute = 1.00 of cost per \"minute\"",
			"RateLimiting.Default.cost_per_hour = 20.00 of cost per \"hour\"",
			"RateLimiting.Default.cost_per_day = 100.00 of cost per \"day\"",
			"RateLimiting.Strategy = cost",
		},
		"05-concurrent.yaml": {
			"RateLimiting.Concurrent.Enabled = true",
			"RateLimiting.Concurrent.MaxConcurrent = 10",
			"RateLimiting.Concurrent.QueueTimeout = 30s",
		},
		"06-per-key.yaml": {
			"RateLimiting.PerKey.Enabled = true",
			"RateLimiting.PerKey.Keys[0].Key.ID = ",
			"RateLimiting.PerKey.Keys[0].Key.Digest = 0bd7e33b…", // of key_premium_user
			"RateLimiting.PerKey.Keys[0].Key.Role = ",
			"RateLimiting.PerKey.Keys[0].Key.Tenant = ",
			"RateLimiting.PerKey.Keys[0].Key.Line =",
			"RateLimiting.PerKey.Keys[0].Limits.requests_per_minute = 200 of requests per \"minute\"",
			"RateLimiting.PerKey.Keys[0].Limits.tokens_per_minute = 500000 of tokens per \"minute\"",
			"RateLimiting.PerKey.Keys[0].Turn.Priority = ",
			"RateLimiting.PerKey.Keys[0].Turn.Weight = 0",
			"RateLimiting.PerKey.Keys[1].Key.ID = ",
			"RateLimiting.PerKey.Keys[1].Key.Digest = 6d21c3ab…", // of key_free_tier
			"RateLimiting.PerKey.Keys[1].Key.Role = ",
			"RateLimiting.PerKey.Keys[1].Key.Tenant = ",
			"RateLimiting.PerKey.Keys[1].Key.Line =",
			"RateLimiting.PerKey.Keys[1].Limits.requests_per_minute = 10 of requests per \"minute\"",
			"RateLimiting.PerKey.Keys[1].Limits.tokens_per_minute = 10000 of tokens per \"minute\"",
			"RateLimiting.PerKey.Keys[1].Turn.Priority = ",
			"RateLimiting.PerKey.Keys[1].Turn.Weight = 0",
		},
		"08-per-model.yaml": {
			"RateLimiting.PerModel.Enabled = true",
			"RateLimiting.PerModel.Models[0].Name = claude-3-opus",
			"RateLimiting.PerModel.Models[0].Limits.requests_per_minute = 20 of requests per \"minute\"",
			"RateLimiting.PerModel.Models[0].Limits.tokens_per_minute = 50000 of tokens per \"minute\"",
			"RateLimiting.PerModel.Models[1].Name = claude-3-sonnet",
			"RateLimiting.PerModel.Models[1].Limits.requests_per_minute = 60 of requests per \"minute\"",
			"RateLimiting.PerModel.Models[1].Limits.tokens_per_minute = 200000 of tokens per \"minute\"",
			"RateLimiting.PerModel.Models[2].Name = gpt-4",
			"RateLimiting.PerModel.Models[2].Limits.requests_per_minute = 30 of requests per \"minute\"",
			"RateLimiting.PerModel.Models[2].Limits.tokens_per_minute = 100000 of tokens per \"minute\"",
		},
		"09-storage-memory.yaml": nil,
		"11-headers.yaml":        nil,
		"12-error-response.yaml": {
			"RateLimiting.ErrorResponse.Message = You've exceeded your rate limit. Please upgrade your plan.",
		},
		"13-sliding-window.yaml": {"RateLimiting.Window.Precision = 1s"},
		"14-fixed-window.yaml":   {"RateLimiting.Algorithm = fixed_window"},
		"15-burst.yaml": {
			"RateLimiting.Burst.Enabled = true",
			"RateLimiting.Burst.Multiplier = 2000000000",
			"RateLimiting.Burst.Window = 10s",
		},
		"16-bypass.yaml": {
			"RateLimiting.Bypass.Paths[0] = /health",
			"RateLimiting.Bypass.Paths[1] = /metrics",
			"RateLimiting.Bypass.Keys[0].ID = ",
			"RateLimiting.Bypass.Keys[0].Digest = faaa70fd…", // of admin_key_xxxxx
			"RateLimiting.Bypass.Keys[0].Role = ",
			"RateLimiting.Bypass.Keys[0].Tenant = ",
			"RateLimiting.Bypass.Keys[0].Line =",
			"RateLimiting.Bypass.IPs[0] = 10.0.0.0/8",
			"RateLimiting.Bypass.IPs[1] = 192.168.0.0/16",
		},
	}
	for _, name := range exampleNames() {
		c, _, err := Load(filepath.Join(examples, name), Flags{}, noEnv)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		all := append([]string{"RateLimiting.Enabled = true"}, want[name]...)
		if diff := cmp.Diff(all, says(*c)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestRulesExample: the example of rules, which is none of the documents', says
// what its words say, and nothing to warn of.
func TestRulesExample(t *testing.T) {
	getenv := func(name string) (string, bool) { return "key-in-" + name, true }
	c, warnings, err := Load(filepath.Join(examples, "rules.yaml"), Flags{}, getenv)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	var got []string
	for _, r := range c.RateLimiting.Rules {
		got = append(got, fmt.Sprint(r.Name, " ", r.Per, " ", r.Limit.Amount, " ", r.Limit.Unit, " shadow ", r.Shadow, " candidate ", r.Candidate))
	}
	want := []string{
		"heavy-models [caller model] 50000 tokens shadow false candidate 0",
		"tenant-budget [tenant] 500000000000 cost shadow false candidate 250000000000",
		"per-address [ip] 5 requests shadow true candidate 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// merge adds b to a copy of a. It reports whether they agree where both say
// something.
func merge(a, b any) (any, bool) {
	ma, okA := a.(map[string]any)
	mb, okB := b.(map[string]any)
	if !okA || !okB {
		return a, reflect.DeepEqual(a, b)
	}
	out := make(map[string]any)
	for k, v := range ma {
		out[k] = v
	}
	for k, v := range mb {
		if _, both := out[k]; both {
			merged, ok := merge(out[k], v)
			if !ok {
				return nil, false
			}
			v = merged
		}
		out[k] = v
	}
	return out, true
}

// parseJSON loads a document written as JSON, whose keys are in order of
// their names.
func parseJSON(t *testing.T, name string, doc any) *Config {
	t.Helper()
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := Parse(name, data, Flags{}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestMerges puts every two of the examples into one file.
func TestMerges(t *testing.T) {
	names := exampleNames()
	docs := make([]any, len(names))
	said := make([][]string, len(names))
	for i, name := range names {
		data, err := os.ReadFile(filepath.Join(examples, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Load(data, &docs[i]); err != nil {
			t.Fatal(err)
		}
		said[i] = says(*parseJSON(t, name, docs[i]))
	}
	merged := 0
	for i := range names {
		for j := range i {
			both, ok := merge(docs[i], docs[j])
			if !ok {
				continue
			}
			merged++
			c := parseJSON(t, names[i]+" and "+names[j], both)
			want := slices.Concat(said[i], said[j])
			if missing := without(want, says(*c)); len(missing) > 0 {
				t.Errorf("%s and %s: the merged file does not say %q", names[i], names[j], missing)
			}
			if extra := without(says(*c), want); len(extra) > 0 {
				t.Errorf("%s and %s: the merged file says %q too", names[i], names[j], extra)
			}
		}
	}
	// 91 pairs; strategy (02, 03, 04) and algorithm (13, 14) conflict.
	if merged != 87 {
		t.Errorf("%d pairs were merged, want 87", merged)
	}
}
