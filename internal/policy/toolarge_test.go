package policy

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
	"github.com/penstock-dev/penstock/internal/traffic"
)

func TestTooLarge(t *testing.T) {
	const most = "estimate: {reserve: max}\n"
	ids := func(a *traffic.Ask, n int64) *traffic.Ask {
		a.Input, a.LeastInput = a.Input+n, a.LeastInput+n
		return a
	}
	answers := func(a *traffic.Ask, n int64) *traffic.Ask {
		a.Answers, a.MaxOutput = n, a.MaxOutput*n
		return a
	}
	tests := []struct {
		what, text string
		ask        *traffic.Ask
		rule, want string // empty: it is not too large
	}{
		{"a guess is cut", "rate_limiting: {default: {tokens_per_minute: 100}}", chat("m", 3200, -1), "", ""},
		{"as is the client's maximum", "rate_limiting: {default: {tokens_per_minute: 100}}", chat("m", 100, 1_000_000), "", ""},
		{"a missing maximum is no reason", most + "rate_limiting: {default: {output_tokens_per_minute: 5}}", chat("m", 100, -1), "", ""},
		{
			"text", "rate_limiting: {default: {tokens_per_minute: 100}}", chat("m", 3201, -1),
			"default.tokens_per_minute", "This request needs at least 101 tokens; at most 100 can pass at once. Send at most 12800 bytes of text.",
		},
		{
			"text and token ids", "rate_limiting: {default: {input_tokens_per_minute: 100}}", ids(chat("m", 3201, -1), 20),
			"default.input_tokens_per_minute", "This request needs at least 121 input tokens; at most 100 can pass at once. Send at most 10240 bytes of text.",
		},
		{
			"token ids alone", "rate_limiting: {default: {input_tokens_per_minute: 100}}", ids(chat("m", 0, -1), 101),
			"default.input_tokens_per_minute", "This request needs at least 101 input tokens; at most 100 can pass at once. Send at most 100 input tokens.",
		},
		{
			"more token ids than pass, and text", "rate_limiting: {default: {input_tokens_per_minute: 100}}", ids(chat("m", 1, -1), 100),
			"default.input_tokens_per_minute", "This request needs at least 101 input tokens; at most 100 can pass at once. Send at most 100 input tokens.",
		},
		{
			"output", most + "rate_limiting: {default: {output_tokens_per_minute: 100}}", chat("m", 10, 101),
			"default.output_tokens_per_minute", "This request needs at least 101 output tokens; at most 100 can pass at once. Ask for at most 100 output tokens.",
		},
		{
			"output of three answers", most + "rate_limiting: {default: {output_tokens_per_minute: 100}}", answers(chat("m", 10, 34), 3),
			"default.output_tokens_per_minute", "This request needs at least 102 output tokens; at most 100 can pass at once. Ask for at most 33 output tokens in each of the 3 answers.",
		},
		{
			"more answers than output", most + "rate_limiting: {default: {output_tokens_per_minute: 2}}", answers(chat("m", 10, 34), 3),
			"default.output_tokens_per_minute", "This request needs at least 102 output tokens; at most 2 can pass at once. Ask for at most 2 output tokens in all answers together.",
		},
		{
			"output beside input", most + "rate_limiting: {default: {tokens_per_minute: 100}}", chat("m", 320, 91),
			"default.tokens_per_minute", "This request needs at least 101 tokens; at most 100 can pass at once. Ask for at most 90 output tokens.",
		},
		{
			"input beside output", most + "rate_limiting: {default: {tokens_per_minute: 100}}", chat("m", 3200, 10),
			"default.tokens_per_minute", "This request needs at least 110 tokens; at most 100 can pass at once. Send at most 11520 bytes of text.",
		},
		{
			"both", most + "rate_limiting: {default: {tokens_per_minute: 100}}", chat("m", 3200, 100),
			"default.tokens_per_minute", "This request needs at least 200 tokens; at most 100 can pass at once. Send at most 6400 bytes of text, and ask for at most 50 output tokens.",
		},
		{
			"the tightest of several", "rate_limiting: {default: {tokens_per_minute: 90, tokens_per_hour: 100}, global: {input_tokens_per_minute: 50}}", chat("m", 3201, -1),
			"global.input_tokens_per_minute", "This request needs at least 101 input tokens; at most 50 can pass at once. Send at most 6400 bytes of text.",
		},
		{
			"a model's", "rate_limiting: {default: {tokens_per_minute: 100}, per_model: {models: {m: {tokens_per_minute: 10}}}}", chat("m", 400, -1),
			"per_model.m.tokens_per_minute", "This request needs at least 13 tokens; at most 10 can pass at once. Send at most 1280 bytes of text.",
		},
		{
			"money", "rate_limiting: {default: {cost_per_minute: 0.0075}}", chat("m", 3201, -1),
			"default.cost_per_minute", "This request needs at least 0.007575 US dollars; at most 0.0075 can pass at once. Send at most 12800 bytes of text.",
		},
		{
			"money, at the price of cached input", "pricing: {default: {cached_input: 7.5}}\nrate_limiting: {default: {cost_per_minute: 0.0075}}", chat("m", 32001, -1),
			"default.cost_per_minute", "This request needs at least 0.0075075 US dollars; at most 0.0075 can pass at once. Send at most 128000 bytes of text.",
		},
		{
			"money for output", most + "rate_limiting: {default: {cost_per_minute: 0.01}}", chat("m", 320, 62),
			"default.cost_per_minute", "This request needs at least 0.01005 US dollars; at most 0.01 can pass at once. Ask for at most 61 output tokens.",
		},
		{
			"money for both", most + "rate_limiting: {default: {cost_per_minute: 0.01}}", chat("m", 32000, 100),
			"default.cost_per_minute", "This request needs at least 0.09 US dollars; at most 0.01 can pass at once. Send at most 8576 bytes of text, and ask for at most 33 output tokens.",
		},
		{
			"no money at all", "rate_limiting: {default: {cost_per_minute: 0.00007}}", chat("m", 1, -1),
			"default.cost_per_minute", "This request needs at least 0.000075 US dollars; at most 0.00007 can pass at once. No request to this model is as small as that.",
		},
		{
			"a rule's", "rate_limiting: {rules: [{name: r, match: {model: m}, limit: {tokens: 10, per: 1m, algorithm: token_bucket, capacity: 12}}, {name: s, limit: {tokens: 5, per: 1m}, mode: shadow}]}", chat("m", 400, -1),
			"rules.r", "This request needs at least 13 tokens; at most 12 can pass at once. Send at most 1536 bytes of text.",
		},
		{
			"a bucket's", "rate_limiting: {algorithm: token_bucket, default: {tokens_per_minute: 10}}", chat("m", 400, -1),
			"default.tokens_per_minute", "This request needs at least 13 tokens; at most 10 can pass at once. Send at most 1280 bytes of text.",
		},
	}
	for _, tt := range tests {
		p := compile(t, tt.text)
		n := p.Need(visitor(), tt.ask)
		_, large := p.Charges(nil, visitor(), Target{}, tt.ask, &n)
		switch {
		case large == nil && tt.want != "":
			t.Errorf("%s: it passes", tt.what)
		case large != nil && (large.Message != tt.want || large.Rule.Name != tt.rule):
			t.Errorf("%s: %s\n got %s\nwant %s", tt.what, large.Rule.Name, large.Message, tt.want)
		}
	}
}

