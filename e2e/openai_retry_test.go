package e2e

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/openai/openai-go/v3/option"
)

// What is over in a few seconds the SDK waits out by itself, as the answer says
// and no shorter, and then it passes. Beside each short limit is one of a month,
// which tells what was charged.
func TestOpenAIWaitsAndPasses(t *testing.T) {
	t.Parallel()
	stream := openAICalls[1:2]
	for _, limit := range []struct {
		name, config string
		month        string // the limit of a month
		tokens       bool   // its unit
		calls        []openAICall
	}{
		{
			name:   "sliding window of requests",
			config: "{default: {requests_per_minute: 20, requests_per_month: 1000}, window: {size: 3s}", // 1 in 3 s
			month:  "requests_per_month", calls: openAICalls,
		},
		{
			name:   "fixed window of requests",
			config: "{default: {requests_per_minute: 20, requests_per_month: 1000}, window: {size: 3s}, algorithm: fixed_window",
			month:  "requests_per_month", calls: stream,
		},
		{
			name:   "bucket of requests",
			config: "{default: {requests_per_minute: 20, requests_per_month: 1000}, window: {size: 3s}, algorithm: token_bucket",
			month:  "requests_per_month", calls: stream,
		},
		{
			name:   "requests in a second",
			config: "{default: {requests_per_second: 1, requests_per_month: 1000}",
			month:  "requests_per_month", calls: stream,
		},
		{
			name:   "requests of all in a second",
			config: "{default: {requests_per_month: 1000}, global: {requests_per_second: 1}",
			month:  "requests_per_month", calls: stream,
		},
		{
			name:   "sliding window of tokens",
			config: "{default: {tokens_per_minute: 320, tokens_per_month: 1000}, window: {size: 3s}", // 16 in 3 s
			month:  "tokens_per_month", tokens: true, calls: openAICalls[:len(openAICalls)-1],
		},
		{
			name:   "fixed window of tokens",
			config: "{default: {tokens_per_minute: 320, tokens_per_month: 1000}, window: {size: 3s}, algorithm: fixed_window",
			month:  "tokens_per_month", tokens: true, calls: stream,
		},
		{
			name:   "bucket of tokens",
			config: "{default: {tokens_per_minute: 320, tokens_per_month: 1000}, window: {size: 3s}, algorithm: token_bucket",
			month:  "tokens_per_month", tokens: true, calls: stream,
		},
	} {
		t.Run(limit.name, func(t *testing.T) {
			t.Parallel()
			g := serveWith(t, "{auth: {unknown_keys: trust}, rate_limiting: "+limit.config+", headers: {sets: [ietf]}}}")
			var mu sync.Mutex
			want := samples{}
			count := func(series string, n float64) {
				mu.Lock()
				defer mu.Unlock()
				want[series] += n
			}
			// An inner group, whose end is that of all calls.
			t.Run("by", func(t *testing.T) {
				for i, call := range limit.calls {
					t.Run(call.name, func(t *testing.T) {
						t.Parallel()
						input, output := int64(0), int64(0)
						if call.tokens {
							input = 4
						}
						if call.output {
							output = 12
						}
						ask := openAIAsk{model: "standin", prompt: sixteen, most: 12}
						// A window may end between the two, or a busy machine
						// take too long over them: then both pass, and all
						// begins anew.
						for try := range 10 {
							key := fmt.Sprintf("sk-waits-%d-%d", i, try)
							first, _ := newOpenAI(t, g, key)
							if _, err := openAIChat(t.Context(), first, ask); err != nil {
								t.Fatal(err)
							}
							client, record := newOpenAI(t, g, key)
							if _, err := call.do(t.Context(), client, ask); err != nil {
								t.Fatal(err)
							}
							count(`http_rate_limit_total{result="allowed"}`, 2)
							count(`tokens_total{kind="input",model="standin"}`, float64(4+input))
							count(`tokens_total{kind="output",model="standin"}`, float64(12+output))
							if len(record.sent()) == 1 {
								continue
							}
							count(`http_rate_limit_total{result="rejected"}`, 1)
							denied, passed := record.obeyed(t, http.StatusTooManyRequests)
							t.Logf("told to wait %v, waited %v", denied.wait(t), passed.sent.Sub(denied.answered))
							left := int64(999)
							if limit.tokens {
								left = 1000 - 16
							}
							if got := denied.left(t, limit.month); got != left {
								t.Errorf("when it was denied %d were left in the month, want %d", got, left)
							}
							if left--; limit.tokens {
								left = 1000 - 16 - input - output
							}
							if got := passed.left(t, limit.month); got != left {
								t.Errorf("when it passed %d were left in the month, want %d", got, left)
							}
							return
						}
						t.Error("no request was denied")
					})
				}
			})
			g.counted(t, want)
		})
	}
}

