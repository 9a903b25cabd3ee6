package standin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestTokens holds the tokenizer and the pen to each other, over all sizes.
func TestTokens(t *testing.T) {
	for size := 1.0; size <= 8; size += 0.1 {
		w := New(Options{BytesPerToken: size, Output: fixed(50)})
		answer := decode[struct {
			Choices []struct{ Text string }
			Usage   struct {
				Completion int64 `json:"completion_tokens"`
			}
		}](t, post(w, "/v1/completions", `{"model":"m","prompt":"x"}`).Body.Bytes())
		text := answer.Choices[0].Text
		if answer.Usage.Completion != 50 || w.tokens.count(int64(len(text))) != 50 {
			t.Errorf("%.1f bytes a token: %d bytes of text, usage %d, counted %d; want 50 tokens",
				size, len(text), answer.Usage.Completion, w.tokens.count(int64(len(text))))
		}
		if most, got := 50*size+1e-6, float64(len(text)); got > most || got <= most-1 {
			t.Errorf("%.1f bytes a token: %v bytes of text, want %v", size, got, 50*size)
		}
	}
	if newTokenizer(3.2) != 3200 || newTokenizer(0) != 4000 || newTokenizer(0.5) != 4000 || newTokenizer(65) != 4000 {
		t.Error("the bounds of BytesPerToken are not held")
	}
}

// TestInput counts the input tokens of all the ways to write input.
func TestInput(t *testing.T) {
	tests := []struct {
		path, body string
		want       int64
	}{
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":"12345"}]}`, 2},
		{"/v1/chat/completions", `{"messages":[{"role":"system","content":"1234"},{"role":"user","content":"5"}]}`, 2},
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":[{"type":"text","text":"12345678"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAAAAAAAAAA"}}]}]}`, 2},
		{"/v1/chat/completions", `{"messages":[{"role":"assistant","content":null},{"role":"user","content":"äöü"}]}`, 2},
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":""}]}`, 0},
		{"/v1/completions", `{"prompt":"123456789"}`, 3},
		{"/v1/completions", `{"prompt":["1","2","12345"]}`, 4},
		{"/v1/completions", `{"prompt":[11,22,33]}`, 3},
		{"/v1/completions", `{"prompt":[[11,22,33],[44]]}`, 4},
		{"/v1/embeddings", `{"input":"12345"}`, 2},
		{"/v1/embeddings", `{"input":[[1,2],[3]]}`, 3},
		{"/v1/rerank", `{"query":"1234","documents":["12345",{"text":"1"}]}`, 5},
		{"/v1/images/generations", `{"prompt":"12345"}`, 2},
		{"/openai/deployments/m/embeddings", `{"input":"12345"}`, 2},
		{"/v1/messages", `{"max_tokens":9,"system":"1234","messages":[{"role":"user","content":"5"}]}`, 2},
		{"/v1/messages", `{"max_tokens":9,"system":[{"type":"text","text":"1234"}],"messages":[{"role":"user","content":[{"type":"text","text":"5"},{"type":"image","source":{"type":"base64","data":"AAAAAAAAAAAAAAAA"}}]}]}`, 2},
		{"/v1/messages", `{"max_tokens":9,"tools":[{"name":"t","input_schema":{}}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"12345"}]}]}]}`, 2},
		{"/v1beta/models/m:generateContent", `{"system_instruction":{"parts":[{"text":"1234"}]},"contents":[{"parts":[{"text":"5"},{"inlineData":{"data":"AAAAAAAAA"}}]}]}`, 2},
		{"/api/chat", `{"stream":false,"messages":[{"role":"system","content":"1234"},{"role":"user","content":"5","images":["AAAAAAAA"]}]}`, 2},
		{"/api/generate", `{"stream":false,"system":"1234","prompt":"5","suffix":"678","context":[11,22]}`, 4},
		{"/api/generate", `{"stream":false,"context":[]}`, 0},
		{"/api/embed", `{"input":["1","12345"]}`, 3},
		{"/v1/responses", `{"input":"12345678","instructions":"1234"}`, 3},
		{"/v1/responses", `{"input":[{"role":"user","content":"1234"},{"type":"message","role":"user","content":[{"type":"input_text","text":"56789"}]}]}`, 3},
	}
	for _, tc := range tests {
		w := New(Options{Output: fixed(1)})
		rec := post(w, tc.path, `{"model":"m",`+tc.body[1:])
		got := inputIn(t, rec.Body.Bytes())
		if rec.Code != 200 || got != fmt.Sprint(tc.want) || w.Stats().InputTokens != tc.want {
			t.Errorf("%s %s: %d, usage %s, stats %d; want %d tokens", tc.path, tc.body, rec.Code, got, w.Stats().InputTokens, tc.want)
		}
	}
}

