package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// full takes the only slot for a caller of a class that no other is of.
func (r *rig) full(line int, timeout time.Duration) queue.Slot {
	r.t.Helper()
	r.slots(1, line, timeout)
	slot, err := r.Queue.Enter(r.t.Context(), queue.Ask{Caller: "nobody", Class: traffic.ClassInteractive})
	if err != nil {
		r.t.Fatal(err)
	}
	return slot
}

// waits waits until so many wait for a slot.
func (r *rig) waits(n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint(n, " wait"), func() bool { return r.Queue.Stats().Waiting == n })
}

// namer is a worker that tells which requests came, by the header X-Name.
func namer() (http.Handler, <-chan string) {
	served := make(chan string, 200)
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { served <- r.Header.Get("X-Name") }), served
}

const people = `
auth: {keys: [{id: alice, key: alice-key-1}, {id: bob, key: bob-key-12}]}
`

// TestClassesAreServedInOrder has one request of each kind wait: plans and rules
// say its class, and the client may lower it, never raise it.
func TestClassesAreServedInOrder(t *testing.T) {
	worker, served := namer()
	r := newRig(t, people+`
rate_limiting:
  default: {requests_per_hour: 100}
  roles: {anonymous: {priority: bulk}}
  per_key: {keys: {alice: {priority: interactive}}}
  rules:
    - {name: nightly, match: {path: /nightly}, priority: bulk}
    - {name: now, match: {path: /now}, priority: interactive}
`, worker)
	slot := r.full(100, time.Minute)
	const anyone, bob, alice = "", "bob-key-12", "alice-key-1"
	requests := []struct {
		name, key, path string
		asks            []string // X-Priority
		class           traffic.Class
	}{
		{"no key", anyone, "/a", nil, traffic.ClassBulk},
		{"no key, asks for more", anyone, "/a", []string{"default"}, traffic.ClassBulk},
		{"no key, asks for most", anyone, "/a", []string{"interactive"}, traffic.ClassBulk},
		{"a plan of the default", bob, "/a", nil, traffic.ClassDefault},
		{"asks for more", bob, "/a", []string{"interactive"}, traffic.ClassDefault},
		{"asks for what it has", bob, "/a", []string{"default"}, traffic.ClassDefault},
		{"asks for less", bob, "/a", []string{"bulk"}, traffic.ClassBulk},
		{"a word that is none", bob, "/a", []string{"lowest"}, traffic.ClassDefault},
		{"no word", bob, "/a", []string{""}, traffic.ClassDefault},
		{"a key's plan", alice, "/a", nil, traffic.ClassInteractive},
		{"lowered by one", alice, "/a", []string{"Default"}, traffic.ClassDefault},
		{"lowered by two", alice, "/a", []string{"BULK"}, traffic.ClassBulk},
		{"said twice", alice, "/a", []string{"bulk", "bulk"}, traffic.ClassInteractive},
		{"a list", alice, "/a", []string{"bulk, default"}, traffic.ClassInteractive},
		{"a rule that lowers", alice, "/nightly", nil, traffic.ClassBulk},
		{"asks for more than the rule", alice, "/nightly", []string{"interactive"}, traffic.ClassBulk},
		{"a rule that raises", anyone, "/now", nil, traffic.ClassInteractive},
		{"asks for less than the rule", anyone, "/now", []string{"default"}, traffic.ClassDefault},
	}
	class := map[string]traffic.Class{}
	for i, q := range requests {
		class[q.name] = q.class
		headers := []string{"X-Name", q.name}
		if q.key != "" {
			headers = append(headers, "Authorization", "Bearer "+q.key)
		}
		for _, ask := range q.asks {
			headers = append(headers, "X-Priority", ask)
		}
		before := r.Queue.Stats().Classes[q.class].Waiting
		r.ask([]*http.Client{r.client, r.client2}[i%2], "GET", q.path, "", headers...)
		r.waits(i + 1)
		if now := r.Queue.Stats().Classes[q.class].Waiting; now != before+1 {
			t.Errorf("%s: it does not wait as %v", q.name, q.class)
		}
	}
	slot.Release()
	last := traffic.ClassInteractive
	for range requests {
		name := <-served
		if class[name].Before(last) {
			t.Errorf("%q, %v, was served after one that is %v", name, class[name], last)
		}
		last = class[name]
	}
	r.idle()
	for _, c := range traffic.Classes() {
		n := 0.0
		for _, q := range requests {
			if q.class == c {
				n++
			}
		}
		if got := r.metric(`class_queue_wait_seconds_count{class="` + c.String() + `"}`); got != n {
			t.Errorf("%v waits of %v were measured, want %v", got, c, n)
		}
	}
}