// left is what remains of a limit by the IETF's header, which lists them all.
func (a *attempt) left(t *testing.T, limit string) int64 {
	t.Helper()
	m := regexp.MustCompile(`"` + limit + `";r=([0-9]+)`).FindStringSubmatch(a.header.Get("RateLimit"))
	if m == nil {
		t.Fatalf("no %s in the header RateLimit: %q", limit, a.header.Get("RateLimit"))
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Where a request in flight is what denies, nobody knows when it ends; the SDK
// comes again when it is told to, and passes.
func TestOpenAIWaitsForThoseInFlight(t *testing.T) {
	t.Parallel()
	g := serveWith(t, "{auth: {unknown_keys: trust}, rate_limiting: {default: {concurrent_requests: 1, requests_per_hour: 1000}, headers: {sets: [ietf]}}}")
	release := holdOpenAI(t, g, "sk-waits-held")
	client, record := newOpenAI(t, g, "sk-waits-held")
	record.answered = func(n int) {
		if n == 0 {
			release()
		}
	}
	if _, err := openAIChatStream(t.Context(), client, openAIAsk{model: "standin", prompt: sixteen, most: 12}); err != nil {
		t.Fatal(err)
	}
	denied, passed := record.obeyed(t, http.StatusTooManyRequests)
	if denied.left(t, "requests_per_hour") != 999 || passed.left(t, "requests_per_hour") != 998 {
		t.Errorf("%d requests were left, then %d, want 999 and 998", denied.left(t, "requests_per_hour"), passed.left(t, "requests_per_hour"))
	}
	g.counted(t, samples{
		`http_rate_limit_total{result="allowed"}`:  2,
		`http_rate_limit_total{result="rejected"}`: 1,
	})
}

// Who waits in the queue for too long is answered 408, which every SDK sends
// anew: at the time that it is told.
func TestOpenAIQueueTimeout(t *testing.T) {
	t.Parallel()
	g := serveWith(t, "{auth: {unknown_keys: trust}, rate_limiting: {default: {tokens_per_hour: 1000}, concurrent: {max_concurrent: 1, queue_timeout: 200ms}}}")
	release := holdOpenAI(t, g, "sk-waits-held")
	ask := openAIAsk{model: "standin", prompt: sixteen, most: 12}
	late := float64(0)
	for _, call := range openAICalls {
		client, record := newOpenAI(t, g, "sk-waits-late", option.WithMaxRetries(0))
		_, err := call.do(t.Context(), client, ask)
		a := record.only(t)
		if !call.tokens {
			if err != nil {
				t.Errorf("the list of models takes no slot: %v", err)
			}
			continue
		}
		late++
		wantOpenAI(t, err, a, openAIError{
			Status: http.StatusRequestTimeout, Code: "queue_timeout", Type: "overloaded_error",
			Message: "This request waited in the queue for as long as it may. Please retry after N seconds.",
		})
		if a.header.Get("X-Should-Retry") != "" || a.wait(t).Seconds() != 1 {
			t.Errorf("%s: X-Should-Retry is %q and the wait %v, want nothing and 1s", call.name, a.header.Get("X-Should-Retry"), a.wait(t))
		}
	}

	client, record := newOpenAI(t, g, "sk-waits-late")
	record.answered = func(n int) {
		if n == 0 {
			release()
		}
	}
	if _, err := openAIChatStream(t.Context(), client, ask); err != nil {
		t.Fatal(err)
	}
	late++
	_, passed := record.obeyed(t, http.StatusRequestTimeout)
	if left := passed.number(t, "X-Ratelimit-Remaining-Tokens"); left != 1000-16 {
		t.Errorf("%d tokens are left, want %d: those that waited in vain cost nothing", left, 1000-16)
	}
	g.counted(t, samples{
		`http_rate_limit_total{result="allowed"}`:  2,
		`http_rate_limit_total{result="rejected"}`: late,
		`queue_rejected_total{reason="timeout"}`:   late,
		`queue_depth`:                              0,
	})
}

// A queue that is full is a 429 that names the wait, and who comes again then is
// let in.
func TestOpenAIQueueFull(t *testing.T) {
	t.Parallel()
	g := serveWith(t, "rate_limiting: {concurrent: {max_concurrent: 1, queue_timeout: 60s}}")
	const places = 100 // of the queue
	release := holdOpenAI(t, g, "sk-waits-held")
	ctx, leave := context.WithCancel(t.Context())
	waiter, _ := newOpenAI(t, g, "sk-waits-queued")
	var waiters sync.WaitGroup
	ask := openAIAsk{model: "standin", prompt: sixteen, most: 12}
	for range places {
		waiters.Go(func() {
			if _, err := openAIChat(ctx, waiter, ask); ctx.Err() == nil {
				t.Errorf("one that was to wait in the queue: %v", err)
			}
		})
	}
	g.await(t, "queue_depth", places)

	full := float64(0)
	for _, call := range openAICalls {
		if !call.tokens {
			continue
		}
		full++
		client, record := newOpenAI(t, g, "sk-waits-full", option.WithMaxRetries(0))
		_, err := call.do(t.Context(), client, ask)
		wantOpenAI(t, err, record.only(t), openAIError{
			Status: http.StatusTooManyRequests, Code: "queue_full", Type: "rate_limit_error",
			Message: "The workers are busy, and this request cannot wait for its turn. Please retry after N seconds.",
		})
	}
	client, record := newOpenAI(t, g, "sk-waits-full")
	record.answered = func(n int) {
		if n == 0 {
			leave()
			waiters.Wait()
			g.await(t, "queue_depth", 0)
			release()
		}
	}
	if _, err := openAIChatStream(t.Context(), client, ask); err != nil {
		t.Fatal(err)
	}
	full++
	record.obeyed(t, http.StatusTooManyRequests)
	g.counted(t, samples{
		`http_rate_limit_total{result="allowed"}`:  2,
		`http_rate_limit_total{result="rejected"}`: full,
		`queue_rejected_total{reason="full"}`:      full,
		`queue_depth`:                              0, `queue_capacity`: places,
	})
}
