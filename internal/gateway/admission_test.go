package gateway

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/standin"
	"github.com/penstock-dev/penstock/internal/workers"
)

// worker is the URL of the first worker.
func (r *rig) worker() *url.URL {
	r.t.Helper()
	u, err := url.Parse(r.Workers.Stats()[0].URL)
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

// TestQueuePosition: an answer to a request that waited says at which place it
// began to, and no other says anything, whatever client and worker say.
func TestQueuePosition(t *testing.T) {
	r := newRig(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Queue-Position", "77")
		w.Header().Add("X-Queue-Position", r.Header.Get("X-Queue-Position"))
		if r.URL.Path == "/trailer" {
			w.Header().Set("Trailer", "X-Queue-Position, X-Sum")
			_, _ = io.WriteString(w, "abc")
			w.Header().Set("X-Queue-Position", "78")
			w.Header().Set("X-Sum", "3")
			w.Header().Set(http.TrailerPrefix+"X-Queue-Position", "79")
			return
		}
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	ask := func(method, path, body string) *asking {
		return r.ask(r.client2, method, path, body, "X-Queue-Position", "5")
	}
	requests := []struct{ method, path, body string }{
		{"GET", "/a", ""},
		{"POST", "/v1/chat/completions", prompt(4, `"stream":true,`)},
		{"HEAD", "/a", ""},
		{"GET", "/trailer", ""},
	}
	slot := r.full(9, time.Minute)
	var all []*asking
	for i, q := range requests {
		all = append(all, ask(q.method, q.path, q.body))
		r.waits(i + 1)
	}
	slot.Release()
	for i, a := range all {
		resp := a.headers()
		got := readAll(resp)
		if p := resp.Header.Values("X-Queue-Position"); len(p) != 1 || p[0] != fmt.Sprint(i+1) {
			t.Errorf("%s: X-Queue-Position is %q, want %d", requests[i].path, p, i+1)
		}
		if requests[i].path == "/trailer" && (got.trailer.Get("X-Sum") != "3" || got.trailer["X-Queue-Position"] != nil) {
			t.Errorf("the trailer is %v, want X-Sum alone", got.trailer)
		}
	}
	r.idle()
	requests = append(requests, struct{ method, path, body string }{"OPTIONS", "/a", ""}, struct{ method, path, body string }{"GET", "/metrics", ""})
	for _, q := range requests {
		if p, ok := r.send(q.method, q.path, q.body, "X-Queue-Position", "5").header["X-Queue-Position"]; ok {
			t.Errorf("%s %s did not wait, and X-Queue-Position is %q", q.method, q.path, p)
		}
	}
}

// TestPositionOfAFailure: who waited for what comes to nothing is told so, too.
func TestPositionOfAFailure(t *testing.T) {
	r := newRig(t, "", nil)
	slot := r.full(9, time.Minute)
	a := r.ask(r.client, "GET", "/a", "")
	r.waits(1)
	slot.Release()
	if got := readAll(a.headers()); got.status != 503 || got.header.Get("X-Queue-Position") != "1" {
		t.Errorf("answer %d %v, want 503 and a position of 1", got.status, got.header)
	}
}

// dialects are a metered path of each, and a body for it.
var dialects = []struct{ name, path, body string }{
	{"openai", "/v1/chat/completions", `{"model":"m","messages":[],"max_tokens":5}`},
	{"anthropic", "/v1/messages", `{"model":"m","max_tokens":5,"messages":[]}`},
	{"google", "/v1beta/models/m:generateContent", `{"contents":[]}`},
	{"ollama", "/api/chat", `{"model":"m","messages":[]}`},
	{"comfyui", "/prompt", `{"prompt":{"1":{"class_type":"L","inputs":{"ckpt_name":"m"}}}}`},
	{"plain", "/a", ""},
}

// TestQueueDenialsOfDialects pins what the queue's denials are in each dialect:
// at once where it is full, and after the timeout, with and without bodies.
func TestQueueDenialsOfDialects(t *testing.T) {
	const full, late = "The workers are busy, and this request cannot wait for its turn. Please retry after 1 seconds.", "This request waited in the queue for as long as it may. Please retry after 1 seconds."
	want := map[string][2]string{
		"openai": {
			`{"error":{"message":"` + full + `","type":"rate_limit_error","code":"queue_full","retry_after":1}}`,
			`{"error":{"message":"` + late + `","type":"overloaded_error","code":"queue_timeout","retry_after":1}}`,
		},
		"anthropic": {
			`{"type":"error","error":{"type":"rate_limit_error","message":"` + full + `"}}`,
			`{"type":"error","error":{"type":"overloaded_error","message":"` + late + `"}}`,
		},
		"google": {
			`{"error":{"code":429,"message":"` + full + `","status":"RESOURCE_EXHAUSTED"}}`,
			`{"error":{"code":408,"message":"` + late + `","status":"DEADLINE_EXCEEDED"}}`,
		},
		"ollama": {`{"error":"` + full + `"}`, `{"error":"` + late + `"}`},
		"comfyui": {
			`{"error":{"type":"queue_full","message":"` + full + `","details":"","extra_info":{"retry_after":1}},"node_errors":{}}`,
			`{"error":{"type":"queue_timeout","message":"` + late + `","details":"","extra_info":{"retry_after":1}},"node_errors":{}}`,
		},
	}
	want["plain"] = want["openai"]
	for _, body := range []string{"json", "none"} {
		t.Run(body, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigOn(t, newPipes(), "rate_limiting: {default: {requests_per_hour: 99, concurrent_requests: 99}, error_response: {body: "+body+"}}")
				slot := r.full(1, 10*time.Second)
				for _, d := range dialects {
					method := "POST"
					if d.body == "" {
						method = "GET"
					}
					began := time.Now()
					a := r.ask(r.client, method, d.path, d.body)
					synctest.Wait()
					denied := [2]answered{r.send(method, d.path, d.body), readAll(a.headers())}
					if took := time.Since(began); took != 10*time.Second {
						t.Errorf("%s: the waiter was answered after %v, want 10s", d.name, took)
					}
					for i, status := range []int{429, 408} {
						got, text := denied[i], want[d.name][i]
						kind := "application/json"
						if body == "none" {
							text, kind = "", ""
						}
						if got.status != status || got.body != text || got.header.Get("Content-Type") != kind || got.header.Get("Retry-After") != "1" {
							t.Errorf("%s: answer %d %v %s\nwant %d %s", d.name, got.status, got.header, got.body, status, text)
						}
					}
				}
				synctest.Wait()
				if got := usedText(r.usedBy(r.pipeCaller(), "")); got != "concurrent_requests 0, requests_per_hour 0" {
					t.Errorf("charged: %s, want nothing", got)
				}
				slot.Release()
			})
		})
	}
}

