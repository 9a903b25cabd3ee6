package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pausing is a worker whose streams stop in the middle until they may go on.
type pausing struct {
	goOn chan struct{}
	once sync.Once
}

func newPausing() *pausing { return &pausing{goOn: make(chan struct{})} }

func (p *pausing) release() { p.once.Do(func() { close(p.goOn) }) }

const (
	firstEvent = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"sixteen bytes..!\"}}]}\n\n"
	lastEvents = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":4,\"total_tokens\":5}}\n\ndata: [DONE]\n\n"
)

func (p *pausing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, firstEvent)
	w.(http.Flusher).Flush()
	select {
	case <-p.goOn:
		_, _ = io.WriteString(w, lastEvents)
	case <-r.Context().Done():
	}
}

// stream begins a stream and reads its first event.
func (r *rig) stream(headers ...string) (rest *bufio.Reader, leave func()) {
	r.t.Helper()
	body := `{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":400,"messages":[{"role":"user","content":"word"}]}`
	q, err := http.NewRequest("POST", "http://"+r.Addr().String()+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		q.Header.Add(name, value)
	}
	resp, err := r.client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = resp.Body.Close() })
	rest = bufio.NewReader(resp.Body)
	line, err := rest.ReadString('\n')
	if err != nil || line+"\n" != firstEvent || resp.StatusCode != 200 {
		r.t.Fatalf("%d %q, %v", resp.StatusCode, line, err)
	}
	return rest, func() { _ = resp.Body.Close() }
}

const stopConfig = `
auth: {keys: [{id: alice, key: alice-s3cret}]}
shutdown_grace: %s
rate_limiting:
  default: {tokens_per_minute: 1000, concurrent_requests: 10}
  concurrent: {max_concurrent: 1, queue_timeout: 1h}
`

// used is the share that alice has used of a limit of hers.
func (r *rig) used(limit string) float64 {
	r.t.Helper()
	for _, u := range r.usage() {
		if u.Key == "alice" && u.Rule == "default."+limit {
			return u.Ratio
		}
	}
	r.t.Fatalf("nobody has used any of %s", limit)
	return 0
}

