package e2e

import (
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
)

// A request that can never pass is sent once, and its message names the largest
// that passes: which then does.
func TestOpenAITooLarge(t *testing.T) {
	t.Parallel()
	text := func(n int) openAIAsk { return openAIAsk{model: "standin", prompt: strings.Repeat("x", n)} }
	most := func(n int) openAIAsk { return openAIAsk{model: "standin", prompt: sixteen, most: int64(n)} }
	for _, limit := range []struct {
		name, config, rule string
		ask                func(n int) openAIAsk // with what the message names
		large              int                   // of which this is too much
		most               int                   // and this is the most
		message            string                // without the largest that passes
		output             bool                  // it is the output
	}{
		{
			name: "tokens", config: "rate_limiting: {default: {tokens_per_hour: 10}}",
			rule: "default.tokens_per_hour", ask: text, large: 1281, most: 1280,
			message: "This request needs at least 11 tokens; at most 10 can pass at once. Send at most N bytes of text.",
		},
		{
			name: "input tokens", config: "rate_limiting: {global: {input_tokens_per_minute: 10}}",
			rule: "global.input_tokens_per_minute", ask: text, large: 5000, most: 1280,
			message: "This request needs at least 40 input tokens; at most 10 can pass at once. Send at most N bytes of text.",
		},
		{
			name: "output tokens", config: "{rate_limiting: {default: {output_tokens_per_day: 10}}, estimate: {reserve: max}}",
			rule: "default.output_tokens_per_day", ask: most, large: 500, most: 10, output: true,
			message: "This request needs at least 500 output tokens; at most 10 can pass at once. Ask for at most N output tokens.",
		},
		{
			name: "input and output", config: "{rate_limiting: {default: {tokens_per_minute: 10}}, estimate: {reserve: max}}",
			rule: "default.tokens_per_minute", ask: most, large: 500, most: 9, output: true,
			message: "This request needs at least 501 tokens; at most 10 can pass at once. Ask for at most N output tokens.",
		},
	} {
		t.Run(limit.name, func(t *testing.T) {
			t.Parallel()
			// A gateway for each, as each uses its limit up.
			worker, _ := startWorker(t)
			for _, call := range openAICalls {
				if !call.tokens || limit.output && !call.output {
					continue
				}
				t.Run(call.name, func(t *testing.T) {
					t.Parallel()
					g := startGateway(t, limit.config, worker)
					client, record := newOpenAI(t, g, "sk-unknown-large")
					_, err := call.do(t.Context(), client, limit.ask(limit.large))
					a := record.only(t)
					var e *openai.Error
					if !errors.As(err, &e) {
						t.Fatalf("the error is %T (%v), want an *openai.Error", err, err)
					}
					named := regexp.MustCompile(`at most ([0-9]+) [a-z ]+\.$`).FindStringSubmatch(e.Message)
					if named == nil {
						t.Fatalf("the message names no way out: %s", e.Message)
					}
					wantOpenAI(t, err, a, openAIError{
						Status: http.StatusTooManyRequests, Code: "request_too_large_for_limit", Type: "rate_limit_error",
						Message: strings.Replace(limit.message, "N", strconv.Itoa(limit.most), 1),
					})
					for _, name := range []string{"Retry-After", "Retry-After-Ms"} {
						if v := a.header.Get(name); v != "" {
							t.Errorf("%s is %s, and no wait helps", name, v)
						}
					}
					if v := a.header.Get("X-Should-Retry"); v != "false" {
						t.Errorf("X-Should-Retry is %q, want false", v)
					}

					n, err := strconv.Atoi(named[1])
					if err != nil {
						t.Fatal(err)
					}
					if _, err := call.do(t.Context(), client, limit.ask(n)); err != nil {
						t.Errorf("with the %d that the message names: %v", n, err)
					}
					g.counted(t, samples{
						`http_rate_limit_total{result="allowed"}`:                      1,
						`http_rate_limit_total{result="rejected"}`:                     1,
						`rate_limit_hits_total{key="other",rule="` + limit.rule + `"}`: 1,
					})
				})
			}
		})
	}
}
