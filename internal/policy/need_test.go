package policy

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// learnedOf makes alice's answers from model m so many tokens long.
func learnedOf(tokens int64) *Learned {
	l := NewLearned()
	for range learnedFrom {
		l.Learn("key:alice", "m", tokens)
	}
	return l
}

// TestNeed: what is reserved and what is the least, in input and output tokens.
func TestNeed(t *testing.T) {
	answers := func(a *traffic.Ask, n int64) *traffic.Ask {
		a.Answers = n
		if a.MaxOutput > 0 {
			a.MaxOutput *= n
		}
		return a
	}
	embeddings := chat("m", 100, -1)
	embeddings.Kind = traffic.Embeddings
	asking := chat("m", 100, 70)
	asking.Kind = traffic.Embeddings
	zero := chat("m", 100, 70)
	zero.Answers = 0
	const reserve, most = "estimate: {output: 1000, reserve: learned}", "estimate: {output: 1000, reserve: max}"
	tests := []struct {
		what        string
		text        string
		learned     int64 // of each answer; negative: nothing is known
		caller      *traffic.Caller
		ask         *traffic.Ask
		output      int64
		leastOutput int64
	}{
		{"its own maximum", reserve, -1, named("alice"), chat("m", 100, 70), 70, 0},
		{"a maximum of 0", reserve, -1, named("alice"), chat("m", 100, 0), 1, 0},
		{"no maximum", reserve, -1, named("alice"), chat("m", 100, -1), 1000, 0},
		{"no maximum, 3 answers", reserve, -1, named("alice"), answers(chat("m", 100, -1), 3), 3000, 0},
		{"learned", reserve, 40, named("alice"), chat("m", 100, -1), 40, 0},
		{"learned, 3 answers", reserve, 40, named("alice"), answers(chat("m", 100, -1), 3), 120, 0},
		{"learned below its maximum", reserve, 40, named("alice"), chat("m", 100, 70), 40, 0},
		{"learned above its maximum", reserve, 90, named("alice"), chat("m", 100, 70), 70, 0},
		{"learned above its maximum of 3 answers", reserve, 90, named("alice"), answers(chat("m", 100, 70), 3), 210, 0},
		{"learned as 0", reserve, 0, named("alice"), chat("m", 100, -1), 1, 0},
		{"learned of another model", reserve, 40, named("alice"), chat("n", 100, -1), 1000, 0},
		{"learned of another caller", reserve, 40, named("bob"), chat("m", 100, -1), 1000, 0},
		{"learned by nobody who is verified", reserve, 40, &traffic.Caller{ID: "key:alice"}, chat("m", 100, -1), 1000, 0},
		{"max", most, 40, named("alice"), chat("m", 100, 70), 70, 70},
		{"max, 3 answers", most, 40, named("alice"), answers(chat("m", 100, 70), 3), 210, 210},
		{"max, none said", most, 40, named("alice"), chat("m", 100, -1), 1000, 0},
		{"max of 0", most, 40, named("alice"), chat("m", 100, 0), 1, 0},
		{"embeddings", reserve, -1, named("alice"), embeddings, 0, 0},
		{"embeddings that ask for output", most, -1, named("alice"), asking, 0, 0},
		{"answers not said", reserve, -1, named("alice"), zero, 70, 0},
	}
	for _, tt := range tests {
		l := NewLearned()
		if tt.learned >= 0 {
			l = learnedOf(tt.learned)
		}
		p, err := New(parse(t, tt.text), l)
		if err != nil {
			t.Fatal(err)
		}
		n := p.Need(tt.caller, tt.ask)
		least := tt.ask.LeastInput
		want := Need{
			Amounts: penstock.Amounts{penstock.Requests: 1, penstock.Concurrent: 1, penstock.InputTokens: 100, penstock.OutputTokens: tt.output, penstock.Tokens: 100 + tt.output},
			Least:   penstock.Amounts{penstock.Requests: 1, penstock.Concurrent: 1, penstock.InputTokens: least, penstock.OutputTokens: tt.leastOutput, penstock.Tokens: least + tt.leastOutput},
		}
		if n != want {
			t.Errorf("%s:\n got %v\nwant %v", tt.what, n, want)
		}
	}
}

// TestNeedOfNothing: what will show at the end of the answer only is taken to be a
// token at the least, so that a limit that is spent denies it.
func TestNeedOfNothing(t *testing.T) {
	p, err := New(parse(t, "estimate: {output: 1000}"), NewLearned())
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[traffic.Kind]struct{ input, output int64 }{
		traffic.ChatCompletions: {1, 1000},
		traffic.Responses:       {1, 1000},
		traffic.Embeddings:      {1, 0},
		traffic.Rerank:          {1, 0},
		traffic.Transcriptions:  {1, 1},
		traffic.Images:          {1, 1},
		traffic.Speech:          {1, 1},
		traffic.ComfyPrompt:     {0, 0}, // a job is a request
		traffic.ModelList:       {0, 0},
		traffic.CountTokens:     {0, 0},
		traffic.Other:           {0, 0},
	} {
		a := of(kind)
		a.MaxOutput = -1
		n := p.Need(named("alice"), a)
		if in, out, both := n.Amounts[penstock.InputTokens], n.Amounts[penstock.OutputTokens], n.Amounts[penstock.Tokens]; in != want.input || out != want.output || both != in+out {
			t.Errorf("kind %d: %d of input and %d of output, together %d; want %d and %d", kind, in, out, both, want.input, want.output)
		}
		if n.Least[penstock.Tokens] != 0 {
			t.Errorf("kind %d: at the least %d tokens, want 0", kind, n.Least[penstock.Tokens])
		}
	}
}