// TestToldToComeBackLater: by what holds have taken so far, a request would wait
// for longer than it may, and hears so at once, with the prediction.
func TestToldToComeBackLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, newPipes(), "rate_limiting: {default: {requests_per_hour: 99}}")
		for range 8 {
			slot := r.full(9, 15*time.Second)
			time.Sleep(10 * time.Second)
			slot.Release()
		}
		slot := r.full(9, 15*time.Second)
		waiters := []*asking{r.ask(r.client, "GET", "/a", "")}
		synctest.Wait()
		waiters = append(waiters, r.ask(r.client, "GET", "/b", ""))
		synctest.Wait()
		got := r.send("GET", "/c", "")
		if code, _ := failure(t, got); got.status != 429 || code != "queue_full" || got.header.Get("Retry-After") != "20" {
			t.Errorf("answer %d %v %s; want 429 queue_full, and to come back after 20 s", got.status, got.header, got.body)
		}
		if n := r.metric(`queue_rejected_total{reason="late"}`); n != 1 {
			t.Errorf("%v were counted as late, want 1", n)
		}
		slot.Release()
		for _, w := range waiters {
			readAll(w.headers())
		}
	})
}

// TestPushedOut: in a full line, the newest of the caller with most waiters makes
// room for another caller, and gets its reservation back.
func TestPushedOut(t *testing.T) {
	r := newRig(t, people+"rate_limiting: {default: {requests_per_hour: 99, concurrent_requests: 99}}", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	slot := r.full(2, time.Minute)
	ask := func(path, key string) *asking {
		return r.ask(r.client, "GET", path, "", "Authorization", "Bearer "+key)
	}
	first := ask("/1", "alice-key-1")
	r.waits(1)
	second := ask("/2", "alice-key-1")
	r.waits(2)
	other := ask("/3", "bob-key-12")
	got := readAll(second.headers())
	if code, _ := failure(t, got); got.status != 429 || code != "queue_full" || got.header.Get("Retry-After") == "" {
		t.Errorf("who was pushed out: answer %d %v %s", got.status, got.header, got.body)
	}
	r.until("its end", func() bool { return r.running == 2 })
	if used := usedText(r.usedBy(r.caller("alice-key-1"), "")); used != "concurrent_requests 1, requests_per_hour 1" {
		t.Errorf("charged: %s, want one that still waits", used)
	}
	if n := r.metric(`queue_rejected_total{reason="pushed_out"}`); n != 1 {
		t.Errorf("%v were counted as pushed out, want 1", n)
	}
	slot.Release()
	for _, a := range []*asking{first, other} {
		if got := readAll(a.headers()); got.status != 200 {
			t.Errorf("who waited on: answer %d", got.status)
		}
	}
}

// TestWhatTakesSlotAndToken counts the bucket's tokens: all requests that go to
// a worker to be worked on take one and a slot, and none of the others do.
func TestWhatTakesSlotAndToken(t *testing.T) {
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	_ = m.WriteField("model", "m")
	_ = m.Close()
	type request struct {
		method, path, body string
		status             int
		headers            []string
	}
	takes := []request{
		{"POST", "/v1/chat/completions", prompt(4, ""), 200, nil},
		{"POST", "/v1/chat/completions", prompt(4, `"stream":true,`), 200, nil},
		{"POST", "/v1/audio/transcriptions", form.String(), 400, []string{"Content-Type", m.FormDataContentType()}},
		{"POST", "/v1/embeddings", `{"model":"m","input":"x"}`, 200, nil},
		{"POST", "/v1/messages", `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"}]}`, 200, nil},
		{"POST", "/api/chat", `{"model":"m","messages":[]}`, 500, []string{"X-Standin-Fault", "status=500"}},
		{"POST", "/prompt", `{"prompt":{}}`, 400, nil},
		{"GET", "/queue", "", 200, nil},
		{"GET", "/history", "", 200, nil},
		{"GET", "/echo", "", 200, nil},
		{"HEAD", "/echo", "", 200, nil},
		{"POST", "/v1/files", "x", 404, nil},
		{"DELETE", "/nowhere", "", 404, nil},
		{"GET", "/limited", "", 404, nil},
		{"POST", "/v1/chat/completions", prompt(4, ""), 502, []string{"X-Standin-Fault", "die-before-headers"}},
	}
	free := []request{
		{"GET", "/v1/models", "", 200, nil},
		{"HEAD", "/v1/models", "", 200, nil},
		{"GET", "/v1/models/standin", "", 404, nil},
		{"GET", "/api/tags", "", 200, nil},
		{"POST", "/api/show", `{"model":"m"}`, 200, nil},
		{"POST", "/v1/messages/count_tokens", `{"model":"m","messages":[{"role":"user","content":"x"}]}`, 200, nil},
		{"POST", "/v1beta/models/m:countTokens", `{"contents":[]}`, 400, nil},
		{"OPTIONS", "/v1/chat/completions", "", 0, nil},
		{"GET", "/health", "", 200, nil},
		{"GET", "/metrics", "", 404, nil},
		{"POST", "/v1/chat/completions", `{"model":`, 400, nil},
		{"POST", "/v1/chat/completions", strings.Repeat("x", 3000), 413, nil},
		{"POST", "/v1/files", strings.Repeat("x", 3000), 413, nil},
		{"POST", "/v1/chat/completions", prompt(4, ""), 415, []string{"Content-Encoding", "gzip"}},
		{"GET", "/limited", "", 429, nil},
		{"POST", "/v1/chat/completions", prompt(1200, `"max_tokens":1,`), 429, []string{"Authorization", "Bearer alice-key-1"}},
		{"GET", "/bypassed", "", 404, nil},
		{"POST", "/v1/chat/completions", prompt(4, ""), 200, []string{"Authorization", "Bearer bypass-key-1"}},
		{"POST", "/v1/chat/completions", strings.Replace(prompt(4, ""), `"m"`, `"other"`, 1), 404, nil},
	}
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 1}})
	r := newRig(t, people+`
max_body_bytes: 2000
rate_limiting:
  default: {requests_per_hour: 1000}
  per_key: {keys: {alice: {input_tokens_per_minute: 5}}}
  bypass: {paths: [/bypassed], keys: [bypass-key-1]}
  rules: [{name: limited, match: {path: /limited}, limit: {requests: 1, per: 1h}}]
`, worker)
	u := r.worker()
	r.Workers.Update([]workers.Worker{{URL: u, Models: []string{"m", "standin"}}}, workers.Policy{})
	if err := r.Queue.Configure(queue.Options{Slots: 1, Burst: int64(len(takes)), Refill: 1, Per: 1000 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	ask := func(q request, want int) {
		t.Helper()
		before := r.Queue.Stats().Granted
		a := r.send(q.method, q.path, q.body, q.headers...)
		r.idle()
		granted := int(r.Queue.Stats().Granted - before)
		if granted != want || q.status != 0 && a.status != q.status {
			t.Errorf("%s %s %.40s: answer %d %.100s with %d slots taken, want %d with %d", q.method, q.path, q.body, a.status, a.body, granted, q.status, want)
		}
	}
	for _, q := range takes {
		ask(q, 1)
	}
	ask(request{"GET", "/echo", "", 429, nil}, 0) // the bucket is empty now
	for _, q := range free {
		ask(q, 0)
	}
	w := r.dial()
	w.write(handshake)
	if head, err := readHead(w.r); err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Errorf("a websocket is answered %q and %v, want 101: it takes no token", head, err)
	}
	_ = w.Close()
}