// inputIn returns the input tokens, raw, in the usage of an answer of any dialect:
// "null" for a null usage, "" for none.
func inputIn(t *testing.T, answer []byte) string {
	t.Helper()
	whole := decode[map[string]json.RawMessage](t, answer)
	for _, inner := range []string{"response", "message"} {
		if raw, ok := whole[inner]; ok && raw[0] == '{' && whole["usage"] == nil && whole["prompt_eval_count"] == nil {
			whole = decode[map[string]json.RawMessage](t, raw)
		}
	}
	if raw, ok := whole["prompt_eval_count"]; ok {
		return string(raw)
	}
	raw, ok := whole["usage"]
	if !ok {
		raw, ok = whole["usageMetadata"]
	}
	if !ok || string(raw) == "null" {
		return string(raw)
	}
	usage := decode[map[string]json.RawMessage](t, raw)
	return cmp.Or(string(usage["prompt_tokens"]), string(usage["input_tokens"]), string(usage["promptTokenCount"]))
}

// TestMaximum has the request's maximum win where it is shorter.
func TestMaximum(t *testing.T) {
	tests := []struct {
		path, more string
		want       int64
		reason     string
	}{
		{"/v1/chat/completions", ``, 10, "stop"},
		{"/v1/chat/completions", `,"max_tokens":4`, 4, "length"},
		{"/v1/chat/completions", `,"max_tokens":10`, 10, "stop"},
		{"/v1/chat/completions", `,"max_tokens":11`, 10, "stop"},
		{"/v1/chat/completions", `,"max_tokens":"4"`, 4, "length"},
		{"/v1/chat/completions", `,"max_tokens":4.0`, 4, "length"},
		{"/v1/chat/completions", `,"max_tokens":null`, 10, "stop"},
		{"/v1/chat/completions", `,"max_tokens":1,"max_completion_tokens":5`, 5, "length"},
		{"/v1/chat/completions", `,"max_tokens":3,"max_tokens":2`, 2, "length"},
		{"/v1/chat/completions", `,"Max_Tokens":3`, 10, "stop"},
		{"/v1/chat/completions", `,"n":3,"max_tokens":2`, 6, "length"},
		{"/v1/completions", `,"max_tokens":4,"max_completion_tokens":2`, 4, "length"},
		{"/v1/completions", `,"n":2`, 20, "stop"},
	}
	for _, tc := range tests {
		w := New(Options{Output: fixed(10)})
		rec := post(w, tc.path, `{"model":"m","prompt":"x","messages":[{"role":"user","content":"x"}]`+tc.more+`}`)
		got := decode[struct {
			Choices []struct {
				FinishReason string `json:"finish_reason"`
			}
			Usage struct {
				Completion int64 `json:"completion_tokens"`
			}
		}](t, rec.Body.Bytes())
		if rec.Code != 200 || got.Usage.Completion != tc.want || got.Choices[0].FinishReason != tc.reason || w.Stats().OutputTokens != tc.want {
			t.Errorf("%s: %d %+v, stats %d; want %d %s", tc.more, rec.Code, got, w.Stats().OutputTokens, tc.want, tc.reason)
		}
	}
}

