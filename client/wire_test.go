package client_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/client"
)

// counted counts the requests that go to a real transport.
type counted struct {
	*http.Transport
	sent int
}

func (c *counted) RoundTrip(req *http.Request) (*http.Response, error) {
	c.sent++
	return c.Transport.RoundTrip(req)
}

// TestRetryOnTheWire: a body is sent anew, whole, each time, on one connection.
func TestRetryOnTheWire(t *testing.T) {
	want := strings.Repeat("ask ", 50_000)
	var asked, connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != want || r.ContentLength != int64(len(want)) {
			t.Errorf("request %d: %d bytes of %d, %v", asked.Load(), len(got), r.ContentLength, err)
		}
		if asked.Add(1) <= 3 {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("retry-after-ms", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			io.WriteString(w, `{"error":{"code":"rate_limit_exceeded"}}`)
			return
		}
		w.(http.Flusher).Flush() // a stream
		io.WriteString(w, "answer")
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := http.Client{Transport: client.Retry{Base: &client.Adaptive{Base: s.Client().Transport, Start: 1000, Max: 1000}}}
	resp, err := c.Post(s.URL, "text/plain", strings.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	if got := finish(t, resp); got != "answer" || resp.StatusCode != 200 {
		t.Errorf("%d: %q", resp.StatusCode, got)
	}
	if asked.Load() != 4 || connections.Load() != 1 {
		t.Errorf("%d requests on %d connections", asked.Load(), connections.Load())
	}
}

// TestRetryOfConnections: what net/http says when there is no connection is
// known for it, and what it says of one that breaks is not taken for it.
func TestRetryOfConnections(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close() // nobody listens there
	refused := "http://" + gone.Addr().String()
	breaks := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		panic(http.ErrAbortHandler)
	}))
	defer breaks.Close()
	proxy, err := url.Parse(refused)
	if err != nil {
		t.Fatal(err)
	}
	unknown := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}
	}
	for _, tt := range []struct {
		name      string
		transport *http.Transport
		url       string
		sent      int
	}{
		{"refused", &http.Transport{}, refused, 3},
		{"no proxy", &http.Transport{Proxy: http.ProxyURL(proxy)}, "http://penstock.test/", 3},
		{"no such name", &http.Transport{DialContext: unknown}, "http://penstock.test/", 1},
		{"broken off", &http.Transport{}, breaks.URL, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := &counted{Transport: tt.transport}
			defer base.CloseIdleConnections()
			c := http.Client{Transport: client.Retry{Base: base, Tries: 3, MaxWait: time.Millisecond}}
			resp, err := c.Post(tt.url, "text/plain", strings.NewReader("ask"))
			if err == nil {
				resp.Body.Close()
				t.Fatalf("answered %d", resp.StatusCode)
			}
			if base.sent != tt.sent {
				t.Errorf("sent %d times, want %d: %v", base.sent, tt.sent, err)
			}
		})
	}
}
