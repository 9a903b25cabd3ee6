package workers

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// copyBuffers is what both proxies copy with, so that buffers are not what is
// measured.
type copyBuffers struct{ sync.Pool }

func (c *copyBuffers) Get() []byte  { return *c.Pool.Get().(*[]byte) }
func (c *copyBuffers) Put(b []byte) { c.Pool.Put(&b) }

func newCopyBuffers() *copyBuffers {
	return &copyBuffers{sync.Pool{New: func() any {
		b := make([]byte, 32<<10)
		return &b
	}}}
}

// held sends a body that it has in memory.
type held struct {
	*Pool
	body []byte
}

func (h held) RoundTrip(r *http.Request) (*http.Response, error) {
	out := *r
	out.Body = nil
	return h.Send(&out, holding(h.body), Want{})
}

// BenchmarkProxy is a ReverseProxy on the pool, which holds the body, beside a
// bare one. Client and worker, in the same process, are part of the figures.
func BenchmarkProxy(b *testing.B) {
	answer := bytes.Repeat([]byte("x"), 512)
	w := newWorker(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	})
	bare := newTransport(New(Options{}).options)
	pool, without := newPool(b, w), newTransportPool(b, w)
	defer bare.CloseIdleConnections()
	for _, size := range []struct {
		name  string
		bytes int
	}{{"0.5KB", 512}, {"6KB", 6 << 10}, {"200KB", 200 << 10}} {
		body := bytes.Repeat([]byte("x"), size.bytes)
		for _, via := range []struct {
			name      string
			transport http.RoundTripper
			rewrite   func(*httputil.ProxyRequest)
		}{
			{"bare", bare, func(r *httputil.ProxyRequest) { r.SetURL(w.URL) }},
			{"http1", held{pool, body}, func(*httputil.ProxyRequest) {}},
			{"Transport", held{without, body}, func(*httputil.ProxyRequest) {}},
		} {
			b.Run(size.name+"/"+via.name, func(b *testing.B) {
				proxy := &httputil.ReverseProxy{Rewrite: via.rewrite, Transport: via.transport, BufferPool: newCopyBuffers()}
				b.ReportAllocs()
				for b.Loop() {
					req := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", bytes.NewReader(body))
					out := httptest.NewRecorder()
					proxy.ServeHTTP(out, req)
					if out.Body.Len() != len(answer) {
						b.Fatalf("status %d, %d bytes", out.Code, out.Body.Len())
					}
				}
			})
		}
	}
}

// BenchmarkPick chooses among 16 workers.
func BenchmarkPick(b *testing.B) {
	var workers []Worker
	for i := range 16 {
		workers = append(workers, Worker{URL: &url.URL{Scheme: "http", Host: string(rune('a'+i)) + ".test"}})
	}
	p := newPool(b, workers...)
	want := Want{Tokens: 1}
	b.ReportAllocs()
	for b.Loop() {
		p.pick(&want, nil, first, 0)
	}
}

func BenchmarkSetTarget(b *testing.B) {
	base := &url.URL{Scheme: "http", Host: "worker.test"}
	out := &http.Request{URL: new(url.URL)}
	b.ReportAllocs()
	for b.Loop() {
		SetTarget(out, base, "/v1/chat/completions?beta=1")
	}
}
