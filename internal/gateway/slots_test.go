package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/standin"
)

// TestSlotsBoundTheWorker has many more clients than slots, each of which is to
// be served, and never more at the worker than slots.
func TestSlotsBoundTheWorker(t *testing.T) {
	const slots, clients, each = 3, 24, 4
	var mu sync.Mutex
	now, most, served := 0, 0, 0
	r := newRig(t, tokenLimits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		served++
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", sse)
		for range 3 {
			_, _ = io.WriteString(w, event(1))
			w.(http.Flusher).Flush()
		}
		mu.Lock()
		now--
		mu.Unlock()
		_, _ = io.WriteString(w, lastEvent)
	}))
	r.slots(slots, clients, time.Minute)
	var wg sync.WaitGroup
	for i := range clients {
		client := []*http.Client{r.client, r.client2}[i%2]
		wg.Go(func() {
			for range each {
				resp, err := client.Do(r.request("POST", "/v1/chat/completions", prompt(4, `"stream":true,`)))
				if err != nil {
					t.Error(err)
					return
				}
				if a := readAll(resp); a.status != 200 || a.err != nil {
					t.Errorf("answer %d %q %v", a.status, a.body, a.err)
				}
			}
		})
	}
	wg.Wait()
	if most > slots || served != clients*each {
		t.Errorf("the worker served %d at a time and %d in all, want at most %d and %d", most, served, slots, clients*each)
	}
	if n := r.metric("queue_wait_seconds_count"); n == 0 {
		t.Error("no wait was measured")
	}
	r.wantUsed(charged(clients*each, clients*each, clients*each*3))
}

// TestFirstComeFirstServed has clients wait one behind the other.
func TestFirstComeFirstServed(t *testing.T) {
	served := make(chan string, 9)
	r := newRig(t, "", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { served <- r.URL.Path }))
	r.slots(1, 9, time.Minute)
	slot, err := r.Queue.Enter(t.Context(), queue.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		r.ask([]*http.Client{r.client, r.client2}[i%2], "GET", fmt.Sprintf("/%d", i), "")
		eventually(t, "it waits", func() bool { return r.Queue.Stats().Waiting == i+1 })
	}
	slot.Release()
	for i := range 9 {
		if got := <-served; got != fmt.Sprintf("/%d", i) {
			t.Errorf("served %s, want /%d", got, i)
		}
	}
	r.idle()
}

// TestSlotIsHeldToTheEnd checks that a slot is free when the last byte of the
// answer has come, and not before.
func TestSlotIsHeldToTheEnd(t *testing.T) {
	p := newPuppet(t)
	r := newRig(t, "rate_limiting: {default: {concurrent_requests: 9}}", p)
	r.slots(1, 0, 0)
	for _, body := range []string{prompt(4, ""), prompt(4, `"stream":true,`)} {
		a := r.ask(r.client, "POST", "/v1/chat/completions", body)
		<-p.asked
		held := func(when string) {
			t.Helper()
			if n, used := r.Queue.Stats().InFlight, usedText(r.usedBy(r.caller(""), "")); n != 1 || used != "concurrent_requests 1" {
				t.Errorf("%s %d slots are held and charged is %s", when, n, used)
			}
		}
		held("before the answer")
		p.headers(sse)
		resp := a.headers()
		held("after the headers")
		p.says(event(1))
		reads(t, resp.Body, event(1))
		held("within the answer")
		p.ends()
		readAll(resp)
		r.wantUsed("concurrent_requests 0")
		if n := r.Queue.Stats().InFlight; n != 0 {
			t.Errorf("%d slots are held, want 0", n)
		}
	}
}

