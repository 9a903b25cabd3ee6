package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/queue"
)

// TestEarlyLeaversPay has clients leave at every moment, and checks what they
// are charged: nothing where no worker could see the request, what flowed of a
// stream, and the whole reservation of anything else.
func TestEarlyLeaversPay(t *testing.T) {
	const path = "/v1/chat/completions"
	plain, stream := prompt(40, `"max_tokens":50,`), prompt(40, `"max_tokens":50,"stream":true,`)
	// The client leaves when it has read what the worker says.
	for name, c := range map[string]struct {
		body          string
		kind          string   // of the answer; empty: none has begun
		says          []string // the worker
		seen          string   // by the client before it leaves, where that is less
		input, output int64
	}{
		"while the worker thinks":           {body: plain, input: 10, output: 50},
		"while it thinks, streamed":         {body: stream, input: 10, output: 0},
		"after the headers":                 {body: plain, kind: "application/json", input: 10, output: 50},
		"after the headers, streamed":       {body: stream, kind: sse, input: 10, output: 0},
		"within the answer":                 {body: plain, kind: "application/json", says: []string{`{"choices":[{"message":{"content":"abcd`}, input: 10, output: 50},
		"after the usage, within the JSON":  {body: plain, kind: "application/json", says: []string{`{"usage":{"prompt_tokens":11,"completion_tokens":2}`}, input: 10, output: 50},
		"after the JSON":                    {body: plain, kind: "application/json", says: []string{`{"usage":{"prompt_tokens":11,"completion_tokens":2}}`}, input: 11, output: 2},
		"in a form that is not read":        {body: stream, kind: "text/plain", says: []string{"hello"}, input: 10, output: 50},
		"before any output":                 {body: stream, kind: sse, says: []string{firstEvent}, input: 10, output: 0},
		"within the stream":                 {body: stream, kind: sse, says: []string{firstEvent, event(1), event(2), event(4)}, input: 10, output: 7},
		"within an event":                   {body: stream, kind: sse, says: []string{event(3), event(3)[:50]}, seen: event(3), input: 10, output: 3},
		"beyond the reservation":            {body: stream, kind: sse, says: []string{event(500)}, input: 10, output: 500},
		"within a stream that says its use": {body: stream, kind: sse, says: []string{`data: {"choices":[{"delta":{"content":"abcd"}}],"usage":{"prompt_tokens":12,"completion_tokens":9}}` + "\n\n", event(2)}, input: 12, output: 11},
		"after the usage":                   {body: stream, kind: sse, says: []string{event(1), usageEvent}, seen: event(1), input: 30, output: 70},
		"after the end":                     {body: stream, kind: sse, says: []string{event(1), usageEvent, lastEvent}, seen: event(1) + lastEvent, input: 30, output: 70},
		"JSON where a stream was asked for": {body: stream, kind: "application/json", says: []string{`{"choices":[{"message":{"content":"abcdabcd`}, input: 10, output: 2},
		"a stream where none was asked for": {body: plain, kind: sse, says: []string{event(3)}, input: 10, output: 50},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, tokenLimits, p)
			bothProtocols(t, r, func(t *testing.T, client *http.Client) {
				a := r.ask(client, "POST", path, c.body)
				<-p.asked
				if c.kind != "" {
					p.headers(c.kind)
					resp := a.headers()
					seen := c.seen
					if seen == "" {
						seen = strings.Join(c.says, "")
					}
					for _, text := range c.says {
						p.says(text)
					}
					reads(t, resp.Body, seen)
				}
				a.leave()
				<-p.gone
				r.idle()
			})
			r.wantUsed(charged(2, 2*c.input, 2*c.output))
			if n := r.metric("store_errors_total"); n != 0 {
				t.Errorf("%v calls of the store failed", n)
			}
		})
	}
}

// TestLeavingTheQueue has a client leave that waits for a slot: it costs
// nothing, and the next in line is not held up.
func TestLeavingTheQueue(t *testing.T) {
	p := newPuppet(t)
	r := newRig(t, tokenLimits, p)
	r.slots(1, 9, time.Minute)
	bothProtocols(t, r, func(t *testing.T, client *http.Client) {
		before := usedText(r.used())
		slot, err := r.Queue.Enter(t.Context(), queue.Ask{})
		if err != nil {
			t.Fatal(err)
		}
		defer slot.Release()
		for _, path := range []string{"/v1/chat/completions", "/generate"} { // the body of the second passes
			a := r.ask(client, "POST", path, prompt(40, ""))
			eventually(t, "the request waits", func() bool { return r.Queue.Stats().Waiting == 1 })
			if got := usedText(r.usedBy(r.caller(""), "")); got == before {
				t.Error("a waiter holds no reservation")
			}
			a.leave()
			r.wantUsed(before)
			if n := r.Queue.Stats().Waiting; n != 0 {
				t.Errorf("%d wait, want none", n)
			}
		}
	})
}

