package penstock_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/penstock-dev/penstock"
)

// An http.Handler, 60 requests a minute for each client address.
func ExampleMiddleware() {
	limits := penstock.MustLimits(penstock.PerMinute(penstock.Requests, 60))
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
	handler := penstock.Middleware{Limits: limits}.Wrap(hello)

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(w.Code, w.Header().Get("X-RateLimit-Remaining"))
	// Output: 200 59
}

// Several limits at once: all are charged, or none.
func ExampleLimiter_Allow() {
	limiter := penstock.New(nil)
	plan := penstock.MustLimits(penstock.PerMinute(penstock.Requests, 60), penstock.PerDay(penstock.Requests, 61))
	now := time.Date(2026, time.January, 1, 9, 0, 0, 0, time.UTC)
	ask := func(n int64) {
		d, err := limiter.AllowAt(context.Background(), now, plan.Charges("alice", penstock.Amounts{penstock.Requests: n})...)
		fmt.Println(d.Allowed, d.Binding().Limit().Name, d.Binding().Remaining(), d.RetryAfter, err)
	}
	ask(60)
	ask(1)
	now = now.Add(2 * time.Minute)
	ask(2)
	ask(1)
	// Output:
	// true requests_per_minute 0 0s <nil>
	// false requests_per_minute 0 1m1s <nil>
	// false requests_per_day 1 24h10m0s <nil>
	// true requests_per_day 0 0s <nil>
}

// The tokens of a language model are known only when it has answered: reserve
// what it may need, settle what it used.
func ExampleLimiter_Reserve() {
	limiter := penstock.New(nil)
	plan := penstock.MustLimits(
		penstock.PerMinute(penstock.Requests, 60),
		penstock.PerMinute(penstock.Tokens, 10_000),
		penstock.InFlight(5),
	)
	ctx := context.Background()
	r, err := limiter.Reserve(ctx, plan.Charges("alice", penstock.Amounts{
		penstock.Requests:   1,
		penstock.Tokens:     4096,
		penstock.Concurrent: 1,
	})...)
	if err != nil {
		fmt.Println(err)
		return
	}
	if !r.Allowed {
		fmt.Println("retry after", r.RetryAfter)
		return
	}
	// … the model answers …
	if err := r.Settle(ctx, penstock.Amounts{penstock.Tokens: 350}); err != nil {
		fmt.Println(err)
	}
	d, _ := limiter.Look(ctx, plan.Charges("alice", penstock.Amounts{penstock.Tokens: 1})...)
	fmt.Println(d.Binding().Remaining(), "tokens left")
	// Output: 9650 tokens left
}

// What one request takes from counters of several keys: its caller's plan, and
// a limit that all callers share.
func ExampleLimits_AppendCharges() {
	plan := penstock.MustLimits(penstock.PerMinute(penstock.Tokens, 100))
	everyone := penstock.MustLimits(penstock.PerMinute(penstock.Tokens, 150))
	limiter := penstock.New(nil)
	for _, caller := range []string{"alice", "bob"} {
		ask := penstock.Amounts{penstock.Tokens: 100}
		charges := plan.AppendCharges(nil, caller, &ask)
		charges = everyone.AppendCharges(charges, "everyone", &ask)
		d, _ := limiter.Allow(context.Background(), charges...)
		fmt.Println(caller, d.Allowed, d.Binding().Key)
	}
	// Output:
	// alice true alice
	// bob false everyone
}

// A bucket: bursts of 10, one a second in the long run.
func ExampleLimit_tokenBucket() {
	limits := penstock.MustLimits(penstock.Limit{
		Unit: penstock.Requests, Amount: 60, Window: time.Minute,
		Algorithm: penstock.TokenBucket, Capacity: 10,
	})
	limiter := penstock.New(nil)
	now := time.Date(2026, time.January, 1, 9, 0, 0, 0, time.UTC)
	for range 3 {
		d, _ := limiter.AllowAt(context.Background(), now, limits.Charges("alice", penstock.Amounts{penstock.Requests: 5})...)
		fmt.Println(d.Allowed, d.Binding().Remaining(), d.RetryAfter)
	}
	// Output:
	// true 5 0s
	// true 0 0s
	// false 0 5s
}
