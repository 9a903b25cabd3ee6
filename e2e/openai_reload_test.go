package e2e

import (
	"errors"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// running is a stream that an SDK reads.
type running struct {
	begun  chan struct{} // closed when its first token has come
	ended  chan struct{}
	answer openAIAnswer // once ended is closed
	err    error
}

// streamOpenAI begins a stream of 80 tokens, of which one comes every 50 ms, and
// returns when the first is there.
func streamOpenAI(t *testing.T, g *gateway, call openAICall, key string) *running {
	t.Helper()
	r := &running{begun: make(chan struct{}), ended: make(chan struct{})}
	client, _ := newOpenAI(t, g, key)
	begun := false
	go func() {
		defer close(r.ended)
		r.answer, r.err = call.do(t.Context(), client, openAIAsk{
			model: "standin", prompt: sixteen, most: 80, usage: new(true),
			each: func(text string) {
				if text != "" && !begun {
					begun = true
					close(r.begun)
				}
			},
		})
	}()
	select {
	case <-r.begun:
	case <-r.ended:
		t.Fatalf("the stream: %+v, %v", r.answer, r.err)
	}
	return r
}

// whole checks that the stream goes on until it has come to its end.
func (r *running) whole(t *testing.T) {
	t.Helper()
	select {
	case <-r.ended:
		t.Error("the stream ended before what it was to outlive: it is too short for this machine")
	default:
	}
	<-r.ended
	want := openAIAnswer{text: r.answer.text, empty: r.answer.empty}
	want.used(4, 80, 84)
	if r.err != nil || r.answer != want || len(want.text) != 4*80 {
		t.Errorf("the SDK has %+v and the error %v, want 80 tokens and their usage", r.answer, r.err)
	}
}

// A new configuration is that of what comes from then on; what is in flight goes
// on, and what was counted stays.
func TestOpenAIReload(t *testing.T) {
	t.Parallel()
	worker, _ := startWorker(t, "--per-token", "100ms")
	g := startGateway(t, "rate_limiting: {default: {requests_per_hour: 100, tokens_per_hour: 1000}}", worker)
	var streams []*running
	for _, call := range streamed {
		streams = append(streams, streamOpenAI(t, g, call.openAICall, "sk-reload"))
	}
	if line := g.reload(t, "rate_limiting: {default: {requests_per_hour: 50, tokens_per_hour: 2000}}"); !strings.Contains(line, "the configuration was reloaded") {
		t.Error(line)
	}
	if line := g.reload(t, "rate_limiting: {default: {requests_per_hour: many}}"); !strings.Contains(line, "the configuration was not reloaded") || !strings.Contains(line, "requests_per_hour") {
		t.Error(line)
	}
	for _, s := range streams {
		s.whole(t)
	}
	g.idle(t)

	client, record := newOpenAI(t, g, "sk-reload")
	if _, err := openAIEmbedding(t.Context(), client, openAIAsk{model: "standin", prompt: sixteen}); err != nil {
		t.Fatal(err)
	}
	a := record.only(t)
	for _, limit := range []struct {
		name string
		want int64
	}{
		{"X-Ratelimit-Limit-Requests", 50},
		{"X-Ratelimit-Remaining-Requests", 50 - 3 - 1},
		{"X-Ratelimit-Limit-Tokens", 2000},
		{"X-Ratelimit-Remaining-Tokens", 2000 - 3*84 - 4},
	} {
		if got := a.number(t, limit.name); got != limit.want {
			t.Errorf("%s is %d, want %d", limit.name, got, limit.want)
		}
	}

	g.reload(t, "rate_limiting: {default: {tokens_per_hour: 250}}") // of which 256 are used
	client, record = newOpenAI(t, g, "sk-reload")
	_, err := openAIEmbedding(t.Context(), client, openAIAsk{model: "standin", prompt: sixteen})
	wantOpenAI(t, err, record.only(t), rateLimited)
	g.counted(t, samples{
		`http_rate_limit_total{result="allowed"}`:                           4,
		`http_rate_limit_total{result="rejected"}`:                          1,
		`rate_limit_hits_total{key="other",rule="default.tokens_per_hour"}`: 1,
		`tokens_total{kind="input",model="standin"}`:                        4 * 4,
		`tokens_total{kind="output",model="standin"}`:                       3 * 80,
	})
}

// A gateway that is told to stop turns away who waits, and ends what has begun.
func TestOpenAIStop(t *testing.T) {
	t.Parallel()
	worker, _ := startWorker(t, "--per-token", "100ms")
	g := startGateway(t, "rate_limiting: {concurrent: {max_concurrent: 1, queue_timeout: 60s}}", worker)
	stream := streamOpenAI(t, g, streamed[0].openAICall, "sk-stop-streams")
	client, record := newOpenAI(t, g, "sk-stop-waits", option.WithMaxRetries(0))
	waited := make(chan error, 1)
	go func() {
		_, err := openAIChat(t.Context(), client, openAIAsk{model: "standin", prompt: sixteen, most: 8})
		waited <- err
	}()
	g.await(t, "queue_depth", 1)
	g.signal(t, syscall.SIGTERM)
	wantOpenAI(t, <-waited, record.only(t), openAIError{
		Status: http.StatusServiceUnavailable, Code: "shutting_down", Type: "server_error",
		Message: "The gateway is shutting down. Please retry after N seconds.",
	})
	g.awaitReady(t, http.StatusServiceUnavailable)
	client, _ = newOpenAI(t, g, "sk-stop-late", option.WithMaxRetries(0))
	_, err := openAIModels(t.Context(), client, openAIAsk{})
	if e := (*openai.Error)(nil); err == nil || errors.As(err, &e) && e.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("who comes late has the error %v, want none of a connection or a 503", err)
	}
	stream.whole(t)
	g.wait(t)
}
