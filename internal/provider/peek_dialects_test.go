package provider

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/traffic"
)

func TestPeekDialectErrors(t *testing.T) {
	const (
		messages = "/v1/messages"
		google   = "/v1beta/models/gemini:generateContent"
		chat     = "/api/chat"
		comfy    = "/prompt"
		images   = "/v1/images/generations"
	)
	for _, tt := range []struct{ path, body, message, param string }{
		{messages, `[]`, `the body must be a JSON object: want an object, got "[" (at byte 0)`, ""},
		{messages, `{"model":5}`, `model must be a string, got 5`, "model"},
		{messages, `{"stream":"true"}`, `stream must be true or false, got "true"`, "stream"},
		{messages, `{"max_tokens":"many"}`, `max_tokens must be a whole number, got "many"`, "max_tokens"},
		{messages, `{"max_tokens":-1}`, `max_tokens must be at least 0, got -1`, "max_tokens"},
		{messages, `{"num_predict":-3}`, `num_predict must be at least -2, got -3`, "num_predict"},
		{messages, `{"system":"a","system":"b"}`, `the field "system" is there twice (at byte 14)`, "system"},
		{messages, `{"Messages":[]}`, `the field "Messages" must be written "messages" (at byte 1)`, "messages"},
		{messages, `{"messages":[{"content":"a","CONTENT":"b"}]}`, `the field "CONTENT" must be written "content" (at byte 28)`, "content"},
		{messages, `{"messages":[{"content":[{"text":"a","text":"b"}]}]}`, `the field "text" is there twice (at byte 37)`, "text"},
		{messages, `{"messages":[{"content":[{"source":{"data":"a","data":"b"}}]}]}`, `the field "data" is there twice (at byte 47)`, "data"},
		{messages, `{"messages":[{"content":[{"source":{"type":"text","data":"a`, `the body must be a JSON object: a string does not end (at byte 59)`, ""},
		{messages, `{"messages":[{"content":[{"source":{"type":`, `the body must be a JSON object: want a value, but the document ends (at byte 43)`, ""},

		{google, `"x"`, `the body must be a JSON object: want an object, got "\"" (at byte 0)`, ""},
		{google, `{"contents":[{"parts":[{"text":"a}]}]}`, `the body must be a JSON object: a string does not end (at byte 38)`, ""},
		{google, `{"contents" []}`, `the body must be a JSON object: want a colon, got "[" (at byte 12)`, ""},
		{google, `{"contents":[],"contents":[]}`, `the field "contents" is there twice (at byte 15)`, "contents"},
		{google, `{"x":1 , "systemInstruction":{}, "system_instruction":{}}`, `the field "systemInstruction" is there twice (at byte 33)`, "systemInstruction"},
		{google, `{"system\u0049nstruction":{},"systemInstruction":{}}`, `the field "systemInstruction" is there twice (at byte 29)`, "systemInstruction"},
		{google, `{"systeminstruction":{}}`, `the field "systemInstruction" must be written so, or in snake_case (at byte 1)`, "systemInstruction"},
		{google, `{"SYSTEM_INSTRUCTION":{}}`, `the field "systemInstruction" must be written so, or in snake_case (at byte 1)`, "systemInstruction"},
		{google, `{"generationConfig":{"maxOutputToken` + "\u017f" + `":5}}`, `the field "maxOutputTokens" must be written so, or in snake_case (at byte 21)`, "maxOutputTokens"},
		{google, `{"generationConfig":[]}`, `generationConfig must be an object, got an array`, "generationConfig"},
		{google, `{"generationConfig":{"maxOutputTokens":1.5}}`, `generationConfig.maxOutputTokens must be a whole number, got 1.5`, "generationConfig"},
		{google, `{"generationConfig":{"candidateCount":0}}`, `generationConfig.candidateCount must be at least 1, got 0`, "generationConfig"},
		{google, "{\"a\xff\":1}", "the body must be a JSON object: a key is not UTF-8 (at byte 1)", ""},
		{google, "{\"a\xff\":1,\"contents\":1,\"contents\":2}", "the body must be a JSON object: a key is not UTF-8 (at byte 1)", ""},
		{google, `{"contents":[{"role":"user","Parts":[]}]}`, `the field "parts" must be written so, or in snake_case (at byte 28)`, "parts"},
		{google, `{"contents":[{"parts":[{"text":"a","text":"b"}]}]}`, `the field "text" is there twice (at byte 35)`, "text"},
		{google, `{"max_tokens":true}`, `max_tokens must be a whole number, got true`, "max_tokens"},

		{chat, `{"model":"a","messages":[`, `the body must be a JSON object: want a value, but the document ends (at byte 25)`, ""},
		{chat, `{"stream":1}`, `stream must be true or false, got 1`, "stream"},
		{chat, `{"options":5}`, `options must be an object, got 5`, "options"},
		{chat, `{"options":{"num_predict":"x"}}`, `options.num_predict must be a whole number, got "x"`, "options"},
		{chat, `{"options":{"num_predict":-3}}`, `options.num_predict must be at least -2, got -3`, "options"},
		{chat, `{"options":{"num_predict":1,"Num_Predict":2}}`, `the field "Num_Predict" must be written "num_predict" (at byte 28)`, "num_predict"},
		{chat, `{"messages":[{"images":["a"],"images":[]}]}`, `the field "images" is there twice (at byte 29)`, "images"},

		{comfy, `[]`, `the body must be a JSON object: want an object, got "[" (at byte 0)`, ""},
		{comfy, `{"prompt":{},"Prompt":{}}`, `the field "Prompt" must be written "prompt" (at byte 13)`, "prompt"},
		{comfy, `{"prompt":{"1":{"inputs":{"ckpt_name":"a","ckpt_name":"b"}}}}`, `the field "ckpt_name" is there twice (at byte 42)`, "ckpt_name"},
		{comfy, `{"prompt":{"1":{"inputs":{"unet_name":"\ud800"}}}}`, `unet_name must be Unicode text, got "\ud800"`, "unet_name"},
		{comfy, `{"prompt":{"1":{"inputs":{`, `the body must be a JSON object: want a key, but the document ends (at byte 26)`, ""},

		{images, `{"n":"x"}`, `n must be a whole number, got "x"`, "n"},
		{images, `{"prompt":"a","prompt":"b"}`, `the field "prompt" is there twice (at byte 14)`, "prompt"},
	} {
		_, err := NewPeeker().Peek(Route("POST", tt.path), []byte(tt.body))
		var e *RequestError
		if !errors.As(err, &e) {
			t.Errorf("%s: error %v, want %q", tt.body, err, tt.message)
		} else if e.Message != tt.message || e.Param != tt.param {
			t.Errorf("%s: error %q about %q, want %q about %q", tt.body, e.Message, e.Param, tt.message, tt.param)
		}
	}
}

