//go:build unix

package workers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// newScript starts a worker that serves each connection in a goroutine of its
// own; n counts them from 0.
func newScript(t testing.TB, serve func(n int, c net.Conn, in *bufio.Reader)) Worker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return Worker{URL: mustParse(t, "http://"+l.Addr().String())}
}

// heard reads a request; false at the connection's end.
func heard(in *bufio.Reader) bool {
	req, err := http.ReadRequest(in)
	if err == nil {
		_, err = io.Copy(io.Discard, req.Body)
	}
	return err == nil
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestOneConnectionServes: connections are used again where the answer allows
// it, and only there.
func TestOneConnectionServes(t *testing.T) {
	for name, c := range map[string]struct {
		method, answer string
		conns          int // that three requests take
	}{
		"length":                 {"GET", ok, 1},
		"chunks":                 {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 1},
		"trailers":               {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", 1},
		"hints":                  {"GET", "HTTP/1.1 103 Early Hints\r\n\r\n" + ok, 1},
		"HEAD":                   {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 1},
		"no content":             {"GET", "HTTP/1.1 204 No Content\r\n\r\n", 1},
		"not modified":           {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 1},
		"empty":                  {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1},
		"HTTP/1.0, kept":         {"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 1},
		"HTTP/1.0":               {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 3},
		"closing":                {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 3},
		"a status below 100":     {"GET", "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok", 3},
		"switching, unasked":     {"GET", "HTTP/1.1 101 Switching Protocols\r\n\r\n", 3},
		"bytes after it":         {"GET", ok + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", 3},
		"a body after HEAD":      {"HEAD", ok, 3},
		"a body of no content":   {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 3},
		"more than its chunks":   {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n0\r\n\r\n", 3},
		"one more byte, a space": {"GET", ok + " ", 3},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			conns := 0
			p := newPool(t, newScript(t, func(_ int, w net.Conn, in *bufio.Reader) {
				mu.Lock()
				conns++
				mu.Unlock()
				for heard(in) {
					_, _ = io.WriteString(w, c.answer)
				}
			}))
			for range 3 {
				if got := send(t, p, newRequest(t, c.method, nil)); got != "ok" && got != "" {
					t.Errorf("answer %q", got)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if conns != c.conns {
				t.Errorf("%d connections, want %d", conns, c.conns)
			}
		})
	}
}

// TestLargeHeads: a head may be too large to be written before the answer is read,
// with a body and without one.
func TestLargeHeads(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		var conns connWatch
		p := newPool(t, newWatchedWorker(t, &conns, func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprint(w, len(r.Header.Get("X-Large")), " ", n)
		}))
		for _, size := range []int{maxInline - 1000, maxInline, 3 * maxInline} {
			for body, held := range map[string]*Held{"": nil, "prompt": holding([]byte("prompt"))} {
				req := newRequest(t, http.MethodPost, nil)
				req.Header.Set("X-Large", strings.Repeat("a", size))
				resp, err := p.Send(req, held, Want{})
				if err != nil {
					t.Fatal(err)
				}
				wantBody(t, resp, fmt.Sprint(size, " ", len(body)))
			}
		}
		if made, _ := conns.counts(); made != 1 {
			t.Errorf("%d connections were made, want 1", made)
		}
	})
}

// TestSpeakingUnasked has a worker say more on a connection that is idle: it is
// not taken for the next answer, and neither is the end of it.
func TestSpeakingUnasked(t *testing.T) {
	for name, more := range map[string]string{
		"an answer":   "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
		"a timeout":   "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n",
		"one byte":    "\n",
		"nothing":     "", // closed
		"a lot of it": strings.Repeat("x", 10000),
	} {
		t.Run(name, func(t *testing.T) {
			idle, said := make(chan struct{}), make(chan struct{})
			p := newPool(t, newScript(t, func(n int, c net.Conn, in *bufio.Reader) {
				for heard(in) {
					_, _ = io.WriteString(c, ok)
					if n == 0 {
						<-idle
						_, _ = io.WriteString(c, more)
						if more == "" {
							_ = c.Close()
						}
						close(said)
					}
				}
			}))
			get(t, p)
			close(idle)
			<-said
			waitFor(t, "it has come", func() bool { return comes(t, p.workers[0].http1.idle[0]) })
			// Even what may not be sent twice is not lost.
			wantBody(t, sendHeld(t, p, "prompt"), "ok")
			wantCounts(t, p, counts{Sent: 2})
		})
	}
}

// TestConnectionEndsUnderTheRequest has a worker take a second request on a
// connection and hang up: what may be sent twice is.
func TestConnectionEndsUnderTheRequest(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		for _, c := range []struct {
			name, method, header, held, says string
			again                            bool
		}{
			{"GET", "GET", "", "", "", true},
			{"POST", "POST", "", "", "", false},
			{"POST with a body", "POST", "", "prompt", "", false},
			{"POST with a key", "POST", "Idempotency-Key", "prompt", "", true},
			{"POST with another key", "POST", "X-Idempotency-Key", "", "", true},
			{"PUT", "PUT", "", "x", "", false},
			{"GET, half answered", "GET", "", "", "HTTP/1.1 2", false},
		} {
			t.Run(c.name, func(t *testing.T) {
				p := newPool(t, newScript(t, func(n int, w net.Conn, in *bufio.Reader) {
					for heard(in) {
						_, _ = io.WriteString(w, ok)
						if n == 0 {
							if heard(in) {
								_, _ = io.WriteString(w, c.says)
							}
							return
						}
					}
				}))
				get(t, p)
				req := newRequest(t, c.method, nil)
				if c.header != "" {
					req.Header.Set(c.header, "a")
				}
				var held []byte
				if c.held != "" {
					held = []byte(c.held)
				}
				resp, err := p.Send(req, holding(held), Want{})
				if (err == nil) != c.again {
					t.Fatalf("got %v, want it sent again: %v", err, c.again)
				}
				if err == nil {
					wantBody(t, resp, "ok")
					_ = resp.Body.Close()
					wantCounts(t, p, counts{Sent: 2})
					return
				}
				var unsent *ConnectError
				if errors.As(err, &unsent) {
					t.Errorf("%v promises that nothing was sent", err)
				}
				wantCounts(t, p, counts{Sent: 2, Failed: 1})
			})
		}
	})
}

