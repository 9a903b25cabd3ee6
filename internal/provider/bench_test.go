package provider

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// chatOfSize returns a chat request with so many bytes of text like this one, or
// all of it when it is longer.
func chatOfSize(text string, size int) []byte {
	return fmt.Appendf(nil, `{"model":"gpt-4o-mini","stream":true,"temperature":0.7,"max_tokens":512,"user":"u-1234","messages":[`+
		`{"role":"system","content":"You help."},{"role":"user","content":"%s"}]}`, strings.Repeat(text, max(size/len(text), 1)))
}

func benchRequests() map[string][]byte {
	prose := "The quick brown fox jumps over the lazy dog, and then thinks about it for a while. "
	messages := func(one string) []byte {
		return []byte(`{"model":"llama-3","messages":[` + strings.Repeat(one+",", 4499) + one + `]}`)
	}
	tool := `{"type":"function","function":{"name":"get_weather","strict":true,"parameters":{"type":"object","properties":{` +
		`"location":{"type":"string","description":"The city, e.g. San Francisco, CA"},"days":{"type":"integer","minimum":1},` +
		`"hours":{"type":"array","items":{"type":"object","properties":{"a":{"type":["string","null"]}},"required":["a"]}}}}}}`
	return map[string][]byte{
		"0.5KB":    chatOfSize(prose, 340),
		"prose":    chatOfSize(prose, 219_000),
		"code":     chatOfSize(`\tfor i, v := range items {\n\t\tfmt.Printf(\"%d: %s\\n\", i, v)\n\t}\n`, 219_000),
		"cjk":      chatOfSize("今天天气很好，我们去公园散步吧。", 219_000),
		"french":   chatOfSize("Une poule sur un mur, qui picorait du pain dur, désespérée. ", 219_000),
		"escapes":  chatOfSize(`\n\"\\`, 219_000),
		"unicode":  chatOfSize(`\u4eca\u5929\ud83d\ude00`, 219_000),
		"tools":    []byte(`{"model":"llama-3","messages":[],"tools":[` + strings.Repeat(tool+",", 219_000/len(tool)) + tool + `]}`),
		"messages": messages(`{"role":"user","content":"thirteen char"}`),
		"spaced":   messages(`{"role": "user", "content": "thirteen char"}`), // as Python writes it
		"unknown":  messages(`{"speaker":"user","words":"thirteen char"}`),

		// What does not repeat, as real bodies do not.
		"prose mixed":    chatOfSize(newMix().paragraphs(219_000), 1),
		"code mixed":     chatOfSize(newMix().code(219_000), 1),
		"markup mixed":   chatOfSize(newMix().markup(219_000), 1),
		"unicode mixed":  chatOfSize(newMix().escaped(219_000), 1),
		"messages mixed": []byte(`{"model":"llama-3","messages":[` + newMix().messages(219_000) + `]}`),
		"tools mixed":    []byte(`{"model":"llama-3","messages":[],"tools":[` + newMix().tools(219_000) + `]}`),
	}
}

