package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/telemetry"
)

// denied is the documents' body of a denial.
func denied(seconds int) string {
	return fmt.Sprintf(`{"error":{"message":"Rate limit exceeded. Please retry after %d seconds.","type":"rate_limit_error","code":"rate_limit_exceeded","retry_after":%d}}`, seconds, seconds)
}

func (r *rig) wantBody(what string, a *answer, body string) {
	r.t.Helper()
	if got := strings.TrimSpace(a.body); got != body {
		r.t.Errorf("%s:\n got %s\nwant %s", what, got, body)
	}
}

// Test01: requests, tokens and concurrency of each caller. 3 requests instead
// of 60, 2 in flight instead of 10.
func Test01(t *testing.T) {
	r := start(t, example(t, "01-basic", "requests_per_minute: 60 -> requests_per_minute: 3", "concurrent_requests: 10 -> concurrent_requests: 2"))
	r.set(noon())
	for i := range 3 {
		r.want("within the limit", r.chat("m", 10, 5), 200,
			"X-RateLimit-Limit: 3", fmt.Sprint("X-RateLimit-Remaining: ", 2-i), "X-RateLimit-Reset-After: 61", "Retry-After",
			"x-ratelimit-limit-requests: 3", "x-ratelimit-limit-tokens: 100000")
		r.advance(10 * time.Second)
	}
	// The first was at noon, in a step of a second; now it is half a minute
	// later.
	a := r.chat("m", 10, 5)
	r.want("the fourth", a, 429, "X-RateLimit-Limit: 3", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset-After: 51", "Retry-After: 31", "retry-after-ms: 31000", "x-should-retry")
	r.wantBody("the fourth", a, denied(31))
	r.want("a list of models counts, too", r.ask("GET", "/v1/models", ""), 429, "Retry-After: 31")
	r.advance(31*time.Second - time.Millisecond)
	r.want("a moment too early", r.chat("m", 10, 5), 429, "Retry-After: 1", "retry-after-ms: 1")
	r.advance(time.Millisecond)
	r.want("when it was told to come back", r.chat("m", 10, 5), 200, "X-RateLimit-Remaining: 0")
	r.advance(2 * time.Minute)

	// Input and output were charged as they were.
	a = r.chat("m", 100, 50)
	r.want("later", a, 200, "x-ratelimit-remaining-tokens: 99850")
	first := r.hang()
	r.want("the second in flight", r.chat("m", 10, 5), 200)
	r.advance(2 * time.Minute)
	second := r.hang()
	a = r.chat("m", 10, 5)
	r.want("the third in flight", a, 429, "Retry-After: 1", "X-RateLimit-Limit: 2", "X-RateLimit-Remaining: 0")
	r.wantBody("the third in flight", a, denied(1))
	r.want("a list of models is none in flight", r.ask("GET", "/v1/models", ""), 200)
	first()
	second()
	r.advance(2 * time.Minute)
	r.want("after they are over", r.chat("m", 10, 5), 200)
	r.settled()
	hits := map[telemetry.Hit]bool{}
	for _, h := range r.Hits() {
		hits[h] = true
	}
	if !hits[telemetry.Hit{Rule: "default.requests_per_minute", Key: "other", Count: 3}] || len(hits) != 2 {
		t.Errorf("denials: %v", hits)
	}
	for series, want := range map[string]string{
		`penstock_http_rate_limit_total{result="allowed"}`:                               "10",
		`penstock_http_rate_limit_total{result="rejected"}`:                              "4",
		`penstock_rate_limit_hits_total{key="other",rule="default.requests_per_minute"}`: "3",
		`penstock_rate_limit_hits_total{key="other",rule="default.concurrent_requests"}`: "1",
		`penstock_tokens_total{kind="input",model="m"}`:                                  "162", // two were left, and stay charged as reserved
		`penstock_debt{unit="tokens"}`:                                                   "0",
	} {
		if got := r.metric(series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
}

// Test02: three windows of requests at once. 2, 3 and 4 instead of 60, 1000 and
// 10000.
func Test02(t *testing.T) {
	r := start(t, example(t, "02-requests", "per_minute: 60 -> per_minute: 2", "per_hour: 1000 -> per_hour: 3", "per_day: 10000 -> per_day: 4"))
	r.set(noon())
	r.want("the first", r.chat("m", 1, 1), 200, "X-RateLimit-Limit: 2", "X-RateLimit-Remaining: 1")
	r.want("the second", r.chat("m", 1, 1), 200, "X-RateLimit-Limit: 2", "X-RateLimit-Remaining: 0")
	r.want("the third in a minute", r.chat("m", 1, 1), 429, "X-RateLimit-Limit: 2", "Retry-After: 61", "x-should-retry: false")
	r.advance(61 * time.Second)
	r.want("the third in an hour", r.chat("m", 1, 1), 200, "X-RateLimit-Limit: 3", "X-RateLimit-Remaining: 0")
	r.want("the fourth in an hour", r.chat("m", 1, 1), 429, "X-RateLimit-Limit: 3", "Retry-After: 3599")
	r.advance(3599 * time.Second)
	r.want("the fourth in a day", r.chat("m", 1, 1), 200, "X-RateLimit-Limit: 4", "X-RateLimit-Remaining: 0")
	r.want("the fifth in a day", r.chat("m", 1, 1), 429, "X-RateLimit-Limit: 4", "Retry-After: 84180") // 24 h 24 min less 1 h 1 min
	r.want("nothing was asked of tokens", r.chat("m", 1, 1), 429, "x-ratelimit-limit-tokens")
}

// Test03: tokens alone. A thousandth of the documents' amounts, and 5000 an hour.
func Test03(t *testing.T) {
	r := start(t, example(t, "03-tokens", "tokens_per_minute: 100000 -> tokens_per_minute: 100", "per_hour: 1000000 -> per_hour: 5000",
		"input_tokens_per_minute: 50000 -> input_tokens_per_minute: 50", "output_tokens_per_minute: 50000 -> output_tokens_per_minute: 50"))
	r.set(noon())
	// 30 in and 10 out, whatever was reserved for the output.
	r.want("the first", r.ask("POST", "/v1/chat/completions", strings.Replace(chatBody("m", 30, 10), `"max_tokens":10`, `"max_tokens":10,"n":1`, 1)), 200, "X-RateLimit-Limit: 50", "X-RateLimit-Remaining: 20")
	r.want("20 in are left", r.chat("m", 21, 1), 429, "X-RateLimit-Limit: 50", "X-RateLimit-Remaining: 20", "Retry-After: 61")
	r.want("and 40 out", r.chat("m", 20, 40), 200, "x-ratelimit-limit-tokens: 100", "x-ratelimit-remaining-tokens: 0")
	r.want("nothing is left", r.chat("m", 1, 1), 429)
	r.want("a plain path uses no tokens", r.ask("POST", "/echo", "hello"), 200, "X-RateLimit-Limit")
	r.want("nor does a list", r.ask("GET", "/v1/models", ""), 200)

	r.advance(61 * time.Second)
	a := r.chat("m", 1601, 1) // 6404 bytes
	r.want("more than ever passes", a, 429, "Retry-After", "x-should-retry: false")
	r.wantBody("more than ever passes", a, `{"error":{"message":"This request needs at least 51 input tokens; at most 50 can pass at once. Send at most 6400 bytes of text.","type":"rate_limit_error","code":"request_too_large_for_limit"}}`)
	r.want("as much as passes at the most", r.chat("m", 1600, 1), 200)
	// It was taken for 50 in and 100 in all, and was 1600 and 1601: the rest is a
	// debt, which leaves with the window.
	r.settled()
	r.want("the debt stands", r.chat("m", 1, 1), 429, "X-RateLimit-Remaining: 0")
	for series, want := range map[string]string{`penstock_debt{unit="tokens"}`: "1501", `penstock_debt{unit="input_tokens"}`: "1550"} {
		if got := r.metric(series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
	r.advance(61 * time.Second)
	r.want("the debt is gone", r.chat("m", 1, 1), 200)
}

// Test05: slots of the gateway. 1 instead of 10, 100 ms of waiting instead of
// 30 s.
func Test05(t *testing.T) {
	r := start(t, example(t, "05-concurrent", "max_concurrent: 10 -> max_concurrent: 1", "queue_timeout: 30s -> queue_timeout: 100ms"))
	r.want("a free slot", r.chat("m", 1, 1), 200, "X-RateLimit-Limit")
	r.settled()
	leave := r.hang()
	a := r.chat("m", 1, 1)
	r.want("one that waits in vain", a, 408, "Retry-After: 1", "X-RateLimit-Limit")
	r.wantBody("one that waits in vain", a, `{"error":{"message":"This request waited in the queue for as long as it may. Please retry after 1 seconds.","type":"overloaded_error","code":"queue_timeout","retry_after":1}}`)
	r.want("a list of models needs no slot", r.ask("GET", "/v1/models", ""), 200)
	leave()
	r.settled()
	r.want("when the slot is free", r.chat("m", 1, 1), 200)
	for series, want := range map[string]string{
		`penstock_queue_rejected_total{reason="timeout"}`: "1",
		`penstock_queue_capacity`:                         "100",
		`penstock_queue_depth`:                            "0",
	} {
		if got := r.metric(series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
}

// inLine is how many wait for rate_limiting.concurrent.
const inLine = 100

// TestQueue: a hundred wait, the next is turned away, and who waits gets the
// slot that becomes free. 1 slot instead of 10.
func TestQueue(t *testing.T) {
	r := start(t, example(t, "05-concurrent", "max_concurrent: 10 -> max_concurrent: 1"))
	leave := r.hang()
	var wg sync.WaitGroup
	for range inLine {
		wg.Go(func() {
			a, err := r.try(context.Background(), "POST", "http://"+r.Addr().String()+"/v1/chat/completions", chatBody("m", 1, 1))
			if err != nil || a.status != 200 {
				t.Errorf("one that waited: %+v, %v", a, err)
			}
		})
	}
	eventually(t, "a hundred wait", func() bool { return r.queue.Stats().Waiting == inLine })
	a := r.chat("m", 1, 1)
	r.want("one more", a, 429, "Retry-After: 1")
	r.wantBody("one more", a, `{"error":{"message":"The workers are busy, and this request cannot wait for its turn. Please retry after 1 seconds.","type":"rate_limit_error","code":"queue_full","retry_after":1}}`)
	leave()
	wg.Wait()
	r.settled()
	if s := r.queue.Stats(); s.Granted != inLine+1 || s.Waited != inLine || s.Full != 1 || s.TimedOut != 0 || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

// Test06: plans of single keys. 4 requests instead of 200 and 2 instead of 10.
func Test06(t *testing.T) {
	r := start(t, example(t, "06-per-key", "key_premium_user -> key_premium_s3cret", "key_free_tier -> key_free_s3cret",
		"requests_per_minute: 200 -> requests_per_minute: 4", "requests_per_minute: 10 -> requests_per_minute: 2"))
	r.set(noon())
	premium, free := "Authorization: Bearer key_premium_s3cret", "x-api-key: key_free_s3cret"
	for i := range 4 {
		r.want("premium", r.chat("m", 1, 1, premium), 200, "X-RateLimit-Limit: 4", fmt.Sprint("X-RateLimit-Remaining: ", 3-i))
	}
	for range 2 {
		r.want("free", r.chat("m", 1, 1, free), 200, "X-RateLimit-Limit: 2", "x-ratelimit-limit-tokens: 10000")
	}
	r.want("premium, once more", r.chat("m", 1, 1, premium), 429, "X-RateLimit-Limit: 4")
	r.want("free, once more", r.chat("m", 1, 1, free), 429, "X-RateLimit-Limit: 2")
	r.want("however it is shown", r.chat("m", 1, 1, "Authorization: bearer key_free_s3cret"), 429)
	for range 5 {
		r.want("another key", r.chat("m", 1, 1, "Authorization: Bearer key_other_s3cret"), 200, "X-RateLimit-Limit")
		r.want("no key", r.chat("m", 1, 1), 200, "X-RateLimit-Limit")
	}
	// The metrics know the keys by their hashes, and each by another one.
	text := r.admin("GET", "/metrics").body
	if n := strings.Count(text, `penstock_rate_limit_usage_ratio{key="key-`); n != 4 {
		t.Errorf("the usage of %d limits is shown, want two of each key:\n%s", n, text)
	}
	if n := strings.Count(text, `penstock_rate_limit_hits_total{key="key-`); n != 2 {
		t.Errorf("the denials of %d keys are shown, want both:\n%s", n, text)
	}
	// A key that is named is called by its name.
	r.configure(`
auth: {keys: [{id: premium, key: key_premium_s3cret}]}
rate_limiting:
  per_key: {keys: {premium: {requests_per_minute: 5}}}
`)
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	r.want("premium, by its name", r.chat("m", 1, 1, premium), 200, "X-RateLimit-Limit: 5")
	if got := r.metric(`penstock_rate_limit_usage_ratio{key="premium",rule="per_key.requests_per_minute"}`); got != "0.2" {
		t.Errorf("the named key has used %s of its limit, want one request: it is another caller than the nameless one", got)
	}
}

// Test08: limits by model. 2 requests of opus instead of 20.
func Test08(t *testing.T) {
	r := start(t, example(t, "08-per-model", "requests_per_minute: 20 -> requests_per_minute: 2"))
	r.set(noon())
	r.want("opus", r.chat("claude-3-opus", 1, 1), 200, "X-RateLimit-Limit: 2", "X-RateLimit-Remaining: 1")
	r.want("opus of a date", r.chat("claude-3-opus-20240229", 1, 1), 200, "X-RateLimit-Limit: 2", "X-RateLimit-Remaining: 0")
	a := r.chat("claude-3-opus-latest", 1, 1)
	r.want("the latest opus", a, 429, "X-RateLimit-Limit: 2", "Retry-After: 61")
	r.wantBody("the latest opus", a, denied(61))
	r.want("sonnet", r.chat("claude-3-sonnet", 1, 1), 200, "X-RateLimit-Limit: 60", "X-RateLimit-Remaining: 59")
	r.want("gpt-4", r.chat("gpt-4", 1, 1), 200, "X-RateLimit-Limit: 30")
	r.want("another model", r.chat("gpt-4o", 1, 1), 200, "X-RateLimit-Limit")
	r.want("another address", r.chat("claude-3-opus", 1, 1, "X-Forwarded-For: 192.0.2.7"), 200, "X-RateLimit-Remaining: 1")
	r.configure(example(t, "08-per-model", "requests_per_minute: 20 -> requests_per_minute: 2", "enabled: true -> scope: all"))
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	for i, address := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		want := 200
		if i == 2 {
			want = 429
		}
		r.want("one pool for all", r.chat("claude-3-opus", 1, 1, "X-Forwarded-For: "+address), want)
	}
}

// Test09: idle counters are swept. Every 100 ms instead of every minute.
func Test09(t *testing.T) {
	r := start(t, example(t, "09-storage-memory", "60s -> 100ms\n  default: {requests_per_minute: 3}"))
	r.set(time.Now().Add(-time.Hour)) // long past for the sweep
	r.want("a request", r.chat("m", 1, 1), 200, "X-RateLimit-Remaining: 2")
	eventually(t, "its counter is swept", func() bool { return r.metric("penstock_counters") == "0" })

	// A reload that says another interval is not heard of at the end of the old one.
	const often = "60s -> 10ms\n  default: {requests_per_minute: 3}"
	r = start(t, strings.Replace(example(t, "09-storage-memory", often), "10ms", "1h", 1))
	r.set(time.Now().Add(-time.Hour))
	r.want("a request", r.chat("m", 1, 1), 200, "X-RateLimit-Remaining: 2")
	r.reload(example(t, "09-storage-memory", often))
	eventually(t, "its counter is swept after a reload", func() bool { return r.metric("penstock_counters") == "0" })
}

// Test11: the names of headers, and which there are.
func Test11(t *testing.T) {
	const limits = "\n  default: {requests_per_minute: 1}"
	r := start(t, example(t, "11-headers", `limit_header: "X-RateLimit-Limit" -> limit_header: X-Quota`, `remaining_header: "X-RateLimit-Remaining" -> remaining_header: X-Quota-Left`,
		`reset_header: "X-RateLimit-Reset" -> reset_header: X-Quota-Reset`)+limits)
	r.set(noon())
	before := time.Now()
	a := r.chat("m", 1, 1)
	r.want("own names", a, 200, "X-Quota: 1", "X-Quota-Left: 0", "X-Quota-Reset-After: 61", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "x-ratelimit-limit-requests: 1")
	var reset int64
	if _, err := fmt.Sscan(a.header.Get("X-Quota-Reset"), &reset); err != nil || reset < before.Unix()+61 || reset > time.Now().Unix()+62 {
		t.Errorf("whole again at %d, %v; it is %d", reset, err, before.Unix())
	}
	r.want("own names, denied", r.chat("m", 1, 1), 429, "X-Quota: 1", "X-Quota-Left: 0", "Retry-After: 61")

	for _, tt := range []struct {
		what, text string
		headers    []string
	}{
		{"as the documents have it", example(t, "11-headers"), []string{"X-RateLimit-Limit: 1", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset-After: 61", "Retry-After: 61", "retry-after-ms: 61000"}},
		{"without Retry-After", example(t, "11-headers", "retry_after: true -> retry_after: false"), []string{"X-RateLimit-Limit: 1", "Retry-After", "retry-after-ms"}},
		{"switched off", example(t, "11-headers", "enabled: true -> enabled: false"), []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "x-ratelimit-limit-requests", "Retry-After: 61"}},
		{"with all sets", example(t, "11-headers", "enabled: true -> sets: [ietf, openai, anthropic]"), []string{
			`RateLimit-Policy: "requests_per_minute";q=1;w=60`, `RateLimit: "requests_per_minute";r=0;t=61`, "x-ratelimit-limit-requests: 1", "anthropic-ratelimit-requests-limit: 1",
		}},
		{"with none", example(t, "11-headers", "enabled: true -> sets: []"), []string{"X-RateLimit-Limit: 1", "x-ratelimit-limit-requests", "RateLimit"}},
	} {
		r.configure(tt.text + limits)
		if err := r.Reload(); err != nil {
			t.Fatal(err)
		}
		r.want(tt.what, r.chat("m", 1, 1), 429, tt.headers...)
	}
}

// Test12: what a denied client reads.
func Test12(t *testing.T) {
	const limits = "\n  default: {requests_per_minute: 1}"
	r := start(t, example(t, "12-error-response")+limits)
	r.set(noon())
	r.want("the first", r.chat("m", 1, 1), 200)
	for _, tt := range []struct {
		what, text, body string
		status           int
	}{
		{"as the documents have it", example(t, "12-error-response"), `{"error":{"message":"You've exceeded your rate limit. Please upgrade your plan. Please retry after 61 seconds.","type":"rate_limit_error","code":"rate_limit_exceeded","retry_after":61}}`, 429},
		{"without the wait", example(t, "12-error-response", "include_retry_after: true -> include_retry_after: false"), `{"error":{"message":"You've exceeded your rate limit. Please upgrade your plan.","type":"rate_limit_error","code":"rate_limit_exceeded"}}`, 429},
		{"with another status", example(t, "12-error-response", "status_code: 429 -> status_code: 503"), `{"error":{"message":"You've exceeded your rate limit. Please upgrade your plan. Please retry after 61 seconds.","type":"rate_limit_error","code":"rate_limit_exceeded","retry_after":61}}`, 503},
		{"without a body", example(t, "12-error-response", "include_retry_after: true -> body: none"), "", 429},
	} {
		r.configure(tt.text + limits)
		if err := r.Reload(); err != nil {
			t.Fatal(err)
		}
		a := r.chat("m", 1, 1)
		r.want(tt.what, a, tt.status, "Retry-After: 61")
		r.wantBody(tt.what, a, tt.body)
	}
}

// Test13: at no moment have the last 60 seconds seen more than the limit, and a
// charge is forgotten within a second more.
func Test13(t *testing.T) {
	r := start(t, example(t, "13-sliding-window")+"\n  default: {requests_per_minute: 2}")
	r.set(noon().Add(59500 * time.Millisecond)) // in the middle of a step
	r.want("the first", r.chat("m", 1, 1), 200)
	r.advance(time.Second)
	r.want("the second, in the next minute of the clock", r.chat("m", 1, 1), 200)
	r.want("the third", r.chat("m", 1, 1), 429, "Retry-After: 60", "retry-after-ms: 59500")
	r.advance(59499 * time.Millisecond)
	r.want("60 seconds after the first", r.chat("m", 1, 1), 429, "retry-after-ms: 1")
	r.advance(time.Millisecond)
	r.want("60.5 seconds after the first", r.chat("m", 1, 1), 200)
	r.want("the second counts still", r.chat("m", 1, 1), 429, "Retry-After: 1", "retry-after-ms: 1000")
}

// Test14: windows that begin at every full minute.
func Test14(t *testing.T) {
	r := start(t, example(t, "14-fixed-window")+"\n  default: {requests_per_minute: 2}")
	r.set(noon().Add(59 * time.Second))
	for range 2 {
		r.want("at the end of a minute", r.chat("m", 1, 1), 200, "X-RateLimit-Limit: 2", "X-RateLimit-Reset-After: 1")
	}
	a := r.chat("m", 1, 1)
	r.want("one more", a, 429, "Retry-After: 1")
	r.wantBody("one more", a, denied(1))
	r.advance(time.Second)
	for range 2 {
		r.want("at the beginning of the next", r.chat("m", 1, 1), 200, "X-RateLimit-Reset-After: 60")
	}
	r.want("one more", r.chat("m", 1, 1), 429, "Retry-After: 60")
}

// Test16: what skips every limit. The limit is of one request, and used up.
func Test16(t *testing.T) {
	const limits = "\n  default: {requests_per_minute: 1}\n  concurrent: {max_concurrent: 1, queue_timeout: 10s}"
	r := start(t, example(t, "16-bypass", "admin_key_xxxxx -> admin_key_s3cret")+limits)
	for _, want := range []string{
		"rate_limiting.bypass.paths[0]: does nothing: penstock answers this path itself",
		"rate_limiting.bypass.paths[1]: does nothing: this route of the workers' is closed",
	} {
		r.log.line(t, want)
	}
	r.set(noon())
	r.want("the one", r.chat("m", 1, 1), 200, "X-RateLimit-Remaining: 0")
	r.want("the next", r.chat("m", 1, 1), 429)
	r.hang("Authorization: Bearer admin_key_s3cret") // takes no slot, either
	for range 3 {
		a := r.ask("GET", "/health", "")
		r.want("penstock's own health", a, 200, "X-RateLimit-Limit")
		r.wantBody("penstock's own health", a, `{"status":"ok"}`)
		r.want("a closed route stays closed", r.ask("GET", "/metrics", ""), 404)
		r.want("the key", r.chat("m", 1, 1, "Authorization: Bearer admin_key_s3cret"), 200, "X-RateLimit-Limit")
		r.want("the network", r.chat("m", 1, 1, "X-Forwarded-For: 10.1.2.3"), 200, "X-RateLimit-Limit")
		r.want("the other network", r.chat("m", 1, 1, "X-Forwarded-For: 192.168.255.1"), 200)
	}
	r.want("beside the networks", r.chat("m", 1, 1, "X-Forwarded-For: 172.16.0.1"), 200, "X-RateLimit-Remaining: 0")
	r.want("beside the networks, again", r.chat("m", 1, 1, "X-Forwarded-For: 172.16.0.1"), 429)
	r.want("nearly the key", r.chat("m", 1, 1, "Authorization: Bearer admin_key_s3cret2"), 429)
	r.want("nothing of it was counted", r.chat("m", 1, 1), 429, "X-RateLimit-Limit: 1")

	// The route opened: then its path is one that skips the limits, as it is
	// written and no other way.
	r.configure("routes: {allow: [/metrics]}\n" + example(t, "16-bypass") + limits)
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		a := r.ask("GET", "/metrics", "")
		r.want("the workers' metrics, opened", a, 200, "X-RateLimit-Limit")
		if !strings.Contains(a.body, "standin") && !strings.Contains(a.body, "vllm") {
			t.Errorf("these are not the worker's metrics: %s", a.body)
		}
	}
	r.want("written otherwise", r.ask("GET", "//metrics", ""), 429)
}

// TestGlobal: what all share has the documents' own answer.
func TestGlobal(t *testing.T) {
	const text = "rate_limiting:\n  global: {requests_per_minute: 2}\n  rules: [{name: ours, limit: {requests: 8, per: 1m}}]\n"
	r := start(t, text)
	r.set(noon())
	for i, address := range []string{"192.0.2.1", "192.0.2.2"} {
		r.want("two callers", r.chat("m", 1, 1, "X-Forwarded-For: "+address), 200, "X-RateLimit-Limit: 2", fmt.Sprint("X-RateLimit-Remaining: ", 1-i))
	}
	a := r.chat("m", 1, 1, "X-Forwarded-For: 192.0.2.3")
	r.want("a third", a, 429, "Retry-After: 61")
	r.wantBody("a third", a, `{"error":"Rate limit exceeded","current_count":3,"limit":2}`)
	r.configure(text + "  error_response: {global: dialect}")
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	r.wantBody("in the dialect", r.chat("m", 1, 1), `{"error":{"message":"Rate limit exceeded. Please retry after 61 seconds.","type":"rate_limit_error","code":"rate_limit_exceeded","retry_after":61,"current_count":3,"limit":2}}`)
	for rule, want := range map[string]string{"global.requests_per_minute": "1", "rules.ours": "0.25"} {
		if got := r.metric(`penstock_rate_limit_usage_ratio{key="all",rule="` + rule + `"}`); got != want {
			t.Errorf("%s of %s is used, want %s", got, rule, want)
		}
	}
}
