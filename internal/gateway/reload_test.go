package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/penstock-dev/penstock/internal/standin"
)

// TestReloadUnderLoad swaps the rules thousands of times while many clients send
// requests: none is lost, and each is counted once.
func TestReloadUnderLoad(t *testing.T) {
	const clients, each = 32, 10
	swaps := 3000
	if testing.Short() {
		swaps = 300
	}
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 3}})
	rules := func(limit int, more string) string {
		return fmt.Sprintf("rate_limiting: {default: {requests_per_hour: %d, tokens_per_hour: 10000000, concurrent_requests: 99}}%s", limit, more)
	}
	r := newRig(t, rules(100_000, ""), worker)
	r.slots(8, clients, patience)
	var done atomic.Int64
	var swapped atomic.Bool
	var load, reload sync.WaitGroup
	for i := range clients {
		client := []*http.Client{r.client, r.client2}[i%2]
		load.Go(func() {
			for n := 0; n < each || !swapped.Load(); n++ {
				stream := []string{"", `"stream":true,`}[n%2]
				resp, err := client.Do(r.request("POST", "/v1/chat/completions", prompt(4, stream)))
				if err != nil {
					t.Error(err)
					continue
				}
				if a := readAll(resp); a.status != 200 || a.err != nil {
					t.Errorf("answer %d %q %v", a.status, a.body, a.err)
				}
				done.Add(1)
			}
		})
	}
	reload.Go(func() {
		defer swapped.Store(true)
		var made Rules
		for i := range swaps {
			if i%10 == 0 { // as making them takes longer than swapping
				more := []string{"", "\nrequest_timeout: 10m", "\nestimate: {output: 7, on_overrun: stop}"}[i/10%3]
				made = r.rulesOf(rules(100_000+i, more))
			}
			r.SetRules(made)
			if i%32 == 0 { // with some requests between
				for n := done.Load(); done.Load() == n && !t.Failed(); {
					runtime.Gosched()
				}
			}
		}
	})
	load.Wait()
	reload.Wait()
	r.SetRules(r.rulesOf(rules(100_000, "")))
	all := done.Load()
	if all < clients*each || worker.Stats().Finished != all {
		t.Errorf("%d were answered and %d came to the worker, want at least %d", all, worker.Stats().Finished, clients*each)
	}
	r.wantUsed(fmt.Sprintf("concurrent_requests 0, requests_per_hour %d, tokens_per_hour %d", all, all*4))
	if got := r.metric(`http_rate_limit_total{result="allowed"}`); got != float64(all) {
		t.Errorf("%v were counted as allowed, want %d", got, all)
	}
}

// TestStopUnderLoad stops the gateway while many clients send requests: each is
// answered to its end or turned away, and what was turned away costs nothing.
func TestStopUnderLoad(t *testing.T) {
	const clients, before = 32, 200
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 3}})
	r := newRig(t, tokenLimits, worker)
	r.slots(4, clients, patience)
	var served, turnedAway atomic.Int64
	var load sync.WaitGroup
	for i := range clients {
		client := []*http.Client{r.client, r.client2}[i%2]
		load.Go(func() {
			for n := 0; ; n++ {
				resp, err := client.Do(r.request("POST", "/v1/chat/completions", prompt(4, []string{"", `"stream":true,`}[n%2])))
				if err != nil {
					t.Error(err)
					return
				}
				switch a := readAll(resp); {
				case a.status == 200 && a.err == nil:
					served.Add(1)
				case a.status == 503 && a.err == nil && strings.Contains(a.body, "shutting_down") && a.header.Get("Retry-After") != "":
					turnedAway.Add(1)
					return
				default:
					t.Errorf("answer %d %q %v", a.status, a.body, a.err)
					return
				}
			}
		})
	}
	r.until("there is load", func() bool { return r.begun >= before })
	r.Stop()
	load.Wait()
	if err := r.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if n := turnedAway.Load(); n != clients {
		t.Errorf("%d clients were turned away, want %d", n, clients)
	}
	if n := int64(worker.Stats().Finished); n != served.Load() {
		t.Errorf("the worker ended %d answers, and %d came to their clients", n, served.Load())
	}
	r.wantUsed(charged(served.Load(), served.Load(), 3*served.Load()))
}

