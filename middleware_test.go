package penstock_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
)

func get(t *testing.T, h http.Handler, change ...func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })

func TestMiddleware(t *testing.T) {
	h := penstock.Middleware{Limits: penstock.MustLimits(penstock.PerHour(penstock.Requests, 2))}.Wrap(ok)
	before := time.Now()
	first := get(t, h)
	if first.StatusCode != 200 || text(t, first) != "ok" {
		t.Fatal(first.Status)
	}
	for name, want := range map[string]string{"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "1"} {
		if got := first.Header.Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	after, err := strconv.Atoi(first.Header.Get("X-RateLimit-Reset-After"))
	if err != nil || after < 3600 || after > 3661 {
		t.Errorf("whole again after %d s, %v", after, err)
	}
	reset, err := strconv.Atoi(first.Header.Get("X-RateLimit-Reset"))
	if at := time.Unix(int64(reset), 0); err != nil || at.Before(before.Add(time.Hour)) || at.After(time.Now().Add(time.Hour+time.Minute+time.Second)) {
		t.Errorf("whole again at %v, %v", at, err)
	}
	get(t, h)
	denied := get(t, h)
	if denied.StatusCode != http.StatusTooManyRequests || denied.Header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("%v %v", denied.Status, denied.Header)
	}
	var body struct {
		Error struct {
			Message, Type, Code string
			RetryAfter          int `json:"retry_after"`
		}
	}
	if err := json.Unmarshal([]byte(text(t, denied)), &body); err != nil {
		t.Fatal(err)
	}
	wait := denied.Header.Get("Retry-After")
	if e := body.Error; e.Code != "rate_limit_exceeded" || e.Type != "rate_limit_error" || strconv.Itoa(e.RetryAfter) != wait || e.Message != "Rate limit exceeded. Please retry after "+wait+" seconds." {
		t.Errorf("Retry-After %s, body %+v", wait, e)
	}
	other := get(t, h, func(r *http.Request) { r.RemoteAddr = "203.0.113.9:1" })
	if other.StatusCode != 200 {
		t.Errorf("another address: %v", other.Status)
	}
}

func TestMiddlewareKeys(t *testing.T) {
	limits := penstock.MustLimits(penstock.PerHour(penstock.Requests, 1))
	from := func(addr, forwarded string) func(*http.Request) {
		return func(r *http.Request) {
			r.RemoteAddr = addr
			if forwarded != "" {
				r.Header.Set("X-Forwarded-For", forwarded)
			}
		}
	}
	t.Run("address", func(t *testing.T) {
		h := penstock.Middleware{Limits: limits, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}.Wrap(ok)
		for i, test := range []struct {
			addr, forwarded string
			status          int
		}{
			{"192.0.2.1:1", "", 200},
			{"192.0.2.1:2", "198.51.100.7", 429}, // not a trusted proxy: its header says nothing
			{"10.0.0.1:1", "198.51.100.7", 200},
			{"10.0.0.2:1", "203.0.113.1, 198.51.100.7", 429},
			{"[2001:db8::1]:1", "", 200},
			{"[2001:db8::2:2]:1", "", 429}, // the same /64
		} {
			if got := get(t, h, from(test.addr, test.forwarded)).StatusCode; got != test.status {
				t.Errorf("%d: %+v: %d", i, test, got)
			}
		}
	})
	t.Run("header", func(t *testing.T) {
		h := penstock.Middleware{Limits: limits, Key: func(r *http.Request) string { return r.Header.Get("Team") }}.Wrap(ok)
		team := func(name string) func(*http.Request) {
			return func(r *http.Request) { r.Header.Set("Team", name) }
		}
		if a, b, again := get(t, h, team("a")), get(t, h, team("b")), get(t, h, team("a")); a.StatusCode != 200 || b.StatusCode != 200 || again.StatusCode != 429 {
			t.Error(a.Status, b.Status, again.Status)
		}
	})
}

func TestMiddlewareHoldsRequestsInFlight(t *testing.T) {
	limits := penstock.MustLimits(penstock.InFlight(1))
	var h http.Handler
	inner := 0
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner = get(t, h).StatusCode
		if r.Header.Get("Panic") != "" {
			panic(http.ErrAbortHandler)
		}
	})
	h = penstock.Middleware{Limits: limits}.Wrap(handler)
	if got := get(t, h).StatusCode; got != 200 || inner != 429 {
		t.Errorf("%d, and %d while it was in flight", got, inner)
	}
	func() {
		defer func() { _ = recover() }()
		get(t, h, func(r *http.Request) { r.Header.Set("Panic", "1") })
	}()
	if got := get(t, h).StatusCode; got != 200 {
		t.Errorf("%d after a handler panicked", got)
	}
}

func TestMiddlewareSettles(t *testing.T) {
	limiter := penstock.New(nil)
	limits := penstock.MustLimits(penstock.PerHour(penstock.Tokens, 1000))
	used := int64(-1)
	h := penstock.Middleware{
		Limiter: limiter,
		Limits:  limits,
		Key:     func(*http.Request) string { return "key" },
		Amounts: func(*http.Request) penstock.Amounts { return penstock.Amounts{penstock.Tokens: 300} },
	}.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if used >= 0 {
			if err := penstock.ReservationFrom(r.Context()).Settle(r.Context(), penstock.Amounts{penstock.Tokens: used}); err != nil {
				t.Error(err)
			}
		}
	}))
	total := func() int64 {
		d, err := limiter.Look(context.Background(), limits.Charges("key", penstock.Amounts{penstock.Tokens: 1})...)
		if err != nil {
			t.Fatal(err)
		}
		return d.Charges[0].Used
	}
	if get(t, h); total() != 300 {
		t.Errorf("a handler that does not settle: %d", total())
	}
	used = 50
	if get(t, h); total() != 350 {
		t.Errorf("a handler that does: %d", total())
	}
	if penstock.ReservationFrom(context.Background()) != nil {
		t.Error("a reservation from nowhere")
	}
	tooLarge := penstock.Middleware{Limits: limits, Amounts: func(*http.Request) penstock.Amounts { return penstock.Amounts{penstock.Tokens: 1001} }}.Wrap(ok)
	r := get(t, tooLarge)
	if body := text(t, r); r.StatusCode != 429 || r.Header.Get("Retry-After") != "" || r.Header.Get("X-Should-Retry") != "false" || !strings.Contains(body, "request_too_large_for_limit") {
		t.Errorf("%v %v %s", r.Status, r.Header, body)
	}
}

// away is a store that cannot be reached.
type away struct{ penstock.Store }

func (away) Take(context.Context, time.Time, []penstock.Charge) (time.Time, error) {
	return time.Time{}, penstock.ErrStoreUnavailable
}

func TestMiddlewareWithoutAStore(t *testing.T) {
	m := penstock.Middleware{Limits: penstock.MustLimits(penstock.PerHour(penstock.Requests, 1)), Limiter: penstock.New(away{})}
	if r := get(t, m.Wrap(ok)); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
		t.Error(r.Status, r.Header)
	}
	m.Failed = func(w http.ResponseWriter, r *http.Request, err error) {
		if !errors.Is(err, penstock.ErrStoreUnavailable) {
			t.Error(err)
		}
		ok(w, r)
	}
	if r := get(t, m.Wrap(ok)); r.StatusCode != 200 {
		t.Error(r.Status)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic without limits")
		}
	}()
	penstock.Middleware{}.Wrap(ok)
}
