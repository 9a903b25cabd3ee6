package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Every call succeeds, the SDK sees the usage, and the metrics and the limits have
// the same numbers. To count tokens is a request, and no tokens.
func TestSDKsPass(t *testing.T) {
	t.Parallel()
	g := serveWith(t, "{auth: {unknown_keys: trust}, rate_limiting: {default: {requests_per_hour: 1000, tokens_per_hour: 100000}, headers: {sets: [ietf]}}}")
	want := samples{`http_rate_limit_total{result="rejected"}`: 0, `unmetered_total`: 0}
	for _, call := range sdkCalls() {
		for _, cache := range []bool{false, true} {
			model := strings.ReplaceAll(call.name, " ", "-")
			if cache {
				if call.limited != "rate_limit_error" || !call.tokens {
					continue
				}
				model += "-cached"
			}
			t.Run(model, func(t *testing.T) {
				key := "sk-pass-" + model
				r := newRecord(t)
				got, err := call.do(t.Context(), t, g, r, key, sdkAsk{model: model, prompt: sixteen, most: 12, cache: cache})
				if err != nil {
					t.Fatal(err)
				}
				r.only(t)
				expect := sdkAnswer{text: got.text, input: 4}
				used := int64(0)
				switch {
				case call.output:
					if len(got.text) != 4*12 {
						t.Errorf("the text is %q, want 12 tokens", got.text)
					}
					expect.output, used = 12, 16
					want[`tokens_total{kind="output",model="`+model+`"}`] = 12
				case call.tokens:
					expect.items, expect.input, used = 1, 0, 4
				case strings.HasSuffix(call.name, "models"):
					expect.items, expect.input = 1, 0
				}
				if got != expect {
					t.Errorf("the SDK saw %+v, want %+v", got, expect)
				}
				if call.tokens {
					want[`tokens_total{kind="input",model="`+model+`"}`] = 4
				}
				if cache {
					want[`tokens_total{kind="cache_writes",model="`+model+`"}`] = 4
				}
				if tokens, requests := sdkLeft(t, g, key, "hour"); tokens != 100000-used || requests != 999 {
					t.Errorf("%d tokens and %d requests are left, want %d and 999", tokens, requests, 100000-used)
				}
				want[`http_rate_limit_total{result="allowed"}`] += 2
			})
		}
	}
	want[`tokens_total{kind="input",model="look"}`] = want[`http_rate_limit_total{result="allowed"}`] / 2 * 4
	g.counted(t, want)
}

// sdkLeft is what the caller with this key has left, found out by one more request
// of four tokens, which is not counted in.
func sdkLeft(t *testing.T, g *gateway, key, window string) (tokens, requests int64) {
	t.Helper()
	g.idle(t)
	client, record := newOpenAI(t, g, key)
	if _, err := openAIEmbedding(t.Context(), client, openAIAsk{model: "look", prompt: sixteen}); err != nil {
		t.Fatal(err)
	}
	a := record.only(t)
	return a.left(t, "tokens_per_"+window) + 4, a.left(t, "requests_per_"+window) + 1
}

// A limit that is used up for longer than a minute is the SDK's own error for it,
// and SDKs that read headers send no second request. To count tokens passes where
// tokens alone are limited.
func TestSDKsDeniedForLong(t *testing.T) {
	t.Parallel()
	for _, limit := range []struct {
		name, config, rule string
		tokens             bool
	}{
		{"requests", "rate_limiting: {default: {requests_per_hour: 1}}", "default.requests_per_hour", false},
		{"tokens", "rate_limiting: {default: {tokens_per_hour: 16}}", "default.tokens_per_hour", true},
		{"all in the shape of the dialect", "rate_limiting: {global: {requests_per_hour: 1}, error_response: {global: dialect}}", "global.requests_per_hour", false},
	} {
		t.Run(limit.name, func(t *testing.T) {
			t.Parallel()
			g := serveWith(t, limit.config)
			first := sdkCalls()[0]
			ask := sdkAsk{model: "standin", prompt: sixteen, most: 12}
			if _, err := first.do(t.Context(), t, g, newRecord(t), "sk-denied-first", ask); err != nil {
				t.Fatal(err)
			}
			g.idle(t)
			rejected := float64(0)
			for _, call := range sdkCalls() {
				t.Run(call.name, func(t *testing.T) {
					r := newRecord(t)
					ask.once = !call.told
					_, err := call.do(t.Context(), t, g, r, "sk-denied-second", ask)
					a := r.only(t)
					if limit.tokens && !call.tokens {
						if err != nil {
							t.Error(err)
						}
						return
					}
					rejected++
					call.wantError(t, err, a, call.denied())
					if a.header.Get("X-Should-Retry") != "false" || a.wait(t).Minutes() <= 1 {
						t.Errorf("X-Should-Retry is %q, and the wait %v", a.header.Get("X-Should-Retry"), a.wait(t))
					}
				})
			}
			g.counted(t, samples{
				`http_rate_limit_total{result="allowed"}`:                      1,
				`http_rate_limit_total{result="rejected"}`:                     rejected,
				`rate_limit_hits_total{key="other",rule="` + limit.rule + `"}`: rejected,
				`tokens_total{kind="input",model="standin"}`:                   4,
				`tokens_total{kind="output",model="standin"}`:                  12,
			})
		})
	}
}

