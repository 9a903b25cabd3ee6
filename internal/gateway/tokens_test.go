package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/standin"
)

const tokenLimits = "rate_limiting: {default: {requests_per_hour: 1000, tokens_per_hour: 100000, input_tokens_per_hour: 100000, output_tokens_per_hour: 100000}}"

// charged is how the limits of tokenLimits are charged.
func charged(requests, input, output int64) string {
	return fmt.Sprintf("input_tokens_per_hour %d, output_tokens_per_hour %d, requests_per_hour %d, tokens_per_hour %d", input, output, requests, input+output)
}

// prompt is a body of chat completions whose text is of this size.
func prompt(bytes int, fields string) string {
	return `{"model":"m",` + fields + `"messages":[{"role":"user","content":"` + strings.Repeat("x", bytes) + `"}]}`
}

// event is an event of a stream of chat completions, of so many tokens.
func event(tokens int) string {
	return `data: {"choices":[{"index":0,"delta":{"content":"` + strings.Repeat("abcd", tokens) + `"}}]}` + "\n\n"
}

const (
	firstEvent = `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}` + "\n\n"
	usageEvent = `data: {"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":70,"total_tokens":100}}` + "\n\n"
	lastEvent  = "data: [DONE]\n\n"
	sse        = "text/event-stream"
)

// TestReservationsShow reads what was reserved from what is left of the limit.
func TestReservationsShow(t *testing.T) {
	for name, c := range map[string]struct {
		path, body string
		want       int64
	}{
		"text and a maximum":       {"/v1/chat/completions", prompt(40, `"max_tokens":50,`), 10 + 50},
		"a part of a token":        {"/v1/chat/completions", prompt(41, `"max_tokens":50,`), 11 + 50},
		"no maximum":               {"/v1/chat/completions", prompt(40, ""), 10 + 1024},
		"the largest maximum":      {"/v1/chat/completions", prompt(40, `"max_tokens":1,"max_completion_tokens":700,`), 10 + 700},
		"a maximum of 0":           {"/v1/chat/completions", prompt(40, `"max_tokens":0,`), 10 + 1},
		"several answers":          {"/v1/chat/completions", prompt(40, `"max_tokens":50,"n":3,`), 10 + 150},
		"several, and no maximum":  {"/v1/chat/completions", prompt(40, `"n":3,`), 10 + 3*1024},
		"token ids":                {"/v1/completions", `{"prompt":[1,2,3,4,5],"max_tokens":50}`, 5 + 50},
		"a batch":                  {"/v1/completions", `{"prompt":["xxxx","xxxx"],"max_tokens":50}`, 2 + 100},
		"no answer but vectors":    {"/v1/embeddings", `{"input":["xxxx","xxxx"]}`, 2},
		"bytes that are not ASCII": {"/v1/completions", `{"prompt":"ÄÖÜ","max_tokens":1}`, 3 + 1},
		"an image":                 {"/v1/chat/completions", `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,` + strings.Repeat("A", 9000) + `"}}]}]}`, 1000 + 1},
		"responses":                {"/v1/responses", `{"input":"xxxxxxxx","max_output_tokens":20}`, 2 + 20},
		"more than the limit":      {"/v1/completions", `{"prompt":"xxxx","max_tokens":99999999}`, 100000},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, tokenLimits, p)
			a := r.ask(r.client, "POST", c.path, c.body)
			if got := <-p.asked; got != c.body {
				t.Errorf("the worker got %s, want %s", got, c.body)
			}
			if used := r.usedBy(r.caller(""), "")["tokens_per_hour"]; used != c.want {
				t.Errorf("reserved %d tokens, want %d", used, c.want)
			}
			p.headers("application/json")
			resp := a.headers()
			left, err := strconv.ParseInt(resp.Header.Get("X-Ratelimit-Remaining-Tokens"), 10, 64)
			if err != nil || left != 100000-c.want {
				t.Errorf("%q tokens remain, want %d", resp.Header.Get("X-Ratelimit-Remaining-Tokens"), 100000-c.want)
			}
			p.says(`{"usage":{"prompt_tokens":3,"completion_tokens":4}}`)
			p.ends()
			readAll(resp)
			r.wantUsed(charged(1, 3, 4))
		})
	}
}

