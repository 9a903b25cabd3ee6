package gateway

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/standin"
	"github.com/penstock-dev/penstock/internal/workers"
)

// bothProtocols runs a test over HTTP/1.1 and over HTTP/2 without TLS.
func bothProtocols(t *testing.T, r *rig, test func(t *testing.T, c *http.Client)) {
	t.Run("http/1.1", func(t *testing.T) { test(t, r.client) })
	t.Run("h2c", func(t *testing.T) { test(t, r.client2) })
}

// TestStreamsFlushAsTheyCome has a worker that sends its next piece only when
// the client has seen the one before.
func TestStreamsFlushAsTheyCome(t *testing.T) {
	seen := make(chan struct{})
	stream := func(kind string, pieces []string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", kind)
			for _, p := range pieces {
				_, _ = io.WriteString(w, p)
				w.(http.Flusher).Flush()
				select {
				case <-seen:
				case <-r.Context().Done():
					return
				}
			}
		}
	}
	plain := []string{"a", "bc", "d\n\ndata: ", "e"}
	events := []string{
		": hello\n\n",
		"data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n",
		"event: x\ndata: {\"choices\":\ndata: []}\n\ndata: {}\n\n",
		"data: [DONE]\n\n",
	}
	cut := []string{"da", "ta: {\"choices\":[{\"delta\":{\"con", "tent\":\"a\"}}]}\n", "\n", "data: [DONE]\n\n"}
	mux := http.NewServeMux()
	mux.Handle("/plain", stream("text/plain", plain))
	mux.Handle("/v1/chat/completions", stream("text/event-stream", events))
	mux.Handle("/v1/completions", stream("text/event-stream", cut))
	r := newRig(t, "", mux)
	for _, c := range []struct {
		name, path, body string
		pieces           []string
	}{
		{"plain", "/plain", "x", plain},
		{"events that hide the usage", "/v1/chat/completions", `{"stream":true}`, events},
		{"events that show it", "/v1/chat/completions", `{"stream":true,"stream_options":{"include_usage":true}}`, events},
		{"pieces of events", "/v1/completions", `{"stream":true,"stream_options":{"include_usage":true}}`, cut},
	} {
		bothProtocols(t, r, func(t *testing.T, client *http.Client) {
			t.Run(c.name, func(t *testing.T) {
				resp, err := client.Do(r.request("POST", c.path, c.body))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				for _, p := range c.pieces {
					got := make([]byte, len(p))
					if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != p {
						t.Fatalf("read %q and %v, want %q", got, err, p)
					}
					seen <- struct{}{}
				}
				if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
					t.Errorf("behind the stream %q and %v, want its end", rest, err)
				}
			})
		})
	}
}

// TestUploadsFlowAsTheyCome has a client that sends its next piece only when
// the worker has seen the one before.
func TestUploadsFlowAsTheyCome(t *testing.T) {
	seen := make(chan string)
	r := newRig(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			if n > 0 {
				seen <- string(b[:n])
			}
			if err != nil {
				return
			}
		}
	}))
	bothProtocols(t, r, func(t *testing.T, client *http.Client) {
		body, pieces := io.Pipe()
		req := r.request("POST", "/upload/image", "")
		req.Body, req.ContentLength = body, -1
		answer := make(chan error, 1)
		go func() {
			resp, err := client.Do(req)
			if err == nil {
				err = resp.Body.Close()
			}
			answer <- err
		}()
		for _, p := range []string{"a", "bc", "d"} {
			_, _ = io.WriteString(pieces, p)
			if got := <-seen; got != p {
				t.Fatalf("the worker got %q, want %q", got, p)
			}
		}
		_ = pieces.Close()
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
	})
}

// heap is what lives in the heap, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// watched reads n zeroes, and looks at the heap now and then.
type watched struct {
	left, most int64
	next       int64
}

func (w *watched) Read(p []byte) (int, error) {
	if w.left <= 0 {
		return 0, io.EOF
	}
	if w.left <= w.next {
		w.most = max(w.most, heap())
		w.next -= 32 << 20
	}
	n := min(int64(len(p)), w.left)
	clear(p[:n])
	w.left -= n
	return int(n), nil
}

