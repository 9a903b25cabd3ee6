package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
)

// streamed are the calls that have a stream, with the events of each that come
// before its first token. They are never changed.
var streamed = []struct {
	openAICall
	begin int
}{
	{openAICalls[1], 1},
	{openAICalls[3], 0},
	{openAICalls[5], 4},
}

// left is what a caller of a gateway with manyTokens has left, found out by one
// more request of four tokens, which is not counted in.
func left(t *testing.T, g *gateway, key string) (tokens, requests int64) {
	t.Helper()
	g.idle(t)
	client, record := newOpenAI(t, g, key)
	if _, err := openAIEmbedding(t.Context(), client, openAIAsk{model: "look", prompt: sixteen}); err != nil {
		t.Fatal(err)
	}
	a := record.only(t)
	return a.number(t, "X-Ratelimit-Remaining-Tokens") + 4, a.number(t, "X-Ratelimit-Remaining-Requests") + 1
}

const manyTokens = "{auth: {unknown_keys: trust}, rate_limiting: {default: {tokens_per_day: 100000, requests_per_day: 1000}}}"

// failure is the code of the error with which a stream has ended. Of a response
// the SDK hands it on as an event, and then meets the cut.
func failure(a openAIAnswer, err error) string {
	var e *ssestream.StreamError
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &e):
		return a.failed
	}
	var body struct{ Error struct{ Code string } }
	_ = json.Unmarshal(e.Event.Data, &body) // what it is not has no code
	return body.Error.Code
}

// A worker that dies while it answers is an error for the SDK: never an answer
// that looks whole. What has flowed is paid for.
func TestOpenAICutByTheWorker(t *testing.T) {
	t.Parallel()
	g := serveWith(t, manyTokens)
	for _, call := range streamed {
		for _, tokens := range []int{0, 1, 7} {
			t.Run(fmt.Sprintf("%s after %d tokens", call.name, tokens), func(t *testing.T) {
				key := "sk-cut-" + strings.ReplaceAll(t.Name(), "/", "-")
				client, record := newOpenAI(t, g, key)
				a, err := call.do(t.Context(), client, openAIAsk{
					model: t.Name(), prompt: sixteen, most: 500,
					opts: []option.RequestOption{withFault(fmt.Sprintf("die-after=%d", call.begin+tokens))},
				})
				if err == nil || len(a.text) != 4*tokens {
					t.Errorf("the SDK has the text %q and the error %v, want %d tokens and an error", a.text, err, tokens)
				}
				if code := failure(a, err); code != "upstream_error" {
					t.Errorf("the error is %q of %T (%v), want upstream_error", code, err, err)
				}
				record.only(t) // what has begun is not asked for again
				used := int64(4 + tokens)
				if call.begin+tokens == 0 {
					used = 0 // it failed before any output
				}
				if tokens, _ := left(t, g, key); tokens != 100000-used {
					t.Errorf("%d tokens are left, want %d", tokens, 100000-used)
				}
			})
		}
	}
	for _, call := range openAICalls {
		if !call.tokens || call.stream {
			continue
		}
		for _, fault := range []string{"die-after=1", "wrong-length"} {
			t.Run(call.name+" "+fault, func(t *testing.T) {
				client, record := newOpenAI(t, g, "sk-cut-whole")
				a, err := call.do(t.Context(), client, openAIAsk{
					model: "standin", prompt: sixteen, most: 12, opts: []option.RequestOption{withFault(fault)},
				})
				if err == nil {
					t.Errorf("the SDK takes what it has for the answer: %+v", a)
				}
				record.only(t)
			})
		}
	}
}

// A worker that breaks off before it answers is a 502, which the SDK asks for
// again; each time is a request, and costs no tokens.
func TestOpenAIRefusedByTheWorker(t *testing.T) {
	t.Parallel()
	g := serveWith(t, manyTokens)
	for _, fault := range []string{"die-before-headers", "die-within-headers"} {
		t.Run(fault, func(t *testing.T) {
			key := "sk-refused-" + fault
			client, record := newOpenAI(t, g, key, option.WithMaxRetries(1))
			_, err := openAIChatStream(t.Context(), client, openAIAsk{
				model: "standin", prompt: sixteen, most: 12, opts: []option.RequestOption{withFault(fault)},
			})
			sent := record.sent()
			if len(sent) != 2 {
				t.Fatalf("%d requests were sent, want 2", len(sent))
			}
			wantOpenAI(t, err, sent[1], openAIError{
				Status: http.StatusBadGateway, Code: "upstream_error", Type: "server_error",
				Message: "The worker could not be reached or broke off.",
			})
			if tokens, requests := left(t, g, key); tokens != 100000 || requests != 998 {
				t.Errorf("%d tokens and %d requests are left, want 100000 and 998", tokens, requests)
			}
		})
	}
}

