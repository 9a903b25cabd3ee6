package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// modelRequest reads a body by encoding/json. It is false for a body that must
// be refused. It knows nothing of bodies that are not modelBody.
func modelRequest(e traffic.Endpoint, body []byte) (traffic.Ask, bool) {
	var top map[string]json.RawMessage
	if json.Unmarshal(body, &top) != nil || top == nil {
		return traffic.Ask{}, false
	}
	k := e.Kind
	r := modelReading{valid: true}
	a := traffic.Ask{Endpoint: e, MaxOutput: -1, Stream: e.Stream}
	value := func(name string) any {
		if top[name] == nil {
			return nil
		}
		return (&modelMeter{}).decode(top[name])
	}
	if e.Dialect != traffic.Google && e.Dialect != traffic.ComfyUI {
		a.Model, _ = r.of("", value("model")).(string)
		a.Stream, _ = r.of(k == traffic.OllamaChat || k == traffic.OllamaGenerate, value("stream")).(bool)
		a.Stream = a.Stream && k != traffic.OllamaEmbed
	}
	if e.Model != "" {
		a.Model = e.Model
	}
	most := func(v any, least int64) {
		if v != nil {
			if n := r.whole(v, least); n >= 0 {
				a.MaxOutput = max(a.MaxOutput, n)
			}
		}
	}
	if e.Dialect != traffic.ComfyUI {
		for _, name := range []string{"max_tokens", "max_completion_tokens", "max_output_tokens"} {
			most(value(name), 0)
		}
		most(value("num_predict"), -2)
		most(value("n_predict"), -2)
	}
	answers := int64(1)
	count := func(v any) {
		if v != nil {
			answers = max(answers, r.whole(v, 1))
		}
	}
	if e.Dialect == traffic.OpenAI {
		options, _ := r.of(map[string]any{}, value("stream_options")).(map[string]any)
		r.of(false, options["include_usage"])
		count(value("n"))
		count(value("best_of"))
	}
	prompts := int64(1)
	schemas := func(names ...string) {
		for _, name := range names {
			if raw := top[name]; raw != nil && string(raw) != "null" {
				r.text(string(raw))
			}
		}
	}
	switch k {
	case traffic.Messages:
		r.blocks(value("system"))
		r.blocks(value("messages"))
		schemas("tools", "output_format")
	case traffic.GenerateContent, traffic.EmbedContent:
		all, _ := (&modelMeter{}).decode(body).(map[string]any)
		r.google(all, top, most, count)
	case traffic.OllamaChat, traffic.OllamaGenerate, traffic.OllamaEmbed:
		options, _ := r.of(map[string]any{}, value("options")).(map[string]any)
		most(options["num_predict"], -2)
		r.ollama(k, value, schemas)
	case traffic.ComfyPrompt:
		a.Model = r.loaded(body)
	case traffic.Speech, traffic.Moderations:
		r.prose(value("input"))
		r.prose(value("instructions"))
	case traffic.Images:
		r.prose(value("prompt"))
		for _, name := range []string{"image", "images", "mask"} {
			r.mediaParts(value(name))
		}
	case traffic.Rerank:
		for _, name := range []string{"query", "queries", "documents", "texts", "text_1", "text_2"} {
			r.prose(value(name))
		}
	case traffic.ChatCompletions:
		r.prose(value("messages"))
		if conversations, ok := value("messages").([]any); ok {
			lists := int64(0)
			for _, c := range conversations {
				if _, ok := c.([]any); ok {
					lists++
				}
			}
			prompts = max(lists, 1)
		}
		schemas("tools", "functions", "response_format")
	case traffic.Completions:
		prompts = r.batch(value("prompt"))
		r.prose(value("suffix"))
	case traffic.Embeddings:
		r.batch(value("input"))
		r.prose(value("messages"))
	case traffic.Responses:
		r.prose(value("input"))
		r.prose(value("instructions"))
		r.anything(value("prompt"))
		schemas("tools")
		var text map[string]json.RawMessage
		if json.Unmarshal(top["text"], &text) == nil {
			top = text
			schemas("format")
		}
	}
	saturated := func(x, y int64) int64 {
		p := new(big.Int).Mul(big.NewInt(x), big.NewInt(y))
		if !p.IsInt64() {
			return math.MaxInt64
		}
		return p.Int64()
	}
	if !e.Generates() {
		a.MaxOutput = max(a.MaxOutput, 0)
	}
	a.Answers = saturated(answers, prompts)
	if a.MaxOutput > 0 {
		a.MaxOutput = saturated(a.MaxOutput, a.Answers)
	}
	a.TextBytes = r.bytes
	a.Input = (r.weight+3)/4 + r.ids + 1000*r.media
	a.LeastInput = (r.bytes+127)/128 + r.ids
	return a, r.valid
}