// TestStop: readiness goes 503, who waits is turned away, nobody new is let in,
// and the stream that is in flight finishes.
func TestStop(t *testing.T) {
	worker := newPausing()
	r := start(t, fmt.Sprintf(stopConfig, "1h"), worker)
	t.Cleanup(worker.release)
	r.set(noon())
	r.want("ready", r.admin("GET", "/readyz"), 200)
	rest, _ := r.stream("Authorization: Bearer alice-s3cret")
	waiting := make(chan *answer, 1)
	go func() {
		a, err := r.try(context.Background(), "POST", "http://"+r.Addr().String()+"/v1/chat/completions", chatBody("m", 1, 1))
		if err != nil {
			t.Errorf("one that waits: %v", err)
		}
		waiting <- a
	}()
	eventually(t, "one waits", func() bool { return r.queue.Stats().Waiting == 1 })

	r.stop()
	a := <-waiting
	r.want("one that waited", a, 503, "Retry-After: 1")
	r.wantBody("one that waited", a, `{"error":{"message":"The gateway is shutting down. Please retry after 1 seconds.","type":"server_error","code":"shutting_down","retry_after":1}}`)
	a = r.admin("GET", "/readyz")
	r.want("not ready", a, 503)
	r.wantBody("not ready", a, `{"error":"stopping"}`)
	r.want("but alive", r.admin("GET", "/healthz"), 200)
	if got := r.metric("penstock_inflight_requests"); got != "1" {
		t.Errorf("%s in flight, want the stream", got)
	}
	eventually(t, "nobody new is let in", func() bool {
		a, err := r.try(t.Context(), "GET", "http://"+r.Addr().String()+"/health", "")
		return err != nil || a.status == 503
	})

	worker.release()
	text, err := io.ReadAll(rest)
	if want := "\n" + lastEvents; err != nil || string(text) != want {
		t.Errorf("the stream ends with %q, %v; want %q", text, err, want)
	}
	if err := r.over(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if strings.Contains(r.log.String(), "were cut off") {
		t.Errorf("the log says that something was cut off:\n%s", r.log.String())
	}
	if got := r.used("tokens_per_minute"); got != 5./1000 {
		t.Errorf("%v of the tokens are used, want the 5 that the worker reported", got)
	}
	if got := r.used("concurrent_requests"); got != 0 {
		t.Errorf("%v of the places in flight are used, and nobody is", got)
	}
}

// TestStopWhenTheGraceIsOver: what does not end is cut, and settled by what has
// flowed.
func TestStopWhenTheGraceIsOver(t *testing.T) {
	worker := newPausing()
	r := start(t, fmt.Sprintf(stopConfig, "20ms"), worker)
	t.Cleanup(worker.release)
	r.set(noon())
	rest, _ := r.stream("Authorization: Bearer alice-s3cret")
	if got := r.used("tokens_per_minute"); got != 401./1000 {
		t.Errorf("%v of the tokens are reserved, want 1 in and 400 out", got)
	}
	r.stop()
	if text, err := io.ReadAll(rest); err == nil {
		t.Errorf("the stream seems to be whole: %q", text)
	}
	if err := r.over(); err != nil {
		t.Errorf("Run: %v", err)
	}
	r.log.line(t, "requests were cut off at the end of the grace")
	if got := r.used("tokens_per_minute"); got != 5./1000 {
		t.Errorf("%v of the tokens are used, want 1 in and the 4 that flowed", got)
	}
	if got := r.used("concurrent_requests"); got != 0 {
		t.Errorf("%v of the places in flight are used, and nobody is", got)
	}
	if n := r.queue.Stats().InFlight; n != 0 {
		t.Errorf("%d slots are held", n)
	}
}

// TestSecondSignal: the first signal begins the grace, the second ends it.
func TestSecondSignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			worker := newPausing()
			r := start(t, fmt.Sprintf(stopConfig, "1h"), worker)
			t.Cleanup(worker.release)
			rest, _ := r.stream()
			kill := func() {
				if err := syscall.Kill(syscall.Getpid(), signal); err != nil {
					t.Fatal(err)
				}
			}
			kill()
			r.log.line(t, `"stopping","grace":"1h0m0s"`)
			select {
			case err := <-r.ended:
				t.Fatalf("it has ended before the stream: %v", err)
			default:
			}
			kill()
			if _, err := io.ReadAll(rest); err == nil {
				t.Error("the stream seems to be whole")
			}
			if err := r.over(); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

// TestStopWithAnUpgradedConnection: one that was upgraded is cut at the end of
// the grace, too, and Run waits for it.
func TestStopWithAnUpgradedConnection(t *testing.T) {
	r := start(t, "shutdown_grace: 20ms\nrate_limiting: {default: {concurrent_requests: 1}}")
	q, err := http.NewRequest("GET", "http://"+r.Addr().String()+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		q.Header.Set(name, value)
	}
	resp, err := r.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%d, want an upgrade", resp.StatusCode)
	}
	r.want("it is none in flight", r.chat("m", 1, 1), 200)
	r.stop()
	_, _ = io.ReadAll(resp.Body) // however it ends: what counts is that it does
	if err := r.over(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestListenerBreaks: when a port is lost Run ends with an error, whichever it
// was.
func TestListenerBreaks(t *testing.T) {
	for i := range 2 {
		r := start(t, "log: {level: info}")
		_ = []io.Closer{r.front, r.back}[i].Close()
		select {
		case err := <-r.ended:
			if err == nil || !strings.HasPrefix(err.Error(), "server: accept tcp 127.0.0.1:") {
				t.Errorf("Run: %v", err)
			}
			r.ended <- nil // for the cleanup
		case <-time.After(patience):
			t.Fatal("Run does not end")
		}
	}
}