// TestMaximumOfOthers has the maxima of the other dialects win where they are
// shorter.
func TestMaximumOfOthers(t *testing.T) {
	tests := []struct {
		path, body string
		want       int64
		reason     string // as the answer has it
	}{
		{"/v1/messages", `{"model":"m","max_tokens":4,"messages":[{"role":"user","content":"x"}]}`, 4, `"max_tokens"`},
		{"/v1/messages", `{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"x"}]}`, 10, `"end_turn"`},
		{"/v1beta/models/m:generateContent", `{"contents":[{}],"generationConfig":{"maxOutputTokens":4}}`, 4, `"MAX_TOKENS"`},
		{"/v1beta/models/m:generateContent", `{"contents":[{}],"generation_config":{"max_output_tokens":4,"candidate_count":2}}`, 8, `"MAX_TOKENS"`},
		{"/v1beta/models/m:generateContent", `{"contents":[{}]}`, 10, `"STOP"`},
		{"/api/chat", `{"model":"m","messages":[{}],"options":{"num_predict":4}}`, 4, `"length"`},
		{"/api/chat", `{"model":"m","messages":[{}],"options":{"num_predict":-1}}`, 10, `"stop"`},
		{"/api/generate", `{"model":"m","options":{"num_predict":0}}`, 10, `"stop"`},
		{"/v1/images/generations", `{"model":"m","prompt":"x","n":3}`, 30, `"b64_json"`},
		{"/v1/audio/speech", `{"model":"m","input":"x"}`, 10, ""},
	}
	for _, tc := range tests {
		w := New(Options{Output: fixed(10)})
		rec := post(w, tc.path, tc.body)
		if s := w.Stats(); rec.Code != 200 || s.OutputTokens != tc.want || !strings.Contains(rec.Body.String(), tc.reason) {
			t.Errorf("%s %s: %d %s, %d tokens, want %d and %s", tc.path, tc.body, rec.Code, rec.Body, s.OutputTokens, tc.want, tc.reason)
		}
	}
}

