package workers

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// echo answers with the request's body.
func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

func TestNoWorker(t *testing.T) {
	p := newPool(t)
	body := newOnce("x")
	_, err := p.RoundTrip(newRequest(t, http.MethodPost, body))
	if !errors.Is(err, ErrNoWorker) {
		t.Errorf("got %v, want ErrNoWorker", err)
	}
	if body.closed != 1 {
		t.Errorf("the body was closed %d times", body.closed)
	}
	if _, err := p.RoundTrip(newRequest(t, http.MethodGet, nil)); !errors.Is(err, ErrNoWorker) {
		t.Errorf("without a body: %v", err)
	}
}

func TestFailOver(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		notTLS := newWorker(t, echo)
		notTLS.URL.Scheme = "https"
		live := newWorker(t, echo)
		for name, body := range map[string]func() io.Reader{
			"no body":            func() io.Reader { return nil },
			"a body in memory":   func() io.Reader { return strings.NewReader("prompt") },
			"a body that passes": func() io.Reader { return newOnce("prompt") },
		} {
			t.Run(name, func(t *testing.T) {
				p := newPool(t, append(dead(t, 1), notTLS, live)...)
				want := "prompt"
				if body() == nil {
					want = ""
				}
				for i := range 3 {
					req := newRequest(t, http.MethodPost, body())
					if got := send(t, p, req); got != want {
						t.Errorf("request %d: the worker got %q, want %q", i, got, want)
					}
				}
				// The third began with the live one, whose turn it was.
				wantCounts(t, p, counts{Failed: 3}, counts{Failed: 3}, counts{Sent: 3})
			})
		}
	})
}

func TestNoWorkerReached(t *testing.T) {
	for _, inMemory := range []bool{false, true} {
		p := newPool(t, dead(t, 3)...)
		bodies := []*onceBody{newOnce("prompt")}
		req := newRequest(t, http.MethodPost, bodies[0])
		if inMemory {
			req.GetBody = func() (io.ReadCloser, error) {
				bodies = append(bodies, newOnce("prompt"))
				return bodies[len(bodies)-1], nil
			}
		}
		_, err := p.RoundTrip(req)
		wantUnsent(t, err)
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" {
			t.Errorf("%v does not wrap the dial error", err)
		}
		if !strings.HasPrefix(err.Error(), "workers: no connection to any: dial tcp 127.0.0.1:1: ") {
			t.Errorf("unexpected text: %v", err)
		}
		for i, body := range bodies {
			if body.closed != 1 {
				t.Errorf("in memory %t: body %d was closed %d times", inMemory, i, body.closed)
			}
		}
		if inMemory && len(bodies) != 3 {
			t.Errorf("%d bodies for three workers", len(bodies))
		}
		wantCounts(t, p, counts{Failed: 1}, counts{Failed: 1}, counts{Failed: 1})
	}
}

func TestBodyCannotBeMadeAgain(t *testing.T) {
	p := newPool(t, append(dead(t, 1), newWorker(t, echo))...)
	req := newRequest(t, http.MethodPost, newOnce("prompt"))
	gone := errors.New("buffer gone")
	req.GetBody = func() (io.ReadCloser, error) { return nil, gone }
	_, err := p.RoundTrip(req)
	wantUnsent(t, err)
	if !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	wantCounts(t, p, counts{Failed: 1}, counts{})
}

// TestSentIsNotSentAgain lets a worker read the request and break off: the
// request may have been served, so that no other worker gets it.
func TestSentIsNotSentAgain(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		breaks := newRawWorker(t, func(c net.Conn) {
			if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
			}
		})
		for _, body := range []io.Reader{nil, strings.NewReader("prompt"), newOnce("prompt")} {
			p := newPool(t, breaks, newWorker(t, echo))
			_, err := p.RoundTrip(newRequest(t, http.MethodPost, body))
			var unsent *ConnectError
			if err == nil || errors.As(err, &unsent) {
				t.Errorf("body %T: got %v, want the transport's error", body, err)
			}
			wantCounts(t, p, counts{Sent: 1, Failed: 1}, counts{})
		}
	})
}

