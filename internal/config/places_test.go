package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWarning: a warning of a valid configuration stands where the key does that
// it is of, or the nearest one above it.
func TestWarning(t *testing.T) {
	c, _, err := Parse("p.yaml", []byte(`
rate_limiting:
  default: {requests_per_minute: 5}
  per_model: {models: {"a.b": {requests_per_minute: 5}}}
  rules:
    - {name: a, limit: {requests: 5, per: 1m}}
    - name: b
      limit: {requests: 5, per: 1m}
`), Flags{Listen: new("127.0.0.1:1")}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"rate_limiting.default.requests_per_minute":                 "p.yaml:3:34: rate_limiting.default.requests_per_minute: so",
		"rate_limiting.default.requests_per_hour":                   "p.yaml:3:3: rate_limiting.default.requests_per_hour: so",
		`rate_limiting.per_model.models["a.b"].requests_per_minute`: `p.yaml:4:53: rate_limiting.per_model.models["a.b"].requests_per_minute: so`,
		`rate_limiting.per_model.models["c.d"].requests_per_minute`: `p.yaml:4:15: rate_limiting.per_model.models["c.d"].requests_per_minute: so`,
		"rate_limiting.rules[0].match":                              "p.yaml:6:7: rate_limiting.rules[0].match: so",
		"rate_limiting.rules[1].limit":                              "p.yaml:8:7: rate_limiting.rules[1].limit: so",
		"pricing":                                                   "p.yaml:1:1: pricing: so",
		"listen":                                                    "--listen: so",
	} {
		if got := c.Warning(path, "so").String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if !c.Says("rate_limiting.rules[1].limit") || !c.Says("listen") || c.Says("rate_limiting.rules[1].match") {
		t.Error("what is said is not what was said")
	}

	c, _, err = parse(source{getenv: noEnv}, Flags{})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Warning("workers", "so").String(); got != "workers: so" {
		t.Errorf("without a file: %s", got)
	}
}

func TestSortWarnings(t *testing.T) {
	list := []Warning{{Line: 2, Column: 3}, {Line: 2, Column: 1, Path: "b"}, {Line: 2, Column: 1, Path: "a"}, {Line: 1, Column: 9}, {}}
	SortWarnings(list)
	if diff := cmp.Diff([]Warning{{}, {Line: 1, Column: 9}, {Line: 2, Column: 1, Path: "b"}, {Line: 2, Column: 1, Path: "a"}, {Line: 2, Column: 3}}, list); diff != "" {
		t.Error(diff)
	}
}

// TestTooMuch: the way out is an amount that can be counted.
func TestTooMuch(t *testing.T) {
	for text, want := range map[string]string{
		"default: {requests_per_day: 9007199254740993}":                          "p.yaml:1:45: rate_limiting.default.requests_per_day: larger than can be counted: write at most 9007199254740992, or unlimited",
		"rules: [{name: a, limit: {tokens: 99999999999999999999999, per: day}}]": "p.yaml:1:51: rate_limiting.rules[0].limit.tokens: larger than can be counted: write at most 9007199254740992",
	} {
		_, _, err := Parse("p.yaml", []byte("rate_limiting: {"+text+"}"), Flags{}, noEnv)
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}
