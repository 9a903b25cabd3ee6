package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/penstock-dev/penstock/internal/workers"
)

// askFor is a request for a model.
func askFor(model string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hi"}],"max_tokens":5}`, model)
}

// chosen starts two workers; the first answers what it is told to, and both say
// who they are.
func chosen(t *testing.T, r *rig, policy workers.Policy, first http.HandlerFunc, models ...string) (asked *[2]atomic.Int64) {
	t.Helper()
	asked = new([2]atomic.Int64)
	var pool []workers.Worker
	for i := range 2 {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			asked[i].Add(1)
			if i == 0 && first != nil {
				first(w, q)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"worker":%d,"usage":{"prompt_tokens":1,"completion_tokens":2}}`, i)
		}))
		t.Cleanup(srv.Close)
		u, err := url.Parse(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		pool = append(pool, workers.Worker{URL: u, Models: models[i : i+1]})
	}
	r.Workers.Update(pool, policy)
	return asked
}

// TestModelOfWorkers: a request goes to who serves its model; one for a model that
// nobody serves is told so, and costs nothing.
func TestModelOfWorkers(t *testing.T) {
	r := newRigFor(t, "rate_limiting: {default: {requests_per_hour: 9, tokens_per_hour: 9000}}")
	chosen(t, r, workers.Policy{}, nil, "small", "large*")
	for _, c := range []struct {
		model  string
		status int
		want   string
	}{
		{"small", 200, `"worker":0`},
		{"small-latest", 200, `"worker":0`},
		{"large-7b", 200, `"worker":1`},
		{"other", 404, `"message":"No worker serves this model."`},
	} {
		if a := r.send("POST", "/v1/chat/completions", askFor(c.model)); a.status != c.status || !strings.Contains(a.body, c.want) {
			t.Errorf("%s: %d %s, want %d with %s", c.model, a.status, a.body, c.status, c.want)
		}
	}
	r.wantUsed("requests_per_hour 3, tokens_per_hour 9")
}

// TestChargedOnceForRetries: a worker's 503 is passed over where another one
// answers, and the request is one request all the same.
func TestChargedOnceForRetries(t *testing.T) {
	r := newRigFor(t, "rate_limiting: {default: {requests_per_hour: 9, tokens_per_hour: 9000}}")
	asked := chosen(t, r, workers.Policy{Retries: 1}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "100")
		w.WriteHeader(503)
	}, "*", "*")
	for range 3 {
		if a := r.send("POST", "/v1/chat/completions", askFor("m")); a.status != 200 || !strings.Contains(a.body, `"worker":1`) {
			t.Errorf("%d %s, want the other worker's answer", a.status, a.body)
		}
	}
	if a, b := asked[0].Load(), asked[1].Load(); a != 1 || b != 3 {
		t.Errorf("they were asked %d and %d times, want 1 and 3", a, b)
	}
	r.wantUsed("requests_per_hour 3, tokens_per_hour 9")
}

// TestWorkerThatRests: its own answer passes first; then the gateway says when it
// may be asked again, and that costs nothing.
func TestWorkerThatRests(t *testing.T) {
	r := newRigFor(t, "rate_limiting: {default: {requests_per_hour: 9, tokens_per_hour: 9000}}")
	chosen(t, r, workers.Policy{Retries: 2}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "100")
		w.WriteHeader(503)
		fmt.Fprint(w, "busy")
	}, "small", "large")
	if a := r.send("POST", "/v1/chat/completions", askFor("small")); a.status != 503 || a.body != "busy" || a.header.Get("Retry-After") != "100" {
		t.Errorf("%d %q, want the worker's own 503", a.status, a.body)
	}
	a := r.send("POST", "/v1/chat/completions", askFor("small"))
	if a.status != 503 || !strings.Contains(a.body, `"code":"no_worker"`) || a.header.Get("Retry-After") != "100" {
		t.Errorf("%d %q, Retry-After %s, want no_worker and 100", a.status, a.body, a.header.Get("Retry-After"))
	}
	r.wantUsed("requests_per_hour 1, tokens_per_hour 0")
}
