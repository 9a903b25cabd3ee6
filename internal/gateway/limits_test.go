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

	"github.com/penstock-dev/penstock/internal/queue"
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
		"model list":      {yaml: "{default: {requests_per_minute: 1}}", head: "GET /v1/models HTTP/1.1\n", n: 1},
		"tokens":          {yaml: "{default: {requests_per_minute: 9, tokens_per_hour: 15}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 2},
		"the longer wait": {yaml: "{default: {requests_per_second: 1, requests_per_minute: 1, requests_per_hour: 2}}", head: "GET /status/200 HTTP/1.1\n", n: 1},
		"model":           {yaml: "{per_model: {models: {m: {requests_per_day: 1}}}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 1},
		"global":          {yaml: "{global: {requests_per_minute: 2}, default: {requests_per_minute: 9}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 2},
		"global, dialect": {yaml: "{global: {requests_per_minute: 2}, error_response: {global: dialect}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 2},
		"error response":  {yaml: "{default: {requests_per_minute: 1}, error_response: {status_code: 503, message: Slow down., include_retry_after: false}}", head: "GET /status/200 HTTP/1.1\n", n: 1},
		"no body":         {yaml: "{default: {requests_per_minute: 1}, error_response: {body: none}}", head: "GET /status/200 HTTP/1.1\n", n: 1},
		"header names":    {yaml: "{default: {requests_per_minute: 1}, headers: {limit_header: X-L, remaining_header: X-Left, reset_header: X-Whole}}", head: "POST /v1/completions HTTP/1.1\n", body: prompt, n: 1},
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

// TestAllowedOnTheWire pins the answer of a worker that has rate limits of its
// own: those that we say are ours, all else is as it came.
func TestAllowedOnTheWire(t *testing.T) {
	worker := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{
			"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Reset-After", "X-RateLimit-Limit-Requests",
			"X-RateLimit-Remaining-Tokens", "X-RateLimit-Other", "RateLimit", "RateLimit-Policy", "Anthropic-Ratelimit-Requests-Limit", "X-Own",
		} {
			w.Header().Set(name, "worker")
		}
		w.Header().Set("X-Request-Id", "worker")
		w.Header().Set("Content-Type", "text/plain")
		if r.URL.Path == "/refuses" {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}
		_, _ = io.WriteString(w, "worker")
	})
	for name, c := range map[string]struct{ yaml, head, body string }{
		"plain":           {yaml: "{default: {requests_per_minute: 9}}", head: "GET /a HTTP/1.1\n"},
		"plain, refused":  {yaml: "{default: {requests_per_minute: 9}}", head: "GET /refuses HTTP/1.1\n"},
		"openai":          {yaml: "{default: {requests_per_minute: 9, tokens_per_hour: 10000}}", head: "POST /v1/completions HTTP/1.1\n", body: `{"prompt":"hello","max_tokens":70}`},
		"smallest share":  {yaml: "{default: {requests_per_minute: 9, requests_per_hour: 18}, global: {requests_per_second: 2}}", head: "GET /a HTTP/1.1\n"},
		"slots come last": {yaml: "{default: {requests_per_minute: 9, concurrent_requests: 1}}", head: "GET /a HTTP/1.1\n"},
		"no limit":        {yaml: "{per_model: {models: {m: {requests_per_day: 1}}}}", head: "GET /a HTTP/1.1\n"},
		"bypass":          {yaml: "{default: {requests_per_minute: 9}, bypass: {paths: [/a]}}", head: "GET /a HTTP/1.1\n"},
		"headers off":     {yaml: "{default: {requests_per_minute: 9}, headers: {enabled: false}}", head: "GET /a HTTP/1.1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newPipeRig(t, "rate_limiting: "+c.yaml, worker)
				got := r.pipe().exchange(c.head, c.body)
				head, body, _ := strings.Cut(got, "\n\n")
				golden(t, "allowed/"+name, without(head+"\n", "Date", "Connection")+"\n"+body+"\n")
			})
		})
	}
}