// TestRefusals has each check of a request fail once.
func TestRefusals(t *testing.T) {
	const message = `"model":"m","messages":[{"role":"user","content":"x"}]`
	tests := []struct {
		path, body, param string
		status            int
		message           string
	}{
		{"/v1/chat/completions", ``, "", 400, "The request body is not a JSON object: EOF."},
		{"/v1/chat/completions", `[]`, "", 400, "The request body is not a JSON object: json: cannot unmarshal array into Go value of type standin.fields."},
		{"/v1/chat/completions", `null`, "", 400, "The request body is null; it must be a JSON object."},
		{"/v1/chat/completions", `{} {}`, "", 400, "The request body goes on behind its JSON object."},
		{"/v1/chat/completions", `{}`, "model", 400, "you must provide a model parameter"},
		{"/v1/chat/completions", `{"model":1}`, "model", 400, "model must be a string."},
		{"/v1/chat/completions", `{"model":"m!nonsense"}`, "model", 400, `Behind the model's name: unknown fault "nonsense"; there are ` + FaultNames + "."},
		{"/v1/chat/completions", `{"model":"m"}`, "messages", 400, "messages must be a list of at least one message."},
		{"/v1/chat/completions", `{"model":"m","messages":[]}`, "messages", 400, "messages must be a list of at least one message."},
		{"/v1/chat/completions", `{"model":"m","messages":[1]}`, "messages", 400, "messages[0] must be an object with a role."},
		{"/v1/chat/completions", `{"model":"m","messages":[{"role":"user"},{}]}`, "messages", 400, "messages[1] must be an object with a role."},
		{"/v1/chat/completions", `{` + message + `,"stream":"yes"}`, "stream", 400, "stream must be a boolean."},
		{"/v1/chat/completions", `{` + message + `,"n":0}`, "n", 400, "n must be from 1 to 128."},
		{"/v1/chat/completions", `{` + message + `,"n":129}`, "n", 400, "n must be from 1 to 128."},
		{"/v1/chat/completions", `{` + message + `,"max_tokens":-1}`, "max_tokens", 400, "max_tokens must be from 1 to 9223372036854775807."},
		{"/v1/chat/completions", `{` + message + `,"max_tokens":1.5}`, "max_tokens", 400, "max_tokens must be a whole number."},
		{"/v1/chat/completions", `{` + message + `,"max_tokens":1e300}`, "max_tokens", 400, "max_tokens must be a whole number."},
		{"/v1/chat/completions", `{` + message + `,"max_tokens":true}`, "max_tokens", 400, "max_tokens must be a whole number."},
		{"/v1/chat/completions", `{` + message + `,"max_completion_tokens":"x"}`, "max_completion_tokens", 400, "max_completion_tokens must be a whole number."},
		{"/v1/chat/completions", `{` + message + `,"stream":true,"stream_options":1}`, "stream_options", 400, "stream_options must be an object."},
		{"/v1/chat/completions", `{` + message + `,"stream_options":{}}`, "stream_options", 400, "The 'stream_options' parameter is only allowed when 'stream' is enabled."},
		{"/v1/chat/completions", `{` + message + `,"stream":true,"stream_options":{"include_usage":1}}`, "include_usage", 400, "include_usage must be a boolean."},
		{"/v1/completions", `{"model":"m"}`, "prompt", 400, "prompt must be a string, a list of strings, token ids, or lists of token ids."},
		{"/v1/completions", `{"model":"m","prompt":[]}`, "prompt", 400, "prompt must be a string, a list of strings, token ids, or lists of token ids."},
		{"/v1/completions", `{"model":"m","prompt":[1.5]}`, "prompt", 400, "prompt must be a string, a list of strings, token ids, or lists of token ids."},
		{"/v1/completions", `{"model":"m","prompt":[["a"]]}`, "prompt", 400, "prompt must be a string, a list of strings, token ids, or lists of token ids."},
		{"/v1/completions", `{"model":"m","prompt":["a"` + strings.Repeat(`,"a"`, 2048) + `]}`, "prompt", 400, "prompt has 2049 prompts; send at most 2048."},
		{"/v1/completions", `{"model":"m","prompt":["a"` + strings.Repeat(`,"a"`, 1024) + `],"n":2}`, "n", 400, "n answers to each prompt are 2050; ask for at most 2048."},
		{"/v1/completions", `{"model":"m","prompt":"a","n":"b"}`, "n", 400, "n must be a whole number."},
		{"/v1/completions", `{"model":"m","prompt":"a","max_tokens":"b"}`, "max_tokens", 400, "max_tokens must be a whole number."},
		{"/v1/responses", `{"model":"m"}`, "input", 400, "input must be a string or a list of items."},
		{"/v1/responses", `{"model":"m","input":"x","instructions":1}`, "instructions", 400, "instructions must be a string."},
		{"/v1/responses", `{"model":"m","input":"x","max_output_tokens":0}`, "max_output_tokens", 400, "max_output_tokens must be from 1 to 9223372036854775807."},
		{"/v1/embeddings", `{"model":1}`, "model", 400, "model must be a string."},
		{"/v1/embeddings", `{"model":"m","input":1}`, "input", 400, "input must be a string, a list of strings, token ids, or lists of token ids."},
		{"/v1/embeddings", `{"model":"m","input":"x","dimensions":4097}`, "dimensions", 400, "dimensions must be from 1 to 4096."},
		{"/v1/embeddings", `{"model":"m","input":"x","encoding_format":2}`, "encoding_format", 400, "encoding_format must be a string."},
		{"/v1/embeddings", `{"model":"m","input":"x","encoding_format":"int8"}`, "encoding_format", 400, "encoding_format must be float or base64."},
		{"/v1/completions", strings.Repeat(" ", maxBody+1), "", 413, "The request body is larger than 64 MiB."},
	}
	tests = append(tests, []struct {
		path, body, param string
		status            int
		message           string
	}{
		{"/v1/audio/speech", `{"model":"m"}`, "input", 400, "input must be the text to speak."},
		{"/v1/audio/speech", `{"model":"m","input":1}`, "input", 400, "input must be a string."},
		{"/v1/audio/transcriptions", `{"model":"m"}`, "", 400, "The request body must be multipart/form-data."},
		{"/v1/images/generations", `{"model":"m"}`, "prompt", 400, "prompt must be the text to draw."},
		{"/v1/images/generations", `{"model":"m","prompt":1}`, "prompt", 400, "prompt must be a string."},
		{"/v1/images/generations", `{"model":"m","prompt":"x","n":11}`, "n", 400, "n must be from 1 to 10."},
		{"/v1/moderations", ``, "", 400, "The request body is not a JSON object: EOF."},
		{"/v1/moderations", `{}`, "input", 400, "input must be a string, or a list of 1 to 2048 strings or parts."},
		{"/v1/moderations", `{"input":[]}`, "input", 400, "input must be a string, or a list of 1 to 2048 strings or parts."},
		{"/v1/rerank", `{}`, "model", 400, "you must provide a model parameter"},
		{"/v1/rerank", `{"model":"m","documents":["x"]}`, "query", 400, "query must be a string."},
		{"/v1/rerank", `{"model":"m","query":"x"}`, "documents", 400, "documents must be a list of 1 to 2048 documents."},
		{"/v1/rerank", `{"model":"m","query":"x","documents":["x",{"title":"x"}]}`, "documents", 400, "documents[1] must be a string or an object with a text."},
		{"/v1/rerank", `{"model":"m","query":"x","documents":["x"],"top_n":0}`, "top_n", 400, "top_n must be from 1 to 2048."},
	}...)
	w := New(Options{})
	for _, tc := range tests {
		rec := post(w, tc.path, tc.body)
		got := decode[struct {
			Error struct{ Message, Type, Param string }
		}](t, rec.Body.Bytes()).Error
		if rec.Code != tc.status || got.Message != tc.message || got.Param != tc.param || got.Type != "invalid_request_error" {
			t.Errorf("%s %.80s: %d %+v; want %d %q about %q", tc.path, tc.body, rec.Code, got, tc.status, tc.message, tc.param)
		}
	}
	if s := w.Stats(); s.Started != 0 || s.Requests != int64(len(tests)) {
		t.Errorf("refused requests counted as %+v", s)
	}
}