// TestPeekOddities has bodies that are well formed and not as they should be:
// the worker may judge them.
func TestPeekOddities(t *testing.T) {
	for _, tt := range []struct {
		path, body       string
		text, media, ids int64
		stream           bool
		maximum, answers int64 // answers 0: 1
	}{
		{path: "/v1/messages", body: `{"messages":"ab","system":{"text":"c"}}`, text: 3, maximum: -1},
		{path: "/v1/messages", body: `{"messages":[null,5,["ab"],{"content":{"text":"c"}},{"content":[{"type":"image"}]}]}`, text: 3, maximum: -1},
		{path: "/v1/messages", body: `{"messages":[{"content":[{"source":{"type":"t\u0065xt","data":"ab"}},{"source":{"data":"ab"}},{"source":null},{"source":"data:image/png;base64,AA"},{"source":"cd"},{"source":{"content":null}}]}]}`, text: 4, media: 3, maximum: -1},
		{path: "/v1/messages", body: `{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"source":{"type":"text","data":5}}]}],"max_tokens":0}`, media: 1},
		{path: "/v1beta/models/m:generateContent", body: `{"contents":{"parts":{"text":"ab"}},"content":"c","stream":"no","model":5}`, text: 3, maximum: -1},
		{path: "/v1beta/models/m:generateContent", body: `{"contents":[{"parts":["ab",null,[{"text":"c"}],{"inlineData":null},{"x":["d"]}]}],"generationConfig":null,"requests":null,"n":"x"}`, text: 4, maximum: -1},
		{path: "/v1beta/models/m:batchEmbedContents", body: `{"requests":[5,{"content":"ab","x":{"content":"c"}}]}`, text: 2},
		{path: "/v1beta/models/m:generateContent", body: `{"generationConfig":{"maxOutputTokens":9223372036854775807,"candidateCount":3}}`, maximum: math.MaxInt64, answers: 3},
		{path: "/api/chat", body: `{"messages":"ab","stream":null,"options":null,"format":null,"tools":null,"num_predict":null}`, text: 2, stream: true, maximum: -1},
		{path: "/api/chat", body: `{"messages":["ab",{"images":"x","content":null},{"images":[null,"y"],"tool_calls":[{"function":{"arguments":{"a":"cd"}}}]}],"stream":true}`, text: 4, media: 2, stream: true, maximum: -1},
		{path: "/api/generate", body: `{"prompt":["ab","cd"],"context":"x","images":"y","num_predict":"7","max_tokens":3,"stream":false}`, text: 4, media: 1, maximum: 7},
		{path: "/api/generate", body: `{"context":[1,[2],"ab"],"options":{"num_predict":0}}`, ids: 1, text: 2, stream: true},
		{path: "/api/embed", body: `{"input":[[1,2],"ab"],"stream":true}`, ids: 2, text: 2, answers: 0},
		{path: "/prompt", body: `{"prompt":[{"inputs":{"ckpt_name":"x"}}],"max_tokens":"x"}`},
		{path: "/prompt", body: `{"prompt":{"1":5,"2":{"inputs":[]},"3":{"inputs":{"ckpt_name":["4",0],"unet_name":null}}}}`},
		{path: "/v1/images/edits", body: `{"image":"data:image/png;base64,AA","images":[null,{"image_url":"x"}],"mask":null}`, media: 2},
		{path: "/v1/rerank", body: `{"query":{"text":"ab"},"documents":[{"title":"c","text":"d"}],"texts":null,"n":2}`, text: 4, answers: 2},
	} {
		endpoint := Route("POST", tt.path)
		got, err := NewPeeker().Peek(endpoint, []byte(tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		want := traffic.Ask{
			Endpoint: endpoint, Model: endpoint.Model, Stream: tt.stream,
			Input:      (tt.text+3)/4 + tt.ids + 1000*tt.media,
			LeastInput: (tt.text+127)/128 + tt.ids,
			TextBytes:  tt.text, MaxOutput: tt.maximum, Answers: max(tt.answers, 1),
		}
		if diff := cmp.Diff(want, got.Ask); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.body, diff)
		}
	}
}

