package standin

import (
	"bytes"
	"fmt"
	"image/png"
	"mime/multipart"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRefusalsOfOthers has each check of the other dialects' requests fail once, in
// the dialect's shape.
func TestRefusalsOfOthers(t *testing.T) {
	anthropic := func(message string) string {
		return `{"type":"error","error":{"type":"invalid_request_error","message":"` + message + `"}}`
	}
	google := func(message string) string {
		return `{"error":{"code":400,"message":"` + message + `","status":"INVALID_ARGUMENT"}}`
	}
	ollama := func(message string) string { return `{"error":"` + message + `"}` }
	comfy := func(kind, message, details string) string {
		return `{"error":{"type":"` + kind + `","message":"` + message + `","details":"` + details + `","extra_info":{}},"node_errors":{}}`
	}
	const said = `"messages":[{"role":"user","content":"x"}]`
	tests := []struct{ path, body, want string }{
		{"/v1/messages", `{`, anthropic("The request body is not a JSON object: unexpected EOF.")},
		{"/v1/messages", `{"model":"m"}`, anthropic("messages: at least one message is required")},
		{"/v1/messages", `{"model":"m","messages":[{"role":"system"}]}`, anthropic("messages.0: the role must be 'user' or 'assistant'")},
		{"/v1/messages", `{"model":"m","messages":[1]}`, anthropic("messages.0: the role must be 'user' or 'assistant'")},
		{"/v1/messages", `{"model":"m",` + said + `}`, anthropic("max_tokens: Field required")},
		{"/v1/messages", `{"model":"m","max_tokens":0,` + said + `}`, anthropic("max_tokens must be from 1 to 9223372036854775807.")},
		{"/v1/messages", `{"model":"m","max_tokens":1,"stream":1,` + said + `}`, anthropic("stream must be a boolean.")},
		{"/v1/messages/count_tokens", `{"model":"m"}`, anthropic("messages: at least one message is required")},
		{"/v1/messages/count_tokens", `{"model":"m!status=400"}`, anthropic("The stand-in was told to answer 400.")},
		{"/v1beta/models/m:generateContent", `{}`, google("* GenerateContentRequest.contents: contents is not specified")},
		{"/v1beta/models/m:generateContent", `{"contents":[1],"generation_config":1}`, google("Invalid value at 'generation_config'")},
		{"/v1beta/models/m:generateContent", `{"contents":[1],"generationConfig":{"maxOutputTokens":0}}`, google("maxOutputTokens must be from 1 to 9223372036854775807.")},
		{"/v1beta/models/m:generateContent", `{"contents":[1],"generationConfig":{"candidateCount":9}}`, google("candidateCount must be from 1 to 8.")},
		{"/v1beta/models/m:countTokens", `{}`, google("* GenerateContentRequest.contents: contents is not specified")},
		{"/v1beta/models/m:countTokens", `{"generateContentRequest":{}}`, google("* GenerateContentRequest.contents: contents is not specified")},
		{"/v1beta/models/m:embedContent", `{}`, google("* EmbedContentRequest.content: content is not specified")},
		{"/v1beta/models/m:embedContent", `{"content":{},"outputDimensionality":0}`, google("outputDimensionality must be from 1 to 4096.")},
		{"/v1beta/models/m:batchEmbedContents", `{}`, google("* BatchEmbedContentsRequest.requests: from 1 to 2048 requests must be in one batch")},
		{"/v1beta/models/m:batchEmbedContents", `{"requests":[1]}`, google("* EmbedContentRequest.content: content is not specified")},
		{"/v1beta/models/m!sneeze:embedContent", `{}`, google(`Behind the model's name: unknown fault \"sneeze\"; there are ` + FaultNames + ".")},
		{"/api/chat", `{"model":"m"}`, ollama("messages must be a list of at least one message")},
		{"/api/chat", `{"model":"m","messages":[1],"options":1}`, ollama("options must be an object")},
		{"/api/chat", `{"model":"m","messages":[1],"options":{"num_predict":"x"}}`, ollama("num_predict must be a whole number.")},
		{"/api/chat", `{"model":"m","messages":[1],"stream":"no"}`, ollama("stream must be a boolean.")},
		{"/api/generate", `{"model":"m","prompt":1}`, ollama("prompt must be a string.")},
		{"/api/generate", `{"model":"m","context":["x"]}`, ollama("context must be a list of token ids")},
		{"/api/generate", `{"model":"m","context":1}`, ollama("context must be a list of token ids")},
		{"/api/embed", `{"model":"m"}`, ollama("input must be a string, a list of strings, token ids, or lists of token ids.")},
		{"/api/embed", `{"model":"m","input":"x","dimensions":0}`, ollama("dimensions must be from 1 to 4096.")},
		{"/api/embeddings", `{"model":"m","prompt":1}`, ollama("prompt must be a string.")},
		{"/api/show", `{}`, ollama("you must provide a model parameter")},
		{"/api/nothing", `{}`, ollama("Invalid URL (POST /api/nothing)")},
		{"/prompt", ``, comfy("no_prompt", "No prompt provided", "No prompt provided")},
		{"/prompt", `{"prompt":{"a":{"class_type":"KSampler"}}}`, comfy("prompt_no_outputs", "Prompt has no outputs", "")},
		{"/prompt", `{"prompt":{"a":{}}}`, comfy("invalid_prompt", "Cannot execute because a node is missing the class_type property.", "Node ID '#a'")},
		{"/prompt", `{"prompt":{"x":1` + manyNodes() + `}}`, comfy("invalid_prompt", "The graph has more than 1000 nodes", "")},
		{"/prompt", graph(`,"prompt_id":1`), comfy("invalid_request_error", "prompt_id must be a string.", "")},
		{"/prompt", graph(`,"client_id":1`), comfy("invalid_request_error", "client_id must be a string.", "")},
		{"/prompt", graph(`,"front":1`), comfy("invalid_request_error", "front must be a boolean.", "")},
		{"/prompt", graph(`,"number":"x"`), comfy("invalid_request_error", "number must be a number.", "")},
		{"/prompt", graph(`,"number":1e999`), comfy("invalid_request_error", "number must be a number.", "")},
		{"/queue", `{"delete":1}`, comfy("invalid_request_error", "delete must be a list of ids.", "")},
		{"/queue", `{"clear":1}`, comfy("invalid_request_error", "clear must be a boolean.", "")},
		{"/interrupt", `{"prompt_id":1}`, comfy("invalid_request_error", "prompt_id must be a string.", "")},
	}
	w := New(Options{})
	for _, tc := range tests {
		rec := post(w, tc.path, tc.body)
		want := 400
		if tc.path == "/api/nothing" {
			want = 404
		}
		if rec.Code != want || rec.Body.String() != tc.want {
			t.Errorf("%s %.80s: %d %s; want %s", tc.path, tc.body, rec.Code, rec.Body, tc.want)
		}
	}
	for path, want := range map[string]string{
		"/view":                comfy("invalid_request_error", "filename must be that of an output.", ""),
		"/view?filename=x.png": comfy("not_found", "There is no such output.", ""),
		"/history?max_items=x": comfy("invalid_request_error", "max_items must be a whole number.", ""),
	} {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Body.String() != want {
			t.Errorf("%s: %s, want %s", path, rec.Body, want)
		}
	}
	if s := w.Stats(); s.Started != 0 || s.Jobs != (JobCounts{}) {
		t.Errorf("refused requests counted as %+v", s)
	}
}

func manyNodes() string {
	var b strings.Builder
	for i := range maxNodes {
		fmt.Fprintf(&b, `,"%d":1`, i)
	}
	return b.String()
}

// TestErrorKinds has every status that a dialect has a word for.
func TestErrorKinds(t *testing.T) {
	tests := []struct {
		status            int
		anthropic, google string
	}{
		{400, "invalid_request_error", "INVALID_ARGUMENT"},
		{401, "authentication_error", "UNAUTHENTICATED"},
		{403, "permission_error", "PERMISSION_DENIED"},
		{404, "not_found_error", "NOT_FOUND"},
		{405, "invalid_request_error", "UNIMPLEMENTED"},
		{409, "invalid_request_error", "ABORTED"},
		{413, "request_too_large", "INVALID_ARGUMENT"},
		{429, "rate_limit_error", "RESOURCE_EXHAUSTED"},
		{500, "api_error", "INTERNAL"},
		{501, "api_error", "UNIMPLEMENTED"},
		{502, "api_error", "INTERNAL"},
		{503, "api_error", "UNAVAILABLE"},
		{504, "api_error", "DEADLINE_EXCEEDED"},
		{529, "overloaded_error", "INTERNAL"},
	}
	for _, tc := range tests {
		w := New(Options{Fault: mustFault(fmt.Sprintf("status=%d", tc.status))})
		for path, want := range map[string]string{
			"/v1/messages":                     `{"type":"` + tc.anthropic + `",`,
			"/v1beta/models/m:generateContent": `"status":"` + tc.google + `"}`,
		} {
			if rec := post(w, path, ``); rec.Code != tc.status || !strings.Contains(rec.Body.String(), want) {
				t.Errorf("%s: %d %s, want %s", path, rec.Code, rec.Body, want)
			}
		}
	}
}

// TestCacheControl counts what lies before the last mark as cached or written, for
// five minutes or an hour, and nothing without one.
func TestCacheControl(t *testing.T) {
	const (
		mark = `,"cache_control":{"type":"ephemeral"}`
		long = `,"cache_control":{"type":"ephemeral","ttl":"1h"}`
		part = `"messages":[{"role":"user","content":[{"type":"text","text":"12345678"` + mark + `},{"type":"text","text":"9"}]}]`
		both = `"system":[{"type":"text","text":"12345678"` + long + `}],"messages":[{"role":"user","content":[{"type":"text","text":"9012"` + mark + `}]}]`
	)
	tests := []struct {
		share                      float64
		more                       string
		input, writes, long, reads int64
	}{
		{0.5, `"messages":[{"role":"user","content":"12345678"}]`, 2, 0, 0, 0},
		{0, part, 1, 2, 0, 0},
		{0.5, part, 1, 1, 0, 1},
		{1, part, 1, 0, 0, 2},
		{1, `"system":[{"type":"text","text":"1234"` + mark + `}],"messages":[{"role":"user","content":"5678"}]`, 1, 0, 0, 1},
		{0, both, 0, 3, 2, 0},
		{0.34, both, 0, 2, 1, 1},
		{1, both, 0, 0, 0, 3},
		{0.5, `"messages":[{"role":"user","content":"12345678"}]` + mark, 0, 1, 0, 1},
		{0, `"messages":[{"role":"user","content":"12345678"}]` + long, 0, 2, 2, 0},
		{0, `"cache_control":null,"messages":[{"role":"user","content":"12345678"}]`, 2, 0, 0, 0},
	}
	for _, tc := range tests {
		w := New(Options{Output: fixed(1), CachedShare: tc.share})
		got := decode[struct {
			Usage struct {
				Input    int64 `json:"input_tokens"`
				Writes   int64 `json:"cache_creation_input_tokens"`
				Reads    int64 `json:"cache_read_input_tokens"`
				Creation struct {
					Short int64 `json:"ephemeral_5m_input_tokens"`
					Long  int64 `json:"ephemeral_1h_input_tokens"`
				} `json:"cache_creation"`
			}
		}](t, post(w, "/v1/messages", `{"model":"m","max_tokens":9,`+tc.more+`}`).Body.Bytes()).Usage
		if got.Input != tc.input || got.Writes != tc.writes || got.Reads != tc.reads || got.Creation.Long != tc.long ||
			got.Creation.Short != tc.writes-tc.long || w.Stats().InputTokens != tc.input+tc.writes+tc.reads {
			t.Errorf("%g %s: %+v, want %+v", tc.share, tc.more, got, tc)
		}
	}
}

// TestPaceOfOthers times the other dialects: they run in the same engine.
func TestPaceOfOthers(t *testing.T) {
	for _, tc := range streams {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			w := New(Options{Output: fixed(3), FirstToken: time.Second, PerInputToken: time.Minute, PerOutputToken: time.Hour})
			rec := post(w, tc.path, tc.body)
			if got, want := time.Since(start), time.Second+time.Minute+2*time.Hour; rec.Code != 200 || got != want {
				t.Errorf("%s: %d after %v, want %v", tc.path, rec.Code, got, want)
			}
		})
	}
}