type modelReading struct {
	bytes, weight, ids, media int64
	valid                     bool
}

// of returns v, which must be of the same type as want or nil, or want.
func (r *modelReading) of(want, v any) any {
	if v == nil {
		return want
	}
	switch want.(type) {
	case string:
		s, ok := v.(string)
		r.valid = r.valid && ok && !strings.ContainsRune(s, utf8.RuneError)
	case bool:
		_, ok := v.(bool)
		r.valid = r.valid && ok
	default:
		_, ok := v.(map[string]any)
		r.valid = r.valid && ok
	}
	return v
}

func (r *modelReading) whole(v any, least int64) int64 {
	s := ""
	switch v := v.(type) {
	case json.Number:
		s = string(v)
	case string:
		if strings.Trim(v, "0123456789") == "" {
			s = v
		}
	}
	n, ok := new(big.Rat).SetString(s)
	if !ok || !n.IsInt() || !n.Num().IsInt64() || n.Num().Int64() < least {
		r.valid = false
		return least
	}
	return n.Num().Int64()
}

func (r *modelReading) text(s string) {
	r.bytes += int64(len(s))
	r.weight += modelWeight(s)
}

func (r *modelReading) batch(v any) int64 {
	elements, ok := v.([]any)
	if !ok {
		r.prose(v)
		return 1
	}
	prompts, ids := int64(0), false
	for _, element := range elements {
		if _, ok := element.(json.Number); ok {
			r.ids++
			ids = true
			continue
		}
		prompts++
		inner, ok := element.([]any)
		if !ok {
			r.prose(element)
		}
		for _, element := range inner {
			if _, ok := element.(json.Number); ok {
				r.ids++
			} else {
				r.prose(element)
			}
		}
	}
	if ids {
		return 1
	}
	return max(prompts, 1)
}

func (r *modelReading) anything(v any) {
	switch v := v.(type) {
	case string:
		r.text(v)
	case []any:
		for _, element := range v {
			r.anything(element)
		}
	case map[string]any:
		for _, field := range v {
			r.anything(field)
		}
	}
}

func (r *modelReading) prose(v any) {
	switch v := v.(type) {
	case string:
		r.text(v)
	case []any:
		for _, element := range v {
			r.prose(element)
		}
	case map[string]any:
		kind, typed := v["type"].(string)
		textual := slices.Contains(strings.Fields("text input_text output_text summary_text reasoning_text refusal message reasoning "+
			"function function_call function_call_output custom custom_tool_call custom_tool_call_output item_reference"), kind)
		held := 0
		for _, name := range strings.Fields("role content tool_calls function function_call") {
			if _, ok := v[name]; ok {
				held++
			}
		}
		if typed && !textual && held == 0 {
			r.media++
			return
		}
		for name, field := range v {
			switch name {
			case "type", "role", "id", "call_id", "tool_call_id", "status", "detail", "annotations", "logprobs", "cache_control", "encrypted_content":
			case "content", "tool_calls", "function", "function_call", "summary":
				r.prose(field)
			case "output":
				if _, ok := field.([]any); ok {
					r.prose(field)
				} else {
					r.anything(field)
				}
			case "image_url", "audio_url", "video_url", "input_audio", "image", "audio", "video", "file":
				if field != nil {
					r.media++
				}
			default:
				r.anything(field)
			}
		}
	}
}