// closedAtEnd is a body that the server has closed when its last byte was
// read.
type closedAtEnd struct{ strings.Reader }

func (c *closedAtEnd) Close() error { return nil }

func (c *closedAtEnd) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n == 0 {
		err = http.ErrBodyReadAfterClose
	}
	return n, err
}

// TestKnownLength checks that a body is not read past its length.
func TestKnownLength(t *testing.T) {
	p := newPool(t, newWorker(t, echo))
	for _, prompt := range []string{"p", "prompt", strings.Repeat("prompt", 1e5)} {
		body := &closedAtEnd{*strings.NewReader(prompt)}
		req := newRequest(t, http.MethodPost, body)
		req.ContentLength = int64(len(prompt))
		if got := send(t, p, req); got != prompt {
			t.Errorf("the worker got %d bytes of %d", len(got), len(prompt))
		}
	}
	// A body that is too short is still an error.
	req := newRequest(t, http.MethodPost, newOnce("prompt"))
	req.ContentLength = 7
	if _, err := p.RoundTrip(req); err == nil {
		t.Error("6 of 7 bytes were enough")
	}
}

// TestBrokenClientBody checks that a client that breaks off is not the
// worker's failure.
func TestBrokenClientBody(t *testing.T) {
	p := newPool(t, newWorker(t, echo))
	broken := errors.New("client broke off")
	body, feed := io.Pipe()
	go func() {
		_, _ = io.WriteString(feed, "half a pro")
		_ = feed.CloseWithError(broken)
	}()
	_, err := p.RoundTrip(newRequest(t, http.MethodPost, body))
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	wantCounts(t, p, counts{Sent: 1})
}

// TestBrokenClientBodyMidAnswer is the same once the answer has begun.
func TestBrokenClientBodyMidAnswer(t *testing.T) {
	p := newPool(t, newWorker(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if err := c.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		_ = c.Flush()
		echo(w, r)
	}))
	body, feed := io.Pipe()
	resp, err := p.RoundTrip(newRequest(t, http.MethodPost, body))
	if err != nil {
		t.Fatal(err)
	}
	_ = feed.CloseWithError(errors.New("client broke off"))
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("the answer came to its end")
	}
	wantCounts(t, p, counts{Sent: 1})
}

// TestClientLeavesWhileConnecting checks that it is known that nothing was
// sent, and that neither worker is to blame.
func TestClientLeavesWhileConnecting(t *testing.T) {
	p := newPool(t, dead(t, 2)...)
	dialing, hang := make(chan struct{}, 1), make(chan struct{})
	ended := make(chan struct{})
	dialBy(p.workers[0], func(dialFunc) dialFunc {
		return func(context.Context, string, string) (net.Conn, error) {
			defer close(ended)
			dialing <- struct{}{}
			<-hang
			return nil, errors.New("too late")
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-dialing
		cancel()
	}()
	body := newOnce("prompt")
	_, err := p.RoundTrip(newRequest(t, http.MethodPost, body).WithContext(ctx))
	wantUnsent(t, err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it to wrap context.Canceled", err)
	}
	if body.closed != 1 {
		t.Errorf("the body was closed %d times", body.closed)
	}
	wantCounts(t, p, counts{}, counts{})
	close(hang)
	<-ended
}

func TestClientHasLeftBefore(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		p := newPool(t, newWorker(t, echo), newWorker(t, echo))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := p.RoundTrip(newRequest(t, http.MethodGet, nil).WithContext(ctx))
		wantUnsent(t, err)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want it to wrap context.Canceled", err)
		}
		wantCounts(t, p, counts{}, counts{})
	})
}

