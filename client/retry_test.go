package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/client"
)

// inTurn answers the nth request with the nth answer, and with the last one
// from then on.
func inTurn(answers ...func() *http.Response) *server {
	return &server{answer: func(nth int, _ *http.Request) (*http.Response, error) {
		return answers[min(nth, len(answers))-1](), nil
	}}
}

func says(status int, headers ...string) func() *http.Response {
	return func() *http.Response { return answer(status, http.StatusText(status), headers...) }
}

func TestRetryWaitsAsTold(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name    string
		answers []func() *http.Response
		at      []time.Duration
		status  int
	}{
		{"allowed", []func() *http.Response{says(200)}, []time.Duration{0}, 200},
		{
			"seconds",
			[]func() *http.Response{says(429, "Retry-After", "45"), says(503, "Retry-After", "2"), says(200)},
			[]time.Duration{0, 45 * s, 47 * s},
			200,
		},
		{
			"milliseconds before seconds",
			[]func() *http.Response{says(429, "Retry-After", "2", "retry-after-ms", "1250"), says(200)},
			[]time.Duration{0, 1250 * time.Millisecond},
			200,
		},
		{
			"a date of the bubble's clock, which begins in 2000",
			[]func() *http.Response{says(429, "Retry-After", "Sat, 01 Jan 2000 00:00:10 GMT"), says(200)},
			[]time.Duration{0, 10 * s},
			200,
		},
		{
			"529, as Anthropic says that it is overloaded",
			[]func() *http.Response{says(529, "Retry-After", "7"), says(200)},
			[]time.Duration{0, 7 * s},
			200,
		},
		{
			"408 of the queue",
			[]func() *http.Response{says(408, "Retry-After", "1", "retry-after-ms", "1000"), says(200)},
			[]time.Duration{0, s},
			200,
		},
		{
			"x-should-retry: true",
			[]func() *http.Response{says(502, "Retry-After", "3", "x-should-retry", "true"), says(200)},
			[]time.Duration{0, 3 * s},
			200,
		},
		{
			"then another error",
			[]func() *http.Response{says(429, "Retry-After", "1"), says(500, "Retry-After", "1")},
			[]time.Duration{0, s},
			500,
		},
		{
			"five tries",
			[]func() *http.Response{says(429, "Retry-After", "60")},
			[]time.Duration{0, 60 * s, 120 * s, 180 * s, 240 * s},
			429,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := inTurn(tt.answers...)
				resp, err := client.Retry{Base: server}.RoundTrip(post(t, "ask"))
				if err != nil {
					t.Fatal(err)
				}
				server.came(t, tt.at...)
				if resp.StatusCode != tt.status {
					t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
				}
				if server.open != 1 {
					t.Errorf("%d answers are open, want the returned one alone", server.open)
				}
				if got := finish(t, resp); got != http.StatusText(tt.status) {
					t.Errorf("body %q", got)
				}
				for n, body := range server.bodies {
					if body != "ask" {
						t.Errorf("try %d sent %q", n+1, body)
					}
				}
				if server.unread != 0 {
					t.Errorf("%d answers were not read to their end: their connections are lost", server.unread)
				}
			})
		})
	}
}

