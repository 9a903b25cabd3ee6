package server

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWorkersByHand adds, drains and removes workers on the admin port; a reload
// makes them what the configuration says.
func TestWorkersByHand(t *testing.T) {
	r := start(t, "log: {level: info}")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "other") }))
	t.Cleanup(other.Close)
	r.mu.Lock()
	own := r.flags.WorkerURLs[0]
	r.mu.Unlock()
	post := func(body, want string) {
		t.Helper()
		a, err := r.try(t.Context(), "POST", "http://"+r.AdminAddr().String()+"/workers", body, "X-Penstock: 1")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(a.status, " ", strings.TrimSpace(a.body)); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	states := func() (got string) {
		for _, w := range r.listWorkers() {
			got += w.State + " " + w.URL + "\n"
		}
		return got
	}
	post(fmt.Sprintf(`{"add":{"url":%q,"weight":2}}`, other.URL), `200 {"status":"added"}`)
	post(fmt.Sprintf(`{"drain":%q}`, own), `200 {"status":"draining"}`)
	if a := r.ask("GET", "/x", ""); a.body != "other" {
		t.Errorf("%d %q, want the other worker's answer", a.status, a.body)
	}
	if got, want := states(), "draining "+own+"\nup "+other.URL+"\n"; got != want {
		t.Errorf("workers %q, want %q", got, want)
	}
	if a := r.admin("GET", "/workers"); !strings.Contains(a.body, `{"url":"`+other.URL+`","weight":2,"models":[],"state":"up","breaker":"closed","resting_seconds":0,"outstanding":0,"outstanding_tokens":0,"sent":1,"failed":0,"retries":0}`) {
		t.Errorf("GET /workers: %s", a.body)
	}
	post(fmt.Sprintf(`{"remove":%q}`, other.URL), `200 {"status":"removed"}`)
	r.want("none is left to be asked", r.ask("GET", "/x", ""), 503, "Retry-After: 1")
	a := r.admin("GET", "/readyz")
	r.want("none is left to be asked", a, 503)
	r.wantBody("none is left to be asked", a, `{"error":"no worker can be reached"}`)
	post(`{"add":{"url":"http://user:secret@%zz"}}`, `400 {"error":"url: expected a URL such as http://10.0.0.7:8000"}`)
	post(`{"add":{"url":"http://h:99999"}}`, `400 {"error":"url: a host is an address or a name, and a port a number from 1 to 65535"}`)
	post(`{"add":{"url":"http://h","weight":0}}`, `400 {"error":"weight: expected a whole number from 1 to 1000, got 0"}`)
	post(`{"add":{"url":"http://h","weight":1001}}`, `400 {"error":"weight: expected a whole number from 1 to 1000, got 1001"}`)
	post(`{"add":{"url":"http://h","models":[""]}}`, `400 {"error":"models: a model without a name: write * for every model"}`)
	r.reload("log: {level: info}")
	post(fmt.Sprintf(`{"add":{"url":%q}}`, own+"/"), `400 {"error":"this worker is there already: drain it first, or change it in the configuration and reload"}`)
	if got, want := states(), "up "+own+"\n"; got != want {
		t.Errorf("workers %q after a reload, want %q", got, want)
	}
	r.want("the configuration's", r.chat("m", 1, 1), 200)
}

// TestRetriesOnlyGrow: what is told of retries goes on when the workers that had them
// are no longer there.
func TestRetriesOnlyGrow(t *testing.T) {
	r := start(t, "log: {level: info}")
	r.mu.Lock()
	own := r.flags.WorkerURLs[0]
	r.mu.Unlock()
	retries := func(when string, want int) {
		t.Helper()
		if got := r.admin("GET", "/metrics").body; !strings.Contains(got, fmt.Sprintf("\npenstock_worker_retries_total %d\n", want)) {
			t.Errorf("%s there are not %d retries:\n%s", when, want, got)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var busy []string
	for range 2 {
		w := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
		t.Cleanup(w.Close)
		busy = append(busy, w.URL)
		must(r.addWorker(w.URL, 1, nil))
	}
	must(r.pool.Drain(own))
	r.want("two that are busy", r.ask("GET", "/x", ""), 502)
	n := int(r.pool.Retries())
	if n < 1 {
		t.Fatal("nothing was retried")
	}
	retries("with both", n)
	for _, w := range busy {
		must(r.pool.Remove(w))
	}
	retries("with both removed", n)
	r.reload("log: {level: info}")
	retries("after a reload", n)
}