// TestPathModel: the model that a path names is the one that counts, in what is
// learned too.
func TestPathModel(t *testing.T) {
	p := NewPeeker()
	for range 200 {
		p.learned.learn("prod", 2, 1)
		p.learned.learn("gpt-4o", 16, 1)
	}
	for _, path := range []string{"/openai/deployments/prod/chat/completions", "/v1beta/models/prod:generateContent"} {
		r, err := p.Peek(Route("POST", path), []byte(`{"model":"gpt-4o","messages":[{"content":"four"}],"contents":[{"parts":[{"text":"four"}]}]}`))
		if err != nil || r.Ask.Model != "prod" || r.Ask.Input != 2 {
			t.Errorf("%s: model %q, %d tokens, error %v", path, r.Ask.Model, r.Ask.Input, err)
		}
	}
	r, err := p.Peek(Route("POST", "/openai/deployments/new/chat/completions"), []byte(`{"model":"gpt-4o","messages":[{"content":"four"}]}`))
	if err != nil || r.Ask.Model != "new" || r.Ask.Input != 1 {
		t.Errorf("model %q, %d tokens, error %v", r.Ask.Model, r.Ask.Input, err)
	}
}

func TestUnread(t *testing.T) {
	e := Route("POST", "/openai/deployments/whisper/audio/transcriptions")
	r := Unread(e)
	if want := (traffic.Ask{Endpoint: e, Model: "whisper", MaxOutput: -1, Answers: 1}); r.Ask != want {
		t.Errorf("asked is %+v, want %+v", r.Ask, want)
	}
	if r.HideUsage() {
		t.Error("the usage is hidden")
	}
}