// TestRetryReturnsAtOnce: what must not be sent again comes back as it is,
// without a wait.
func TestRetryReturnsAtOnce(t *testing.T) {
	for _, tt := range []struct {
		status  int
		headers []string
	}{
		{200, []string{"Retry-After", "1", "x-should-retry", "true"}},
		{301, []string{"Retry-After", "1"}},
		{400, nil},
		{408, nil}, // body_too_slow
		{409, []string{"Retry-After", "1"}},
		{429, []string{"x-should-retry", "false"}},
		{429, []string{"Retry-After", "1", "x-should-retry", "false"}},
		{429, []string{"Retry-After", "61"}},
		{429, []string{"Retry-After", "99999999999999999999"}},
		{429, []string{"Retry-After", "1", "retry-after-ms", "1e400"}},
		{429, []string{"Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT"}},
		{500, []string{"Retry-After", "1"}},
		{502, []string{"Retry-After", "1"}},
		{502, []string{"Retry-After", "61", "x-should-retry", "true"}},
		{504, []string{"Retry-After", "1"}},
		{503, []string{"Retry-After", "1", "x-should-retry", "false"}},
	} {
		t.Run(fmt.Sprint(tt.status, tt.headers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := answer(tt.status, "as it came", tt.headers...)
				server := inTurn(func() *http.Response { return sent })
				resp, err := client.Retry{Base: server}.RoundTrip(post(t, "ask"))
				if err != nil || resp != sent {
					t.Fatalf("got %v, %v; want the answer itself", resp, err)
				}
				server.came(t, 0)
				if got := finish(t, resp); got != "as it came" {
					t.Errorf("body %q", got)
				}
			})
		})
	}
}

// TestRetryBacksOff: without a told wait, or with one that says no time to come,
// the waits are spread over 1 s, 2 s, 4 s and 8 s.
func TestRetryBacksOff(t *testing.T) {
	for name, headers := range map[string][]string{
		"none":     nil,
		"zero":     {"Retry-After", "0", "retry-after-ms", "0"},
		"negative": {"Retry-After", "-5", "retry-after-ms", "-1"},
		"past":     {"Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"},
		"words":    {"Retry-After", "soon", "retry-after-ms", "NaN"},
	} {
		t.Run(name, func(t *testing.T) { backsOff(t, says(503, headers...), 0, 1, 2, 4, 8) })
	}
	t.Run("below MaxWait", func(t *testing.T) { backsOff(t, says(429), 3*time.Second, 1, 2, 3, 3) })
}

// backsOff sends requests that are always refused and looks at how their waits
// are spread: 500 that are uniform come within a tenth of either end but once in
// 10^22 runs.
func backsOff(t *testing.T, refusal func() *http.Response, maxWait time.Duration, ceilings ...time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		least := make([]time.Duration, len(ceilings))
		most := make([]time.Duration, len(ceilings))
		for n := range 500 {
			server := inTurn(refusal)
			resp, err := client.Retry{Base: server, MaxWait: maxWait}.RoundTrip(post(t, ""))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if len(server.at) != len(ceilings)+1 {
				t.Fatalf("%d tries", len(server.at))
			}
			for i := range ceilings {
				wait := server.at[i+1] - server.at[i]
				if n == 0 {
					least[i] = wait
				}
				least[i], most[i] = min(least[i], wait), max(most[i], wait)
			}
		}
		for i, seconds := range ceilings {
			ceiling := seconds * time.Second
			if least[i] > ceiling/10 || most[i] < ceiling-ceiling/10 || most[i] >= ceiling {
				t.Errorf("wait %d was from %v to %v, want it spread below %v", i+1, least[i], most[i], ceiling)
			}
		}
	})
}

func TestRetryTries(t *testing.T) {
	for tries, want := range map[int]int{-1: 5, 0: 5, 1: 1, 2: 2, 100: 100} {
		synctest.Test(t, func(t *testing.T) {
			server := inTurn(says(429))
			resp, err := client.Retry{Base: server, Tries: tries}.RoundTrip(post(t, "ask"))
			if err != nil {
				t.Fatal(err)
			}
			if len(server.at) != want || resp.StatusCode != 429 || finish(t, resp) != "Too Many Requests" {
				t.Errorf("Tries %d: sent %d times, want %d, answered %d", tries, len(server.at), want, resp.StatusCode)
			}
		})
	}
}