// TestQueueDenialsOnTheWire pins the answers of a full queue, of one that took
// too long and of one that was stopped: what the request reserved is given back
// in each case, and the waiting took as long as it may.
func TestQueueDenialsOnTheWire(t *testing.T) {
	const body = `{"model":"m","prompt":"hello","max_tokens":5}`
	head := "POST /v1/completions HTTP/1.1\n"
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, newPipes(), "rate_limiting: {default: {requests_per_hour: 9, tokens_per_hour: 100, concurrent_requests: 9}}")
		r.slots(1, 1, 20*time.Second)
		slot, err := r.Queue.Enter(t.Context(), queue.Ask{})
		if err != nil {
			t.Fatal(err)
		}
		c := r.pipeCaller()
		none := "concurrent_requests 0, requests_per_hour 0, tokens_per_hour 0"
		text := func(got string) string {
			head, body, _ := strings.Cut(got, "\n\n")
			return without(head+"\n", "Date", "Connection") + "\n" + body + "\n"
		}
		waits := func(answer chan<- string) {
			go func() { answer <- r.pipe().exchange(head, body) }()
			synctest.Wait()
			if n := r.Queue.Stats().Waiting; n != 1 {
				t.Fatalf("%d wait, want 1", n)
			}
			if got := usedText(r.usedBy(c, "")); got != "concurrent_requests 1, requests_per_hour 1, tokens_per_hour 7" {
				t.Errorf("a waiter holds %s", got)
			}
		}

		late, began := make(chan string, 1), time.Now()
		waits(late)
		full := r.pipe().exchange(head, body)
		golden(t, "denials/queue full", text(full))
		if d := time.Since(began); d != 0 {
			t.Errorf("the full queue took %v to say so", d)
		}
		golden(t, "denials/queue timeout", text(<-late))
		if d := time.Since(began); d != 20*time.Second {
			t.Errorf("the waiter was answered after %v, want 20s", d)
		}
		synctest.Wait()
		if got := usedText(r.usedBy(c, "")); got != none {
			t.Errorf("charged: %s, want %s", got, none)
		}

		stopped := make(chan string, 1)
		waits(stopped)
		r.Stop()
		golden(t, "denials/queue stopped", text(<-stopped))
		golden(t, "denials/stopped", text(r.pipe().exchange(head, body)))
		synctest.Wait()
		if got := usedText(r.usedBy(c, "")); got != none {
			t.Errorf("charged: %s, want %s", got, none)
		}
		for reason, want := range map[string]float64{"full": 1, "timeout": 1, "stopped": 1} {
			if got := r.metric(`queue_rejected_total{reason="` + reason + `"}`); got != want {
				t.Errorf("queue_rejected_total of %s is %v, want %v", reason, got, want)
			}
		}
		if got := r.metric(`http_rate_limit_total{result="rejected"}`); got != 2 {
			t.Errorf("%v requests were counted as rejected, want 2", got)
		}
		if got := r.metric("queue_wait_seconds_count"); got != 2 {
			t.Errorf("%v waits were counted, want those of the two who waited in vain", got)
		}
		slot.Release()
	})
}

// TestConcurrentRequests denies at once who has too many in flight.
func TestConcurrentRequests(t *testing.T) {
	p := newPuppet(t)
	r := newRig(t, "rate_limiting: {default: {concurrent_requests: 1, requests_per_hour: 9}}", p)
	a := r.ask(r.client, "GET", "/a", "")
	<-p.asked
	b := r.send("GET", "/a", "")
	code, message := failure(t, b)
	if b.status != 429 || code != "rate_limit_exceeded" || !regexp.MustCompile(`^Rate limit exceeded\. Please retry after [1-9][0-9]* seconds\.$`).MatchString(message) {
		t.Errorf("answer %d %q", b.status, b.body)
	}
	if b.header.Get("Retry-After") == "" || b.header.Get("X-Ratelimit-Limit") != "1" || b.header.Get("X-Ratelimit-Remaining") != "0" {
		t.Errorf("headers %v", b.header)
	}
	p.ends()
	readAll(a.headers())
	r.wantUsed("concurrent_requests 0, requests_per_hour 1")
	c := r.ask(r.client, "GET", "/a", "")
	<-p.asked
	p.ends()
	if got := readAll(c.headers()); got.status != 200 {
		t.Errorf("answer %d, want 200", got.status)
	}
}