// TestLeavingTheLine: a client that leaves while it waits is out of the line at
// once, costs nothing and is counted nowhere as having used anything; who is
// behind it moves up.
func TestLeavingTheLine(t *testing.T) {
	worker, served := namer()
	r := newRig(t, tokenLimits, worker)
	bothProtocols(t, r, func(t *testing.T, client *http.Client) {
		charged := r.used()["output_tokens_per_hour"]
		slot := r.full(9, time.Minute)
		bodies := []string{prompt(40, ""), prompt(40, `"stream":true,`), prompt(40, ""), prompt(40, "")}
		var all []*asking
		for i, body := range bodies {
			all = append(all, r.ask(client, "POST", "/v1/chat/completions", body, "X-Name", fmt.Sprint(i)))
			r.waits(i + 1)
		}
		before, left := r.metric(`tokens_total{kind="output",model="m"}`), r.metric(`class_queue_left_total{class="default"}`)
		for i := range 3 {
			all[i].leave()
			r.waits(3 - i)
			r.until("it is over", func() bool { return r.running == 3-i })
		}
		if n := r.metric(`class_queue_left_total{class="default"}`) - left; n != 3 {
			t.Errorf("%v are counted as having left, want 3", n)
		}
		if n := r.metric(`tokens_total{kind="output",model="m"}`) - before; n != 0 {
			t.Errorf("%v tokens were counted of requests that no worker saw", n)
		}
		if used := r.usedBy(r.caller(""), "")["output_tokens_per_hour"] - charged; used != 1024 {
			t.Errorf("%d tokens are reserved, want the 1024 of the one that waits", used)
		}
		slot.Release()
		if got := <-served; got != "3" {
			t.Errorf("served %s, want 3", got)
		}
		readAll(all[3].headers())
		r.idle()
	})
}