// TestBigBodiesAreNotHeld streams 200 MiB each way.
func TestBigBodiesAreNotHeld(t *testing.T) {
	const size, most = 200 << 20, 16 << 20
	r := newRig(t, "max_body_bytes: 256MiB", standin.New(standin.Options{}))
	before := heap()
	body := &watched{left: size, next: size}
	req := r.request("POST", "/echo", "")
	req.Body, req.ContentLength = io.NopCloser(body), size
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	a := readAll(resp)
	var echo struct {
		Size int64  `json:"body_bytes"`
		Sum  string `json:"body_sha256"`
	}
	if err := json.Unmarshal([]byte(a.body), &echo); err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	_, _ = io.Copy(sum, &watched{left: size})
	if echo.Size != size || echo.Sum != hex.EncodeToString(sum.Sum(nil)) {
		t.Errorf("the worker got %d bytes of sum %s", echo.Size, echo.Sum)
	}
	if grown := body.most - before; grown > most {
		t.Errorf("the heap grew by %d bytes during an upload, want at most %d", grown, most)
	}

	if resp, err = r.client.Do(r.request("GET", fmt.Sprintf("/bytes?n=%d", size), "")); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, size/2); err != nil {
		t.Fatal(err)
	}
	if grown := heap() - before; grown > most {
		t.Errorf("the heap grew by %d bytes during a download, want at most %d", grown, most)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != size/2 || err != nil {
		t.Errorf("the second half of the download is %d bytes and %v", n, err)
	}
}

// TestPromptsAreNotHeld has streams open whose requests were large: their
// bodies are not needed once the worker has them.
func TestPromptsAreNotHeld(t *testing.T) {
	const streams, size = 24, 4 << 20
	end := make(chan struct{})
	r := newRig(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for more := time.Tick(20 * time.Millisecond); ; {
			select {
			case <-more:
				_, _ = io.WriteString(w, ":\n\n")
				w.(http.Flusher).Flush()
				continue
			case <-end:
			}
			_, _ = io.WriteString(w, "data: [DONE]\n\n")
			return
		}
	}))
	finish := sync.OnceFunc(func() { close(end) })
	t.Cleanup(finish) // before the worker's: it waits for its handlers
	body := `{"stream":true,"x":"` + strings.Repeat("x", size) + `"}`
	before := heap()
	var open []*http.Response
	for range streams {
		resp, err := r.client.Do(r.request("POST", "/v1/completions", body))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, resp)
	}
	if n := r.buffered.Load(); n != 0 {
		t.Errorf("%d bytes are buffered, want 0", n)
	}
	// The transport lets go of a body a moment after it was sent, and the gateway
	// when the next bytes come.
	eventually(t, "the bodies are let go of", func() bool { return heap()-before < streams*size/8 })
	finish()
	for _, resp := range open {
		if a := readAll(resp); strings.TrimLeft(a.body, ":\n") != "data: [DONE]\n\n" || a.err != nil {
			t.Errorf("the stream is %q and %v", a.body, a.err)
		}
	}
}

// TestGzipPasses checks that what a worker compresses for the client stays so
// on plain paths, and that on metered ones it is not asked to.
func TestGzipPasses(t *testing.T) {
	r := newRig(t, "", standin.New(standin.Options{}))
	bothProtocols(t, r, func(t *testing.T, c *http.Client) {
		plain := r.sendOn(c, "GET", "/gzip", "")
		a := r.sendOn(c, "GET", "/gzip", "", "Accept-Encoding", "gzip")
		z, err := gzip.NewReader(strings.NewReader(a.body))
		if err != nil || a.header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("the answer is not compressed: %v %v", err, a.header)
		}
		if text, err := io.ReadAll(z); err != nil || string(text) != plain.body || plain.header.Get("Content-Encoding") != "" {
			t.Errorf("the text is %q and %v, want %q", text, err, plain.body)
		}
		// A worker that compresses unasked: it passes as it came, and what it
		// used cannot be known.
		a = r.sendOn(c, "POST", "/v1/completions", `{"model":"m","prompt":"a"}`, "X-Standin-Fault", "gzip", "Accept-Encoding", "gzip")
		if z, err = gzip.NewReader(strings.NewReader(a.body)); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(z); err != nil || !json.Valid(text) {
			t.Errorf("the answer is %q and %v", text, err)
		}
	})
}