// TestNothingReserved checks that what nothing was reserved of is charged when
// it turns out to be used, also where it is all that the plan counts.
func TestNothingReserved(t *testing.T) {
	for unit, want := range map[string]int64{"output_tokens": 4, "input_tokens": 3, "tokens": 7} {
		t.Run(unit, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, "rate_limiting: {default: {"+unit+"_per_hour: 100}}", p)
			a := r.ask(r.client, "POST", "/v1/embeddings", `{"input":[]}`)
			<-p.asked
			p.headers("application/json")
			p.says(`{"usage":{"prompt_tokens":3,"completion_tokens":4}}`)
			p.ends()
			readAll(a.headers())
			r.wantUsed(fmt.Sprintf("%s_per_hour %d", unit, want))
		})
	}
}

// TestSpentLimits checks that a limit that is used up lets nothing more pass,
// also of what has no text that was seen before it runs: what a worker keeps from
// before (previous_response_id), fields that are its own, recordings.
func TestSpentLimits(t *testing.T) {
	const usage = `{"usage":{"prompt_tokens":3,"completion_tokens":4,"input_tokens":3,"output_tokens":4}}`
	const form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n"
	for name, c := range map[string]struct{ unit, path, body string }{
		"a response that goes on":   {"input_tokens", "/v1/responses", `{"previous_response_id":"resp_1"}`},
		"no messages":               {"input_tokens", "/v1/chat/completions", `{"messages":[],"documents":[{"text":"xxxx"}]}`},
		"nothing to embed":          {"input_tokens", "/v1/embeddings", `{"input":[]}`},
		"nothing to embed, all":     {"tokens", "/v1/embeddings", `{"input":[]}`},
		"nothing to embed, money":   {"cost", "/v1/embeddings", `{"input":[]}`},
		"a recording":               {"input_tokens", "/v1/audio/transcriptions", form},
		"a recording's text":        {"output_tokens", "/v1/audio/transcriptions", form},
		"an image that is made":     {"output_tokens", "/v1/images/generations", `{"prompt":"xxxx"}`},
		"an image, by what it says": {"input_tokens", "/v1/images/generations", `{"prompt":""}`},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			worker := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, usage)
			})
			amount := "3"
			if c.unit == "cost" {
				amount = "0.000001"
			}
			r := newRig(t, "rate_limiting: {default: {"+c.unit+"_per_hour: "+amount+"}}", worker)
			contentType := "application/json"
			if c.body == form {
				contentType = "multipart/form-data; boundary=b"
			}
			if a := r.send("POST", c.path, c.body, "Content-Type", contentType); a.status != 200 {
				t.Fatalf("the first is answered %d: %s", a.status, a.body)
			}
			if a := r.send("POST", c.path, c.body, "Content-Type", contentType); a.status != 429 || asked.Load() != 1 {
				t.Errorf("with the limit used up the next is answered %d, and the worker was asked %d times; want 429 and once", a.status, asked.Load())
			}
		})
	}
}

// TestNoMaximumIsNoDenial sends a request without max_tokens to a limit that is
// smaller than what such a one is taken for.
func TestNoMaximumIsNoDenial(t *testing.T) {
	r := newRig(t, "rate_limiting: {default: {tokens_per_hour: 100}}", standin.New(standin.Options{Output: standin.Lengths{Mean: 20}}))
	a := r.send("POST", "/v1/chat/completions", prompt(40, ""))
	if a.status != 200 || a.header.Get("X-Ratelimit-Remaining-Tokens") != "0" {
		t.Errorf("answer %d with %s tokens left, want 200 and 0", a.status, a.header.Get("X-Ratelimit-Remaining-Tokens"))
	}
	r.wantUsed("tokens_per_hour 30")
	if a = r.send("POST", "/v1/chat/completions", prompt(40, "")); a.status != 429 {
		t.Errorf("with 70 left the next is answered %d, want 429", a.status)
	}
	r.wantUsed("tokens_per_hour 30")
}