// TestWeightsShareTurns has two callers wait with like requests, one of whom
// weighs three times the other.
func TestWeightsShareTurns(t *testing.T) {
	worker, served := namer()
	r := newRig(t, people+"rate_limiting: {default: {requests_per_hour: 100}, per_key: {keys: {alice: {weight: 3}}}}", worker)
	slot := r.full(100, time.Minute)
	for i := range 12 {
		r.ask(r.client2, "GET", "/a", "", "X-Name", "alice", "Authorization", "Bearer alice-key-1")
		r.waits(2*i + 1)
		r.ask(r.client2, "GET", "/a", "", "X-Name", "bob", "Authorization", "Bearer bob-key-12")
		r.waits(2*i + 2)
	}
	slot.Release()
	turns := map[string]int{}
	for range 16 {
		turns[<-served]++
	}
	if turns["alice"] != 12 || turns["bob"] != 4 {
		t.Errorf("of the first 16 turns alice had %d and bob %d, want 12 and 4", turns["alice"], turns["bob"])
	}
}

// TestTurnsAreSharedByTokens has a hog with long answers and a mouse with short
// ones wait with as many requests as there can be turns. Nobody knows the lengths
// before: what was estimated is corrected when an answer has ended, so that of
// work done neither gets ahead of the other by more than the largest request.
func TestTurnsAreSharedByTokens(t *testing.T) {
	const long, short, hogs, mice = 100, 10, 6, 50
	type turn struct {
		who    string
		tokens int64
	}
	served := make(chan turn, hogs+mice)
	r := newRig(t, people+"rate_limiting: {default: {requests_per_hour: 1000}}\nestimate: {reserve: max}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		who, output := r.Header.Get("X-Name"), int64(short)
		if who == "hog" {
			output = long
		}
		served <- turn{who, work(1, output)}
		w.Header().Set("Content-Type", sse)
		_, _ = fmt.Fprintf(w, "%sdata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":%d}}\n\n%s", event(1), output, lastEvent)
	}))
	slot := r.full(hogs+mice, time.Minute)
	for i := range hogs + mice {
		name, key := "mouse", "bob-key-12"
		if i < hogs {
			name, key = "hog", "alice-key-1"
		}
		r.ask(r.client2, "POST", "/v1/chat/completions", prompt(4, `"stream":true,"max_tokens":500,`), "X-Name", name, "Authorization", "Bearer "+key)
		r.waits(i + 1)
	}
	slot.Release()
	done, turns := map[string]int64{}, map[string]int{}
	for range hogs + mice {
		next := <-served
		done[next.who] += next.tokens
		turns[next.who]++
		if turns["hog"] == hogs || turns["mouse"] == mice {
			break // the other is alone from here on
		}
		if d := done["hog"] - done["mouse"]; d > work(1, long) || -d > work(1, long) {
			t.Fatalf("after %v turns the work done is %v, apart by more than %d", turns, done, work(1, long))
		}
	}
	if turns["mouse"] < 8*(hogs-1) {
		t.Errorf("turns: %v; want about %d of the mouse for one of the hog", turns, long/short)
	}
	r.idle()
}

// TestStreamsCountAsTheyFlow has a stream outgrow what was expected of it while
// its caller waits with another request: that one goes behind those of others.
func TestStreamsCountAsTheyFlow(t *testing.T) {
	served := make(chan string, 9)
	flow, flowed := make(chan int), make(chan struct{})
	r := newRig(t, people+"rate_limiting: {default: {requests_per_hour: 1000}}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		name := r.Header.Get("X-Name")
		served <- name
		if name != "stream" {
			_, _ = io.WriteString(w, `{"usage":{"prompt_tokens":1,"completion_tokens":1}}`)
			return
		}
		w.Header().Set("Content-Type", sse)
		for n := range flow {
			_, _ = io.WriteString(w, event(n))
			w.(http.Flusher).Flush()
			flowed <- struct{}{}
		}
		_, _ = io.WriteString(w, lastEvent)
	}))
	r.slots(2, 9, time.Minute)
	ask := func(name, key, fields string) *asking {
		return r.ask(r.client2, "POST", "/v1/chat/completions", prompt(4, fields+`"max_tokens":1,`), "X-Name", name, "Authorization", "Bearer "+key)
	}
	stream := ask("stream", "alice-key-1", `"stream":true,`)
	<-served
	flow <- 1
	<-flowed
	body := stream.headers().Body
	reads(t, body, event(1))
	other, err := r.Queue.Enter(t.Context(), queue.Ask{Caller: "nobody", Class: traffic.ClassInteractive})
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range []struct{ name, key string }{{"first of bob", "bob-key-12"}, {"alice", "alice-key-1"}, {"second of bob", "bob-key-12"}, {"third of bob", "bob-key-12"}} {
		ask(q.name, q.key, "")
		r.waits(i + 1)
	}
	flow <- 400
	<-flowed
	reads(t, body, event(400)) // by then it has been counted
	other.Release()
	var order []string
	for range 4 {
		order = append(order, <-served)
	}
	if got := strings.Join(order, ", "); got != "first of bob, second of bob, third of bob, alice" {
		t.Errorf("served %s; want bob, whom the stream has left behind", got)
	}
	close(flow)
	_, _ = io.Copy(io.Discard, body)
	r.idle()
}