var (
	sayText    = regexp.MustCompile(`Send at most (\d+) bytes of text`)
	sayInput   = regexp.MustCompile(`Send at most (\d+) input tokens`)
	sayEach    = regexp.MustCompile(`sk for at most (\d+) output tokens(?: in each of the \d+ answers)?\.`)
	sayAnswers = regexp.MustCompile(`sk for at most (\d+) output tokens in all answers together\.`)
)

func said(r *regexp.Regexp, message string) (int64, bool) {
	m := r.FindStringSubmatch(message)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	return n, err == nil
}

// TestTooLargeIsTrue: a request that does what the message says passes a store
// on which nothing is used, and one that goes one further in anything that the
// message names does not.
func TestTooLargeIsTrue(t *testing.T) {
	names := []string{"tokens_per_minute", "tokens_per_hour", "input_tokens_per_minute", "output_tokens_per_minute", "cost_per_minute"}
	found, unpayable := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		limits := func(what string) (text string) {
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(t, what) {
				n := rapid.OneOf(rapid.IntRange(1, 8), rapid.IntRange(1, 2000)).Draw(t, name)
				if name == "cost_per_minute" {
					text += name + ": " + usd.Format(int64(n)*rapid.SampledFrom([]int64{1, 997, 75_000, 150_000}).Draw(t, "nano")) + ", "
					continue
				}
				text += name + ": " + strconv.Itoa(n) + ", "
			}
			return "{" + text + "}"
		}
		p := compile(t, "rate_limiting:\n  algorithm: "+rapid.SampledFrom([]string{"sliding_window", "fixed_window", "token_bucket"}).Draw(t, "algorithm")+
			"\n  default: "+limits("default")+"\n  global: "+limits("global")+
			"\nestimate: {reserve: "+rapid.SampledFrom([]string{"learned", "max"}).Draw(t, "reserve")+"}\n"+
			"pricing: {default: {"+rapid.SampledFrom([]string{"", "input: 0, ", "input: 30, ", "cached_input: 0.1, "}).Draw(t, "input")+
			"output: "+rapid.SampledFrom([]string{"150", "0", "0.001", "31.7"}).Draw(t, "output")+"}}\n")
		a := drawAsk(t)
		c := visitor()
		passes := func(a *traffic.Ask) bool {
			n := p.Need(c, a)
			charges, large := p.Charges(nil, c, Target{}, a, &n)
			if large != nil {
				return false
			}
			r, err := penstock.New(nil).Reserve(context.Background(), charges...)
			if err != nil {
				t.Fatal(err)
			}
			if !r.Allowed {
				t.Fatalf("a request that is not too large is denied by a store that is empty: %+v", r.Binding())
			}
			return true
		}
		n := p.Need(c, a)
		_, large := p.Charges(nil, c, Target{}, a, &n)
		if large == nil {
			if !passes(a) {
				t.Fatal("no message, and it does not pass")
			}
			return
		}
		found++
		if strings.HasSuffix(large.Message, "No request to this model is as small as that.") {
			unpayable++
			least := *a
			least.TextBytes, least.Input, least.LeastInput, least.MaxOutput = 1, 1, 1, -1
			if passes(&least) {
				t.Fatalf("one token passes: %s", large.Message)
			}
			return
		}

		// The changes that the message names, each to be made by a number.
		var changes []func(a *traffic.Ask, n int64)
		var to []int64
		add := func(r *regexp.Regexp, change func(a *traffic.Ask, n int64)) {
			if n, ok := said(r, large.Message); ok {
				changes, to = append(changes, change), append(to, n)
			}
		}
		set := func(a *traffic.Ask, text, ids int64) {
			a.TextBytes, a.LeastInput = text, (text+127)/128+ids
			a.Input = (text+3)/4 + ids
		}
		ids := a.LeastInput - (a.TextBytes+127)/128
		add(sayText, func(a *traffic.Ask, n int64) { set(a, n, ids) })
		add(sayInput, func(a *traffic.Ask, n int64) { set(a, 0, n) })
		add(sayEach, func(a *traffic.Ask, n int64) { a.MaxOutput = n * a.Answers })
		add(sayAnswers, func(a *traffic.Ask, n int64) { a.MaxOutput = n })
		if len(changes) == 0 {
			t.Fatalf("it says nothing to do: %s", large.Message)
		}
		mended := *a
		for i, change := range changes {
			change(&mended, to[i])
		}
		if !passes(&mended) {
			t.Fatalf("what it says to do does not pass: %s", large.Message)
		}
		for i, change := range changes {
			further := mended
			change(&further, to[i]+1)
			if passes(&further) {
				t.Fatalf("one more than %d passes, too: %s", to[i], large.Message)
			}
		}
	})
	if found == 0 || unpayable == 0 {
		t.Errorf("%d requests were too large, %d for any", found, unpayable)
	}
}