// TestSettleToReportedUsage checks what is charged in the end, in every form in
// which a worker reports it.
func TestSettleToReportedUsage(t *testing.T) {
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 13}, CachedShare: 0.5})
	for name, c := range map[string]struct {
		path, body    string
		input, output int64
	}{
		"chat":                   {"/v1/chat/completions", prompt(40, ""), 10, 13},
		"chat, streamed":         {"/v1/chat/completions", prompt(40, `"stream":true,`), 10, 13},
		"chat, usage asked for":  {"/v1/chat/completions", prompt(40, `"stream":true,"stream_options":{"include_usage":true},`), 10, 13},
		"chat, usage declined":   {"/v1/chat/completions", prompt(40, `"stream":true,"stream_options":{"include_usage":false},`), 10, 13},
		"chat, several":          {"/v1/chat/completions", prompt(40, `"n":3,`), 10, 39},
		"completions":            {"/v1/completions", `{"model":"m","prompt":"xxxx"}`, 1, 13},
		"completions, streamed":  {"/v1/completions", `{"model":"m","prompt":[1,2,3],"stream":true}`, 3, 13},
		"responses":              {"/v1/responses", `{"model":"m","input":"xxxxxxxx"}`, 2, 13},
		"responses, streamed":    {"/v1/responses", `{"model":"m","input":"xxxxxxxx","stream":true}`, 2, 13},
		"embeddings":             {"/v1/embeddings", `{"model":"m","input":["xxxx","xxxx"]}`, 2, 0},
		"another path, the same": {"/openai/v1/chat/completions/../chat/completions", prompt(40, ""), 10, 13},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tokenLimits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.URL.Path = strings.TrimPrefix(c.path, "/openai")
				r.URL.Path = strings.Replace(r.URL.Path, "/chat/completions/..", "", 1)
				worker.ServeHTTP(w, r)
			}))
			bothProtocols(t, r, func(t *testing.T, client *http.Client) {
				if a := r.sendOn(client, "POST", c.path, c.body); a.status != 200 || a.err != nil {
					t.Fatalf("answer %d %q %v", a.status, a.body, a.err)
				}
			})
			r.wantUsed(charged(2, 2*c.input, 2*c.output))
			if n := r.metric(`tokens_total{kind="cached_input",model="m"}`); c.output > 0 && n != float64(2*(c.input/2)) {
				t.Errorf("%v cached tokens, want %d", n, 2*(c.input/2))
			}
		})
	}
}

// TestUsageIsHidden checks what a worker is asked, and what a client sees, when
// the client did not ask for the usage of a stream, and when it did.
func TestUsageIsHidden(t *testing.T) {
	stream := firstEvent + event(3) + usageEvent + lastEvent
	for name, c := range map[string]struct{ fields, asked, seen string }{
		"not asked for": {`"stream":true,`, `"stream_options":{"include_usage":true},"model":"m","stream":true,`, firstEvent + event(3) + lastEvent},
		"declined":      {`"stream":true,"stream_options":{"include_usage":false},`, `"model":"m","stream":true,"stream_options":{"include_usage":true},`, firstEvent + event(3) + lastEvent},
		"asked for":     {`"stream":true,"stream_options":{"include_usage":true},`, `"model":"m","stream":true,"stream_options":{"include_usage":true},`, stream},
		"not streamed":  {``, `"model":"m",`, stream},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, tokenLimits, p)
			a := r.ask(r.client, "POST", "/v1/chat/completions", prompt(4, c.fields))
			want := "{" + c.asked + strings.TrimPrefix(prompt(4, ""), `{"model":"m",`)
			if got := <-p.asked; got != want {
				t.Errorf("the worker got\n%s, want\n%s", got, want)
			}
			p.headers(sse)
			p.says(stream)
			p.ends()
			if got := readAll(a.headers()); got.body != c.seen || got.err != nil {
				t.Errorf("the client got\n%s and %v, want\n%s", got.body, got.err, c.seen)
			}
			r.wantUsed(charged(1, 30, 70))
		})
	}
}

