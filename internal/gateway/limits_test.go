package gateway

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"


	"github.com/penstock-dev/penstock/internal/standin"
)

// newPipeRig starts a gateway that is reached by pipes, in front of a worker
// that is reached by sockets. In a bubble of synctest its clock stands still
// while the test runs, at the beginning of the year 2000, so that every header
// is known.
func newPipeRig(t testing.TB, yaml string, worker http.Handler) *rig {
	t.Helper()
	s := httptest.NewUnstartedServer(worker)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return newRigOn(t, newPipes(), yaml, s.URL)
}

// exchange sends a request, written with line feeds alone in its head, and
// returns the answer as it stands on the wire, with line feeds alone.
func (w *wire) exchange(head, body string) string {
	w.t.Helper()
	if body != "" {
		head += fmt.Sprintf("Content-Length: %d\n", len(body))
	}
	w.write(strings.ReplaceAll(head+"Host: x\nX-Request-Id: id-1\nConnection: close\n\n", "\n", "\r\n") + body)
	all, err := io.ReadAll(w.r)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.ReplaceAll(string(all), "\r\n", "\n")
}

// TestDenialsOnTheWire pins every byte of answers to requests that a limit
// denies, but for the headers Date and Connection.
func TestDenialsOnTheWire(t *testing.T) {
	const prompt = `{"model":"m","prompt":"hello","max_tokens":5}`
	for name, c := range map[string]struct {
		yaml string
		head string // of the request that is denied, the like of which was allowed before
		body string
		n    int // how many were allowed before
	}{
		"plain":           {yaml: "{default: {requests_per_minute: 1}}", head: "GET /status/200 HTTP/1.1\n", n: 1},
		"HEAD":            {yaml: "{default: {requests_per_minute: 1}}", head: "HEAD /status/200 HTTP/1.1\n", n: 1},
		"openai":          {yaml: "{default: {requests_per_minute: 2}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 2},
		"openai unread":   {yaml: "{default: {requests_per_minute: 1}}", head: "GET /v1/files HTTP/1.1\n"},
		"model list":      {yaml: "{default: {requests_per_minute: 1}}", head: "GET /v1/models HTTP/1.1\n", n: 1},
		"tokens":          {yaml: "{default: {requests_per_minute: 9, tokens_per_hour: 15}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 2},
		"the longer wait": {yaml: "{default: {requests_per_second: 1, requests_per_minute: 1, requests_per_hour: 2}}", head: "GET /status/200 HTTP/1.1\n", n: 1},
		"model":           {yaml: "{per_model: {models: {m: {requests_per_day: 1}}}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 1},
		"global":          {yaml: "{global: {requests_per_minute: 2}, default: {requests_per_minute: 9}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 2},
		"global, dialect": {yaml: "{global: {requests_per_minute: 2}, error_response: {global: dialect}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 2},
		"error response":  {yaml: "{default: {requests_per_minute: 1}, error_response: {status_code: 503, message: Slow down., include_retry_after: false}}", head: "GET /status/200 HTTP/1.1\n", n: 1},
		"no body":         {yaml: "{default: {requests_per_minute: 1}, error_response: {body: none}}", head: "GET /status/200 HTTP/1.1\n", n: 1},
		"header names":    {yaml: "{default: {requests_per_minute: 1}, headers: {limit: X-L, remaining: X-Left, reset: X-Whole}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 1},
		"headers off":     {yaml: "{default: {requests_per_minute: 1}, headers: {enabled: false}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 1},
		"no Retry-After":  {yaml: "{default: {requests_per_minute: 1}, headers: {retry_after: false}}", head: "GET /status/200 HTTP/1.1\n", n: 1},
		"fixed window":    {yaml: "{default: {requests_per_minute: 1}, algorithm: fixed_window}", head: "GET /status/200 HTTP/1.1\n", n: 1},
		"token bucket":    {yaml: "{default: {requests_per_minute: 2}, algorithm: token_bucket}", head: "GET /status/200 HTTP/1.1\n", n: 2},
		"too large":       {yaml: "{default: {tokens_per_minute: 7}}", head: "POST /v1/completions HTTP/1.1\n", body: `{"prompt":[1,2,3,4,5,6,7,8]}`},
		"too large, text": {yaml: "{default: {requests_per_minute: 1, input_tokens_per_minute: 2}}", head: "POST /v1/chat/completions HTTP/1.1\n", body: `{"messages":[{"role":"user","content":"` + strings.Repeat("x", 257) + `"}]}`},
		"too large, max":  {yaml: "{default: {tokens_per_minute: 100}}\nestimate: {reserve: max}", head: "POST /v1/completions HTTP/1.1\n", body: `{"prompt":"hello","max_tokens":100}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newPipeRig(t, "rate_limiting: "+c.yaml, standin.New(standin.Options{Output: standin.Lengths{Mean: 5}}))
				for range c.n {
					if got := r.pipe().exchange(c.head, c.body); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
						t.Fatalf("not allowed: %s", got)
					}
				}
				r.idle()
				got := r.pipe().exchange(c.head, c.body)
				head, body, _ := strings.Cut(got, "\n\n")
				golden(t, "denials/"+name, without(head+"\n", "Date", "Connection")+"\n"+body+"\n")
			})
		})
	}
}
