package client_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/client"
)

// handled answers from a handler, without a network.
func handled(h http.Handler) *server {
	return &server{answer: func(_ int, req *http.Request) (*http.Response, error) {
		in := httptest.NewRequestWithContext(req.Context(), req.Method, req.URL.String(), nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, in)
		return w.Result(), nil
	}}
}

// TestRetryAgainstPenstock: what penstock tells is true, so the second try
// always passes; and what can never pass is tried once.
func TestRetryAgainstPenstock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := penstock.MustLimits(penstock.Limit{Unit: penstock.Requests, Amount: 2, Window: 10 * time.Second, Algorithm: penstock.TokenBucket, Capacity: 2})
		amount := int64(1)
		server := handled(penstock.Middleware{
			Limits:  limits,
			Amounts: func(*http.Request) penstock.Amounts { return penstock.Amounts{penstock.Requests: amount} },
		}.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })))
		send(t, client.Retry{Base: server}, 4)
		const s = time.Second
		server.came(t, 0, 0, 0, 5*s, 5*s, 10*s)

		amount = 3
		resp, err := client.Retry{Base: server}.RoundTrip(post(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		finish(t, resp)
		if resp.StatusCode != 429 || len(server.at) != 7 {
			t.Errorf("too large: %d after %d requests", resp.StatusCode, len(server.at)-6)
		}
	})
}

// TestAdaptiveAgainstPenstock: at a limit of ten a second, the documents'
// numbers find it by themselves, and Retry leaves no caller with a 429.
func TestAdaptiveAgainstPenstock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := penstock.MustLimits(penstock.Limit{Unit: penstock.Requests, Amount: 10, Window: time.Second})
		server := handled(penstock.Middleware{Limits: limits}.Wrap(http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })))
		c := client.Retry{Base: &client.Adaptive{Base: server}}
		for n := range 200 {
			resp, err := c.RoundTrip(post(t, ""))
			if err != nil {
				t.Fatal(err)
			}
			finish(t, resp)
			if resp.StatusCode != http.StatusNoContent {
				t.Fatalf("request %d was answered %d", n, resp.StatusCode)
			}
		}
		took := time.Since(server.start)
		t.Logf("200 requests took %v and %d tries", took, len(server.at))
		// 20 s is what the limit itself takes.
		if took > 40*time.Second || len(server.at) > 240 {
			t.Errorf("200 requests took %v and %d tries", took, len(server.at))
		}
	})
}
