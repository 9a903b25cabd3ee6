package gateway

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
)

// TestDialectsAreMetered sends a stream of each dialect through, which passes as
// it came, and is charged for what it reports.
func TestDialectsAreMetered(t *testing.T) {
	for name, c := range map[string]struct {
		path, body, kind string
		answer           []string
		input, output    int64
	}{
		"anthropic": {
			"/v1/messages", `{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"xxxx"}]}`, sse,
			[]string{
				"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n",
				"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Hi\"}}\n\n",
				"event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":5}}\n\n", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
			},
			7, 5,
		},
		"google": {
			"/v1beta/models/m:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"xxxx"}]}]}`, sse,
			[]string{"data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":3,\"thoughtsTokenCount\":2}}\r\n\r\n"},
			7, 5,
		},
		"google array": {
			"/v1beta/models/m:streamGenerateContent", `{"contents":[{"parts":[{"text":"xxxx"}]}]}`, "application/json",
			[]string{"[{}", "\n,\r\n", `{"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":5}}`, "]"},
			7, 5,
		},
		"ollama": {
			"/api/chat", `{"model":"m","messages":[{"role":"user","content":"xxxx"}]}`, "application/x-ndjson",
			[]string{"{\"message\":{\"content\":\"Hi\"},\"done\":false}\n", "{\"done\":true,\"prompt_eval_count\":7,\"eval_count\":5}\n"},
			7, 5,
		},
		"comfyui": {"/api/prompt", `{"prompt":{}}`, "application/json", []string{`{"prompt_id":"1"}`}, 0, 0},
		"azure": {
			"/openai/deployments/d/chat/completions?api-version=1", prompt(4, ""), "application/json",
			[]string{`{"usage":{"prompt_tokens":7,"completion_tokens":5}}`},
			7, 5,
		},
		"rerank": {"/v2/rerank", `{"query":"a","documents":["b"]}`, "application/json", []string{`{"usage":{"total_tokens":7}}`}, 7, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, tokenLimits, p)
			a := r.ask(r.client, "POST", c.path, c.body)
			if got := <-p.asked; got != c.body {
				t.Errorf("the worker got %s, want %s", got, c.body)
			}
			p.headers(c.kind)
			resp := a.headers()
			for _, piece := range c.answer {
				p.says(piece)
				reads(t, resp.Body, piece)
			}
			p.ends()
			if rest := readAll(resp); rest.body != "" || rest.err != nil {
				t.Errorf("behind it comes %q, error %v", rest.body, rest.err)
			}
			r.wantUsed(charged(1, c.input, c.output))
		})
	}
}

// TestDialectsAreTold has workers that break off: the client is told so in its
// dialect, and the connection is cut.
func TestDialectsAreTold(t *testing.T) {
	for name, c := range map[string]struct{ path, body, kind, sent, told string }{
		"anthropic": {
			"/v1/messages", `{"stream":true}`, sse, "event: ping\ndata: {}\n\n",
			"event: error\n" + `data: {"type":"error","error":{"type":"api_error","message":"The worker broke off."}}` + "\n\n",
		},
		"google":       {"/v1/models/m:streamGenerateContent", `{}`, sse, "data: {}\n\n", `data: {"error":{"code":503,"message":"The worker broke off.","status":"UNAVAILABLE"}}` + "\n\n"},
		"google array": {"/v1/models/m:streamGenerateContent", `{}`, "application/json", "[{}", ",\n" + `{"error":{"code":503,"message":"The worker broke off.","status":"UNAVAILABLE"}}` + "\n]"},
		"ollama":       {"/api/generate", `{}`, "application/x-ndjson", "{}\n", `{"error":"The worker broke off."}` + "\n"},
		"half a line":  {"/api/generate", `{}`, "application/x-ndjson", "{}\n{", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPuppet(t)
			r := newRig(t, tokenLimits, p)
			a := r.ask(r.client, "POST", c.path, c.body)
			<-p.asked
			p.headers(c.kind)
			resp := a.headers()
			p.says(c.sent)
			reads(t, resp.Body, c.sent)
			p.dies()
			if rest := readAll(resp); rest.body != c.told || rest.err == nil {
				t.Errorf("behind it comes %q, error %v; want %q and an error", rest.body, rest.err, c.told)
			}
		})
	}
}

// TestForms: a form passes unread, while it comes, and its answer is metered.
func TestForms(t *testing.T) {
	got := make(chan string)
	worker := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e := r.Header.Get("Accept-Encoding"); e != "" {
			t.Errorf("the worker may encode its answer as %q", e)
		}
		first := make([]byte, 10)
		if _, err := io.ReadFull(r.Body, first); err != nil {
			t.Error(err)
		}
		got <- string(first)
		rest, _ := io.ReadAll(r.Body)
		got <- string(rest)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"text":"Hi","usage":{"type":"tokens","input_tokens":14,"output_tokens":45}}`)
	})
	r := newRig(t, tokenLimits, worker)
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, _ := form.CreateFormFile("file", "a.wav")
	_, _ = part.Write(bytes.Repeat([]byte("x"), 100_000))
	_ = form.WriteField("model", "whisper-1")
	_ = form.Close()

	reader, writer := io.Pipe()
	req := r.request("POST", "/v1/audio/transcriptions", "")
	req.Body, req.ContentLength = reader, int64(body.Len())
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Accept-Encoding", "gzip")
	answers := make(chan answered, 1)
	go func() {
		resp, err := r.client.Do(req)
		if err != nil {
			t.Error(err)
			answers <- answered{}
			return
		}
		answers <- readAll(resp)
	}()
	want := body.String()
	_, _ = io.WriteString(writer, want[:10])
	if first := <-got; first != want[:10] { // while the rest has not been sent
		t.Errorf("the worker got %q first", first)
	}
	_, _ = io.WriteString(writer, want[10:])
	_ = writer.Close()
	if rest := <-got; rest != want[10:] {
		t.Errorf("the worker got another form, of %d bytes", len(rest))
	}
	if a := <-answers; a.status != 200 || !strings.Contains(a.body, `"Hi"`) {
		t.Errorf("answer %d %q", a.status, a.body)
	}
	r.wantUsed(charged(1, 14, 45))
	if n := r.metric(`unmetered_total{path="/v1/audio/transcriptions"}`); n != 0 {
		t.Errorf("%v are counted as not metered", n)
	}
}

// TestOnlyFormsPassUnread: what says that it is a form is read all the same where
// there are none, and what is no form where there may be one.
func TestOnlyFormsPassUnread(t *testing.T) {
	r := newRig(t, tokenLimits, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it came to the worker") }))
	for path, kind := range map[string]string{
		"/v1/chat/completions":     "multipart/form-data; boundary=x",
		"/v1/images/generations":   "multipart/form-data; boundary=x",
		"/v1/images/edits":         "application/json",
		"/v1/audio/transcriptions": "multipart/mixed; boundary=x",
	} {
		if a := r.send("POST", path, "--x--", "Content-Type", kind); a.status != 400 || !strings.Contains(a.body, "invalid_request") {
			t.Errorf("%s %s: answer %d %q", path, kind, a.status, a.body)
		}
	}
}
