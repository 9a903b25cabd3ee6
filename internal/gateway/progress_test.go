package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/workers"
)

const progress = `
admission: {progress: true}
rate_limiting: {default: {requests_per_hour: 99, tokens_per_hour: 99999, concurrent_requests: 99}}
`

// nothing is what progress charges for nothing.
const nothing = "concurrent_requests 0, requests_per_hour 0, tokens_per_hour 0"

// streams are the requests that are told how far they are, and the error in a
// stream of theirs.
var streams = []struct {
	name, path, body string
	event            func(code, message, openAI, anthropic string) string
}{
	{"openai", "/v1/chat/completions", prompt(4, `"stream":true,"max_tokens":5,`), func(code, message, openAI, _ string) string {
		retry := ""
		var seconds int
		if _, after, ok := strings.Cut(message, "Please retry after "); ok {
			_, _ = fmt.Sscan(after, &seconds)
			retry = fmt.Sprintf(`,"retry_after":%d`, seconds)
		}
		return fmt.Sprintf("data: {\"error\":{\"message\":%q,\"type\":%q,\"code\":%q%s}}\n\n", message, openAI, code, retry)
	}},
	{"anthropic", "/v1/messages", `{"model":"m","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"xxxx"}]}`, func(_, message, _, anthropic string) string {
		return fmt.Sprintf("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":%q,\"message\":%q}}\n\n", anthropic, message)
	}},
}

// begun waits for the headers of an answer that begins with a comment, and checks
// them and the comment.
func begun(t *testing.T, a *asking) *http.Response {
	t.Helper()
	resp := a.headers()
	h := resp.Header
	if resp.StatusCode != 200 || h.Get("Content-Type") != sse || h.Get("X-Queue-Position") != "1" || h.Get("X-Request-Id") == "" || h.Get("X-Ratelimit-Limit") == "" {
		t.Errorf("the answer begins with %d %v", resp.StatusCode, h)
	}
	reads(t, resp.Body, ": queue position 1\n\n")
	return resp
}