// all is a body that every endpoint takes which has usage.
const all = `{"model":"m","max_tokens":9,"prompt":"12345","input":"12345","query":"","documents":["12345"],` +
	`"messages":[{"role":"user","content":"12345"}],"contents":[{"parts":[{"text":"12345"}]}]}`

// TestUsage reports in every way, on every endpoint that reports, streamed and not.
func TestUsage(t *testing.T) {
	tests := []struct {
		how  string
		want string // the raw input tokens of 2; "" where there is no usage
	}{
		{"report", "2"},
		{"withhold", ""},
		{"garbage:negative", "-3"},
		{"huge", "9223372036854775807"},
		{"string", `"2"`},
		{"float", "2.5"},
		{"null", "null"},
	}
	paths := []string{
		"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/images/generations", "/v1/rerank",
		"/openai/deployments/m/chat/completions", "/v1/messages",
		"/v1beta/models/m:generateContent", "/v1beta/models/m:streamGenerateContent", "/v1beta/models/m:streamGenerateContent?alt=sse",
		"/api/chat", "/api/generate", "/api/embed",
	}
	for _, tc := range tests {
		how, err := ParseUsage(tc.how)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			for _, stream := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) { // Ollama tells the time
					body := fmt.Sprintf(`%s,"stream":%t}`, all[:len(all)-1], stream)
					if stream {
						body = body[:len(body)-1] + `,"stream_options":{"include_usage":true}}`
					}
					byOption := post(New(Options{Usage: how, Output: fixed(2)}), path, body).Body.String()
					byFault := post(New(Options{Fault: mustFault("usage=" + tc.how), Output: fixed(2)}), path, body).Body.String()
					if diff := gocmp.Diff(byOption, byFault); diff != "" {
						t.Errorf("%s: option and fault differ:\n%s", tc.how, diff)
					}
					told := ""
					for _, chunk := range chunks(byOption) {
						if strings.Contains(chunk, "{") && !strings.Contains(chunk, `"status":"in_progress"`) {
							told = cmp.Or(inputIn(t, []byte(chunk)), told)
						}
					}
					if told != tc.want {
						t.Errorf("%s, stream %t, %s: usage has %q, want %q", path, stream, tc.how, told, tc.want)
					}
				})
			}
		}
	}
	if _, err := ParseUsage("garbage:report"); err == nil {
		t.Error("garbage:report was taken")
	}
}

