//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// A workload is what the load generator sends, and what the worker answers.
type workload struct {
	name string
	// connections send one request after the other.
	connections int
	// prompt is how many bytes of text a request has.
	prompt int
	// chunks is how many the answer is streamed in, with a pause before each; 0
	// is one JSON body.
	chunks int
	pause  time.Duration
}

var workloads = []workload{
	{name: "json-0.5KB", connections: 50, prompt: 300},
	{name: "json-200KB", connections: 16, prompt: 200_000},
	{name: "sse-50", connections: 50, prompt: 300, chunks: 50},
	{name: "sse-50-2ms", connections: 50, prompt: 300, chunks: 50, pause: 2 * time.Millisecond},
}

const (
	chatPath = "/v1/chat/completions"
	// chunksHeader and pauseHeader tell the worker how to answer.
	chunksHeader = "X-Bench-Chunks"
	pauseHeader  = "X-Bench-Pause"
)

// request is what the n-th connection sends, the same each time: each is a
// caller of its own.
func (w workload) request(n int) []byte {
	const prose = "The quick brown fox jumps over the lazy dog, and then thinks about it for a while. "
	text := strings.Repeat(prose, w.prompt/len(prose)+1)[:w.prompt]
	stream := ""
	if w.chunks > 0 {
		stream = `"stream":true,"stream_options":{"include_usage":true},`
	}
	body := fmt.Sprintf(`{"model":"bench-model",%s"temperature":0.7,"max_tokens":256,"user":"u-%04d","messages":[`+
		`{"role":"system","content":"You help."},{"role":"user","content":"%s"}]}`, stream, n, text)
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: application/json\r\n"+
		"Authorization: Bearer bench-key-%06d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", chatPath, n, len(body))
	if w.chunks > 0 {
		fmt.Fprintf(&b, "%s: %d\r\n%s: %v\r\n", chunksHeader, w.chunks, pauseHeader, w.pause)
	}
	fmt.Fprintf(&b, "\r\n%s", body)
	return b.Bytes()
}

// answerJSON, answerChunk and the two that end a stream are what the worker
// sends: of the shape and about the size of what inference servers send.
var (
	answerJSON = []byte(`{"id":"chatcmpl-9f3kZ1","object":"chat.completion","created":1763740000,"model":"bench-model","system_fingerprint":"fp_1",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("All of it in its own good time. ", 20) + `"},"logprobs":null,"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":90,"completion_tokens":160,"total_tokens":250,"prompt_tokens_details":{"cached_tokens":0}}}`)
	answerChunk = []byte(`data: {"id":"chatcmpl-9f3kZ1","object":"chat.completion.chunk","created":1763740000,"model":"bench-model","system_fingerprint":"fp_1",` +
		`"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n")
	answerUsage = []byte(`data: {"id":"chatcmpl-9f3kZ1","object":"chat.completion.chunk","created":1763740000,"model":"bench-model","system_fingerprint":"fp_1",` +
		`"choices":[],"usage":{"prompt_tokens":90,"completion_tokens":50,"total_tokens":140}}` + "\n\n")
	answerDone = []byte("data: [DONE]\n\n")
)

// answerBytes is how long the body of an answer is.
func (w workload) answerBytes() int64 {
	if w.chunks == 0 {
		return int64(len(answerJSON))
	}
	return int64(w.chunks*len(answerChunk) + len(answerUsage) + len(answerDone))
}
