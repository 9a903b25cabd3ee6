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

// chatOfSize returns a chat request with so many bytes of text like this one.
func chatOfSize(text string, size int) []byte {
	return fmt.Appendf(nil, `{"model":"gpt-4o-mini","stream":true,"temperature":0.7,"max_tokens":512,"user":"u-1234","messages":[`+
		`{"role":"system","content":"You help."},{"role":"user","content":"%s"}]}`, strings.Repeat(text, size/len(text)))
}

func benchRequests() map[string][]byte {
	prose := "The quick brown fox jumps over the lazy dog, and then thinks about it for a while. "
	small := `{"role":"user","content":"thirteen char"}`
	return map[string][]byte{
		"0.5KB":    chatOfSize(prose, 340),
		"prose":    chatOfSize(prose, 219_000),
		"code":     chatOfSize(`\tfor i, v := range items {\n\t\tfmt.Printf(\"%d: %s\\n\", i, v)\n\t}\n`, 219_000),
		"cjk":      chatOfSize("今天天气很好，我们去公园散步吧。", 219_000),
		"messages": []byte(`{"model":"llama-3","messages":[` + strings.Repeat(small+",", 4499) + small + `]}`),
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

func BenchmarkMeter(b *testing.B) {
	for name, r := range map[string]*Request{"stream": {}, "hiding": {edit: edit{insert: "x"}}} {
		b.Run(name, func(b *testing.B) {
			r.Ask.Kind = traffic.ChatCompletions
			header := http.Header{"Content-Type": {"text/event-stream"}}
			stream, buf := benchStream(), make([]byte, 32<<10)
			var m Meter
			b.ReportAllocs()
			for b.Loop() {
				stream.next = 0
				m.Start(r, header, stream)
				for {
					if _, err := m.Read(buf); err != nil {
						break
					}
				}
				if m.Usage().Output != 50 {
					b.Fatal(m.Usage())
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(stream.all)), "ns/chunk")
		})
	}
}