// TestWaitingIsNotTimed: request_timeout begins when a worker is asked.
func TestWaitingIsNotTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, newPipes(), "request_timeout: 1s")
		slot := r.full(9, time.Hour)
		a := r.ask(r.client, "POST", "/v1/completions", "{}")
		time.Sleep(30 * time.Minute)
		slot.Release()
		// Were it over its time, it would be a 504.
		if got := readAll(a.headers()); got.status != 503 {
			t.Errorf("answer %d %s, want 503: there is no worker", got.status, got.body)
		}
	})
}

// TestUnservedModels: a model that no worker serves is told at once, though all
// others wait, in the words of the dialect, and costs nothing. So it is when it
// goes away while a request for it waits.
func TestUnservedModels(t *testing.T) {
	const message = "No worker serves this model."
	want := map[string]string{
		"openai":    `{"error":{"message":"` + message + `","type":"not_found_error","code":"not_found"}}`,
		"anthropic": `{"type":"error","error":{"type":"not_found_error","message":"` + message + `"}}`,
		"google":    `{"error":{"code":404,"message":"` + message + `","status":"NOT_FOUND"}}`,
		"ollama":    `{"error":"` + message + `"}`,
		"comfyui":   `{"error":{"type":"not_found","message":"` + message + `","details":"","extra_info":{}},"node_errors":{}}`,
	}
	r := newRigFor(t, "rate_limiting: {default: {requests_per_hour: 99, tokens_per_hour: 9999, concurrent_requests: 99}}", "http://"+closedAddr(t))
	u := r.worker()
	slot := r.full(9, time.Minute)
	serve := func(model string) {
		r.Workers.Update([]workers.Worker{{URL: u, Models: []string{model}}}, workers.Policy{})
	}
	check := func(name string, a answered) {
		t.Helper()
		if a.status != 404 || a.body != want[name] || a.header.Get("Retry-After") != "" {
			t.Errorf("%s: answer %d %v %s\nwant 404 %s", name, a.status, a.header, a.body, want[name])
		}
	}
	serve("another")
	for _, d := range dialects {
		if d.name != "plain" { // which names none
			check(d.name, r.send("POST", d.path, d.body))
		}
	}
	r.wantUsed("concurrent_requests 0, requests_per_hour 0, tokens_per_hour 0")
	serve("m")
	waiting := map[string]*asking{}
	for _, d := range dialects {
		if d.name != "plain" {
			waiting[d.name] = r.ask(r.client, "POST", d.path, d.body)
			r.waits(len(waiting))
		}
	}
	serve("another")
	slot.Release()
	for name, a := range waiting {
		check(name, readAll(a.headers()))
	}
	r.wantUsed("concurrent_requests 0, requests_per_hour 0, tokens_per_hour 0")
	if n := r.metric(`own_answers_total{code="not_found"}`); n != 10 {
		t.Errorf("%v answers of not_found were counted, want 10", n)
	}
}