// TestStopTurnsWaitersAway stops a gateway under load: those at the worker end
// well, all others are told to go elsewhere.
func TestStopTurnsWaitersAway(t *testing.T) {
	const slots, clients = 2, 8
	release := make(chan struct{})
	here := make(chan struct{}, clients)
	r := newRig(t, tokenLimits, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		here <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "done")
	}))
	r.slots(slots, clients, time.Minute)
	answers := make(chan answered, clients)
	for range clients {
		go func() { answers <- r.send("GET", "/a", "") }()
	}
	<-here
	<-here
	eventually(t, "the others wait", func() bool { return r.Queue.Stats().Waiting == clients-slots })
	r.Stop()
	for range clients - slots {
		if a := <-answers; a.status != 503 || !strings.Contains(a.body, "shutting_down") || a.header.Get("Retry-After") == "" {
			t.Errorf("a waiter is answered %d %q", a.status, a.body)
		}
	}
	close(release)
	for range slots {
		if a := <-answers; a.status != 200 || a.body != "done" {
			t.Errorf("who was at the worker is answered %d %q", a.status, a.body)
		}
	}
	r.wantUsed(charged(slots, 0, 0))
}

// TestOneAfterTheOther: a client that asks one after the other, on a new
// connection each time, is never denied for a request of its own that it has had
// the whole answer of.
func TestOneAfterTheOther(t *testing.T) {
	r := newRig(t, "rate_limiting: {default: {concurrent_requests: 1}}", standin.New(standin.Options{Output: standin.Lengths{Mean: 5}}))
	r.slots(1, 0, 0)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v1/chat/completions", prompt(40, "")},
		{"POST", "/v1/chat/completions", prompt(40, `"stream":true,`)},
		{"GET", "/v1/models/standin", ""},
		{"POST", "/v1/files", "x"},
		{"HEAD", "/anything", ""},
	} {
		for i := range 60 {
			client := *r.client
			transport := client.Transport.(*http.Transport).Clone()
			client.Transport = transport
			if a := r.sendOn(&client, c.method, c.path, c.body); a.status == 429 || a.err != nil {
				t.Errorf("%s %s, the %dth: answer %d and %v", c.method, c.path, i+1, a.status, a.err)
			}
			transport.CloseIdleConnections()
		}
	}
}

// TestLeaversAreNoMoreThanTheSlots has clients leave answers of which the worker
// needs a while to let go: who is given their slots is not one more at the worker.
func TestLeaversAreNoMoreThanTheSlots(t *testing.T) {
	const slots = 2
	var now, most, left atomic.Int64
	r := newRig(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		_, _ = io.WriteString(w, "data: {}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		left.Add(1)
		for range 1000 { // it has things to put away
			runtime.Gosched()
		}
	}))
	r.slots(slots, 100, time.Minute)
	var wg sync.WaitGroup
	for range 4 * slots {
		wg.Go(func() {
			for range 10 {
				ctx, leave := context.WithCancel(t.Context())
				resp, err := r.client.Do(r.request("POST", "/v1/chat/completions", prompt(4, `"stream":true,`)).WithContext(ctx))
				if err != nil {
					t.Error(err)
					leave()
					return
				}
				reads(t, resp.Body, "data: {}\n\n")
				leave()
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	r.idle()
	if most.Load() > slots || left.Load() != 40*slots {
		t.Errorf("%d were at the worker at a time, and it saw %d leave; want at most %d, and %d", most.Load(), left.Load(), slots, 40*slots)
	}
}

// TestEmptyAnswersHoldNothing: an answer without a body ends with its headers, so
// nothing is held any more when these are written.
func TestEmptyAnswersHoldNothing(t *testing.T) {
	r := newRig(t, "", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r.slots(1, 0, 0)
	for _, path := range []string{"/a", "/v1/chat/completions"} {
		held := -1
		w := headWriter{httptest.NewRecorder(), func() { held = r.Queue.Stats().InFlight }}
		r.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader("{}")))
		if w.Code != 200 || held != 0 {
			t.Errorf("%s: with the headers of a %d %d slots are held, want none", path, w.Code, held)
		}
	}
}

// headWriter tells when headers are written.
type headWriter struct {
	*httptest.ResponseRecorder
	tell func()
}

func (w headWriter) WriteHeader(code int) {
	w.tell()
	w.ResponseRecorder.WriteHeader(code)
}