// TestPrecheckReadsNoBody denies a request whose client sends its body only
// when it is asked to, and checks that a body over the precheck's limits is not
// looked at: it is no JSON.
func TestPrecheckReadsNoBody(t *testing.T) {
	r := newRig(t, "rate_limiting: {default: {requests_per_hour: 1}}", standin.New(standin.Options{Output: standin.Lengths{Mean: 1}}))
	if a := r.send("POST", "/v1/completions", "no JSON"); a.status != 400 {
		t.Errorf("answer %d, want 400", a.status)
	}
	r.wantUsed("requests_per_hour 0")
	if a := r.send("POST", "/v1/completions", `{"model":"m","prompt":"a"}`); a.status != 200 {
		t.Errorf("answer %d, want 200", a.status)
	}
	r.idle()
	if a := r.send("POST", "/v1/completions", "no JSON"); a.status != 429 {
		t.Errorf("answer %d, want 429", a.status)
	}
	r.wantUsed("requests_per_hour 1")
}

// TestBypass checks who and what skips every limit.
func TestBypass(t *testing.T) {
	const yaml = `
trusted_proxies: [127.0.0.1]
auth: {keys: [{id: listed, key: sk-listed}]}
rate_limiting:
  default: {requests_per_hour: 1}
  bypass: {paths: [/status/200, /v1/completions], keys: [sk-free], ips: [192.0.2.0/24]}
`
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 1}})
	r := newRig(t, yaml, worker)
	r.send("GET", "/echo/first", "") // uses the limit up
	r.send("GET", "/echo/first", "", "Authorization", "Bearer sk-listed")
	r.idle()
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
	}{
		"nothing":                         {path: "/echo", status: 429},
		"the path":                        {path: "/status/200", status: 200},
		"the path, with a query":          {path: "/status/200?x", status: 200},
		"below the path":                  {path: "/status/200/x", status: 429},
		"another spelling of the path":    {path: "/status//200", status: 429},
		"an encoded path":                 {path: "/status/20%30", status: 429},
		"a path with parameters":          {path: "/status/200;x", status: 429},
		"a path with a slash":             {path: "/status/200/", status: 429},
		"a metered path":                  {method: "POST", path: "/v1/completions", body: `{"model":"m","prompt":"a","x":1,"x":2}`, status: 200},
		"a metered path, another reading": {method: "POST", path: "/v1%2Fcompletions", body: `{"model":"m","prompt":"a"}`, status: 429},
		"the key":                         {path: "/echo", headers: []string{"Authorization", "Bearer sk-free"}, status: 200},
		"the key, elsewhere":              {path: "/echo", headers: []string{"X-Api-Key", "sk-free"}, status: 200},
		"not the key that counts":         {path: "/echo", headers: []string{"Authorization", "Bearer sk-listed", "X-Api-Key", "sk-free"}, status: 429},
		"another key":                     {path: "/echo", headers: []string{"Authorization", "Bearer sk-freed"}, status: 429},
		"the address":                     {path: "/echo", headers: []string{"X-Forwarded-For", "192.0.2.7"}, status: 200},
		"the address, uncertain":          {path: "/echo", headers: []string{"X-Forwarded-For", "nonsense, 192.0.2.7"}, status: 200}, // the walk ends at it
		"an address behind garbage":       {path: "/echo", headers: []string{"X-Forwarded-For", "192.0.2.7, nonsense"}, status: 429},
		"OPTIONS":                         {method: "OPTIONS", path: "/echo", status: 200},
	} {
		t.Run(name, func(t *testing.T) {
			if c.method == "" {
				c.method = "GET"
			}
			before := usedText(r.used())
			a := r.send(c.method, c.path, c.body, c.headers...)
			if a.status != c.status {
				t.Errorf("answer %d %q, want %d", a.status, a.body, c.status)
			}
			if limited := a.header.Get("X-RateLimit-Limit") != ""; limited != (c.status == 429) {
				t.Errorf("headers of a limit: %v", limited)
			}
			r.wantUsed(before)
		})
	}
}