// TestNeedBounds: however large the numbers of a request are, they add up to
// what a store counts.
func TestNeedBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := New(parse(t, "estimate: {reserve: "+rapid.SampledFrom([]string{"learned", "max"}).Draw(t, "reserve")+", output: 1000000}"), learnedOf(math.MaxInt64))
		if err != nil {
			t.Fatal(err)
		}
		size := rapid.OneOf(rapid.Int64Range(0, 10), rapid.Int64Range(math.MaxInt64-3, math.MaxInt64), rapid.Int64Min(0))
		a := &traffic.Ask{
			Endpoint: traffic.Endpoint{Dialect: traffic.OpenAI, Kind: traffic.ChatCompletions}, Model: "m",
			Input: size.Draw(t, "input"), MaxOutput: size.Draw(t, "output") - 1, Answers: size.Draw(t, "answers"),
		}
		a.LeastInput = min(size.Draw(t, "least"), a.Input)
		n := p.Need(named("alice"), a)
		for u, amount := range n.Amounts {
			if amount < 0 || amount > penstock.MaxAmount || n.Least[u] < 0 || n.Least[u] > amount {
				t.Fatalf("%v: %d, at least %d", penstock.Unit(u), amount, n.Least[u])
			}
		}
	})
}

// TestAmountsFitTheirLimits: whatever the policy and the request, a charge is
// never more than its limit lets through, and never less than the request uses
// at the least, but where that makes it too large.
func TestAmountsFitTheirLimits(t *testing.T) {
	names := []string{"requests_per_minute", "tokens_per_minute", "tokens_per_hour", "input_tokens_per_minute", "output_tokens_per_minute", "concurrent_requests"}
	rapid.Check(t, func(t *rapid.T) {
		limits := func(what string) (text string) {
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 4, rapid.ID).Draw(t, what) {
				text += name + ": " + rapid.SampledFrom([]string{"1", "2", "10", "500", "100000"}).Draw(t, name) + ", "
			}
			return "{" + text + "}"
		}
		p := compile(t, "rate_limiting:\n  algorithm: "+rapid.SampledFrom([]string{"sliding_window", "fixed_window", "token_bucket"}).Draw(t, "algorithm")+
			"\n  default: "+limits("default")+"\n  global: "+limits("global")+"\n  per_model: {models: {m: "+limits("model")+"}}\n"+
			"estimate: {reserve: "+rapid.SampledFrom([]string{"learned", "max"}).Draw(t, "reserve")+"}\n")
		a := drawAsk(t)
		c := visitor()
		n := p.Need(c, a)
		charges, large := p.Charges(nil, c, Target{}, a, &n)
		tooLarge := false
		for i := range charges {
			ch := &charges[i]
			l := ch.Limit()
			tooLarge = tooLarge || n.Least[l.Unit] > l.Most()
			switch {
			case ch.Amount > l.Most():
				t.Fatalf("%s: %d is charged of %d", p.Rule(ch).Name, ch.Amount, l.Most())
			case large == nil && ch.Amount < n.Least[l.Unit]:
				t.Fatalf("%s: %d is charged of a request that uses at least %d", p.Rule(ch).Name, ch.Amount, n.Least[l.Unit])
			case ch.Amount != min(n.Amounts[l.Unit], l.Most()):
				t.Fatalf("%s: %d is charged of %d that are needed", p.Rule(ch).Name, ch.Amount, n.Amounts[l.Unit])
			}
		}
		if tooLarge != (large != nil) {
			t.Fatalf("too large: %v, want %v", large, tooLarge)
		}
		if err := penstock.ValidateCharges(charges); err != nil {
			t.Fatal(err)
		}
	})
}

// drawAsk draws a request as provider reads them.
func drawAsk(t *rapid.T) *traffic.Ask {
	size := rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64Range(0, 1000), rapid.Int64Range(0, 300_000))
	a := &traffic.Ask{
		Endpoint:  traffic.Endpoint{Dialect: traffic.OpenAI, Kind: rapid.SampledFrom([]traffic.Kind{traffic.ChatCompletions, traffic.Embeddings, traffic.Other}).Draw(t, "kind")},
		Model:     "m",
		TextBytes: size.Draw(t, "bytes"),
		Answers:   rapid.Int64Range(1, 5).Draw(t, "answers"),
	}
	ids := size.Draw(t, "ids")
	a.Input = (a.TextBytes+3)/4 + ids + 1000*rapid.Int64Range(0, 2).Draw(t, "media")
	a.LeastInput = (a.TextBytes+127)/128 + ids
	if a.MaxOutput = size.Draw(t, "maximum") - 1; a.MaxOutput > 0 {
		a.MaxOutput *= a.Answers
	}
	return a
}