// modelBody reports whether a body is one that the model knows: UTF-8, plain,
// with no key that could be taken for another, no data: URL and no number whose
// rational would take all the memory there is.
func modelBody(body []byte) bool {
	if !utf8.Valid(body) || !json.Valid(body) || !plainly(body) || strings.Contains(string(body), "data:") {
		return false
	}
	known := true
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case json.Number:
			i := strings.IndexAny(string(v), "eE")
			known = known && (i < 0 || len(v)-i < 5)
		case []any:
			for _, element := range v {
				walk(element)
			}
		case map[string]any:
			for key, field := range v {
				known = known && (strings.ToLower(strings.ToUpper(key)) == key || slices.Contains(googleNames, key)) &&
					!slices.ContainsFunc(googleNames, func(name string) bool { return key != name && strings.EqualFold(key, name) })
				walk(field)
			}
		}
	}
	walk((&modelMeter{}).decode(body))
	return known
}

// googleNames are the names with capitals that mean something in Google's
// dialect, as they are written.
var googleNames = strings.Fields("systemInstruction generationConfig maxOutputTokens candidateCount responseSchema responseJsonSchema " +
	"functionResponse inlineData fileData thoughtSignature mediaResolution videoMetadata functionCall fileUri")

func checkPeek(t interface{ Fatalf(string, ...any) }, e traffic.Endpoint, body []byte) {
	r, err := NewPeeker().Peek(e, body)
	var problem *RequestError
	if err != nil && (!errors.As(err, &problem) || problem.Message == "" || len(problem.Message) > 4*quoteBytes || !utf8.ValidString(problem.Message)) {
		t.Fatalf("%q: error %#v", body, err)
	}
	if !json.Valid(body) && err == nil {
		t.Fatalf("%q is accepted", body)
	}
	if err == nil {
		checkSent(t, e, &r, body)
	}
	if !modelBody(body) {
		return
	}
	want, ok := modelRequest(e, body)
	if ok != (err == nil) {
		t.Fatalf("%s: error %v, want one: %v", body, err, !ok)
	}
	if diff := cmp.Diff(want, r.Ask); ok && diff != "" {
		t.Fatalf("%s (-want +got):\n%s", body, diff)
	}
}

// checkSent holds what the worker gets against the body: the same, but for the
// wish for usage.
func checkSent(t interface{ Fatalf(string, ...any) }, e traffic.Endpoint, r *Request, body []byte) {
	sent := r.AppendBody(nil, body)
	again, err := NewPeeker().Peek(e, sent)
	if err != nil || again.HideUsage() || again.Ask != r.Ask {
		t.Fatalf("%q is sent as %q: error %v, ask %+v", body, sent, err, again.Ask)
	}
	var before, after map[string]any
	decode := func(b []byte, to *map[string]any) error {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber() // some are too large for a float
		return d.Decode(to)
	}
	if decode(body, &before) != nil || decode(sent, &after) != nil {
		t.Fatalf("%q is sent as %q", body, sent)
	}
	if r.HideUsage() {
		options, _ := before["stream_options"].(map[string]any)
		if options == nil {
			options = map[string]any{}
		}
		if options["include_usage"] == true {
			t.Fatalf("the usage that %q asks for is hidden", body)
		}
		options["include_usage"] = true
		before["stream_options"] = options
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Fatalf("%q is sent as %q (-want +got):\n%s", body, sent, diff)
	}
}