// TestUsageThatIsNotToBeBelieved checks that it is counted instead.
func TestUsageThatIsNotToBeBelieved(t *testing.T) {
	r := newRig(t, tokenLimits, standin.New(standin.Options{Output: standin.Lengths{Mean: 13}}))
	n := int64(0)
	for _, usage := range []string{"withhold", "negative", "huge", "string", "float", "null"} {
		for _, fields := range []string{"", `"stream":true,`, `"stream":true,"stream_options":{"include_usage":true},`} {
			t.Run(usage+fields, func(t *testing.T) {
				if a := r.send("POST", "/v1/chat/completions", prompt(40, fields), "X-Standin-Fault", "usage="+usage); a.status != 200 || a.err != nil {
					t.Fatalf("answer %d %q %v", a.status, a.body, a.err)
				}
				n++
				r.wantUsed(charged(n, n*10, n*13))
			})
		}
	}
}

// TestOddAnswers checks what is charged for answers that are not what was asked
// for.
func TestOddAnswers(t *testing.T) {
	r := newRig(t, tokenLimits, standin.New(standin.Options{Output: standin.Lengths{Mean: 13}}))
	var requests, input, output int64
	for _, c := range []struct {
		fault         string
		fields        string
		input, output int64 // charged
	}{
		{"status=400", "", 0, 0},
		{"status=429", "", 0, 0},
		{"status=500", `"stream":true,`, 0, 0},
		{"status=204", "", 10, 1024},            // in no form that is read: what was reserved
		{"gzip", "", 10, 1024},                  // likewise
		{"gzip", `"stream":true,`, 10, 1024},    // likewise
		{"garbage", "", 10, 1024},               // JSON by its name alone: likewise
		{"garbage", `"stream":true,`, 10, 0},    // events, and no output in them
		{"no-done", `"stream":true,`, 10, 13},   // the usage was there
		{"huge-line", `"stream":true,`, 10, 13}, //
		{"trailers", `"stream":true,`, 10, 13},  //
		{"informational=3", "", 10, 13},         //
	} {
		a := r.send("POST", "/v1/chat/completions", prompt(40, c.fields), "X-Standin-Fault", c.fault)
		if a.err != nil {
			t.Errorf("%s: %v", c.fault, a.err)
		}
		requests, input, output = requests+1, input+c.input, output+c.output
		if got, want := usedText(r.used()), charged(requests, input, output); got != want {
			t.Fatalf("after %s %s charged: %s\n   want: %s", c.fault, c.fields, got, want)
		}
	}
}

// TestWorkersThatDie checks what a client gets, and what is charged, when a
// worker breaks off a metered answer.
func TestWorkersThatDie(t *testing.T) {
	for name, c := range map[string]struct {
		fields        string
		do            func(*puppet)
		status        int
		body          string // what the client gets of it
		cut           bool
		input, output int64
	}{
		"before the answer":           {"", (*puppet).dies, 502, `{"error":{"message":"The worker could not be reached or broke off.","type":"server_error","code":"upstream_error"}}`, false, 0, 0},
		"before the answer, streamed": {`"stream":true,`, (*puppet).dies, 502, `{"error":{"message":"The worker could not be reached or broke off.","type":"server_error","code":"upstream_error"}}`, false, 0, 0},
		"after the headers": {
			`"stream":true,`, func(p *puppet) { p.headers(sse); p.dies() },
			200, `data: {"error":{"message":"The worker broke off.","type":"server_error","param":null,"code":"upstream_error"}}` + "\n\n", true, 0, 0,
		},
		"within the stream": {
			`"stream":true,`, func(p *puppet) { p.headers(sse); p.says(firstEvent + event(3)); p.says(event(2)); p.dies() },
			200, firstEvent + event(3) + event(2) + `data: {"error":{"message":"The worker broke off.","type":"server_error","param":null,"code":"upstream_error"}}` + "\n\n", true, 10, 5,
		},
		"within an event": {
			`"stream":true,`, func(p *puppet) {
				p.headers(sse)
				p.says(firstEvent + event(3) + `data: {"choices":[{"delta":{"content":"abcdab`)
				p.dies()
			},
			200, firstEvent + event(3) + `data: {"choices":[{"delta":{"content":"abcdab`, true, 10, 3,
		},
		"after the usage": {
			`"stream":true,`, func(p *puppet) { p.headers(sse); p.says(firstEvent + event(3) + usageEvent); p.dies() },
			200, firstEvent + event(3) + `data: {"error":{"message":"The worker broke off.","type":"server_error","param":null,"code":"upstream_error"}}` + "\n\n", true, 30, 70,
		},
		"within JSON": {
			"", func(p *puppet) {
				p.headers("application/json")
				p.says(`{"choices":[{"message":{"content":"abcdabcd`)
				p.dies()
			},
			200, `{"choices":[{"message":{"content":"abcdabcd`, true, 10, 2,
		},
		"after the headers of JSON": {
			"", func(p *puppet) { p.headers("application/json"); p.dies() },
			200, "", true, 0, 0,
		},
		"a clean end without its mark": {
			`"stream":true,`, func(p *puppet) { p.headers(sse); p.says(firstEvent + event(3)); p.ends() },
			200, firstEvent + event(3), false, 10, 3,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, tokenLimits, p)
			bothProtocols(t, r, func(t *testing.T, client *http.Client) {
				a := r.ask(client, "POST", "/v1/chat/completions", prompt(40, c.fields))
				<-p.asked
				c.do(p)
				var got answered
				select {
				case resp := <-a.answer:
					got = readAll(resp)
				case err := <-a.err:
					if !c.cut || c.body != "" {
						t.Fatal(err)
					}
					got = answered{status: c.status, err: err} // the headers had not been sent yet
				}
				if got.status != c.status || got.body != c.body {
					t.Errorf("the client got %d and\n%s, want %d and\n%s", got.status, got.body, c.status, c.body)
				}
				if cut := got.err != nil; cut != c.cut {
					t.Errorf("cut: %v, want %v: %v", cut, c.cut, got.err)
				}
			})
			r.wantUsed(charged(2, 2*c.input, 2*c.output))
		})
	}
}