// TestNotAllKeptConnectionsAreAsked: a request at which the worker breaks off again
// and again is not sent by each of the connections that are kept.
func TestNotAllKeptConnectionsAreAsked(t *testing.T) {
	const conns = 8
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		var asked atomic.Int32
		came, answer := make(chan struct{}), make(chan struct{})
		p := newPool(t, newScript(t, func(n int, w net.Conn, in *bufio.Reader) {
			if n < conns && heard(in) {
				came <- struct{}{}
				<-answer
				_, _ = io.WriteString(w, ok)
			}
			if heard(in) {
				asked.Add(1)
			}
		}))
		var all sync.WaitGroup
		for range conns {
			all.Go(func() { get(t, p) })
		}
		for range conns {
			<-came
		}
		close(answer)
		all.Wait()
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			asked.Store(0)
			req := newRequest(t, method, nil)
			req.Header.Set("Idempotency-Key", "a")
			if resp, err := p.RoundTrip(req); err == nil {
				t.Fatalf("answer %d, want none", resp.StatusCode)
			}
			// http.Transport has asked a second one before it can be told.
			if n := asked.Load(); n < 1 || n > 3 {
				t.Errorf("the worker was asked %d times by %s, want 3 at most", n, method)
			}
		}
	})
}

// TestNewConnectionEndsUnderTheRequest: where the first request ends the
// connection the second would, too.
func TestNewConnectionEndsUnderTheRequest(t *testing.T) {
	conns := make(chan int, 9)
	p := newPool(t, newScript(t, func(n int, _ net.Conn, in *bufio.Reader) {
		heard(in)
		conns <- n
	}))
	if _, err := p.RoundTrip(newRequest(t, "GET", nil)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want EOF", err)
	}
	if n := len(conns); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// TestEarlyAnswer has a worker answer before it has read a large body.
func TestEarlyAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		readsOn bool
		conns   int
	}{
		"and read it":     {true, 1},
		"and not read it": {false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			conns := make(chan int, 9)
			answered, over := make(chan struct{}, 9), make(chan struct{})
			w := newScript(t, func(n int, w net.Conn, in *bufio.Reader) {
				conns <- n
				for {
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.WriteString(w, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n")
					if c.readsOn {
						<-answered
						_, _ = io.Copy(io.Discard, req.Body)
					}
					_, _ = io.WriteString(w, "no")
					if !c.readsOn {
						<-over
						return
					}
				}
			})
			defer close(over)
			p := newPool(t, w)
			large := make([]byte, 32<<20) // more than sockets take
			for range 2 {
				resp, err := p.Send(newRequest(t, http.MethodPost, nil), holding(large), Want{})
				if err != nil {
					t.Fatal(err)
				}
				if c.readsOn {
					answered <- struct{}{}
				}
				if resp.StatusCode != http.StatusRequestEntityTooLarge {
					t.Errorf("status %d", resp.StatusCode)
				}
				wantBody(t, resp, "no")
				_ = resp.Body.Close()
			}
			if n := len(conns); n != c.conns {
				t.Errorf("%d connections, want %d", n, c.conns)
			}
			wantCounts(t, p, counts{Sent: 2})
		})
	}
}