// TestUncertainAddress checks that forwarding headers of nobody's take the
// bypass of an address away, which may be a proxy's.
func TestUncertainAddress(t *testing.T) {
	r := newRig(t, "rate_limiting: {default: {requests_per_hour: 1}, bypass: {ips: [127.0.0.1]}}", standin.New(standin.Options{}))
	for _, c := range []struct {
		headers []string
		status  int
	}{
		{nil, 200},
		{[]string{"X-Forwarded-For", "192.0.2.1"}, 200}, // charged
		{nil, 200},
		{[]string{"X-Forwarded-For", "192.0.2.1"}, 429},
		{[]string{"Forwarded", "for=192.0.2.1"}, 429},
	} {
		if a := r.send("GET", "/echo", "", c.headers...); a.status != c.status {
			t.Errorf("with %v answer %d, want %d", c.headers, a.status, c.status)
		}
		r.idle()
	}
	r.wantUsed("requests_per_hour 1")
}

// TestModelLists checks that they are charged as requests, and take neither a
// slot nor tokens.
func TestModelLists(t *testing.T) {
	r := newRig(t, "rate_limiting: {default: {requests_per_hour: 9, tokens_per_hour: 9, concurrent_requests: 9}}", standin.New(standin.Options{}))
	r.slots(1, 0, 0)
	slot, err := r.Queue.Enter(t.Context(), queue.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	defer slot.Release()
	if a := r.send("GET", "/v1/models", ""); a.status != 200 || !strings.Contains(a.body, `"standin"`) {
		t.Errorf("answer %d %q, want the list", a.status, a.body)
	}
	if a := r.send("GET", "/echo", ""); a.status != 429 || !strings.Contains(a.body, "queue_full") {
		t.Errorf("answer %d %q, want the queue to be full", a.status, a.body)
	}
	r.wantUsed("concurrent_requests 0, requests_per_hour 1, tokens_per_hour 0")
	slot.Release()
}

// TestClosedRoutes checks which of the workers' routes are open to clients.
func TestClosedRoutes(t *testing.T) {
	worker := standin.New(standin.Options{})
	closedBy := newRig(t, "rate_limiting: {default: {requests_per_hour: 99}}", worker)
	opened := newRig(t, "routes: {allow: [/metrics, /slots/*, /api/pull]}", worker)
	for target, open := range map[string]bool{
		"/metrics": true, "/metrics?x": true, "//metrics": true, "/metrics/": true, "/%6Detrics": true, "/metrics;x=1": true,
		"/a/../metrics": true, "/a%2F..%2Fmetrics": true, "/%2Fmetrics": true, "/.//;x/metrics": true, "http://h/metrics": true, "http:/metrics": true,
		"/slots/1": true, "/slots%2F1": true, "/slots/1?action=save": true, "/api/pull": true,
		"/metrics/x": false, "/internal/logs": false, "/api/internal/logs": false, "/api%2Finternal/logs": false, "/slots": false, "/api/delete": false,
		"/v1/load_lora_adapter": false, "/flush_cache": false, "/invocations": false, "/sleep;": false,
		"/models/load": false, "/models/unload": false, "/pause_generation": false, "/update_weights": false, "/update_weights_from_ipc": false,
		"/send_weights_to_remote_instance": false, "/clear_hicache_storage_backend": false, "/vertex_generate": false,
		"/load_lora_adapter_from_tensors": false, "/set_trace_level": false, "/hicache/storage-backend": false, "/hicache/storage-backend/clear": false, "/v1/loads": false,
		"/abort_requests": false, "/weight_checker": false, "/fault_tolerance/apply": false,
		"/api/v1/models/load": false, "/api/v1/models/unload": false, "/api/v1/models/download": false, "/api/v1/models/download/status/1": false,
		"/unload": false, "/api/models/unload": false, "/api/models/unload/m": false, "/upstream/m/slots": false, "/logs/stream": false,
		"/v1/internal/model/load": false, "/v1/internal/lora/unload": false, "/v1/internal/stop-generation": false,
		"/v1/model/load": false, "/v1/model/embedding/unload": false, "/v1/lora/load": false, "/v1/template/switch": false, "/v1/sampling/override/switch": false, "/v1/download": false,
		"/models/apply": false, "/models/delete/m": false, "/backend/shutdown": false, "/v1/backend/shutdown": false, "/backends/delete/b": false,
		"/api/admin/reload_config": false, "/api/extra/abort": false,
	} {
		for r, status := range map[*rig]int{closedBy: 404, opened: map[bool]int{true: 200, false: 404}[open]} {
			before := worker.Stats().Requests
			w := r.dial()
			w.write("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
			a := w.answer("GET")
			ours := strings.Contains(a.body, "There is nothing at this path.")
			if status == 404 && (a.status != 404 || !ours) || status == 200 && ours {
				t.Errorf("%s is answered %d %q, want open: %v", target, a.status, a.body, status == 200)
			}
			if came := worker.Stats().Requests - before; came != map[int]int64{200: 1, 404: 0}[status] {
				t.Errorf("%s came to the worker %d times", target, came)
			}
		}
	}
	closedBy.wantUsed("requests_per_hour 0")
	w := closedBy.dial()
	w.write("CONNECT worker:80 HTTP/1.1\r\nHost: worker:80\r\n\r\n")
	if a := w.answer("GET"); a.status != 404 {
		t.Errorf("CONNECT is answered %d, want 404", a.status)
	}
}

// TestHealth checks that it is penstock's own, and charges nobody.
func TestHealth(t *testing.T) {
	worker := standin.New(standin.Options{})
	r := newRig(t, "rate_limiting: {default: {requests_per_hour: 1}}", worker)
	for range 3 {
		if a := r.send("GET", "/health", "", "X-Request-Id", "mine"); a.status != 200 || a.body != "{\"status\":\"ok\"}\n" || a.header.Get("X-Request-Id") != "mine" {
			t.Errorf("answer %d %q %v", a.status, a.body, a.header)
		}
	}
	if a := r.send("HEAD", "/health", ""); a.status != 200 || a.body != "" {
		t.Errorf("HEAD is answered %d %q", a.status, a.body)
	}
	if a := r.send("POST", "/health", "x"); a.status != 404 {
		t.Errorf("POST is answered %d, want 404", a.status)
	}
	r.wantUsed("requests_per_hour 0")
	r.Stop()
	if a := r.send("GET", "/health", ""); a.status != 503 || !strings.Contains(a.body, "shutting_down") {
		t.Errorf("answer %d %q, want 503", a.status, a.body)
	}
	if n := worker.Stats().Requests; n != 0 {
		t.Errorf("the worker got %d requests, want none", n)
	}
}

// TestRequestID checks whose id an answer and the worker's request have.
func TestRequestID(t *testing.T) {
	worker, requests := scripted(t, okAnswer)
	r := newRigFor(t, "", worker)
	for own, kept := range map[string]bool{
		"a": true, "A-z_0.9": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a/b": false, "\xe9": false, "a,b": false,
	} {
		a := r.send("GET", "/a", "", "X-Request-Id", own)
		id := a.header.Get("X-Request-Id")
		if (id == own) != kept || id == "" {
			t.Errorf("%q became %q", own, id)
		}
		if head := (<-requests)[0]; !strings.Contains(head, "\nX-Request-Id: "+id+"\n") {
			t.Errorf("the worker's request has another id than %q:\n%s", id, head)
		}
	}
}

// TestDecisionsAreCounted checks the metrics and the log of limited requests:
// each counts once.
func TestDecisionsAreCounted(t *testing.T) {
	r := newRig(t, "auth: {keys: [{id: alice, key: sk-alice}]}\nrate_limiting: {default: {requests_per_hour: 2, tokens_per_hour: 5000}}", standin.New(standin.Options{Output: standin.Lengths{Mean: 7}}))
	r.Metrics.Known(nil, []string{"alice"}, nil)
	key := []string{"Authorization", "Bearer sk-alice"}
	for _, body := range []string{`{"model":"m","prompt":"hello you"}`, "broken", `{"model":"m","prompt":"hello you","stream":true}`, `{"model":"m","prompt":"hello"}`} {
		r.send("POST", "/v1/completions", body, key...)
		r.idle()
	}
	r.send("OPTIONS", "/v1/completions", "", key...)
	r.idle()
	for name, want := range map[string]float64{
		`http_rate_limit_total{result="allowed"}`:                             2,
		`http_rate_limit_total{result="rejected"}`:                            1,
		`rate_limit_hits_total{key="alice",rule="default.requests_per_hour"}`: 1,
		`http_request_duration_seconds_count`:                                 5,
		`tokens_total{kind="input",model="m"}`:                                6,
		`tokens_total{kind="output",model="m"}`:                               14,
		`token_estimate_error_ratio_count`:                                    2,
		`unmetered_total{path="other"}`:                                       0,
		`store_errors_total`:                                                  0,
	} {
		if got := r.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if text := r.log.String(); strings.Count(text, "request denied") != 1 || !strings.Contains(text, "caller=alice") || strings.Contains(text, "sk-alice") {
		t.Errorf("the log has not the one denial: %s", text)
	}
	if got := usedText(r.usedBy(r.caller("sk-alice"), "m")); got != "requests_per_hour 2, tokens_per_hour 20" {
		t.Errorf("charged: %s", got)
	}
}

// TestUnmeteredIsCounted checks which requests count as passed unread.
func TestUnmeteredIsCounted(t *testing.T) {
	r := newRig(t, "rate_limiting: {bypass: {paths: [/v1/embeddings]}, default: {requests_per_hour: 99}}", standin.New(standin.Options{}))
	r.send("POST", "/v1/files", "x")
	r.send("POST", "/echo", "x")
	r.send("POST", "/v1/embeddings", `{"model":"m","input":"a"}`)
	r.send("POST", "/v1/completions", `{"model":"m","prompt":"a","max_tokens":1}`)
	r.send("GET", "/echo", "")
	r.send("PUT", "/echo", "x")
	r.idle()
	for path, want := range map[string]float64{"/v1/files": 1, "other": 2} {
		if got := r.metric(`unmetered_total{path="` + path + `"}`); got != want {
			t.Errorf("unmetered_total of %s is %v, want %v", path, got, want)
		}
	}
}

// TestOtherReadings: a limit on a path holds for every way to write it that some
// worker may take for it.
func TestOtherReadings(t *testing.T) {
	for _, path := range []string{"/v1/moderations%2Fx", "/v1//moderations/x", "/v1/%6doderations/x", "/v1/./moderations/x/"} {
		r := newRig(t, `
rate_limiting:
  per_endpoint: [{path: "/v1/moderations/*", limits: {requests_per_hour: 2}}]
  rules: [{name: r, match: {path: /v1/moderations/x}, limit: {requests: 1, per: 1h}, mode: shadow}]`, standin.New(standin.Options{}))
		for i, want := range []bool{false, false, true} {
			if a := r.send("POST", path, "x"); (a.status == 429) != want {
				t.Errorf("%s, request %d: answer %d", path, i+1, a.status)
			}
		}
		if got := r.metric(`shadow_hits_total{rule="rules.r"}`); got != 1 {
			t.Errorf("%s: the rule in shadow mode would have denied %v, want 1", path, got)
		}
	}
}