// TestFaultsUnderLoad has every third request panic on its way, at one of two
// places: that is its own 500, and nobody else's trouble.
func TestFaultsUnderLoad(t *testing.T) {
	const clients, each = 16, 30
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 3}})
	r := newRig(t, tokenLimits, worker)
	r.slots(4, clients, patience)
	var load sync.WaitGroup
	for range clients {
		load.Go(func() {
			for n := range each {
				req := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/chat/completions", strings.NewReader(prompt(4, "")))
				req.RemoteAddr = "127.0.0.1:1"
				want := 200
				switch n % 6 {
				case 0:
					req.Body = bodyThatPanics{req.Body}
					want = 500
				case 3:
					req = req.WithContext(&panics{Context: t.Context()})
					want = 500
				}
				w := httptest.NewRecorder()
				r.ServeHTTP(w, req)
				if w.Code != want {
					t.Errorf("request %d is answered %d %q, want %d", n, w.Code, w.Body, want)
				}
			}
		})
	}
	load.Wait()
	const served = clients * each * 2 / 3
	if n := worker.Stats().Finished; n != served {
		t.Errorf("%d requests came to the worker, want %d", n, served)
	}
	r.wantUsed(charged(served, served, 3*served))
}

// TestRequestsEndUnderTheirRules replaces the rules while requests are under
// way: they end under those that they began with.
func TestRequestsEndUnderTheirRules(t *testing.T) {
	const before = "rate_limiting: {default: {tokens_per_hour: 300}}\nestimate: {on_overrun: stop}"
	const after = "rate_limiting: {default: {tokens_per_hour: 100000}, headers: {limit_header: X-Other}}"
	p := newPuppet(t)
	r := newRig(t, before, p)
	a := r.ask(r.client, "POST", "/v1/chat/completions", prompt(40, `"stream":true,"max_tokens":10,`))
	<-p.asked
	r.SetRules(r.rulesOf(after))
	p.headers(sse)
	resp := a.headers()
	if resp.Header.Get("X-Ratelimit-Limit") != "300" || resp.Header.Get("X-Other") != "" {
		t.Errorf("the headers are %v, want those of the old rules", resp.Header)
	}
	p.says(event(291)) // and 10 of input
	got := readAll(resp)
	if !strings.Contains(got.body, "rate_limit_exceeded") || got.err == nil {
		t.Errorf("the stream ends with %v, want it to be stopped as the old rules say", got.err)
	}
	<-p.gone
	r.wantUsed("tokens_per_hour 301") // counters stay

	a = r.ask(r.client, "POST", "/v1/chat/completions", prompt(40, `"stream":true,"max_tokens":10,`))
	<-p.asked
	p.headers(sse)
	p.says(event(257) + lastEvent)
	p.ends()
	resp = a.headers()
	if got := readAll(resp); got.err != nil || resp.Header.Get("X-Other") != "100000" {
		t.Errorf("the next ends with %v and headers %v, want those of the new rules", got.err, resp.Header)
	}
	r.wantUsed("tokens_per_hour 568")
}

// TestWorkersAreReplaced replaces the workers while one is answering.
func TestWorkersAreReplaced(t *testing.T) {
	p := newPuppet(t)
	r := newRig(t, tokenLimits, p)
	a := r.ask(r.client, "GET", "/a", "")
	<-p.asked
	url, requests := scripted(t, okAnswer)
	r.serveWorkers(url)
	if b := r.send("GET", "/b", ""); b.status != 200 || b.body != "ok" {
		t.Errorf("answer %d %q, want that of the new worker", b.status, b.body)
	}
	<-requests
	p.says("old")
	p.ends()
	if got := readAll(a.headers()); got.body != "old" || got.err != nil {
		t.Errorf("the answer of the old worker is %q and %v", got.body, got.err)
	}
	r.wantUsed(charged(2, 0, 0))
}