func TestDialTimeout(t *testing.T) {
	hang := make(chan struct{})
	silent := newRawWorker(t, func(net.Conn) { <-hang }) // no TLS handshake
	t.Cleanup(func() { close(hang) })
	silent.URL.Scheme = "https"
	p := New(Options{DialTimeout: 20 * time.Millisecond})
	p.Update([]Worker{silent}, Policy{})
	t.Cleanup(func() { p.Update(nil, Policy{}) })
	_, err := p.RoundTrip(newRequest(t, http.MethodGet, nil))
	wantUnsent(t, err)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
	wantCounts(t, p, counts{Failed: 1})
}

// TestOutstandingEnds takes every way in which an answer can end.
func TestOutstandingEnds(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		text := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer") }
		begun := func(then func(*http.Request)) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "first ")
				_ = http.NewResponseController(w).Flush()
				then(r)
			}
		}
		hang := func(r *http.Request) { <-r.Context().Done() }
		die := func(*http.Request) { panic(http.ErrAbortHandler) }
		one := make([]byte, 1)
		for _, tt := range []struct {
			name   string
			method string
			worker http.HandlerFunc
			end    func(t *testing.T, body io.ReadCloser, cancel context.CancelFunc)
			want   counts
		}{
			{"read to the end", "GET", text, func(t *testing.T, body io.ReadCloser, _ context.CancelFunc) {
				if _, err := io.Copy(io.Discard, body); err != nil {
					t.Error(err)
				}
			}, counts{Sent: 1}},
			{"closed unread", "GET", text, func(_ *testing.T, body io.ReadCloser, _ context.CancelFunc) {
				_ = body.Close()
			}, counts{Sent: 1}},
			{"closed early", "GET", begun(hang), func(t *testing.T, body io.ReadCloser, _ context.CancelFunc) {
				if _, err := body.Read(one); err != nil {
					t.Error(err)
				}
				_ = body.Close()
				_ = body.Close()
				if _, err := body.Read(one); err == nil {
					t.Error("reads on after Close")
				}
			}, counts{Sent: 1}},
			{"client gone", "GET", begun(hang), func(t *testing.T, body io.ReadCloser, cancel context.CancelFunc) {
				cancel()
				if _, err := io.Copy(io.Discard, body); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want context.Canceled", err)
				}
			}, counts{Sent: 1}},
			{"worker died", "GET", begun(die), func(t *testing.T, body io.ReadCloser, _ context.CancelFunc) {
				if _, err := io.Copy(io.Discard, body); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("got %v, want unexpected EOF", err)
				}
				_ = body.Close()
			}, counts{Sent: 1, Failed: 1}},
			{"HEAD", "HEAD", text, nil, counts{Sent: 1}},
			{"no content", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, nil, counts{Sent: 1}},
			{"empty", "GET", func(http.ResponseWriter, *http.Request) {}, nil, counts{Sent: 1}},
			{"101 without a protocol", "GET", func(w http.ResponseWriter, _ *http.Request) {
				c, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
					_ = c.Close()
				}
			}, nil, counts{Sent: 1}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				p := newPool(t, newWorker(t, tt.worker))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req := newRequest(t, tt.method, nil).WithContext(ctx)
				resp, err := p.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if resp.Request != req {
					t.Error("the answer names another request")
				}
				if tt.end != nil {
					wantCounts(t, p, counts{Outstanding: 1, Sent: 1})
					tt.end(t, resp.Body, cancel)
				}
				wantCounts(t, p, tt.want)
			})
		}
	})
}

func TestRequestIsNotChanged(t *testing.T) {
	p := newPool(t, newWorker(t, echo))
	body := newOnce("prompt")
	req := newRequest(t, http.MethodPost, body)
	url, host := *req.URL, req.Host
	if got := send(t, p, req); got != "prompt" {
		t.Errorf("the worker got %q", got)
	}
	if *req.URL != url || req.Host != host || req.Body != io.ReadCloser(body) {
		t.Errorf("the request was changed: %v %s", req.URL, req.Host)
	}
	if body.closed != 1 {
		t.Errorf("the body was closed %d times", body.closed)
	}
}