// TestWorkersWithKeys: a worker with a key of its own gets that one, whatever the
// client shows, and one without gets the client's.
func TestWorkersWithKeys(t *testing.T) {
	type shown struct{ authorization, rest string }
	seen := make(chan shown, 1)
	r := newRig(t, "", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		h := r.Header
		seen <- shown{h.Get("Authorization"), h.Get("X-Api-Key") + h.Get("Api-Key") + h.Get("X-Goog-Api-Key") + r.URL.Query().Get("key")}
	}))
	u := r.worker()
	for _, key := range []string{"worker-key", ""} {
		r.Workers.Update([]workers.Worker{{URL: u, Key: key}}, workers.Policy{})
		for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "key"} {
			for _, d := range dialects[:4] {
				value, want := "client-key", shown{"Bearer worker-key", ""}
				path, headers := d.path, []string{name, value}
				switch {
				case name == "Authorization":
					headers[1] = "Bearer " + value
				case name == "key":
					path, headers = path+"?key="+value, nil
				}
				if key == "" {
					want = shown{"", value}
					if name == "Authorization" {
						want = shown{headers[1], ""}
					}
				}
				r.send("POST", path, d.body, headers...)
				if got := <-seen; got != want {
					t.Errorf("%s with %s of the client's: the worker with the key %q got %+v, want %+v", d.name, name, key, got, want)
				}
			}
		}
	}
}

// TestNoWorkerCostsNothing: what was sent nowhere takes no bucket token, and waits
// for none: neither where no worker can be reached, nor where none may be asked.
func TestNoWorkerCostsNothing(t *testing.T) {
	r := newRigFor(t, "rate_limiting: {default: {requests_per_hour: 99, tokens_per_hour: 9999}}", "http://"+closedAddr(t))
	if err := r.Queue.Configure(queue.Options{Slots: 1, Burst: 1, Refill: 1, Per: time.Hour}); err != nil {
		t.Fatal(err)
	}
	ask := func(when string) {
		t.Helper()
		for range 3 {
			if a := r.send("POST", "/v1/chat/completions", prompt(4, "")); a.status != 503 {
				t.Errorf("%s: %d %q, want 503", when, a.status, a.body)
			}
		}
		if r.Queue.Busy() {
			t.Errorf("%s: a token was taken", when)
		}
		r.wantUsed("requests_per_hour 0, tokens_per_hour 0")
	}
	ask("refused connections")
	slot, err := r.Queue.Enter(t.Context(), queue.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse("http://" + closedAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	r.Workers.Update([]workers.Worker{{URL: u}}, workers.Policy{})
	if err := r.Workers.Drain(u.String()); err != nil {
		t.Fatal(err)
	}
	if a := r.send("POST", "/v1/chat/completions", prompt(4, "")); a.status != 503 || !strings.Contains(a.body, `"no_worker"`) {
		t.Errorf("no worker to be asked, and no token: %d %q, want 503 no_worker", a.status, a.body)
	}
	r.wantUsed("requests_per_hour 0, tokens_per_hour 0")
	slot.Release()
}