func TestPeekModel(t *testing.T) {
	var value *rapid.Generator[string]
	word := rapid.SampledFrom([]string{`"ab"`, `""`, `"字\n\u00e9"`, `"text"`, `"image_url"`, `"message"`, `"input_text"`, `"12"`, `"\ud83d\ude00"`})
	number := rapid.SampledFrom([]string{"0", "1", "7", "2.0", "3e1", "-1", "0.5", "9223372036854775807", "1e30"})
	simple := rapid.OneOf(word, number, rapid.SampledFrom([]string{"null", "true", "false", "{}", "[]"}))
	pieceKey := rapid.SampledFrom(strings.Fields("type type role content content text refusal name arguments tool_calls function function_call " +
		"output summary image_url audio file id status cache_control input reasoning_content x"))
	object := func(t *rapid.T, key, value *rapid.Generator[string]) string {
		keys := rapid.SliceOfNDistinct(key, 0, 4, rapid.ID).Draw(t, "keys")
		for i, k := range keys {
			keys[i] = `"` + k + `":` + value.Draw(t, k)
		}
		return "{" + strings.Join(keys, ", ") + "}"
	}
	value = rapid.Deferred(func() *rapid.Generator[string] {
		return rapid.OneOf(simple, word,
			rapid.Custom(func(t *rapid.T) string {
				return "[" + strings.Join(rapid.SliceOfN(value, 0, 3).Draw(t, "elements"), ",") + "]"
			}),
			rapid.Custom(func(t *rapid.T) string { return object(t, pieceKey, value) }),
		)
	})
	// Fields of their own types are likely, so that not all bodies are refused.
	topKey := rapid.SampledFrom(strings.Fields("model stream stream_options num_predict max_tokens max_completion_tokens max_output_tokens n best_of " +
		"messages prompt suffix input instructions tools functions response_format text x"))
	likely := map[string]*rapid.Generator[string]{
		"model": word, "stream": rapid.SampledFrom([]string{"true", "false", "null"}),
		"stream_options": rapid.SampledFrom([]string{"null", "{}", `{"include_usage":true}`, `{"a":1,"include_usage":false}`, `{"a":1}`, "5"}),
	}
	for _, name := range []string{"max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict", "n", "best_of"} {
		likely[name] = rapid.SampledFrom([]string{"1", "2", `"3"`, "4.0", "9223372036854775807", "null", "0"})
	}
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(topKey, 0, 6, rapid.ID).Draw(t, "fields")
		for i, k := range keys {
			g := value
			if likely[k] != nil && rapid.IntRange(0, 9).Draw(t, "likely") > 0 {
				g = likely[k]
			}
			keys[i] = `"` + k + `" : ` + g.Draw(t, k)
		}
		kind := rapid.SampledFrom([]traffic.Kind{chatKind, textKind, vectorKind, respKind}).Draw(t, "kind")
		checkPeek(t, openAIEndpoint(kind), []byte("{ "+strings.Join(keys, " , ")+" }"))
	})
}