// TestTranscription sends a form.
func TestTranscription(t *testing.T) {
	form := func(fields map[string]string, size int) (*bytes.Buffer, string) {
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		for name, value := range fields {
			if err := m.WriteField(name, value); err != nil {
				t.Fatal(err)
			}
		}
		if size >= 0 {
			f, err := m.CreateFormFile("file", "speech.wav")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = f.Write(make([]byte, size))
		}
		_ = m.Close()
		return &b, m.FormDataContentType()
	}
	whole := func(model string) map[string]string { return map[string]string{"model": model, "prompt": "12345"} }
	body, kind := form(whole("m"), 6401)
	cut := bytes.NewBuffer(bytes.Clone(body.Bytes()[:body.Len()-10]))
	noFile, noFileKind := form(whole("m"), -1)
	noModel, noModelKind := form(nil, 1)
	withheld, withheldKind := form(whole("m!usage=withhold"), 1)
	tests := []struct {
		name string
		body *bytes.Buffer
		kind string
		code int
		want string
	}{
		{"whole", body, kind, 200, `{"text":"`},
		{"usage", bytes.NewBuffer(bytes.Clone(body.Bytes())), kind, 200, `"usage":{"type":"tokens","input_tokens":5,"input_token_details":{"text_tokens":2,"audio_tokens":3},"output_tokens":3,"total_tokens":8}}`},
		{"usage withheld", withheld, withheldKind, 200, `"}`},
		{"cut", cut, kind, 400, `The request body is not a form: `},
		{"no file", noFile, noFileKind, 400, `"message":"file must be the recording."`},
		{"no model", noModel, noModelKind, 400, `you must provide a model parameter`},
	}
	for _, tc := range tests {
		w := New(Options{Output: fixed(3)})
		r := httptest.NewRequest("POST", "/v1/audio/transcriptions", tc.body)
		r.Header.Set("Content-Type", tc.kind)
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if rec.Code != tc.code || !strings.Contains(rec.Body.String(), tc.want) || strings.Contains(tc.name, "withheld") && strings.Contains(rec.Body.String(), "usage") {
			t.Errorf("%s: %d %s, want %s", tc.name, rec.Code, rec.Body, tc.want)
		}
	}
}

// TestModerationResults has one result for each text, and one for a message.
func TestModerationResults(t *testing.T) {
	for input, want := range map[string]int{
		`"x"`: 1, `["x","y"]`: 2, `[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"x"}}]`: 1,
	} {
		rec := post(New(Options{}), "/v1/moderations", `{"model":"m","input":`+input+`}`)
		if got := len(decode[struct{ Results []any }](t, rec.Body.Bytes()).Results); got != want {
			t.Errorf("%s: %d results, want %d", input, got, want)
		}
	}
}

// TestView draws a picture.
func TestView(t *testing.T) {
	rec := httptest.NewRecorder()
	New(Options{}).ServeHTTP(rec, httptest.NewRequest("GET", "/api/view?filename=ComfyUI_00001_.png&type=output", nil))
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "image/png" || rec.Header().Get("Content-Disposition") != `filename="ComfyUI_00001_.png"` {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
	if _, err := png.Decode(rec.Body); err != nil {
		t.Error(err)
	}
}