// TestTopUps has a stream flow beyond its reservation, which takes 256 tokens
// more at a time.
func TestTopUps(t *testing.T) {
	p := newPuppet(t)
	r := newRig(t, tokenLimits, p)
	a := r.ask(r.client, "POST", "/v1/chat/completions", prompt(40, `"stream":true,"max_tokens":10,`))
	<-p.asked
	p.headers(sse)
	resp := a.headers()
	flowed := 0
	for _, step := range []struct{ tokens, charged int }{
		{10, 10}, {1, 256}, {245, 256}, {1, 512}, {255, 512}, {1000, 1536}, {23, 1536}, {2, 1792},
	} {
		p.says(event(step.tokens))
		reads(t, resp.Body, event(step.tokens))
		flowed += step.tokens
		if got := r.usedBy(r.caller(""), "")["output_tokens_per_hour"]; got != int64(step.charged) {
			t.Errorf("after %d tokens %d are charged, want %d", flowed, got, step.charged)
		}
		if got := r.usedBy(r.caller(""), "")["tokens_per_hour"]; got != int64(10+step.charged) {
			t.Errorf("after %d tokens %d are charged in all, want %d", flowed, got, 10+step.charged)
		}
	}
	p.says(lastEvent)
	p.ends()
	readAll(resp)
	r.wantUsed(charged(1, 10, int64(flowed)))
}

// TestOverrun has a stream flow beyond its limit, where it is to be stopped and
// where not.
func TestOverrun(t *testing.T) {
	const limits = "rate_limiting: {default: {tokens_per_hour: 300, requests_per_hour: 9}}\n"
	body := prompt(40, `"stream":true,"stream_options":{"include_usage":true},"max_tokens":10,`)
	for _, protocol := range []string{"http/1.1", "h2c"} {
		t.Run("stop, "+protocol, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, limits+"estimate: {on_overrun: stop}", p)
			client := map[string]*http.Client{"http/1.1": r.client, "h2c": r.client2}[protocol]
			a := r.ask(client, "POST", "/v1/chat/completions", body)
			<-p.asked
			p.headers(sse)
			resp := a.headers()
			p.says(event(290)) // and 10 of input: all there is
			reads(t, resp.Body, event(290))
			p.says(event(1)[:20])
			reads(t, resp.Body, event(1)[:20])
			p.says(event(2)[20:] + "data: {") // it is cut at the event's end
			reads(t, resp.Body, event(2)[20:])
			rest := readAll(resp)
			want := `data: {"error":{"message":"The answer has used up the limit.","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}` + "\n\n"
			if rest.body != want || rest.err == nil {
				t.Errorf("the stream ends with %q and %v, want %q and a cut", rest.body, rest.err, want)
			}
			<-p.gone
			r.wantUsed("requests_per_hour 1, tokens_per_hour 302")
		})
	}
	t.Run("continue", func(t *testing.T) {
		p := newPuppet(t)
		r := newRig(t, limits, p)
		a := r.ask(r.client, "POST", "/v1/chat/completions", body)
		<-p.asked
		p.headers(sse)
		p.says(event(400) + lastEvent)
		p.ends()
		if got := readAll(a.headers()); got.body != event(400)+lastEvent || got.err != nil {
			t.Errorf("the stream is %q and %v", got.body, got.err)
		}
		r.wantUsed("requests_per_hour 1, tokens_per_hour 410")
		// The debt denies the next one.
		next := r.send("POST", "/v1/chat/completions", `{"max_tokens":0,"messages":[{"role":"user","content":"a"}]}`)
		if next.status != 429 || next.header.Get("X-Ratelimit-Remaining-Tokens") != "0" {
			t.Errorf("the next is answered %d %q", next.status, next.body)
		}
		r.wantUsed("requests_per_hour 1, tokens_per_hour 410")
		if debt := r.Limiter.Debt()[penstock.Tokens]; debt != 110 {
			t.Errorf("the debt is %d tokens, want 110", debt)
		}
	})
}

