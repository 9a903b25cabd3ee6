package pricing

import (
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/pricing/usd"
	"github.com/penstock-dev/penstock/internal/traffic"
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
		if i > 0 && models[i-1].name >= m.name {
			t.Errorf("%s stands behind %s", m.name, models[i-1].name)
		}
		if m.name == "" || strings.TrimSpace(m.name) != m.name || m.name == "*" {
			t.Errorf("%q is no name", m.name)
		}
		p := m.price(Stated{}, 0)
		if p.Input == 0 {
			t.Errorf("%s is free", m.name)
		}
		long := p.At(1 << 40)
		for _, kind := range []struct{ base, long int64 }{
			{p.Input, long.Input}, {p.Output, long.Output}, {p.CachedInput, long.CachedInput}, {p.CacheWrites, long.CacheWrites}, {p.LongCacheWrites, long.LongCacheWrites},
		} {
			if kind.long > 1000*usd.Dollar {
				t.Errorf("%s costs %s: is that per million tokens?", m.name, shown(p))
			}
			if kind.long < kind.base {
				t.Errorf("%s costs %s: a longer input costs less", m.name, shown(p))
			}
		}
		if p.LongCacheWrites < p.CacheWrites || long.LongCacheWrites < long.CacheWrites {
			t.Errorf("%s costs %s: cache writes for an hour cost less than others", m.name, shown(p))
		}
		if p.Above != 0 && (p.Above < 100_000 || p.Above > 1_000_000) {
			t.Errorf("%s costs %s: is that the length of a context?", m.name, shown(p))
		}
	}
}

// TestBuiltinIsTheSource: read by eye in the source, not made by the program that
// made the table.
func TestBuiltinIsTheSource(t *testing.T) {
	table := New(Stated{}, nil)
	for model, want := range map[string]string{
		"gpt-4":                                  "30.00 60.00 30.00 30.00 30.00",                                      // openai: 30, 60
		"gpt-5":                                  "1.25 10.00 0.125 1.25 1.25",                                         // openai: 1.25, 10, 0.125
		"gpt-5.6-sol":                            "4.00 20.00 0.40 5.00 5.00 above 271999 8.00 30.00 0.80 10.00 10.00", // openai: of 2026-08-21
		"gpt-6-sol":                              "2.00 10.00 0.20 2.50 2.50 above 272000 4.00 15.00 0.40 5.00 5.00",   // openai
		"o3":                                     "2.00 8.00 0.50 2.00 2.00",                                           // openai: of 2025-06-10
		"claude-opus-4-6":                        "5.00 25.00 0.50 6.25 10.00",                                         // anthropic: of 2026-03-13, no tiers any more
		"claude-sonnet-4-5":                      "3.00 15.00 0.30 3.75 6.00 above 200000 6.00 22.50 0.60 7.50 12.00",  // anthropic
		"claude-3-haiku-20240307":                "0.25 1.25 0.03 0.30 0.50",                                           // anthropic, not aws
		"gemini-2.5-pro":                         "1.25 10.00 0.125 1.25 1.25 above 200000 2.50 15.00 0.25 2.50 2.50",  // google
		"gemini-3.6-flash":                       "0.75 3.75 0.075 0.75 0.75",                                          // google: until 2027-01-01
		"x-ai/grok-4-fast":                       "0.20 0.50 0.05 0.20 0.20 above 128000 0.40 1.00 0.05 0.40 0.40",     // openrouter: cached input has no tiers
		"deepseek-v4-pro":                        "1.32 3.96 0.044 1.32 1.32",                                          // deepseek: at peak hours
		"mistral-medium-latest":                  "1.50 7.50 0.15 1.50 1.50",                                           // mistral: of 2026-06-16
		"llama-3.3-70b-versatile":                "0.59 0.79 0.59 0.59 0.59",                                           // groq
		"openai/gpt-oss-120b":                    "0.15 0.60 0.075 0.15 0.15",                                          // groq, not openrouter
		"accounts/fireworks/models/gpt-oss-120b": "0.15 0.60 0.014 0.15 0.15",
		"us.anthropic.claude-sonnet-4-5-20250929-v1:0": "3.30 16.50 0.33 4.125 4.125",
		"google/gemini-3.1-flash-lite":                 "0.25 1.50 0.025 0.083333334 0.083333334", // openrouter: 0.08333333333333334
	} {
		if p, listed := table.Of(model); shown(p) != want || !listed {
			t.Errorf("%s: %s, listed %v; want %s", model, shown(p), listed, want)
		}
	}
	for _, model := range []string{"whisper-1", "gemma-3-27b", "gpt-7"} { // no price of tokens; nothing at all
		if p, listed := table.Of(model); listed {
			t.Errorf("%s is listed: %s", model, shown(p))
		}
	}
}

