package workers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // http.Transport logs what workers say unasked
	goleak.VerifyTestMain(m)
}

func mustParse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// newWorker starts a worker on a real socket.
func newWorker(t testing.TB, h http.HandlerFunc) Worker {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return Worker{URL: mustParse(t, srv.URL)}
}

// newWatchedWorker starts a worker whose connections are counted.
func newWatchedWorker(t testing.TB, watch *connWatch, h http.HandlerFunc) Worker {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ConnState = watch.see
	srv.Start()
	t.Cleanup(srv.Close)
	return Worker{URL: mustParse(t, srv.URL)}
}

// newRawWorker starts a worker that handles each connection by itself.
func newRawWorker(t testing.TB, handle func(net.Conn)) Worker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return Worker{URL: mustParse(t, "http://"+l.Addr().String())}
}

// dead returns n workers that refuse connections: they share a port below
// those that systems hand out, where nobody listens.
func dead(t testing.TB, n int) []Worker {
	t.Helper()
	workers := make([]Worker, n)
	for i := range workers {
		workers[i].URL = mustParse(t, fmt.Sprintf("http://127.0.0.1:1/%d", i))
	}
	return workers
}

func newPool(t testing.TB, workers ...Worker) *Pool {
	t.Helper()
	p := New(Options{})
	p.Update(workers, Policy{})
	t.Cleanup(func() { p.Update(nil, Policy{}) })
	return p
}

type newPoolFunc = func(t testing.TB, workers ...Worker) *Pool

// bothWays runs f with pools whose http1 takes what is plain, and with such that
// leave everything to http.Transport.
func bothWays(t *testing.T, f func(t *testing.T, newPool newPoolFunc)) {
	t.Run("http1", func(t *testing.T) { f(t, newPool) })
	t.Run("Transport", func(t *testing.T) { f(t, newTransportPool) })
}

func newTransportPool(t testing.TB, workers ...Worker) *Pool {
	t.Helper()
	p := newPool(t, workers...)
	for _, w := range p.workers {
		w.http1 = nil
	}
	return p
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialBy has w connected to by what change makes of how it was.
func dialBy(w *worker, change func(dialFunc) dialFunc) {
	w.transport.DialContext = change(w.transport.DialContext)
	if w.http1 != nil {
		w.http1.dial = change(w.http1.dial)
	}
}

// newGateway starts a bare ReverseProxy in front of p. The channel says when
// each request's handler has returned.
func newGateway(t testing.TB, p *Pool) (*url.URL, <-chan struct{}) {
	t.Helper()
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(*httputil.ProxyRequest) {},
		Transport: p,
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	done := make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { done <- struct{}{} }()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return mustParse(t, srv.URL), done
}

// dial connects to u and sends text.
func dial(t testing.TB, u *url.URL, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func newRequest(t testing.TB, method string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://gateway.test/v1/x", body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// get sends a GET and returns the answer's body.
func get(t testing.TB, p *Pool) string {
	t.Helper()
	return send(t, p, newRequest(t, http.MethodGet, nil))
}

func send(t testing.TB, p *Pool, req *http.Request) string {
	t.Helper()
	resp, err := p.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return string(body)
}

// onceBody is a body that cannot be made anew, and says how often it was closed.
type onceBody struct {
	io.Reader
	closed int
}

func newOnce(s string) *onceBody { return &onceBody{Reader: strings.NewReader(s)} }

func (o *onceBody) Close() error {
	o.closed++
	return nil
}

// counts is a worker's Stats without the URL.
type counts struct {
	Outstanding  int
	Sent, Failed uint64
}

func wantCounts(t testing.TB, p *Pool, want ...counts) {
	t.Helper()
	stats := p.Stats()
	if len(stats) != len(want) {
		t.Fatalf("%d workers, want %d", len(stats), len(want))
	}
	for i, s := range stats {
		if got := (counts{s.Outstanding, s.Sent, s.Failed}); got != want[i] {
			t.Errorf("worker %d: %+v, want %+v", i, got, want[i])
		}
	}
}

// waitFor waits until ok says so.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	giveUp := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-giveUp:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// wantUnsent checks that err promises that nothing was sent.
func wantUnsent(t testing.TB, err error) {
	t.Helper()
	var unsent *ConnectError
	if !errors.As(err, &unsent) {
		t.Errorf("got %v, want a ConnectError", err)
	}
}