// TestOverrunAtTheEnd has the usage at a stream's end say that it went beyond the
// limit, which its text did not show: it is complete by then, and stays so.
func TestOverrunAtTheEnd(t *testing.T) {
	const limits = "rate_limiting: {default: {tokens_per_hour: 300}}\nestimate: {on_overrun: stop}"
	for _, c := range []struct {
		name, path, body, media string
		events                  []string
	}{
		{
			"chat", "/v1/chat/completions", prompt(40, `"stream":true,"max_tokens":10,"stream_options":{"include_usage":true},`), sse,
			[]string{
				event(8),
				`data: {"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n",
				`data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":4000}}` + "\n\n",
				": a comment\n\n",
				"data: [DONE]\n\n",
			},
		},
		{
			"chat, its usage beside the last choice", "/v1/chat/completions", prompt(40, `"stream":true,"max_tokens":10,`), sse,
			[]string{
				event(8),
				`data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":4000}}` + "\n\n",
				"data: [DONE]\n\n",
			},
		},
		{
			"responses", "/v1/responses", `{"stream":true,"input":"abcd"}`, sse,
			[]string{"event: response.completed\ndata: " + `{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":4000}}}` + "\n\n"},
		},
		{
			"anthropic", "/v1/messages", prompt(40, `"stream":true,"max_tokens":10,`), sse,
			[]string{
				"event: message_delta\ndata: " + `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":4000}}` + "\n\n",
				"event: ping\ndata: " + `{"type":"ping"}` + "\n\n",
				"event: message_stop\ndata: " + `{"type":"message_stop"}` + "\n\n",
			},
		},
		{
			"google", "/v1beta/models/m:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"abcd"}]}]}`, sse,
			[]string{`data: {"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":4000}}` + "\n\n"},
		},
		{
			"google, an array", "/v1beta/models/m:streamGenerateContent", `{"contents":[{"parts":[{"text":"abcd"}]}]}`, "application/json",
			[]string{`[{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":4000}}`, "]"},
		},
		{
			"ollama", "/api/chat", `{"messages":[{"role":"user","content":"abcd"}]}`, "application/x-ndjson",
			[]string{`{"done":true,"prompt_eval_count":1,"eval_count":4000}` + "\n"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, limits, p)
			a := r.ask(r.client, "POST", c.path, c.body)
			<-p.asked
			p.headers(c.media)
			resp := a.headers()
			for _, e := range c.events {
				p.says(e)
				reads(t, resp.Body, e)
			}
			p.ends()
			if rest := readAll(resp); rest.body != "" || rest.err != nil {
				t.Errorf("behind the whole answer comes %q and %v", rest.body, rest.err)
			}
			if n := r.metric(`own_answers_total{code="rate_limit_exceeded"}`); n != 0 {
				t.Errorf("%v answers were broken off", n)
			}
		})
	}
	t.Run("another choice goes on", func(t *testing.T) {
		p := newPuppet(t)
		r := newRig(t, limits, p)
		a := r.ask(r.client, "POST", "/v1/chat/completions", prompt(40, `"stream":true,"max_tokens":10,"n":2,`))
		<-p.asked
		p.headers(sse)
		resp := a.headers()
		const first = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":400}}` + "\n\n"
		p.says(first)
		reads(t, resp.Body, first)
		p.says(event(1))
		if rest := readAll(resp); !strings.HasPrefix(rest.body, event(1)+`data: {"error"`) || rest.err == nil {
			t.Errorf("the stream ends with %q and %v, want it cut", rest.body, rest.err)
		}
		<-p.gone
	})
}