func BenchmarkPeek(b *testing.B) {
	for name, body := range benchRequests() {
		b.Run(name, func(b *testing.B) {
			p := NewPeeker()
			p.learned.learn("gpt-4o-mini", 4, 1) // so that the name need not be copied
			p.learned.learn("llama-3", 4, 1)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Peek(traffic.Endpoint{Dialect: traffic.OpenAI, Kind: traffic.ChatCompletions}, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// pieces is a body that comes in pieces, one a Read where the buffer is as large.
type pieces struct {
	all  [][]byte
	next int
	read int // of the next one
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.next == len(p.all) {
		return 0, io.EOF
	}
	n := copy(b, p.all[p.next][p.read:])
	if p.read += n; p.read == len(p.all[p.next]) {
		p.next, p.read = p.next+1, 0
	}
	return n, nil
}

func (p *pieces) Close() error { return nil }

// benchStream is a stream of 50 chunks and a usage, a chunk a piece.
func benchStream() *pieces {
	chunk := `data: {"id":"chatcmpl-9f3kZ1","object":"chat.completion.chunk","created":1763740000,"model":"gpt-4o-mini","system_fingerprint":"fp_1",` +
		`"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	usage := `data: {"id":"chatcmpl-9f3kZ1","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":50,"total_tokens":59}}` + "\n\n"
	all := bytes.Split(bytes.Repeat([]byte(chunk+"\x00"), 50), []byte("\x00"))[:50]
	return &pieces{all: append(all, []byte(usage), []byte("data: [DONE]\n\n"))}
}

// benchAnswer is an answer of 50 tokens, a chunk a piece, and what asked for it.
type benchAnswer struct {
	request *Request
	header  http.Header
	stream  *pieces
}

// benchAnswers are streams of every dialect.
func benchAnswers() map[string]benchAnswer {
	answer := func(path, mediaType string, begin, chunk, end string) benchAnswer {
		all := [][]byte{[]byte(begin)}
		for range 50 {
			all = append(all, []byte(chunk))
		}
		return benchAnswer{
			&Request{Ask: traffic.Ask{Endpoint: Route("POST", path), Stream: true}},
			http.Header{"Content-Type": {mediaType}},
			&pieces{all: append(all, []byte(end))},
		}
	}
	chat := benchAnswer{&Request{Ask: traffic.Ask{Endpoint: openAIEndpoint(chatKind)}}, http.Header{"Content-Type": {streamType}}, benchStream()}
	hiding := chat
	hiding.request = &Request{Ask: chat.request.Ask, edit: edit{insert: "x"}}
	hiding.stream = benchStream()
	googleChunk := `{"candidates":[{"content":{"parts":[{"text":" word"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":50,"totalTokenCount":59,"promptTokensDetails":[{"modality":"TEXT","tokenCount":9}]},"modelVersion":"gemini-2.5-flash"}`
	googleEnd := `{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":50}}`
	return map[string]benchAnswer{
		"stream": chat,
		"hiding": hiding,
		"anthropic": answer("/v1/messages", streamType,
			`event: message_start`+"\n"+`data: {"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":9,"output_tokens":1}}}`+"\n\n",
			`event: content_block_delta`+"\n"+`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}`+"\n\n",
			`data: {"type":"message_delta","usage":{"output_tokens":50}}`+"\n\n"+`data: {"type":"message_stop"}`+"\n\n"),
		"google":       answer("/v1beta/models/m:streamGenerateContent", streamType, ": begin\n\n", "data: "+googleChunk+"\r\n\r\n", "data: "+googleEnd+"\r\n\r\n"),
		"google array": answer("/v1beta/models/m:streamGenerateContent", jsonType, "[", googleChunk+"\n,\r\n", googleEnd+"\n]\n"),
		"ollama": answer("/api/chat", linesType, "\n",
			`{"model":"llama3.2","created_at":"2025-11-21T10:00:00.123456789Z","message":{"role":"assistant","content":" word"},"done":false}`+"\n",
			`{"model":"llama3.2","created_at":"2025-11-21T10:00:01Z","message":{"role":"assistant","content":""},"done":true,"prompt_eval_count":9,"eval_count":50}`+"\n"),
	}
}

func BenchmarkMeter(b *testing.B) {
	for name, a := range benchAnswers() {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 32<<10)
			var m Meter
			b.ReportAllocs()
			for b.Loop() {
				a.stream.next = 0
				m.Start(a.request, a.header, a.stream)
				for {
					if _, err := m.Read(buf); err != nil {
						break
					}
				}
				if m.Usage().Output != 50 {
					b.Fatal(m.Usage())
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(a.stream.all)), "ns/chunk")
		})
	}
}

// BenchmarkPeekDialects reads a conversation of the same text in each dialect.
func BenchmarkPeekDialects(b *testing.B) {
	prose := strings.Repeat("The quick brown fox jumps over the lazy dog, and then thinks about it for a while. ", 2600)
	for name, r := range map[string]struct{ path, body string }{
		"anthropic": {"/v1/messages", `{"model":"claude","max_tokens":512,"system":"You help.","messages":[{"role":"user","content":[{"type":"text","text":"` + prose + `"}]}]}`},
		"google":    {"/v1beta/models/gemini:generateContent", `{"systemInstruction":{"parts":[{"text":"You help."}]},"contents":[{"role":"user","parts":[{"text":"` + prose + `"}]}],"generationConfig":{"maxOutputTokens":512}}`},
		"ollama":    {"/api/chat", `{"model":"llama","options":{"num_predict":512},"messages":[{"role":"system","content":"You help."},{"role":"user","content":"` + prose + `"}]}`},
		"comfyui":   {"/prompt", `{"prompt":{"6":{"class_type":"CLIPTextEncode","inputs":{"text":"` + prose + `","clip":["4",1]}},"4":{"inputs":{"ckpt_name":"sd"}}}}`},
		"rerank":    {"/v1/rerank", `{"model":"jina","query":"fox?","documents":["` + prose + `","` + prose[:100] + `"]}`},
		"google messages": {"/v1beta/models/gemini:generateContent", `{"contents":[` + strings.Repeat(`{"role":"user","parts":[{"text":"thirteen char"}]},`, 3999) +
			`{"role":"user","parts":[{"text":"thirteen char"}]}]}`},
	} {
		b.Run(name, func(b *testing.B) {
			p := NewPeeker()
			for _, model := range []string{"claude", "gemini", "llama", "sd", "jina"} {
				p.learned.learn(model, 4, 1) // so that the name need not be copied
			}
			endpoint, body := Route("POST", r.path), []byte(r.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Peek(endpoint, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