// TestPeekAlike draws conversations whose messages are alike but for some strings,
// of which any may be what makes another thing of a message.
func TestPeekAlike(t *testing.T) {
	messages := rapid.SampledFrom([]string{
		`{"role":"@","content":"@"}`,
		`{"role": "@", "content": [{"type": "@", "text": "@"}]}`,
		`{"content":[{"type":"@","text":"@","image_url":"@"},{"type":"text","@":"@"}],"name":"@"}`,
		`{"type":"@","text":"@","arguments":"@","summary":"@","x":{"content":"@"}}`,
		`{"role":"@","tool_calls":[{"id":"@","type":"@","function":{"name":"@","arguments":"@"}}]}`,
		`{"role":"@","parts":[{"text":"@"}]}`,
		`{"parts":[{"text":"@","inlineData":"@"},{"functionCall":{"name":"@","args":{"a":"@"}}}],"thought_signature":"@"}`,
		`{"content":[{"type":"@","source":{"type":"@","data":"@"},"cache_control":"@"}],"text":"@","thinking":"@"}`,
		`{"content":"@","images":["@"],"thinking":"@"}`,
	})
	word := rapid.SampledFrom([]string{"", "ab", "text", "image_url", "message", "data:image/png;base64,AA", `\n\u00e9`, "字", strings.Repeat("x", 70)})
	bodies := []struct {
		endpoint traffic.Endpoint
		field    string
	}{
		{openAIEndpoint(chatKind), "messages"},
		{openAIEndpoint(respKind), "input"},
		{Route("POST", "/v1/messages"), "messages"},
		{Route("POST", "/v1beta/models/gemini:generateContent"), "contents"},
		{Route("POST", "/api/chat"), "messages"},
	}
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SampledFrom(bodies).Draw(t, "dialect")
		message := messages.Draw(t, "message")
		var all []string
		var words [6]string
		for range rapid.IntRange(3, 8).Draw(t, "messages") {
			if rapid.IntRange(0, 7).Draw(t, "another") == 0 {
				message = messages.Draw(t, "message")
			}
			parts := strings.Split(message, "@")
			for i := range parts[1:] {
				if len(all) == 0 || rapid.IntRange(0, 3).Draw(t, "changed") == 0 {
					words[i] = word.Draw(t, "word")
				}
				parts[i] += words[i]
			}
			all = append(all, strings.Join(parts, ""))
		}
		comma := rapid.SampledFrom([]string{",", ", "}).Draw(t, "comma")
		checkPeek(t, body.endpoint, []byte(`{"`+body.field+`":[`+strings.Join(all, comma)+`],"x":"`+strings.Repeat(" ", 1024)+`"}`))
	})
}

func FuzzPeek(f *testing.F) {
	for _, seed := range []string{
		`{"model":"gpt-4o","stream":true,"max_tokens":"100","n":2,"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}],"tools":[{}]}`,
		`{"prompt":["ab",[1,2],3],"stream":true,"stream_options":{"include_usage":false},"best_of":1e1}`,
		`{"input":[{"type":"function_call_output","output":"x"},{"type":"message","content":"y"}],"text":{"format":{}},"MODEL":1}`,
		`{"system":[{"type":"text","text":"a"}],"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","data":"b"}},{"type":"tool_result","content":[{"text":"c"}]}]}]}`,
		`{"contents":[{"parts":[{"text":"a"},{"inline_data":{}}]}],"generationConfig":{"maxOutputTokens":5,"candidateCount":"2"},"systemInstruction":{"parts":{"text":"b"}}}`,
		`{"messages":[{"content":"a","images":["x"]}],"options":{"num_predict":-1},"context":[1,2],"prompt":{"3":{"inputs":{"ckpt_name":"x"}}},"query":"q","documents":["d",{"text":"e"}]}`,
		`{"messages":[` + strings.Repeat(`{"role":"user","content":"a"},`, 4) + `{"type":"image","content":[{"type":"text","text":"a"},{"type":"image","text":"b"},{"type":"image","text":"b"}]}],"x":"` + strings.Repeat("x", 1024) + `"}`,
		`{"contents":[` + strings.Repeat(`{"role":"user","parts":[{"text":"a"},{"text":"b"},{"text":"c"}]},`, 4) + `{}],"x":"` + strings.Repeat("x", 1024) + `"}`,
	} {
		for k := range byte(4 + len(dialectPaths)) {
			f.Add([]byte(seed), k)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, k byte) {
		endpoints := []traffic.Endpoint{openAIEndpoint(chatKind), openAIEndpoint(textKind), openAIEndpoint(vectorKind), openAIEndpoint(respKind)}
		for i := range dialectPaths {
			endpoints = append(endpoints, dialectPaths[i].endpoint())
		}
		checkPeek(t, endpoints[int(k)%len(endpoints)], body)
	})
}