// TestRacesForTokens has many clients race for the tokens of a limit, each for
// as many as it draws. What those are admitted with that are admitted never
// exceeds the limit, and nobody is denied who would have fitted.
func TestRacesForTokens(t *testing.T) {
	const clients, limit, input = 64, 2000, 10
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			draw := rand.New(rand.NewPCG(seed, 0))
			amounts := make([]int64, clients)
			for i := range amounts {
				amounts[i] = input + 1 + draw.Int64N([]int64{1, 50, 400, 3000}[seed])
			}
			var mu sync.Mutex
			admitted := int64(0)
			release := make(chan struct{})
			r := newRig(t, fmt.Sprintf("rate_limiting: {default: {tokens_per_hour: %d}}", limit), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var body struct {
					Max int64 `json:"max_tokens"`
				}
				err := json.NewDecoder(r.Body).Decode(&body)
				mu.Lock()
				admitted += min(input+body.Max, limit)
				if err != nil || admitted > limit {
					t.Errorf("admitted %d tokens, want at most %d; %v", admitted, limit, err)
				}
				mu.Unlock()
				<-release
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprintf(w, `{"usage":{"prompt_tokens":%d,"completion_tokens":%d}}`, input, min(body.Max, limit-input))
			}))
			type outcome struct {
				amount int64
				status int
			}
			outcomes := make(chan outcome, clients)
			for i, amount := range amounts {
				client := []*http.Client{r.client, r.client2}[i%2]
				go func() {
					a := r.sendOn(client, "POST", "/v1/chat/completions", prompt(4*input, fmt.Sprintf(`"max_tokens":%d,`, amount-input)))
					outcomes <- outcome{min(amount, limit), a.status}
				}()
			}
			// Every client is answered, or at the worker, when its verdict was
			// counted.
			eventually(t, "all are decided", func() bool {
				return r.metric(`http_rate_limit_total{result="allowed"}`)+r.metric(`http_rate_limit_total{result="rejected"}`) == clients
			})
			close(release)
			sum, denied := int64(0), []int64(nil)
			for range clients {
				switch o := <-outcomes; o.status {
				case 200:
					sum += o.amount
				case 429:
					denied = append(denied, o.amount)
				default:
					t.Errorf("answer %d", o.status)
				}
			}
			for _, amount := range denied {
				if sum+amount <= limit {
					t.Errorf("%d tokens were denied, and of %d only %d were taken", amount, limit, sum)
				}
			}
			r.wantUsed(fmt.Sprintf("tokens_per_hour %d", sum))
			if sum > limit || sum != admitted || len(denied) == 0 != (seed == 0) {
				t.Errorf("admitted %d tokens, of which %d came to the worker, and denied %d requests", sum, admitted, len(denied))
			}
		})
	}
}