// TestProgress: streams are told at which place they wait, and then have the
// worker's answer as it comes.
func TestProgress(t *testing.T) {
	answers := map[string]string{
		"openai":    event(2) + `data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}` + "\n\n" + lastEvent,
		"anthropic": "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":4}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
	}
	for _, s := range streams {
		p := newPuppet(t)
		r := newRig(t, progress, p)
		body := strings.Replace(s.body, `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1)
		bothProtocols(t, r, func(t *testing.T, client *http.Client) {
			slot := r.full(9, time.Minute)
			a := r.ask(client, "POST", s.path, body, "X-Request-Id", "mine")
			r.waits(1)
			resp := begun(t, a)
			if id := resp.Header.Get("X-Request-Id"); id != "mine" {
				t.Errorf("X-Request-Id is %q, want mine", id)
			}
			slot.Release()
			<-p.asked
			p.headers(sse + "; charset=utf-8")
			for piece := range strings.SplitAfterSeq(answers[s.name], "\n\n") {
				p.says(piece)
				reads(t, resp.Body, piece)
			}
			p.ends()
			if rest := readAll(resp); rest.body != "" || rest.err != nil {
				t.Errorf("behind the stream %q and %v, want its end", rest.body, rest.err)
			}
			r.idle()
		})
		r.wantUsed("concurrent_requests 0, requests_per_hour 2, tokens_per_hour 14")
		if n := r.Queue.Stats().InFlight; n != 0 {
			t.Errorf("%d slots are held", n)
		}
	}
}

// TestProgressOfSeveral: the place counts down as others are served.
func TestProgressOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, newPipes(), progress)
		for range 8 {
			slot := r.full(9, time.Minute)
			time.Sleep(2 * time.Second)
			slot.Release()
		}
		slot := r.full(9, time.Minute)
		first := r.ask(r.client, "POST", streams[0].path, prompt(4, ""))
		synctest.Wait()
		resp := r.ask(r.client, "POST", streams[0].path, streams[0].body).headers()
		if got := resp.Header.Get("X-Queue-Position"); got != "2" {
			t.Errorf("X-Queue-Position is %q, want 2", got)
		}
		began := time.Now()
		for i := range 3 {
			reads(t, resp.Body, ": queue position 2, about 4 s\n\n")
			if d := time.Since(began); d != time.Duration(i)*time.Second {
				t.Errorf("comment %d came after %v", i, d)
			}
		}
		first.leave()
		reads(t, resp.Body, ": queue position 1, about 2 s\n\n")
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("the next came after %v, want 3s", d)
		}
		slot.Release()
		readAll(resp)
	})
}

// TestProgressDenied pins what a stream that waits is told when it gets no slot, or
// no worker: an error as an event, after which the connection is cut. It is counted
// and logged under its own code, and nothing stays charged.
func TestProgressDenied(t *testing.T) {
	for _, c := range []struct {
		what    string
		bring   func(r *rig, slot queue.Slot) // after 2.5 s; nil: wait on
		after   time.Duration
		comment int
		code    string
		message string
		types   [2]string // OpenAI's and Anthropic's
		counted string    // metrics that are 1
	}{
		{
			"timeout", nil, 10 * time.Second, 10, "queue_timeout",
			"This request waited in the queue for as long as it may. Please retry after 1 seconds.",
			[2]string{"overloaded_error", "overloaded_error"},
			`queue_rejected_total{reason="timeout"} http_rate_limit_total{result="rejected"} queue_wait_seconds_count`,
		},
		{
			"stop", func(r *rig, _ queue.Slot) { r.Stop() }, 2500 * time.Millisecond, 3, "shutting_down",
			"The gateway is shutting down. Please retry after 1 seconds.",
			[2]string{"server_error", "api_error"},
			`queue_rejected_total{reason="stopped"}`,
		},
		{
			"no worker", func(_ *rig, slot queue.Slot) { slot.Release() }, 2500 * time.Millisecond, 3, "no_worker",
			"No worker is available. Please retry after 1 seconds.",
			[2]string{"server_error", "overloaded_error"},
			"queue_wait_seconds_count",
		},
	} {
		for _, s := range streams {
			t.Run(c.what+" "+s.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRigOn(t, newPipes(), progress)
					slot := r.full(2, 10*time.Second)
					defer slot.Release()
					a := r.ask(r.client, "POST", s.path, s.body)
					began := time.Now()
					if c.bring != nil {
						time.AfterFunc(2500*time.Millisecond, func() { c.bring(r, slot) })
					}
					got := readAll(a.headers())
					if d := time.Since(began); d != c.after {
						t.Errorf("it ended after %v, want %v", d, c.after)
					}
					want := strings.Repeat(": queue position 1\n\n", c.comment) + s.event(c.code, c.message, c.types[0], c.types[1])
					if got.status != 200 || got.body != want || got.err == nil {
						t.Errorf("answer %d %v\n%s\nwant, and then a cut,\n%s", got.status, got.err, got.body, want)
					}
					synctest.Wait()
					if used := usedText(r.usedBy(r.pipeCaller(), "")); used != nothing {
						t.Errorf("charged: %s, want nothing", used)
					}
					for name := range strings.FieldsSeq(c.counted + ` own_answers_total{code="` + c.code + `"}`) {
						if n := r.metric(name); n != 1 {
							t.Errorf("%s is %v, want 1", name, n)
						}
					}
					if c.what != "stop" && !strings.Contains(r.log.String(), "code="+c.code) {
						t.Errorf("the log says nothing of %s:\n%s", c.code, r.log.String())
					}
				})
			})
		}
	}
}

// TestProgressPushedOut has a stream make room for another caller.
func TestProgressPushedOut(t *testing.T) {
	for _, s := range streams {
		r := newRig(t, people+progress, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		bothProtocols(t, r, func(t *testing.T, client *http.Client) {
			slot := r.full(2, time.Minute)
			key := []string{"Authorization", "Bearer alice-key-1"}
			first := r.ask(client, "GET", "/a", "", key...)
			r.waits(1)
			second := r.ask(client, "POST", s.path, s.body, key...).headers()
			reads(t, second.Body, ": queue position 2\n\n")
			other := r.ask(client, "GET", "/b", "")
			want := s.event("queue_full", "The workers are busy, and this request cannot wait for its turn. Please retry after 1 seconds.", "rate_limit_error", "rate_limit_error")
			got := readAll(second)
			if got.body != want || got.err == nil {
				t.Errorf("it reads %s and %v\nwant, and then a cut, %s", got.body, got.err, want)
			}
			r.waits(2)
			slot.Release()
			readAll(first.headers())
			readAll(other.headers())
			r.idle()
		})
		if used := usedText(r.usedBy(r.caller("alice-key-1"), "")); used != "concurrent_requests 0, requests_per_hour 2, tokens_per_hour 0" {
			t.Errorf("charged: %s", used)
		}
		if n := r.metric(`queue_rejected_total{reason="pushed_out"}`); n != 2 {
			t.Errorf("%v were counted as pushed out, want 2", n)
		}
	}
}

// TestProgressThenNoStream: once a client was told that it waits, all that a worker
// answers but a stream of events is an error within it. When the client reads it the
// request is over: nothing of it is held or reserved any more, and it may ask again.
func TestProgressThenNoStream(t *testing.T) {
	type step func(a *puppetAnswer)
	says := func(status int, kind, text string, headers ...string) step {
		return func(a *puppetAnswer) {
			h := a.Header()
			h.Set("Content-Type", kind)
			for i := 0; i < len(headers); i += 2 {
				h.Set(headers[i], headers[i+1])
			}
			a.WriteHeader(status)
			_, _ = io.WriteString(a, text)
			a.over = true
		}
	}
	for _, c := range []struct {
		what    string
		step    step
		message string
	}{
		{"400", says(400, "application/json", `{"error":{"message":"too long"}}`), `The worker answered 400: {"error":{"message":"too long"}}`},
		{"429", says(429, "text/plain", "slow down"), "The worker answered 429: slow down"},
		{"500", says(500, "application/json", "oh"), "The worker answered 500: oh"},
		{"JSON", says(200, "application/json", `{"usage":{"prompt_tokens":3,"completion_tokens":4}}`), `The worker answered 200: {"usage":{"prompt_tokens":3,"completion_tokens":4}}`},
		{"events of another status", says(201, sse, "made"), "The worker answered 201: made"},
		{"encoded", says(200, sse, "zip", "Content-Encoding", "gzip"), "The worker answered 200: zip"},
		{"500 behind a hint", func(a *puppetAnswer) {
			a.WriteHeader(http.StatusEarlyHints)
			says(500, "text/plain", "oh")(a)
		}, "The worker answered 500: oh"},
		{"a long error", says(400, "text/plain", strings.Repeat("x", 5000)), "The worker answered 400: " + strings.Repeat("x", mostTold)},
		{"nothing", func(*puppetAnswer) { panic(http.ErrAbortHandler) }, "The worker could not be reached or broke off."},
	} {
		t.Run(c.what, func(t *testing.T) {
			for _, s := range streams {
				p := newPuppet(t)
				r := newRig(t, progress, p)
				n := 0
				bothProtocols(t, r, func(t *testing.T, client *http.Client) {
					n++
					slot := r.full(9, time.Minute)
					a := r.ask(client, "POST", s.path, s.body)
					r.waits(1)
					resp := begun(t, a)
					slot.Release()
					<-p.asked
					p.do(c.step)
					quoted, _ := json.Marshal(c.message)
					want := strings.Replace(s.event("upstream_error", "MESSAGE", "server_error", "api_error"), `"MESSAGE"`, string(quoted), 1)
					reads(t, resp.Body, want)
					if used, held := usedText(r.usedBy(r.caller(""), "")), r.Queue.Stats().InFlight; held != 0 || used != fmt.Sprintf("concurrent_requests 0, requests_per_hour %d, tokens_per_hour 0", n) {
						t.Errorf("when the client knows, %d slots are held and charged is %s", held, used)
					}
					if rest := readAll(resp); rest.body != "" || rest.err == nil {
						t.Errorf("behind the error %q and %v, want a cut", rest.body, rest.err)
					}
					r.idle()
				})
				if n := r.metric(`own_answers_total{code="upstream_error"}`); n != 2 {
					t.Errorf("%v were counted as upstream_error, want 2", n)
				}
				if strings.Contains(r.log.String(), "superfluous") {
					t.Errorf("a second head was written:\n%s", r.log.String())
				}
				if n := strings.Count(r.log.String(), "code=upstream_error"); n != 2 {
					t.Errorf("%d lines of upstream_error, want 2:\n%s", n, r.log.String())
				}
			}
		})
	}
}

// TestProgressThenTheWorkerDies within its stream: what came of it is charged.
func TestProgressThenTheWorkerDies(t *testing.T) {
	p := newPuppet(t)
	r := newRig(t, progress, p)
	slot := r.full(9, time.Minute)
	a := r.ask(r.client, "POST", streams[0].path, streams[0].body)
	r.waits(1)
	resp := begun(t, a)
	slot.Release()
	<-p.asked
	p.headers(sse)
	p.says(event(2))
	reads(t, resp.Body, event(2))
	p.dies()
	if rest := readAll(resp); !strings.Contains(rest.body, `"code":"upstream_error"`) || rest.err == nil {
		t.Errorf("then %q and %v, want an error and a cut", rest.body, rest.err)
	}
	r.wantUsed("concurrent_requests 0, requests_per_hour 1, tokens_per_hour 3")
}

// TestProgressOfAnUnservedModel takes the model away while a stream waits for it.
func TestProgressOfAnUnservedModel(t *testing.T) {
	for _, s := range streams {
		r := newRig(t, progress, newPuppet(t))
		slot := r.full(9, time.Minute)
		a := r.ask(r.client, "POST", s.path, s.body)
		r.waits(1)
		resp := begun(t, a)
		r.Workers.Update([]workers.Worker{{URL: r.worker(), Models: []string{"another"}}}, workers.Policy{})
		slot.Release()
		want := s.event("not_found", "No worker serves this model.", "not_found_error", "not_found_error")
		if got := readAll(resp); got.body != want || got.err == nil {
			t.Errorf("it reads %q and %v, want a cut after %q", got.body, got.err, want)
		}
		r.wantUsed(nothing)
	}
}

// TestProgressIsForStreams: of all else the answer begins when it is there, with its
// own status.
func TestProgressIsForStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, newPipes(), progress)
		slot := r.full(9, 5*time.Second)
		defer slot.Release()
		for _, q := range []struct{ method, path, body string }{
			{"POST", "/v1/chat/completions", prompt(4, "")},
			{"POST", "/v1/chat/completions", prompt(4, `"stream":false,`)},
			{"POST", "/v1/messages", `{"model":"m","max_tokens":5,"messages":[]}`},
			{"POST", "/v1beta/models/m:streamGenerateContent?alt=sse", `{"contents":[]}`},
			{"POST", "/api/chat", `{"model":"m","stream":true,"messages":[]}`},
			{"POST", "/prompt", `{"prompt":{}}`},
			{"POST", "/v1/embeddings", `{"model":"m","input":"x"}`},
			{"GET", "/v1/chat/completions", ""},
		} {
			if a := r.send(q.method, q.path, q.body); a.status != 408 || strings.Contains(a.body, "queue position") {
				t.Errorf("%s %s: answer %d %q, want 408 alone", q.path, q.body, a.status, a.body)
			}
		}
	})
}

// TestProgressWithoutAWait: who need not wait is told nothing.
func TestProgressWithoutAWait(t *testing.T) {
	r := newRig(t, progress, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "{}")
	}))
	r.slots(1, 9, time.Minute)
	if a := r.send("POST", streams[0].path, streams[0].body); a.status != 400 || a.body != "{}" || a.header.Get("X-Queue-Position") != "" {
		t.Errorf("answer %d %v %q, want the worker's", a.status, a.header, a.body)
	}
}

// TestProgressThatNobodyReads: who takes none of what it is told is out of the line
// before it has a slot, over either protocol.
func TestProgressThatNobodyReads(t *testing.T) {
	const ask = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
	body := streams[0].body
	for name, open := range map[string]func(r *rig) (begin func()){
		"http/1.1": func(r *rig) func() {
			w := r.pipe()
			return func() { w.write(fmt.Sprintf(ask, len(body), body)) }
		},
		"h2c, with a window of 0": func(r *rig) func() {
			w := two{r.pipe()}
			go func() { _, _ = io.Copy(io.Discard, w.Conn) }()
			return func() {
				w.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2Frame(h2Settings, 0, 0, "\x00\x04\x00\x00\x00\x00"))
				w.write(h2Frame(h2Headers, h2EndHeaders, 1, h2Ask("POST", "/v1/chat/completions")))
				w.write(h2Frame(h2Data, h2EndStream, 1, body))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigOn(t, newPipes(), progress)
				slot := r.full(9, time.Hour)
				open(r)()
				synctest.Wait()
				if n := r.Queue.Stats().Waiting; n != 1 {
					t.Fatalf("%d wait, want 1", n)
				}
				time.Sleep(lastWords)
				synctest.Wait()
				if n := r.Queue.Stats().Waiting; n != 0 {
					t.Errorf("%d wait, want none", n)
				}
				slot.Release()
				if s := r.Queue.Stats(); s.InFlight != 0 || s.Left != 1 {
					t.Errorf("%d slots are held and %d have left, want 0 and 1", s.InFlight, s.Left)
				}
			})
		})
	}
}

// TestProgressToALeaver: a client that leaves while it is told leaves the line.
func TestProgressToALeaver(t *testing.T) {
	r := newRig(t, progress, newPuppet(t))
	bothProtocols(t, r, func(t *testing.T, client *http.Client) {
		slot := r.full(9, time.Minute)
		defer slot.Release()
		ctx, leave := context.WithCancel(t.Context())
		resp, err := client.Do(r.request("POST", streams[0].path, streams[0].body).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		reads(t, resp.Body, ": queue position 1\n\n")
		leave()
		_ = resp.Body.Close()
		r.wantUsed(nothing)
		if n := r.Queue.Stats().Waiting; n != 0 {
			t.Errorf("%d wait, want none", n)
		}
	})
}