// chunks returns the objects of an answer: of a stream in each of its forms, or the
// one that it is.
func chunks(body string) []string {
	if all := events(body); len(all) > 0 {
		return all
	}
	var all []string
	for line := range strings.Lines(body) {
		if line = strings.Trim(line, "[],\r\n"); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// FuzzRequest sends any body to every endpoint: it is answered or refused, in
// JSON or as a stream.
func FuzzRequest(f *testing.F) {
	for i, body := range []string{
		chatBody(3, `,"n":2`),
		`{"model":"m","prompt":[[1],[2]],"stream":true}`,
		`{"model":"m","input":[{"role":"user","content":[{"text":"x"}]}],"stream":true,"max_output_tokens":"3"}`,
		`{"model":"m","input":["a"],"encoding_format":"base64"}`,
		`{"model":"m!usage=string","prompt":"x","max_tokens":1e1}`,
		`{"model":"m","messages":[{"role":"user","content":{"text":{"content":["x"]}}}],"max_tokens":0}`,
		`{"requests":[{"content":{"parts":[{"text":"x"}]},"outputDimensionality":2}],"content":{},"generateContentRequest":{"contents":[1]}}`,
		`{"prompt":{"1":{"class_type":"SaveX","inputs":{"a":["1",0],"steps":2}}},"number":-1.5,"front":true,"delete":["x"],"prompt_id":"x"}`,
	} {
		f.Add(i, body)
		f.Add(i, all)
		f.Add(i+6, all)
		f.Add(i+12, all)
		f.Add(i+18, all)
	}
	paths := []string{
		"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings",
		"/v1/messages", "/v1/messages/count_tokens", "/v1/moderations", "/v1/rerank", "/v1/images/generations", "/v1/audio/speech",
		"/v1beta/models/m:generateContent", "/v1beta/models/m:streamGenerateContent", "/v1beta/models/m:streamGenerateContent?alt=sse",
		"/v1beta/models/m:embedContent", "/v1beta/models/m:batchEmbedContents", "/v1beta/models/m:countTokens",
		"/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show", "/prompt", "/queue", "/interrupt",
	}
	f.Fuzz(func(t *testing.T, path int, body string) {
		if strings.Contains(body, "!") && !strings.Contains(body, "!usage") {
			t.Skip("faults may break the answer")
		}
		w := New(Options{Output: fixed(2)})
		rec := post(w, paths[uint(path)%uint(len(paths))], body)
		switch kind, _, _ := strings.Cut(rec.Header().Get("Content-Type"), ";"); {
		case rec.Code == 200 && kind == "application/json":
			if !json.Valid(rec.Body.Bytes()) {
				t.Errorf("no JSON: %q", rec.Body)
			}
		case rec.Code == 200 && (kind == eventStream || kind == ollamaStream):
			for _, data := range chunks(rec.Body.String()) {
				if data != "[DONE]" && !json.Valid([]byte(data)) {
					t.Errorf("no JSON: %q", data)
				}
			}
		case rec.Code != 400 && kind != "audio/mpeg" && rec.Body.Len() > 0:
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		if s := w.Stats(); s.Started != s.Finished {
			t.Errorf("%+v", s)
		}
	})
}