func TestRetryBodies(t *testing.T) {
	get := func(url string, body io.Reader) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, body)
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	const url = "http://penstock.test/"
	lost := get(url, strings.NewReader("ask"))
	lost.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("the file has gone") }
	for _, tt := range []struct {
		name  string
		req   *http.Request
		times int
	}{
		{"none", get(url, nil), 5},
		{"NoBody", get(url, http.NoBody), 5},
		{"in memory", get(url, strings.NewReader("ask")), 5},
		{"a stream", get(url, io.MultiReader(strings.NewReader("ask"))), 1},
		{"cannot be had again", lost, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := tt.req.Body
				var requests []*http.Request
				server := &server{answer: func(_ int, req *http.Request) (*http.Response, error) {
					requests = append(requests, req)
					return answer(429, "refused", "Retry-After", "1"), nil
				}}
				resp, err := client.Retry{Base: server}.RoundTrip(tt.req.WithContext(t.Context()))
				if err != nil {
					t.Fatal(err)
				}
				if got := finish(t, resp); got != "refused" {
					t.Errorf("body %q", got)
				}
				if len(requests) != tt.times {
					t.Errorf("sent %d times, want %d", len(requests), tt.times)
				}
				if requests[0].Body != body {
					t.Error("the caller's request was changed")
				}
			})
		})
	}
}

// closes notes that it was closed.
type closes struct {
	io.Reader
	closed bool
}

func (c *closes) Close() error {
	c.closed = true
	return nil
}

func TestRetryUnderAContext(t *testing.T) {
	gone := errors.New("the user has gone")
	for _, tt := range []struct {
		name string
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		err  error
		took time.Duration
	}{
		{
			"ends while it waits",
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(ctx)
				stop := time.AfterFunc(4*time.Second, func() { cancel(gone) })
				return ctx, func() { stop.Stop() }
			},
			gone,
			4 * time.Second,
		},
		{
			"has less time than the wait",
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 9*time.Second)
			},
			nil,
			0,
		},
		{
			"ends with the wait",
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 10*time.Second)
			},
			nil,
			0,
		},
		{
			"was done before the answer",
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return ctx, cancel
			},
			nil,
			0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := tt.ctx(t.Context())
				defer cancel()
				server := inTurn(says(429, "Retry-After", "10"))
				req := post(t, "ask").WithContext(ctx)
				second := &closes{Reader: strings.NewReader("ask")}
				req.GetBody = func() (io.ReadCloser, error) { return second, nil }
				start := time.Now()
				resp, err := client.Retry{Base: server}.RoundTrip(req)
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				server.came(t, 0)
				switch {
				case tt.err != nil:
					if resp != nil || !errors.Is(err, tt.err) {
						t.Errorf("got %v, %v; want %v", resp, err, tt.err)
					}
					if server.open != 0 || !second.closed {
						t.Errorf("%d answers open, second body closed: %v", server.open, second.closed)
					}
				case err != nil:
					t.Error(err)
				case finish(t, resp) != "Too Many Requests":
					t.Error("the answer's body is not whole")
				}
			})
		})
	}
}

// TestRetryUnderATimeout: http.Client's own limit counts as the context's.
func TestRetryUnderATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := inTurn(says(429, "Retry-After", "10"))
		c := http.Client{Transport: client.Retry{Base: server}, Timeout: 25 * time.Second}
		resp, err := c.Do(post(t, "ask"))
		if err != nil {
			t.Fatal(err)
		}
		finish(t, resp)
		if resp.StatusCode != 429 || time.Since(server.start) != 20*time.Second {
			t.Errorf("status %d after %v", resp.StatusCode, time.Since(server.start))
		}
		server.came(t, 0, 10*time.Second, 20*time.Second)
	})
}