// TestContinue is asked for by a client, and given or not.
func TestContinue(t *testing.T) {
	const head = "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
	t.Run("given by the worker", func(t *testing.T) {
		heads := make(chan string, 1)
		r := newRigFor(t, "", rawWorker(t, func(c net.Conn, r *bufio.Reader) {
			head, err := readHead(r)
			if err != nil {
				return
			}
			heads <- head
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			if _, err := io.ReadFull(r, make([]byte, 2)); err == nil {
				_, _ = io.WriteString(c, okAnswer)
			}
		}))
		w := r.dial()
		w.write(fmt.Sprintf(head, "/a"))
		if h := <-heads; !strings.Contains(h, "Expect: 100-continue\n") {
			t.Errorf("the worker is not asked: %s", h)
		}
		if line, err := readHead(w.r); line != "HTTP/1.1 100 Continue\n" || err != nil {
			t.Fatalf("got %q and %v, want to continue", line, err)
		}
		w.write("{}")
		if a := w.answer("POST"); a.status != 200 || a.body != "ok" {
			t.Errorf("answer %d %q", a.status, a.body)
		}
	})
	t.Run("refused by the worker", func(t *testing.T) {
		r := newRigFor(t, "", rawWorker(t, func(c net.Conn, r *bufio.Reader) {
			if _, err := readHead(r); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			}
		}))
		w := r.dial()
		w.write(fmt.Sprintf(head, "/a"))
		if a := w.answer("POST"); a.status != 417 || a.body != "no" {
			t.Errorf("answer %d %q", a.status, a.body)
		}
		w.wantClosed()
	})
	t.Run("given by the gateway", func(t *testing.T) {
		worker, requests := scripted(t, okAnswer)
		r := newRigFor(t, "", worker)
		w := r.dial()
		w.write(fmt.Sprintf(head, "/v1/completions"))
		if line, err := readHead(w.r); line != "HTTP/1.1 100 Continue\n" || err != nil {
			t.Fatalf("got %q and %v, want to continue", line, err)
		}
		w.write("{}")
		if a := w.answer("POST"); a.status != 200 || a.body != "ok" {
			t.Errorf("answer %d %q", a.status, a.body)
		}
		if h := (<-requests)[0]; strings.Contains(h, "Expect") {
			t.Errorf("the worker is asked: %s", h)
		}
	})
	t.Run("refused by the gateway", func(t *testing.T) {
		r := newRig(t, "rate_limiting: {default: {requests_per_hour: 1}}", standin.New(standin.Options{}))
		r.send("GET", "/health/x", "")
		for _, path := range []string{"/a", "/v1/completions"} {
			w := r.dial()
			w.write(fmt.Sprintf(head, path))
			if a := w.answer("POST"); a.status != 429 {
				t.Errorf("answer %d, want 429", a.status)
			}
			w.wantClosed()
		}
		r.wantUsed("requests_per_hour 1")
	})
}

// TestHTTP10 pins the bytes for a client of HTTP/1.0.
func TestHTTP10(t *testing.T) {
	r := newRigFor(t, "", rawWorker(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readHead(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
		}
	}))
	w := r.dial()
	w.write("GET /a HTTP/1.0\r\nX-Request-Id: id-1\r\n\r\n")
	got, err := io.ReadAll(w.r)
	want := "HTTP/1.0 200 OK\r\nContent-Type: a/b\r\nDate: x\r\nX-Request-Id: id-1\r\n\r\nok"
	if err != nil || string(got) != want {
		t.Errorf("got %q and %v, want %q", got, err, want)
	}
}

// TestPipelining sends several requests before it reads the first answer, with
// bodies, refusals and metered ones among them.
func TestPipelining(t *testing.T) {
	r := newRig(t, "rate_limiting: {default: {requests_per_hour: 4}}", standin.New(standin.Options{Output: standin.Lengths{Mean: 1}}))
	w := r.dial()
	var text bytes.Buffer
	const prompt = `{"model":"m","prompt":"a"}`
	for _, path := range []string{"/echo/1", "/v1/completions", "/metrics", "/echo/2", "/v1/completions", "/v1/completions", "/echo/3"} {
		fmt.Fprintf(&text, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(prompt), prompt)
	}
	w.write(text.String())
	for i, want := range []struct {
		status int
		part   string
	}{
		{200, `"target":"/echo/1"`},
		{200, `"text_completion"`},
		{404, "not_found"},
		{200, `"target":"/echo/2"`},
		{200, `"text_completion"`},
		{429, "rate_limit_exceeded"},
		{429, "rate_limit_exceeded"},
	} {
		if a := w.answer("POST"); a.status != want.status || !strings.Contains(a.body, want.part) {
			t.Errorf("answer %d is %d %q, want %d and %s", i, a.status, a.body, want.status, want.part)
		}
	}
	r.wantUsed("requests_per_hour 4")
}

// TestBodiesAreGoneWhenTheAnswerHasBegun has streams of workers by TLS, whose
// transport does not say when it has read a body for the last time. The stream may
// last for long, and the body no longer counts against max_buffered_bytes.
func TestBodiesAreGoneWhenTheAnswerHasBegun(t *testing.T) {
	const streams, size = 8, 4 << 20
	end := make(chan struct{})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", sse)
		_ = http.NewResponseController(w).Flush()
		<-end
	}))
	t.Cleanup(s.Close)
	r := newRigFor(t, "", s.URL)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	r.Workers.Update([]workers.Worker{{URL: r.worker(), CA: roots}}, workers.Policy{})
	body := `{"stream":true,"prompt":"` + strings.Repeat("x", size) + `"}`
	before := heap()
	defer close(end)
	for range streams {
		resp, err := r.client.Do(r.request("POST", "/v1/completions", body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
	}
	eventually(t, "the bodies are gone", func() bool { return heap()-before < streams*size/2 })
}