// A stream that outgrows what was reserved for it takes more. Where there is no
// more it goes on and leaves a debt, or is cut: which is an error for the SDK.
func TestOpenAIOutgrowsTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 20
	for _, stop := range []bool{false, true} {
		t.Run(fmt.Sprintf("stop %v", stop), func(t *testing.T) {
			t.Parallel()
			config := "rate_limiting: {default: {tokens_per_hour: 20}}"
			if stop {
				config = "{rate_limiting: {default: {tokens_per_hour: 20}}, estimate: {on_overrun: stop}}"
			}
			worker, _ := startWorker(t)
			for _, call := range streamed {
				t.Run(call.name, func(t *testing.T) {
					t.Parallel()
					g := startGateway(t, config, worker)
					client, record := newOpenAI(t, g, "sk-outgrows")
					a, err := call.do(t.Context(), client, openAIAsk{model: "standin", prompt: sixteen, most: 200})
					record.only(t)
					g.idle(t)
					used := 4 + len(a.text)/4
					switch code := failure(a, err); {
					case stop && code != "rate_limit_exceeded":
						t.Errorf("the error is %q of %T (%v), want rate_limit_exceeded", code, err, err)
					case !stop && err != nil:
						t.Errorf("the stream: %v", err)
					case used <= limit:
						t.Errorf("%d tokens have come, which is no more than the limit", used)
					}
					_, err = openAIEmbedding(t.Context(), client, openAIAsk{model: "standin", prompt: sixteen})
					wantOpenAI(t, err, record.sent()[1], rateLimited)
					g.counted(t, samples{
						`http_rate_limit_total{result="allowed"}`:     1,
						`http_rate_limit_total{result="rejected"}`:    1,
						`tokens_total{kind="input",model="standin"}`:  4,
						`tokens_total{kind="output",model="standin"}`: float64(used - 4),
					})
				})
			}
		})
	}
}

// A client that leaves in the middle of a stream pays for what has flowed and has
// the rest back.
func TestOpenAILeavesAStream(t *testing.T) {
	t.Parallel()
	g := serveWith(t, manyTokens)
	for _, call := range streamed {
		t.Run(call.name, func(t *testing.T) {
			const flowed = 7
			key := "sk-leaves-" + strings.ReplaceAll(call.name, " ", "-")
			client, record := newOpenAI(t, g, key)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			_, err := call.do(ctx, client, openAIAsk{
				model: t.Name(), prompt: sixteen, most: 500,
				each: func(text string) {
					if len(text) == 4*flowed {
						leave()
					}
				},
				opts: []option.RequestOption{withFault(fmt.Sprintf("hang-after=%d", call.begin+flowed))},
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v, want that of the context", err)
			}
			if a := record.only(t); a.number(t, "X-Ratelimit-Remaining-Tokens") != 100000-504 {
				t.Errorf("%d tokens were left, want %d: all that it may need is reserved", a.number(t, "X-Ratelimit-Remaining-Tokens"), 100000-504)
			}
			if tokens, _ := left(t, g, key); tokens != 100000-4-flowed {
				t.Errorf("%d tokens are left, want %d", tokens, 100000-4-flowed)
			}
			g.idle(t)
			m := g.metrics(t)
			if in, out := m[`tokens_total{kind="input",model="`+t.Name()+`"}`], m[`tokens_total{kind="output",model="`+t.Name()+`"}`]; in != 4 || out != flowed {
				t.Errorf("the metrics have %v tokens of input and %v of output, want 4 and %d", in, out, flowed)
			}
		})
	}
}

// A client that leaves before it has an answer that is not streamed pays for all
// that was reserved, since nobody knows what the worker has done.
func TestOpenAILeavesBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	worker, _ := startWorker(t)
	g := startGateway(t, manyTokens, worker)
	client, record := newOpenAI(t, g, "sk-leaves-unanswered")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	gone := make(chan error, 1)
	go func() {
		_, err := openAIChat(ctx, client, openAIAsk{
			model: "standin", prompt: sixteen, most: 500, opts: []option.RequestOption{withFault("hang")},
		})
		gone <- err
	}()
	awaitRunning(t, worker, 1)
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want that of the context", err)
	}
	record.only(t)
	if tokens, _ := left(t, g, "sk-leaves-unanswered"); tokens != 100000-504 {
		t.Errorf("%d tokens are left, want %d", tokens, 100000-504)
	}
	awaitRunning(t, worker, 0)
}

// A worker that is gone is an error in the middle of a stream; what the SDK asks
// for again once it is back passes, and the time in between costs nothing.
func TestOpenAIOutlivesTheWorker(t *testing.T) {
	t.Parallel()
	worker, process := startWorker(t)
	g := startGateway(t, manyTokens, worker)
	client, _ := newOpenAI(t, g, "sk-outlives")
	a, err := openAIChatStream(t.Context(), client, openAIAsk{
		model: "standin", prompt: sixteen, most: 500,
		each: func(text string) {
			if len(text) == 4*7 {
				process.kill(t)
			}
		},
		opts: []option.RequestOption{withFault("hang-after=8")},
	})
	if failure(a, err) != "upstream_error" || len(a.text) != 4*7 {
		t.Errorf("the SDK has the text %q and the error %T (%v), want 7 tokens and upstream_error", a.text, err, err)
	}
	g.awaitReady(t, http.StatusServiceUnavailable)

	client, record := newOpenAI(t, g, "sk-outlives")
	record.answered = func(n int) {
		if n == 0 {
			startWorker(t, "--listen", strings.TrimPrefix(worker, "http://"))
		}
	}
	if _, err := openAIChatStream(t.Context(), client, openAIAsk{model: "standin", prompt: sixteen, most: 12}); err != nil {
		t.Fatal(err)
	}
	sent := record.sent()
	if len(sent) != 2 || sent[0].status/100 != 5 || sent[1].status != http.StatusOK {
		t.Fatalf("what was sent: %+v; want a 5xx and a 200", sent)
	}
	if tokens, requests := left(t, g, "sk-outlives"); tokens != 100000-(4+7)-(4+12) || requests != 998 {
		t.Errorf("%d tokens and %d requests are left, want %d and 998", tokens, requests, 100000-(4+7)-(4+12))
	}
	g.awaitReady(t, http.StatusOK)
}