// TestLearnedReservations checks that a verified caller's reservations shrink
// to what its answers were, and text is estimated as its model reported it.
func TestLearnedReservations(t *testing.T) {
	// A token of this model is 8 bytes, twice what is assumed.
	r := newRig(t, tokenLimits+"\nauth: {keys: [{id: alice, key: sk-alice}]}", standin.New(standin.Options{Output: standin.Lengths{Mean: 5}, BytesPerToken: 8}))
	left := func(headers ...string) int64 {
		a := r.send("POST", "/v1/chat/completions", prompt(800, ""), headers...)
		n, err := strconv.ParseInt(a.header.Get("X-Ratelimit-Remaining-Tokens"), 10, 64)
		if err != nil {
			t.Fatalf("answer %d: %v", a.status, err)
		}
		r.idle()
		return n
	}
	alice := []string{"Authorization", "Bearer sk-alice"}
	const used = 105 // by one
	for i := range int64(40) {
		got := 100000 - i*used - left(alice...)
		switch {
		case i == 0 && got != 200+1024:
			t.Errorf("the first reserves %d, want %d", got, 200+1024)
		case i == 1 && (got >= 200+1024 || got <= 100+1024):
			t.Errorf("the second reserves %d, want less input than the first", got)
		case i == 20 && (got < 105 || got > 150):
			t.Errorf("the 21st reserves %d, want the learned output", got)
		case i == 39 && (got < 105 || got > 107):
			t.Errorf("the last reserves %d, want 105 and little more", got)
		}
	}
	if got := 100000 - left(); got < 100+1024 || got > 102+1024 {
		t.Errorf("a caller that is not verified reserves %d, want the model's input and the default output", got)
	}
}

// TestEstimatesTeachNothing has a worker that reports its output alone. What was
// estimated of the input of a verified caller, rounded up, is no lesson: in the end it
// would be twice as much.
func TestEstimatesTeachNothing(t *testing.T) {
	r := newRig(t, tokenLimits+"\nauth: {keys: [{id: alice, key: sk-alice}]}", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":1}}`))
	}))
	const requests = 50
	for range requests {
		r.send("POST", "/v1/chat/completions", prompt(257, ""), "Authorization", "Bearer sk-alice")
	}
	r.idle()
	if got := r.usedBy(r.caller("sk-alice"), "m")["input_tokens_per_hour"]; got != requests*65 {
		t.Errorf("%d tokens of input, want 65 for each of %d requests", got, requests)
	}
}

// TestShortAnswersTeachNoFreeOnes: a caller whose short answers were learned
// from asks for long ones, all at once. What is reserved for them is little, but
// each takes more as it flows, so that beyond the limit comes no more than a step
// of each.
func TestShortAnswersTeachNoFreeOnes(t *testing.T) {
	const limit, short, long, parallel = 10_000, 5, 1000, 50
	r := newRig(t, fmt.Sprintf(`
auth: {keys: [{id: alice, key: sk-alice}]}
estimate: {on_overrun: stop}
rate_limiting: {default: {output_tokens_per_hour: %d}}`, limit),
		standin.New(standin.Options{Output: standin.Lengths{Mean: long}}))
	ask := func(most int) answered {
		return r.send("POST", "/v1/chat/completions", prompt(40, fmt.Sprintf(`"stream":true,"max_tokens":%d,`, most)), "Authorization", "Bearer sk-alice")
	}
	for range 30 {
		ask(short)
	}
	r.idle()
	const taught = 30 * short
	var all sync.WaitGroup
	var cut, denied atomic.Int64
	for range parallel {
		all.Go(func() {
			switch a := ask(long); {
			case a.status == 429:
				denied.Add(1)
			case a.err != nil && strings.Contains(a.body, "rate_limit_exceeded"):
				cut.Add(1)
			case a.status != 200 || a.err != nil:
				t.Errorf("answer %d and %v", a.status, a.err)
			}
		})
	}
	all.Wait()
	r.idle()
	used := r.usedBy(r.caller("sk-alice"), "")["output_tokens_per_hour"]
	// One that is cut gives back what it took and did not use.
	if used < limit-parallel*topUp || used > limit+parallel*topUp {
		t.Errorf("%d tokens were used under a limit of %d", used, limit)
	}
	// What was not cut and not denied has flowed whole.
	if whole := parallel - cut.Load() - denied.Load(); taught+whole*long > used || whole == parallel {
		t.Errorf("%d answers came whole and %d were cut, of %d tokens", whole, cut.Load(), used)
	}
}

// TestRetriesAreChargedOnce has one of two workers down.
func TestRetriesAreChargedOnce(t *testing.T) {
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 5}})
	r := newRig(t, tokenLimits, worker)
	live := r.Workers.Stats()[0].URL
	r.serveWorkers("http://"+closedAddr(t), live)
	for range 4 {
		if a := r.send("POST", "/v1/chat/completions", prompt(40, "")); a.status != 200 {
			t.Errorf("answer %d %q", a.status, a.body)
		}
	}
	r.wantUsed(charged(4, 40, 20))
}