// What is over in a second the SDK waits out by itself, and then it passes: as the
// answer says, or by its own clock where it has been told to retry at all.
func TestSDKsWaitAndPass(t *testing.T) {
	t.Parallel()
	g := serveWith(t, "{auth: {unknown_keys: trust}, rate_limiting: {default: {requests_per_second: 1, requests_per_month: 1000}, headers: {sets: [ietf]}}}")
	for _, call := range sdkCalls() {
		t.Run(call.name, func(t *testing.T) {
			t.Parallel()
			ask := sdkAsk{model: "standin", prompt: sixteen, most: 12}
			for try := range 10 { // a busy machine may let the second go by
				key := fmt.Sprintf("sk-waits-%s-%d", strings.ReplaceAll(call.name, " ", "-"), try)
				if _, err := call.do(t.Context(), t, g, newRecord(t), key, ask); err != nil {
					t.Fatal(err)
				}
				r := newRecord(t)
				got, err := call.do(t.Context(), t, g, r, key, ask)
				if err != nil {
					t.Fatal(err)
				}
				if len(r.sent()) == 1 {
					continue
				}
				denied, passed := r.waited(t, 429)
				if n := passed.request.Get("X-Stainless-Retry-Count"); call.told && n != "1" {
					t.Errorf("X-Stainless-Retry-Count is %q, want 1", n)
				}
				if denied.left(t, "requests_per_month") != 999 || passed.left(t, "requests_per_month") != 998 {
					t.Errorf("%d requests were left in the month, then %d, want 999 and 998",
						denied.left(t, "requests_per_month"), passed.left(t, "requests_per_month"))
				}
				if call.output && len(got.text) != 4*12 {
					t.Errorf("the text is %q, want 12 tokens", got.text)
				}
				return
			}
			t.Error("no request was denied")
		})
	}
}

// A stream that outgrows the limit goes on and leaves a debt, or is stopped: which
// is the SDK's own error.
func TestSDKsOutgrowTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 20
	worker, _ := startWorker(t)
	for _, stop := range []bool{false, true} {
		config := "{rate_limiting: {default: {tokens_per_hour: 20}}}"
		if stop {
			config = "{rate_limiting: {default: {tokens_per_hour: 20}}, estimate: {on_overrun: stop}}"
		}
		for _, call := range sdkStreams() {
			t.Run(fmt.Sprintf("%s, stop %v", call.name, stop), func(t *testing.T) {
				t.Parallel()
				g := startGateway(t, config, worker)
				r := newRecord(t)
				ask := sdkAsk{model: "standin", prompt: sixteen, most: 200}
				a, err := call.do(t.Context(), t, g, r, "sk-outgrows", ask)
				answer := r.only(t)
				g.idle(t)
				used := 4 + len(a.text)/4
				switch {
				case stop:
					if got := call.tells(err); got.Type != call.limited {
						t.Errorf("the error is %T (%v), want %s", err, err, call.limited)
					}
				case err != nil:
					t.Errorf("the stream: %v", err)
				case used <= limit:
					t.Errorf("%d tokens have come, which is no more than the limit", used)
				}
				if answer.status != 200 {
					t.Errorf("the stream was answered %d", answer.status)
				}
				ask.once = true
				_, err = call.do(t.Context(), t, g, r, "sk-outgrows", ask)
				call.wantError(t, err, r.sent()[1], call.denied())
				g.counted(t, samples{
					`http_rate_limit_total{result="allowed"}`:     1,
					`http_rate_limit_total{result="rejected"}`:    1,
					`tokens_total{kind="input",model="standin"}`:  4,
					`tokens_total{kind="output",model="standin"}`: float64(used - 4),
				})
			})
		}
	}
}

// A worker that dies in the middle of a stream is an error for the SDK, and what has
// flowed is paid for. So it is when the client leaves.
func TestSDKsCutAndLeave(t *testing.T) {
	t.Parallel()
	g := serveWith(t, "{auth: {unknown_keys: trust}, rate_limiting: {default: {tokens_per_day: 100000, requests_per_day: 1000}, headers: {sets: [ietf]}}}")
	const flowed = 7
	for _, call := range sdkStreams() {
		for _, leaves := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, leaves %v", call.name, leaves), func(t *testing.T) {
				key := "sk-cut-" + strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				ask := sdkAsk{model: "standin", prompt: sixteen, most: 500, fault: fmt.Sprintf("die-after=%d", call.begin+flowed)}
				if leaves {
					ask.fault = fmt.Sprintf("hang-after=%d", call.begin+flowed)
					ask.each = func(text string) {
						if len(text) == 4*flowed {
							leave()
						}
					}
				}
				r := newRecord(t)
				a, err := call.do(ctx, t, g, r, key, ask)
				switch {
				case leaves && !errors.Is(err, context.Canceled):
					t.Errorf("the error is %v, want that of the context", err)
				case err == nil || len(a.text) != 4*flowed:
					t.Errorf("the SDK has the text %q and the error %v, want %d tokens and an error", a.text, err, flowed)
				}
				r.only(t) // what has begun is not asked for again
				if tokens, _ := sdkLeft(t, g, key, "day"); tokens != 100000-4-flowed {
					t.Errorf("%d tokens are left, want %d", tokens, 100000-4-flowed)
				}
			})
		}
	}
}
