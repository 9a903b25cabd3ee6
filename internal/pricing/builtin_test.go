package pricing

import (
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/pricing/usd"
)

// TestBuiltin: the table is whole, sorted, without duplicates, small, and has
// what its source has.
func TestBuiltin(t *testing.T) {
	if len(prices) > 120<<10 {
		t.Errorf("the table has %d bytes, more than 120 KiB", len(prices))
	}
	name, date, _ := strings.Cut(Source, " of ")
	for _, want := range []string{name, date, "MIT", "Left out"} {
		head, _, _ := strings.Cut(prices, "\n# name\t")
		if !strings.Contains(head, want) {
			t.Errorf("the table's head does not say %q", want)
		}
	}
	models, err := parse(prices)
	if err != nil {
		t.Fatal(err)
	}
	if len(models) < 1000 {
		t.Errorf("%d models", len(models))
	}
	for i, m := range models {
		if i > 0 && models[i-1].Name >= m.Name {
			t.Errorf("%s stands behind %s", m.Name, models[i-1].Name)
		}
		if m.Name == "" || strings.TrimSpace(m.Name) != m.Name || m.Name == "*" {
			t.Errorf("%q is no name", m.Name)
		}
		if *m.Input == 0 {
			t.Errorf("%s is free", m.Name)
		}
		if p := m.price(0); max(p.Input, p.Output, p.CachedInput, p.CacheWrites) > 1000*usd.Dollar {
			t.Errorf("%s costs %s: is that per million tokens?", m.Name, shown(p))
		}
	}
}

// TestBuiltinIsTheSource: read by eye in the source, not made by the program that
// made the table.
func TestBuiltinIsTheSource(t *testing.T) {
	table := New(Stated{}, nil)
	for model, want := range map[string]string{
		"gpt-4":                                  "30 60 30 30",          // openai: 30, 60
		"gpt-5":                                  "1.25 10 0.125 1.25",   // openai: 1.25, 10, 0.125
		"gpt-5.6-sol":                            "8 30 0.8 10",          // openai: of 2026-08-21, above 271999 tokens
		"o3":                                     "2 8 0.5 2",            // openai: of 2025-06-10
		"claude-opus-4-6":                        "5 25 0.5 6.25",        // anthropic: of 2026-03-13
		"claude-sonnet-4-5":                      "6 22.5 0.6 7.5",       // anthropic: above 200000 tokens
		"claude-3-haiku-20240307":                "0.25 1.25 0.03 0.30",  // anthropic, not aws
		"gemini-2.5-pro":                         "2.5 15 0.25 2.5",      // google: above 200000 tokens
		"gemini-3.6-flash":                       "0.75 3.75 0.075 0.75", // google: until 2027-01-01
		"deepseek-v4-pro":                        "1.32 3.96 0.044 1.32", // deepseek: at peak hours
		"mistral-medium-latest":                  "1.5 7.5 0.15 1.5",     // mistral: of 2026-06-16
		"llama-3.3-70b-versatile":                "0.59 0.79 0.59 0.59",  // groq
		"openai/gpt-oss-120b":                    "0.15 0.6 0.075 0.15",  // groq, not openrouter
		"accounts/fireworks/models/gpt-oss-120b": "0.15 0.6 0.014 0.15",
		"us.anthropic.claude-sonnet-4-5-20250929-v1:0": "3.3 16.5 0.33 4.125",
		"google/gemini-3.1-flash-lite":                 "0.25 1.5 0.025 0.083333334", // openrouter: 0.08333333333333334
	} {
		if p, listed := table.Of(model); p != stated(t, want).price(0) || !listed {
			t.Errorf("%s: %s, listed %v; want %s", model, shown(p), listed, want)
		}
	}
	for _, model := range []string{"whisper-1", "gemma-3-27b", "gpt-7"} { // no price of tokens; nothing at all
		if p, listed := table.Of(model); listed {
			t.Errorf("%s is listed: %s", model, shown(p))
		}
	}
}

func TestParse(t *testing.T) {
	models, err := parse("# a comment\na\tx\t1\t2\t3\t4\nb*\tx\t0.5\t\t\t")
	if err != nil || len(models) != 2 || models[0].Name != "a" || models[1].Name != "b*" {
		t.Fatalf("%+v, %v", models, err)
	}
	if got, want := shown(models[0].price(0)), "1.00 2.00 3.00 4.00"; got != want {
		t.Errorf("a: %s, want %s", got, want)
	}
	if got, want := shown(models[1].price(0)), "0.50 0.50 0.50 0.50"; got != want {
		t.Errorf("b*: %s, want %s", got, want)
	}
	for text, want := range map[string]string{
		"a\tx\t1\t2\t3\n":                    "line 1: 5 fields, not 6",
		"# a comment\na\tx\t1\t2\t3\t4\t5\n": "line 2: 7 fields, not 6",
		"\n":                                 "line 1: 1 fields, not 6",
		"a\tx\t\t2\t3\t4\n":                  "line 1: no price of input",
		"a\tx\t1\t-2\t3\t4\n":                "line 1: expected US dollars in digits, such as 30, 30.00 or 0.0375",
		"a\tx\t1\t2\t3\t4\r\n":               "line 1: expected US dollars in digits, such as 30, 30.00 or 0.0375",
	} {
		if _, err := parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestABrokenTableDoesNotStart(t *testing.T) {
	defer func() {
		if got, want := recover(), "pricing: the built-in table: line 1: 1 fields, not 6"; got != want {
			t.Errorf("panics with %v, want %v", got, want)
		}
	}()
	mustRead("x")
}