// TestLongContext: what two requests cost that are a token apart. 100,000 input
// tokens are cached, 50,000 written, 20,000 of these for an hour.
func TestLongContext(t *testing.T) {
	p, _ := New(Stated{}, nil).Of("claude-sonnet-4-5")
	for input, want := range map[int64]string{
		200_000: "0.4275",   // 0.15 + 0.03 + 0.1125 + 0.12 + 0.015
		200_001: "0.847506", // 0.300006 + 0.06 + 0.225 + 0.24 + 0.0225
	} {
		u := traffic.Usage{Input: input, CachedInput: 100_000, CacheWrites: 50_000, LongCacheWrites: 20_000, Output: 1000}
		if got := usd.Format(p.Cost(u)); got != want {
			t.Errorf("%d: %s, want %s", input, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	models, err := parse("# a comment\na\tx\t1\t2\t3\t4\t5\nb*\tx\t0.5\t\t\t\t\nc\tx\t1\t2\t\t4\t\t100\t2\t\t\t5\t6")
	if err != nil || len(models) != 3 {
		t.Fatalf("%+v, %v", models, err)
	}
	for i, want := range []string{
		"a 1.00 2.00 3.00 4.00 5.00",
		"b* 0.50 0.50 0.50 0.50 0.50",
		"c 1.00 2.00 1.00 4.00 4.00 above 100 2.00 2.00 2.00 5.00 6.00",
	} {
		if got := models[i].name + " " + shown(models[i].price(Stated{}, 0)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	const dollars = "expected US dollars in digits, such as 30, 30.00 or 0.0375"
	for text, want := range map[string]string{
		"a\tx\t1\t2\t3\t4\n":                        "line 1: 6 fields, not 7 or 13",
		"# a comment\na\tx\t1\t2\t3\t4\t5\t6\n":     "line 2: 8 fields, not 7 or 13",
		"\n":                                        "line 1: 1 fields, not 7 or 13",
		"a\tx\t\t2\t3\t4\t5\n":                      "line 1: no price of input",
		"a\tx\t1\t-2\t3\t4\t5\n":                    "line 1: " + dollars,
		"a\tx\t1\t2\t3\t4\t5\r\n":                   "line 1: " + dollars,
		"a\tx\t1\t2\t3\t4\t5\t100\t\t2\t3\t4\t5\n":  "line 1: no price of input",
		"a\tx\t1\t2\t3\t4\t5\t100\t1\t2\t3\t4\tx\n": "line 1: " + dollars,
		"a\tx\t1\t2\t3\t4\t5\t0\t1\t2\t3\t4\t5\n":   `line 1: "0" is no number of tokens above which other prices hold`,
		"a\tx\t1\t2\t3\t4\t5\t1e3\t1\t2\t3\t4\t5\n": `line 1: "1e3" is no number of tokens above which other prices hold`,
	} {
		if _, err := parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestABrokenTableDoesNotStart(t *testing.T) {
	defer func() {
		if got, want := recover(), "pricing: the built-in table: line 1: 1 fields, not 7 or 13"; got != want {
			t.Errorf("panics with %v, want %v", got, want)
		}
	}()
	mustRead("x")
}