func TestRetryAfterErrors(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, tt := range []struct {
		name  string
		err   error
		body  io.Reader
		times int
	}{
		{"refused", refused, strings.NewReader("ask"), 5},
		{"refused, no body", refused, nil, 5},
		{"refused, a stream", refused, io.MultiReader(strings.NewReader("ask")), 1},
		{"no proxy", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: refused}, nil, 5},
		{"resolver", &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{IsTemporary: true}}, nil, 5},
		{"no such name", &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{IsNotFound: true}}, nil, 1},
		{"broken off", &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, nil, 1},
		{"unknown", io.ErrUnexpectedEOF, nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://penstock.test/", tt.body)
				if err != nil {
					t.Fatal(err)
				}
				server := &server{answer: func(int, *http.Request) (*http.Response, error) { return nil, tt.err }}
				if _, err := (client.Retry{Base: server}).RoundTrip(req); err != tt.err {
					t.Errorf("got %v, want %v", err, tt.err)
				}
				if len(server.at) != tt.times {
					t.Errorf("sent %d times, want %d", len(server.at), tt.times)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		server := &server{answer: func(nth int, _ *http.Request) (*http.Response, error) {
			if nth == 1 {
				return nil, refused
			}
			return answer(200, "hello"), nil
		}}
		resp, err := client.Retry{Base: server}.RoundTrip(post(t, "ask"))
		if err != nil || finish(t, resp) != "hello" {
			t.Errorf("after a refused connection: %v, %v", resp, err)
		}
	})
}

// TestRetryDiscards: an answer that is not returned is closed in any case, and
// read only where it says that it is short.
func TestRetryDiscards(t *testing.T) {
	const most = 64 << 10
	for _, tt := range []struct {
		length int64
		body   io.Reader
		unread int
	}{
		{length: 0, body: strings.NewReader(""), unread: 0},
		{length: 7, body: strings.NewReader("refused"), unread: 0},
		{length: 9, body: strings.NewReader("refused"), unread: 0}, // broken off
		{length: most, body: strings.NewReader(strings.Repeat("x", most)), unread: 0},
		{length: most + 1, body: strings.NewReader(strings.Repeat("x", most+1)), unread: 1},
		{length: -1, body: endless{}, unread: 1},
		{length: 7, body: endless{}, unread: 1}, // it lies
	} {
		synctest.Test(t, func(t *testing.T) {
			server := inTurn(func() *http.Response {
				resp := answer(429, "", "Retry-After", "1")
				resp.Body, resp.ContentLength = io.NopCloser(tt.body), tt.length
				return resp
			}, says(204))
			resp, err := client.Retry{Base: server}.RoundTrip(post(t, "ask"))
			if err != nil {
				t.Fatal(err)
			}
			finish(t, resp)
			if server.open != 0 || server.unread != tt.unread {
				t.Errorf("length %d: %d open, %d unread, want %d", tt.length, server.open, server.unread, tt.unread)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestRetryDoesNotWaitForBodies: a body that was announced and does not come holds
// a request up for no longer than it waits anyway.
func TestRetryDoesNotWaitForBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &server{answer: func(nth int, _ *http.Request) (*http.Response, error) {
			if nth > 2 {
				return answer(200, ""), nil
			}
			body, late := io.Pipe()
			if nth == 2 {
				time.AfterFunc(2*time.Second, func() { io.WriteString(late, "late") })
			}
			resp := answer(429, "late", "Retry-After", "3")
			resp.Body = body
			return resp, nil
		}}
		resp, err := client.Retry{Base: server}.RoundTrip(post(t, "ask"))
		if err != nil {
			t.Fatal(err)
		}
		finish(t, resp)
		server.came(t, 0, 3*time.Second, 6*time.Second)
		if server.open != 0 {
			t.Errorf("%d bodies are open", server.open)
		}
	})
}

func TestCloseIdleConnections(t *testing.T) {
	server := &server{}
	c := http.Client{Transport: client.Retry{Base: &client.Adaptive{Base: server}}}
	c.CloseIdleConnections()
	if server.idle != 1 {
		t.Errorf("reached the base %d times", server.idle)
	}
	deaf := struct{ http.RoundTripper }{server}
	c.Transport = client.Retry{Base: deaf}
	c.CloseIdleConnections() // it cannot, and nothing happens
}
