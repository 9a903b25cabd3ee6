package workers

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestTransport checks what a worker sees and may send.
func TestTransport(t *testing.T) {
	const most = 256 << 10
	w := newWorker(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Error("Accept-Encoding was added")
		}
		if r.Host != "gateway.test" {
			t.Errorf("Host is %q", r.Host)
		}
		n := 0
		_, _ = fmt.Sscan(r.URL.RawQuery, &n)
		w.Header().Set("Large", strings.Repeat("x", n))
	})
	p := newPool(t, w)
	if p.workers[0].transport.Proxy != nil {
		t.Error("a proxy of the environment might be used")
	}
	for _, tt := range []struct {
		size int
		ok   bool
	}{{most - 1024, true}, {most, false}} {
		req := newRequest(t, http.MethodGet, nil)
		req.RequestURI = fmt.Sprintf("/?%d", tt.size)
		resp, err := p.RoundTrip(req)
		if (err == nil) != tt.ok {
			t.Errorf("a header of %d bytes: %v", tt.size, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
	}
}

// TestHTTP2 sends raw targets and bodies to a worker that speaks HTTP/2, and
// fails over from one that does not answer.
func TestHTTP2(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s ", r.Proto, r.RequestURI)
		echo(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	p := newPool(t, append(dead(t, 1), Worker{URL: mustParse(t, srv.URL+"/base")}, Worker{URL: mustParse(t, srv.URL)})...)
	for _, w := range p.workers {
		w.transport.TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		w.transport.TLSClientConfig.NextProtos = nil
	}
	for i, want := range []string{
		"HTTP/2.0 /base/a^b%2fc;d?e=%zz prompt",
		"HTTP/2.0 /a^b%2fc;d?e=%zz prompt",
	} {
		p.next = i + 1
		req := newRequest(t, http.MethodPost, bytes.NewReader([]byte("prompt")))
		req.RequestURI = "/a^b%2fc;d?e=%zz"
		if got := send(t, p, req); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	p.next = 0 // the dead one first
	req := newRequest(t, http.MethodPost, newOnce("prompt"))
	req.RequestURI = "//x"
	if got, want := send(t, p, req), "HTTP/2.0 /base//x prompt"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.next = 2
	req = newRequest(t, http.MethodGet, nil)
	req.RequestURI = "//x?"
	if got, want := send(t, p, req), "HTTP/2.0 //x? "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	wantCounts(t, p, counts{Failed: 1}, counts{Sent: 2}, counts{Sent: 2})
}
