package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/penstock-dev/penstock/internal/standin"
)

// TestReloadUnderLoad swaps the rules hundreds of times while many clients send
// requests: none is lost, and each is counted once.
func TestReloadUnderLoad(t *testing.T) {
	const clients, each, swaps = 32, 20, 300
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 3}})
	rules := func(limit int, more string) string {
		return fmt.Sprintf("rate_limiting: {default: {requests_per_hour: %d, tokens_per_hour: 10000000, concurrent_requests: 99}}%s", limit, more)
	}
	r := newRig(t, rules(100_000, ""), worker)
	r.slots(8, clients, patience)
	var done atomic.Int64
	var load, reload sync.WaitGroup
	for i := range clients {
		client := []*http.Client{r.client, r.client2}[i%2]
		load.Go(func() {
			for n := range each {
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
		for i := range swaps {
			more := []string{"", "\nrequest_timeout: 10m", "\nestimate: {output: 7, on_overrun: stop}"}[i%3]
			r.SetRules(r.rulesOf(rules(100_000+i, more)))
		}
	})
	load.Wait()
	reload.Wait()
	r.SetRules(r.rulesOf(rules(100_000, "")))
	const all = clients * each
	if done.Load() != all || worker.Stats().Finished != all {
		t.Errorf("%d were answered and %d came to the worker, want %d", done.Load(), worker.Stats().Finished, all)
	}
	r.wantUsed(fmt.Sprintf("concurrent_requests 0, requests_per_hour %d, tokens_per_hour %d", all, all*4))
	if got := r.metric(`http_rate_limit_total{result="allowed"}`); got != all {
		t.Errorf("%v were counted as allowed, want %d", got, all)
	}
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
	p.says(event(257))
	got := readAll(resp)
	if !strings.Contains(got.body, "rate_limit_exceeded") || got.err == nil {
		t.Errorf("the stream ends with %v, want it to be stopped as the old rules say", got.err)
	}
	<-p.gone
	r.wantUsed("tokens_per_hour 267") // counters stay

	a = r.ask(r.client, "POST", "/v1/chat/completions", prompt(40, `"stream":true,"max_tokens":10,`))
	<-p.asked
	p.headers(sse)
	p.says(event(257) + lastEvent)
	p.ends()
	resp = a.headers()
	if got := readAll(resp); got.err != nil || resp.Header.Get("X-Other") != "100000" {
		t.Errorf("the next ends with %v and headers %v, want those of the new rules", got.err, resp.Header)
	}
	r.wantUsed("tokens_per_hour 534")
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