// TestLeavingBeforeTheWorker has a client leave while the worker is connected
// to: nothing was sent, so nothing is charged.
func TestLeavingBeforeTheWorker(t *testing.T) {
	came := make(chan struct{}, 1)
	silent := rawWorker(t, func(_ net.Conn, r *bufio.Reader) {
		if _, err := r.ReadByte(); err == nil { // the TLS handshake, which nobody answers
			came <- struct{}{}
			_, _ = io.Copy(io.Discard, r)
		}
	})
	r := newRigFor(t, tokenLimits, "https"+strings.TrimPrefix(silent, "http"))
	bothProtocols(t, r, func(t *testing.T, client *http.Client) {
		for _, body := range []string{prompt(40, ""), prompt(40, `"stream":true,`)} {
			a := r.ask(client, "POST", "/v1/chat/completions", body)
			<-came
			a.leave()
			r.wantUsed(charged(0, 0, 0))
		}
	})
}

// TestRequestTimeout has workers take too long.
func TestRequestTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		fields        string
		do            func(*puppet)
		status        int
		body          string
		cut           bool
		input, output int64
	}{
		"to answer": {
			"", func(*puppet) {}, 504,
			`{"error":{"message":"The worker took too long to answer.","type":"server_error","code":"upstream_timeout"}}`, false, 0, 0,
		},
		"to go on with a stream": {
			`"stream":true,`, func(p *puppet) { p.headers(sse); p.says(firstEvent + event(3)) }, 200,
			firstEvent + event(3) + `data: {"error":{"message":"The answer took too long.","type":"server_error","param":null,"code":"upstream_timeout"}}` + "\n\n", true, 10, 3,
		},
		"to go on with JSON": {
			"", func(p *puppet) { p.headers("application/json"); p.says(`{"choices":[{"message":{"content":"abcdabcd`) }, 200,
			`{"choices":[{"message":{"content":"abcdabcd`, true, 10, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, tokenLimits, p)
			rules := r.rulesOf(tokenLimits)
			rules.RequestTimeout = 300 * time.Millisecond
			r.SetRules(rules)
			bothProtocols(t, r, func(t *testing.T, client *http.Client) {
				a := r.ask(client, "POST", "/v1/chat/completions", prompt(40, c.fields))
				<-p.asked
				c.do(p)
				got := readAll(a.headers())
				if got.status != c.status || got.body != c.body || (got.err != nil) != c.cut {
					t.Errorf("the client got %d, %v and\n%s, want %d, cut: %v and\n%s", got.status, got.err, got.body, c.status, c.cut, c.body)
				}
				<-p.gone
			})
			r.wantUsed(charged(2, 2*c.input, 2*c.output))
		})
	}
}

// TestClientsThatReadNothing has a client ask for much and not read it: it is
// cut off when its time is over, and holds nothing any more.
func TestClientsThatReadNothing(t *testing.T) {
	const limits = "rate_limiting: {default: {requests_per_hour: 9, tokens_per_hour: 100000, concurrent_requests: 1}}"
	gone := make(chan struct{}, 1)
	r := newRig(t, limits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", sse)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, event(1000)); err != nil {
				break
			}
		}
		gone <- struct{}{}
	}))
	r.slots(1, 0, 0)
	rules := r.rulesOf(limits)
	rules.RequestTimeout = 200 * time.Millisecond
	r.SetRules(rules)
	for _, head := range []string{
		"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n{\"stream\":true}",
	} {
		w := r.dial()
		w.write(head)
		<-gone
		r.idle()
		if n := r.Queue.Stats().InFlight; n != 0 {
			t.Errorf("%d slots are held, want 0", n)
		}
		if got := r.used(); got["concurrent_requests"] != 0 {
			t.Errorf("%d requests are in flight, want 0", got["concurrent_requests"])
		}
	}
	resp, err := r.client2.Do(r.request("GET", "/a", ""))
	if err != nil {
		t.Fatal(err)
	}
	<-gone
	r.idle()
	_ = resp.Body.Close()
}

// TestCutWhileTheBodyComes has clients leave within the body of a request: it
// is charged nothing where it was read here, and as a request where a worker
// had begun to see it.
func TestCutWhileTheBodyComes(t *testing.T) {
	p := newPuppet(t)
	r := newRig(t, tokenLimits, p)
	for _, body := range []string{"Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{"} {
		w := r.dial()
		w.write("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + body)
		_ = w.Close()
	}
	r.came(2)
	r.wantUsed(charged(0, 0, 0))

	w := r.dial()
	w.write("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
	eventually(t, "the upload comes to the worker", func() bool { return r.Workers.Stats()[0].Sent == 1 })
	_ = w.Close()
	r.wantUsed(charged(1, 0, 0))
	if s := r.Workers.Stats()[0]; s.Failed != 0 {
		t.Errorf("the worker is blamed for it: %+v", s)
	}
	<-p.asked
}