// TestManyAtOnce sends bodies of all sizes at once, some of which are given up:
// everyone gets the answer to its own.
func TestManyAtOnce(t *testing.T) {
	readsFirst := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}
	p := newPool(t, newWorker(t, readsFirst), newWorker(t, readsFirst))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				held := bytes.Repeat([]byte{byte(i), byte(n)}, 1+random.IntN(20<<10))
				leaves := random.IntN(4) == 0
				if leaves {
					time.AfterFunc(time.Duration(random.IntN(500))*time.Microsecond, cancel)
				}
				resp, err := p.Send(newRequest(t, http.MethodPost, nil).WithContext(ctx), holding(held), Want{})
				if err == nil {
					var got []byte
					if got, err = io.ReadAll(resp.Body); err == nil && !bytes.Equal(got, held) {
						t.Errorf("%d bytes came back of %d, or others", len(got), len(held))
					}
					_ = resp.Body.Close()
				}
				if err != nil && (!leaves || !errors.Is(err, context.Canceled)) {
					t.Errorf("request %d of %d: %v", n, i, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	sent := 0
	for _, s := range p.Stats() {
		if s.Outstanding != 0 || s.Failed != 0 {
			t.Errorf("at the end: %+v", s)
		}
		sent += int(s.Sent)
	}
	if sent < 500 || sent > 800 {
		t.Errorf("%d were sent", sent)
	}
}

// TestLeaving has the client go at every moment: it gets its own reason, the
// worker sees the end, and nothing is left.
func TestLeaving(t *testing.T) {
	reason := errors.New("the client had enough")
	small, large := []byte("prompt"), make([]byte, 32<<20)
	for name, c := range map[string]struct {
		held    []byte
		says    string
		mid     bool // within the answer
		reading bool // of the request, by the worker
	}{
		"while a body is sent":         {held: large},
		"before the answer":            {held: small, reading: true},
		"before the answer, no body":   {reading: true},
		"within the headers":           {held: small, reading: true, says: "HTTP/1.1 200 OK\r\nA:"},
		"within the hints":             {held: small, reading: true, says: "HTTP/1.1 103 Early Hints\r\n\r\n"},
		"after the headers":            {held: small, reading: true, says: "HTTP/1.1 200 OK\r\n\r\n", mid: true},
		"within a body":                {held: small, reading: true, says: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", mid: true},
		"within a chunk":               {held: small, reading: true, says: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", mid: true},
		"within both bodies":           {held: large, says: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", mid: true},
		"within a body, by closing it": {held: small, reading: true, says: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", mid: true},
	} {
		t.Run(name, func(t *testing.T) {
			said, gone := make(chan struct{}), make(chan struct{})
			p := newPool(t, newScript(t, func(_ int, w net.Conn, in *bufio.Reader) {
				if c.reading {
					heard(in)
				} else {
					_, _ = in.Peek(1)
				}
				_, _ = io.WriteString(w, c.says)
				close(said)
				if c.reading {
					_, _ = in.ReadByte()
				} else {
					_, _ = io.Copy(io.Discard, in)
				}
				close(gone)
			}))
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if !c.mid {
				go func() {
					<-said
					cancel(reason)
				}()
			}
			resp, err := p.Send(newRequest(t, http.MethodPost, nil).WithContext(ctx), holding(c.held), Want{})
			if c.mid {
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(name, "closing it") {
					reason := errClosed
					_ = resp.Body.Close()
					if _, err := resp.Body.Read(make([]byte, 1)); err != reason {
						t.Errorf("got %v, want %v", err, reason)
					}
				} else {
					cancel(reason)
					if _, err = io.Copy(io.Discard, resp.Body); err != reason {
						t.Errorf("got %v, want %v", err, reason)
					}
					if _, err = resp.Body.Read(make([]byte, 1)); err != reason {
						t.Errorf("then %v, want %v", err, reason)
					}
				}
			} else if err != reason {
				t.Errorf("got %v, want %v", err, reason)
			}
			<-gone
			wantCounts(t, p, counts{Sent: 1})
		})
	}
}

// TestLeavingWhileDialling is told apart from a request that was sent.
func TestLeavingWhileDialling(t *testing.T) {
	reason := errors.New("the client had enough")
	p := newPool(t, newWorker(t, echo))
	ctx, cancel := context.WithCancelCause(t.Context())
	dialBy(p.workers[0], func(dial dialFunc) dialFunc {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			cancel(reason)
			return dial(ctx, network, address)
		}
	})
	_, err := p.Send(newRequest(t, http.MethodPost, nil).WithContext(ctx), holding([]byte("prompt")), Want{})
	wantUnsent(t, err)
	if !errors.Is(err, reason) {
		t.Errorf("got %v, want %v", err, reason)
	}
	wantCounts(t, p, counts{})
}

// comes reports whether something has come on c, its end included, and leaves
// it there.
func comes(t testing.TB, c *conn) (yes bool) {
	t.Helper()
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
		yes = err == nil
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return yes
}
