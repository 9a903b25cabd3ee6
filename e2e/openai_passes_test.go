package e2e

import (
	"testing"
)

// sixteen is four tokens: the stand-in worker counts four bytes of text as one,
// and so does penstock until it has learned otherwise.
const sixteen = "sixteen letters."

// Every call succeeds, the SDK sees the usage that it asked for and no other, and
// the metrics have the same numbers.
func TestOpenAIPasses(t *testing.T) {
	t.Parallel()
	g := serveWith(t, `
rate_limiting:
  default: {requests_per_hour: 1000, tokens_per_hour: 100000}
`)
	passed := float64(0)
	want := samples{}
	for _, call := range openAICalls {
		for _, wish := range []struct {
			name  string
			usage *bool
		}{{"", nil}, {" with usage", new(true)}, {" without usage", new(false)}} {
			name := call.name + wish.name
			if wish.usage != nil && (!call.stream || call.name == "responses streamed") {
				continue // there is no such wish
			}
			usage := wish.usage != nil && *wish.usage
			passed++
			t.Run(name, func(t *testing.T) {
				client, record := newOpenAI(t, g, "sk-unknown-passes")
				got, err := call.do(t.Context(), client, openAIAsk{model: name, prompt: sixteen, most: 12, usage: wish.usage})
				if err != nil {
					t.Fatal(err)
				}
				record.only(t)
				expect := openAIAnswer{text: got.text, input: -1, output: -1, total: -1}
				if call.tokens && (!call.stream || usage || call.name == "responses streamed") {
					expect.used(4, 0, 4)
				}
				if call.output {
					if len(got.text) != 4*12 {
						t.Errorf("the text is %q, want 12 tokens", got.text)
					}
					if expect.usages > 0 {
						expect.output, expect.total = 12, 16
					}
					want[`tokens_total{kind="output",model="`+name+`"}`] = 12
				} else {
					expect.items = 1
				}
				if usage {
					expect.empty = 1
				}
				if got != expect {
					t.Errorf("the SDK saw %+v, want %+v", got, expect)
				}
				if call.tokens {
					want[`tokens_total{kind="input",model="`+name+`"}`] = 4
				}
			})
		}
	}
	want[`http_rate_limit_total{result="allowed"}`] = passed
	want[`http_rate_limit_total{result="rejected"}`] = 0
	want[`rate_limit_hits_total`] = 0
	want[`unmetered_total`] = 0
	g.counted(t, want)
}
