package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestModels: which entry of per_model a name belongs to.
func TestModels(t *testing.T) {
	p := limitsOnly(t, `
  per_model:
    models:
      "*": {requests_per_minute: 1}
      gpt-4: {requests_per_minute: 1}
      gpt-4-turbo: {requests_per_minute: 1}
      "gpt-4-turbo-*": {requests_per_minute: 1}
      "gpt-4o*": {requests_per_minute: 1}
      "gpt-4o-mini": {requests_per_minute: unlimited}
      claude-3-opus: {requests_per_minute: 1}
      "claude-*": {requests_per_minute: 1}
      "*-instruct": {requests_per_minute: 1}
      "meta/*/8b*": {requests_per_minute: 1}
      "gpt-5": {requests_per_minute: 1}
      "gpt-5*": {requests_per_minute: 1}
      "*-late": {requests_per_minute: 1}
      "late-*": {requests_per_minute: 1}
`)
	tests := []struct{ model, want string }{
		{"gpt-4", "gpt-4"},
		{"gpt-4-latest", "gpt-4"},
		{"gpt-4-0613", "gpt-4"},
		{"gpt-4-2024-05-13", "gpt-4"},
		{"gpt-4-20240513", "gpt-4"},
		{"gpt-4-1313", "*"},       // no thirteenth month
		{"gpt-4-0632", "*"},       // no such day
		{"gpt-4-0600", "*"},       //
		{"gpt-4-0006", "*"},       //
		{"gpt-4-2024-13-01", "*"}, //
		{"gpt-4-2024-05", "*"},    // a month alone
		{"gpt-4-06131", "*"},
		{"gpt-4-061", "*"},
		{"gpt-4-06a3", "*"},
		{"gpt-4-٠٦١٣", "*"},
		{"gpt-4--0613", "*"},
		{"gpt-4-2024051-3", "*"},
		{"gpt-4-20-240513", "*"},
		{"gpt-4-latest-0613", "*"},
		{"gpt-4-LATEST", "*"},
		{"gpt-4latest", "*"},
		{"gpt-4-vision", "*"},
		{"GPT-4", "*"}, // names have a case
		{" gpt-4", "*"},
		{"gpt-4-turbo", "gpt-4-turbo"},
		{"gpt-4-turbo-2024-04-09", "gpt-4-turbo-*"}, // the longer one
		{"gpt-4-turbo-preview", "gpt-4-turbo-*"},
		{"gpt-4o", "gpt-4o*"},
		{"gpt-4o-2024-08-06", "gpt-4o*"},
		{"gpt-4o-mini", "gpt-4o-mini"},
		{"gpt-4o-mini-2024-07-18", "gpt-4o-mini"},
		{"gpt-4o-mini-audio", "gpt-4o*"},
		{"claude-3-opus-20240229", "claude-3-opus"},
		{"claude-3-haiku", "claude-*"},
		{"mixtral-8x7b-instruct", "*-instruct"},
		{"claude-x-instruct", "*-instruct"}, // 9 letters against 7
		{"meta/llama-3/8b-chat", "meta/*/8b*"},
		{"meta/a/b/8b", "meta/*/8b*"},
		{"meta/8b", "*"},
		{"gpt-5", "gpt-5"},       // as long as gpt-5*: the name is meant
		{"gpt-5-0101", "gpt-5"},  //
		{"gpt-5-x", "gpt-5*"},    //
		{"late--late", "*-late"}, // as long, both globs: the first
		{"", "*"},                // a worker may answer it with whatever it has
	}
	for _, tt := range tests {
		m, _ := p.modelOf.Of(tt.model)
		if m == nil || m.name != tt.want {
			t.Errorf("%q belongs to %+v, want %s", tt.model, m, tt.want)
		}
	}
	if got := charged(p, visitor(), chat("gpt-4o-mini", 1, 1)); got != nil {
		t.Errorf("an unlimited model is charged %v", got)
	}
	if got := charged(p, visitor(), chat("", 1, 1)); len(got) != 1 || got[0] != "per_model.*.requests_per_minute under model|*|addr:192.0.2.1: 1" {
		t.Errorf("a request without a model is charged %v", got)
	}
	want := []string{"gpt-4", "gpt-4-turbo", "gpt-4o-mini", "claude-3-opus", "gpt-5"}
	if diff := cmp.Diff(want, p.ModelNames()); diff != "" {
		t.Errorf("names for metrics (-want +got):\n%s", diff)
	}
}

func TestNoModelMatches(t *testing.T) {
	p := limitsOnly(t, "  per_model: {models: {gpt-4: {requests_per_minute: 1}}}")
	for _, name := range []string{"", "gpt-4o", "gpt", "gpt-4-"} {
		if m, ok := p.modelOf.Of(name); ok {
			t.Errorf("%q belongs to %s", name, m.name)
		}
	}
}

// TestModelScope: per caller each has a budget of its own for an entry, and all
// names of the entry share it; for all there is one.
func TestModelScope(t *testing.T) {
	const text = `
  per_model:
    scope: SCOPE
    models:
      gpt-4: {requests_per_minute: 1}
      "a|b": {requests_per_minute: 1}
`
	caller := limitsOnly(t, strings.Replace(text, "SCOPE", "caller", 1))
	all := limitsOnly(t, strings.Replace(text, "SCOPE", "all", 1))
	for _, model := range []string{"gpt-4", "gpt-4-0613", "gpt-4-latest"} {
		if diff := cmp.Diff([]string{"per_model.gpt-4.requests_per_minute under model|gpt-4|key:alice: 1"}, charged(caller, named("alice"), chat(model, 1, 1))); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"per_model.gpt-4.requests_per_minute under model|gpt-4: 1"}, charged(all, named("alice"), chat(model, 1, 1))); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff([]string{"per_model.a|b.requests_per_minute under model|a|b|addr:192.0.2.1: 1"}, charged(caller, visitor(), chat("a|b", 1, 1))); diff != "" {
		t.Error(diff)
	}
	for _, r := range all.Rules() {
		if r.Per != "model" {
			t.Errorf("%s is counted per %s", r.Name, r.Per)
		}
	}
}
