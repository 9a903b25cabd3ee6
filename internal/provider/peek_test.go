package provider

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/traffic"
)

const (
	chatKind   = traffic.ChatCompletions
	textKind   = traffic.Completions
	vectorKind = traffic.Embeddings
	respKind   = traffic.Responses
)

func openAIEndpoint(k traffic.Kind) traffic.Endpoint {
	return traffic.Endpoint{Dialect: traffic.OpenAI, Kind: k}
}

// TestPeekAsk has the input in bytes of text, ids and media; the tokens follow
// from them.
func TestPeekAsk(t *testing.T) {
	type ask struct {
		model            string
		stream           bool
		ascii, other     int64
		ids, media       int64
		maximum, answers int64 // maximum 0: none; answers 0: 1
	}
	const none = -2 // a maximum of 0
	for _, tt := range []struct {
		name string
		kind traffic.Kind
		body string
		want ask
	}{
		{"empty", chatKind, `{}`, ask{}},
		{"nulls", chatKind, `{"model":null,"stream":null,"stream_options":null,"max_tokens":null,"max_completion_tokens":null,"n":null,"best_of":null,"messages":null,"tools":null}`, ask{}},
		{"model", chatKind, `{"model":"gpt-4o","stream":false}`, ask{model: "gpt-4o"}},
		{"escaped model and key", chatKind, `{"mod\u0065l":"\u0067pt\u002d4\ud83d\ude00","str\u0065am":true}`, ask{model: "gpt-4😀", stream: true}},
		{"long model", chatKind, `{"model":"` + strings.Repeat("x", 1000) + `"}`, ask{model: strings.Repeat("x", 1000)}},

		{"maximum", chatKind, `{"max_tokens":100}`, ask{maximum: 100}},
		{"largest maximum", chatKind, `{"max_tokens":1,"max_completion_tokens":10000,"max_output_tokens":7}`, ask{maximum: 10000}},
		{"largest of any kind", respKind, `{"max_tokens":9,"max_output_tokens":7}`, ask{maximum: 9}},
		{"zero", chatKind, `{"max_tokens":0,"n":3}`, ask{maximum: none, answers: 3}},
		{"written otherwise", chatKind, `{"max_tokens":100.0,"max_completion_tokens":1e2,"n":2.0}`, ask{maximum: 200, answers: 2}},
		{"in strings", chatKind, `{"max_tokens":"100","n":"\u0032","best_of":"03"}`, ask{maximum: 300, answers: 3}},
		{"largest number", chatKind, `{"max_tokens":9223372036854775807}`, ask{maximum: math.MaxInt64}},
		{"too large a product", chatKind, `{"max_tokens":9223372036854775807,"n":9223372036854775807}`, ask{maximum: math.MaxInt64, answers: math.MaxInt64}},
		{"answers", textKind, `{"max_tokens":10,"n":2,"best_of":5}`, ask{maximum: 50, answers: 5}},

		{"messages", chatKind, `{"messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"你好\n"}]}`, ask{ascii: 9, other: 6}},
		{"name", chatKind, `{"messages":[{"role":"user","name":"Ann","content":"Hi"}]}`, ask{ascii: 5}},
		{"parts", chatKind, `{"messages":[{"role":"user","content":[{"type":"text","text":"What is it?"},{"text":"!","type":"text"},{"type":"input_text","text":"é"}]}]}`, ask{ascii: 12, other: 2}},
		{"media parts", chatKind, `{"messages":[{"role":"user","content":[
			{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}},
			{"input_audio":{"data":"UklGRg==","format":"wav"},"type":"input_audio"},
			{"text":"not read","type":"video_url","video_url":{"url":"https://x/y.mp4"}},
			{"type":"file","file":{"file_id":"f-1"},"image_url":"https://x"},
			{"type":"hologram","shape":["a","b"]},
			{"type":"text","text":"four"}]}]}`, ask{ascii: 4, media: 5}},
		{"media without type", chatKind, `{"messages":[{"role":"user","content":[{"image_url":"https://x/y.png"},{"text":"ab","image":{"data":"AAAA"}}]}]}`, ask{ascii: 2, media: 2}},
		{"no media", chatKind, `{"messages":[{"role":"assistant","content":"ab","audio":null,"refusal":null,"tool_calls":null}]}`, ask{ascii: 2}},
		{"tool calls", chatKind, `{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"find","arguments":"{\"q\":\"x\"}"}}]},{"role":"tool","tool_call_id":"call_1","content":"none"}]}`, ask{ascii: 4 + 9 + 4}},
		{"function call", chatKind, `{"messages":[{"role":"assistant","function_call":{"name":"find","arguments":{"Name":"x","name":"yz"}}}]}`, ask{ascii: 4 + 3}},
		{"refusal", chatKind, `{"messages":[{"role":"assistant","content":[{"type":"refusal","refusal":"No."}],"refusal":"No!"}]}`, ask{ascii: 6}},
		{"a type does not hide a message", chatKind, `{"messages":[{"type":"secret","role":"user","content":"long text"},{"type":"x","content":"y"}]}`, ask{ascii: 10}},
		{"unknown fields", chatKind, `{"messages":[{"role":"assistant","reasoning_content":"hm","x":{"y":["z",1,true,{"A":"b","a":"c"}]},"d":"data:image/png;base64,AAAA","e":"data: none"}]}`, ask{ascii: 2 + 3 + 10, media: 1}},
		{"not text", chatKind, `{"messages":[{"role":"user","content":[{"type":"text","text":"a","annotations":[{"title":"t"}],"cache_control":{"type":"ephemeral"}}],"id":"m1","status":"done"}]}`, ask{ascii: 1}},
		{"odd types", chatKind, `{"messages":[5,"ab",null,[{"content":"c"}],{"content":{"text":"d"}},{"content":[{"type":7,"text":"e"},{"type":"te\u0078t","text":"f"}]}]}`, ask{ascii: 6}},
		{"tools", chatKind, `{"tools":[{"type":"function", "function":{"name":"é"}}],"functions":[{}],"response_format":{"type":"text"}}`, ask{ascii: 45 + 4 + 15, other: 2}},
		{"other input", chatKind, `{"prompt":"a","input":"b","instructions":"c","suffix":"d","text":{"format":{}},"metadata":{"a":"b"}}`, ask{}},

		{"conversations", chatKind, `{"messages":[[{"role":"user","content":"ab"}],[{"role":"system","content":"c"},{"role":"user","content":"d"}]],"max_tokens":5}`, ask{ascii: 4, maximum: 10, answers: 2}},
		{"one conversation in a list", chatKind, `{"messages":[[{"content":"ab"}]],"max_tokens":5}`, ask{ascii: 2, maximum: 5}},
		{"conversations beside messages", chatKind, `{"messages":[{"content":"a"},[],{"content":"b"},[[{"content":"c"}]]],"max_tokens":5,"n":3}`, ask{ascii: 3, maximum: 30, answers: 6}},
		{"prompt", textKind, `{"prompt":"Once upon","suffix":"end","max_tokens":5}`, ask{ascii: 12, maximum: 5}},
		{"prompts", textKind, `{"prompt":["ab","cd","ef"],"max_tokens":5,"n":2}`, ask{ascii: 6, maximum: 30, answers: 6}},
		{"ids", textKind, `{"prompt":[1,2,3,4],"max_tokens":5}`, ask{ids: 4, maximum: 5}},
		{"batches of ids", textKind, `{"prompt":[[1,2,3],[4]],"max_tokens":5}`, ask{ids: 4, maximum: 10, answers: 2}},
		{"mixed prompt", textKind, `{"prompt":[1,"ab",[2]],"max_tokens":5}`, ask{ids: 2, ascii: 2, maximum: 5}},
		{"mixed batches", textKind, `{"prompt":["ab",[1,"c"]],"best_of":3}`, ask{ids: 1, ascii: 3, answers: 6}},
		{"empty batch", textKind, `{"prompt":[],"max_tokens":5}`, ask{maximum: 5}},
		{"no prompt", textKind, `{"prompt":null,"messages":[{"content":"x"}],"tools":[1]}`, ask{}},

		{"embedding", vectorKind, `{"input":"abcd"}`, ask{ascii: 4, maximum: none}},
		{"embeddings", vectorKind, `{"input":["ab","cd"]}`, ask{ascii: 4, maximum: none}},
		{"embedded ids", vectorKind, `{"input":[1,2]}`, ask{ids: 2, maximum: none}},
		{"embedded batches", vectorKind, `{"input":[[1,2],[3]],"prompt":["x","y"]}`, ask{ids: 3, maximum: none}},
		{"embedded messages", vectorKind, `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"ab"}]}],"max_tokens":3}`, ask{ascii: 2, media: 1, maximum: 3}},

		{"response", respKind, `{"input":"Hello","instructions":"Be brief.","max_output_tokens":64}`, ask{ascii: 14, maximum: 64}},
		{
			"items", respKind, `{"input":[
			{"role":"user","content":"ab"},
			{"type":"message","role":"user","content":[{"type":"input_text","text":"cd"},{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"low"},{"type":"input_file","file_data":"JVBERi0="}]},
			{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"ef"}],"encrypted_content":"gAAAA"},
			{"type":"function_call","id":"fc_1","call_id":"c1","name":"gh","arguments":"{}","status":"completed"},
			{"type":"function_call_output","call_id":"c1","output":"ij"},
			{"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"kl"},{"type":"input_image","image_url":"x"}]},
			{"type":"function_call_output","call_id":"c3","output":{"ID":"mn","id":"op"}},
			{"type":"custom_tool_call","call_id":"c4","name":"qr","input":"st"},
			{"type":"item_reference","id":"msg_1"},
			{"type":"computer_call_output","call_id":"c5","output":{"type":"computer_screenshot","image_url":"data:image/png;base64,AAAA"}}]}`,
			ask{ascii: 2 + 2 + 2 + 4 + 2 + 2 + 4 + 4, media: 4},
		},
		{"formats", respKind, `{"text":{"verbosity":"low","format":{"type":"json"} },"tools":[{}],"prompt":{"id":"p","variables":{"v":"w"}},"response_format":{}}`, ask{ascii: 15 + 4 + 2}},
		{"no format", respKind, `{"text":null,"input":null}`, ask{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPeeker()
			got, err := p.Peek(openAIEndpoint(tt.kind), []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			w := tt.want
			want := traffic.Ask{
				Endpoint: openAIEndpoint(tt.kind), Model: w.model, Stream: w.stream,
				Input:      (w.ascii+2*w.other+3)/4 + w.ids + 1000*w.media,
				LeastInput: (w.ascii+w.other+127)/128 + w.ids,
				TextBytes:  w.ascii + w.other,
				MaxOutput:  w.maximum, Answers: max(w.answers, 1),
			}
			switch w.maximum {
			case 0:
				want.MaxOutput = -1
			case none:
				want.MaxOutput = 0
			}
			if diff := cmp.Diff(want, got.Ask); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPeekErrors(t *testing.T) {
	long := strings.Repeat("é", 100)
	for _, tt := range []struct {
		body, message, param string
	}{
		{``, `the body must be a JSON object: want an object, but the document ends (at byte 0)`, ""},
		{`[]`, `the body must be a JSON object: want an object, got "[" (at byte 0)`, ""},
		{`{"model":"a"} {}`, `the body must be a JSON object: want the end, got "{" (at byte 14)`, ""},
		{`{"messages":[{"content":"a}]}`, `the body must be a JSON object: a string does not end (at byte 29)`, ""},
		{`{"messages":[{"content":[{"text":tru}]}]}`, `the body must be a JSON object: want true (at byte 33)`, ""},
		{`{"model":"a","model":"b"}`, `the field "model" is there twice (at byte 13)`, "model"},
		{`{"model":"a","MODEL":"b"}`, `the field "MODEL" must be written "model" (at byte 13)`, "model"},
		{`{"messages":[{"content":"a","Content":"b"}]}`, `the field "Content" must be written "content" (at byte 28)`, "content"},
		{`{"messages":[{"content":[{"type":"text","type":"image_url"}]}]}`, `the field "type" is there twice (at byte 40)`, "type"},
		{`{"stream_options":{"include_usage":true,"include_usage":false}}`, `the field "include_usage" is there twice (at byte 40)`, "include_usage"},
		// What is wrong with the JSON comes before what is wrong with a field.
		{`{"model":5,"x":}`, `the body must be a JSON object: want a value, got "}" (at byte 15)`, ""},
		{`{"model":`, `the body must be a JSON object: want a value, but the document ends (at byte 9)`, ""},
		{`{"stream":`, `the body must be a JSON object: want a value, but the document ends (at byte 10)`, ""},
		{`{"n":`, `the body must be a JSON object: want a value, but the document ends (at byte 5)`, ""},
		{`{"tools":`, `the body must be a JSON object: want a value, but the document ends (at byte 9)`, ""},
		{`{"messages":[{"x":`, `the body must be a JSON object: want a value, but the document ends (at byte 18)`, ""},
		{`{"messages":[{"x":"`, `the body must be a JSON object: a string does not end (at byte 19)`, ""},
		{`{"messages":[{"type":"`, `the body must be a JSON object: a string does not end (at byte 22)`, ""},

		{`{"model":5,"n":0}`, `model must be a string, got 5`, "model"},
		{`{"model":{"a":1}}`, `model must be a string, got an object`, "model"},
		{"{\"model\":\"a\xff\"}", "model must be Unicode text, got \"a\ufffd\"", "model"},
		{`{"model":"\ud800"}`, `model must be Unicode text, got "\ud800"`, "model"},
		{`{"stream":"yes"}`, `stream must be true or false, got "yes"`, "stream"},
		{`{"stream":1}`, `stream must be true or false, got 1`, "stream"},
		{`{"stream_options":true}`, `stream_options must be an object, got true`, "stream_options"},
		{`{"stream_options":[]}`, `stream_options must be an object, got an array`, "stream_options"},
		{`{"stream_options":{"include_usage":"true"}}`, `stream_options.include_usage must be true or false, got "true"`, "stream_options"},
		{`{"max_tokens":"abc"}`, `max_tokens must be a whole number, got "abc"`, "max_tokens"},
		{`{"max_tokens":""}`, `max_tokens must be a whole number, got ""`, "max_tokens"},
		{`{"max_tokens":" 5"}`, `max_tokens must be a whole number, got " 5"`, "max_tokens"},
		{`{"max_tokens":"1e2"}`, `max_tokens must be a whole number, got "1e2"`, "max_tokens"},
		{`{"max_tokens":"-5"}`, `max_tokens must be a whole number, got "-5"`, "max_tokens"},
		{`{"max_tokens":1.5}`, `max_tokens must be a whole number, got 1.5`, "max_tokens"},
		{`{"max_tokens":1e-400}`, `max_tokens must be a whole number, got 1e-400`, "max_tokens"},
		{`{"max_completion_tokens":true}`, `max_completion_tokens must be a whole number, got true`, "max_completion_tokens"},
		{`{"max_output_tokens":-5}`, `max_output_tokens must be at least 0, got -5`, "max_output_tokens"},
		{`{"max_tokens":-1e30}`, `max_tokens must be at least 0, got -1e30`, "max_tokens"},
		{`{"max_tokens":9223372036854775808}`, `max_tokens must be at most 9223372036854775807, got 9223372036854775808`, "max_tokens"},
		{`{"max_tokens":"99999999999999999999"}`, `max_tokens must be at most 9223372036854775807, got "99999999999999999999"`, "max_tokens"},
		{`{"n":0}`, `n must be at least 1, got 0`, "n"},
		{`{"n":"0"}`, `n must be at least 1, got "0"`, "n"},
		{`{"best_of":-3}`, `best_of must be at least 1, got -3`, "best_of"},
		{`{"n":0.5}`, `n must be a whole number, got 0.5`, "n"},
		{`{"n":[1]}`, `n must be a whole number, got an array`, "n"},
		{`{"max_tokens":"` + long + `"}`, `max_tokens must be a whole number, got "` + long[:126] + `…`, "max_tokens"},
		{`{"max_tokens":"` + strings.Repeat("\xff", 200) + `"}`, `max_tokens must be a whole number, got "` + "\ufffd…", "max_tokens"},
	} {
		for _, kind := range []traffic.Kind{chatKind, textKind, vectorKind, respKind} {
			if strings.Contains(tt.body, "messages") && kind != chatKind || strings.Contains(tt.body, "tools") && kind == vectorKind {
				continue
			}
			_, err := NewPeeker().Peek(openAIEndpoint(kind), []byte(tt.body))
			var e *RequestError
			if !errors.As(err, &e) {
				t.Errorf("%s: error %v, want %q", tt.body, err, tt.message)
			} else if e.Message != tt.message || e.Param != tt.param || e.Error() != tt.message || !utf8.ValidString(e.Message) {
				t.Errorf("%s: error %q about %q, want %q about %q", tt.body, e.Message, e.Param, tt.message, tt.param)
			}
		}
	}
}

func TestAppendBody(t *testing.T) {
	for _, tt := range []struct {
		name, body, want string // want empty: the body as it came, and the usage shown
	}{
		{"no options", `{"stream":true}`, `{"stream_options":{"include_usage":true},"stream":true}`},
		{"spaced", "\n{ \"stream\" : true , \"x\":1, \"x\" : 2 }\n", "\n{ \"stream_options\":{\"include_usage\":true},\"stream\" : true , \"x\":1, \"x\" : 2 }\n"},
		{"null", `{"stream_options": null ,"stream":true}`, `{"stream_options": {"include_usage":true} ,"stream":true}`},
		{"empty", `{"stream":true,"stream_options":{ }}`, `{"stream":true,"stream_options":{ "include_usage":true}}`},
		{"others", `{"stream_options":{"a":{"include_usage":true},"a":1},"stream":true}`, `{"stream_options":{"include_usage":true,"a":{"include_usage":true},"a":1},"stream":true}`},
		{"false", `{"stream_options":{"a":1,"include_usage": false, "b":2},"stream":true}`, `{"stream_options":{"a":1,"include_usage": true, "b":2},"stream":true}`},
		{"null inside", `{"stream_options":{"include_usage":null},"stream":true}`, `{"stream_options":{"include_usage":true},"stream":true}`},
		{"escaped", `{"stream_option\u0073":{"include_\u0075sage":false},"stream":true}`, `{"stream_option\u0073":{"include_\u0075sage":true},"stream":true}`},
		{"true", `{"stream_options":{"include_usage":true},"stream":true}`, ""},
		{"true among others", `{"stream_options":{"a":false,"include_usage":true,"b":false},"stream":true}`, ""},
		{"no stream", `{"stream":false,"model":"x"}`, ""},
		{"no stream, options", `{"stream_options":{}}`, ""},
		{"nothing", `{}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, kind := range []traffic.Kind{chatKind, textKind, vectorKind, respKind} {
				want := tt.want
				if want == "" || kind == vectorKind || kind == respKind {
					want = tt.body
				}
				r, err := NewPeeker().Peek(openAIEndpoint(kind), []byte(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				if r.HideUsage() != (want != tt.body) {
					t.Errorf("the usage is hidden: %v", r.HideUsage())
				}
				if got := r.AppendBody([]byte("before"), []byte(tt.body)); string(got) != "before"+want {
					t.Errorf("got  %s\nwant before%s", got, want)
				}
				again, err := NewPeeker().Peek(openAIEndpoint(kind), []byte(want))
				if err != nil || again.HideUsage() {
					t.Errorf("the body that asks for usage would be changed again; error %v", err)
				}
				if got := r.TakeBack([]byte("before"), []byte(want)); string(got) != "before"+tt.body || r.HideUsage() {
					t.Errorf("taken back it is %s, and hidden: %v; want before%s", got, r.HideUsage(), tt.body)
				}
			}
		})
	}
}

func TestAppendBodyAllocation(t *testing.T) {
	body := benchRequests()["prose"]
	r, err := NewPeeker().Peek(openAIEndpoint(chatKind), body)
	if err != nil || !r.HideUsage() {
		t.Fatal(err, r.HideUsage())
	}
	var sent []byte
	if n := testing.AllocsPerRun(10, func() { sent = r.AppendBody(nil, body) }); n != 1 {
		t.Errorf("%v allocations, want 1", n)
	}
	if n := testing.AllocsPerRun(10, func() { sent = r.AppendBody(sent[:0], body) }); n != 0 {
		t.Errorf("%v allocations in a buffer large enough, want none", n)
	}
	if !bytes.HasSuffix(sent, body[1:]) {
		t.Error("the rest of the body has changed")
	}
}

// TestPeekAllocation: the name of a model that is not known yet is all that is
// allocated.
func TestPeekAllocation(t *testing.T) {
	for name, body := range benchRequests() {
		p := NewPeeker()
		peek := func() {
			if _, err := p.Peek(openAIEndpoint(chatKind), body); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(10, peek); n != 1 {
			t.Errorf("%s: %v allocations, want 1", name, n)
		}
		p.learned.learn("gpt-4o-mini", 4, 1)
		p.learned.learn("llama-3", 4, 1)
		if n := testing.AllocsPerRun(10, peek); n != 0 {
			t.Errorf("%s: %v allocations with a known model, want none", name, n)
		}
	}
}
