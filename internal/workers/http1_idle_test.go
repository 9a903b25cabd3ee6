//go:build unix

package workers

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestIdleConnections checks which connections are kept, and for how long.
func TestIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHTTP1(mustParse(t, "http://worker.test"), New(Options{}).options)
		const late = maxIdle + 2 // the first that comes when there are enough
		conns := make([]*closes, late+3)
		kept := make([]*conn, len(conns))
		for i := range conns {
			conns[i] = &closes{}
			kept[i] = newConn(conns[i], h)
		}
		closed := func() (n int) {
			for _, c := range conns {
				n += c.times
			}
			return n
		}
		if h.take() != nil {
			t.Error("there is one before any was kept")
		}
		h.keep(kept[0])
		time.Sleep(idleTime - time.Nanosecond)
		h.keep(kept[1])
		if got := h.take(); got != kept[1] || !got.used {
			t.Errorf("the one that was used last is not taken first")
		}
		h.keep(kept[1])
		if closed() != 0 {
			t.Error("closed before its time")
		}
		time.Sleep(time.Nanosecond)
		if got := h.take(); got != kept[1] || conns[0].times != 1 || len(h.idle) != 0 {
			t.Error("the old one was not closed when the other was taken")
		}
		h.keep(kept[1])
		time.Sleep(idleTime)
		if h.take() != nil || conns[1].times != 1 {
			t.Error("one that was too old was taken")
		}
		for _, c := range kept[2:late] {
			h.keep(c)
		}
		if closed() != 2 || len(h.idle) != maxIdle {
			t.Errorf("%d idle and %d closed, want %d and 2", len(h.idle), closed(), maxIdle)
		}
		h.keep(kept[late])
		if conns[late].times != 1 {
			t.Error("one too many was kept")
		}
		time.Sleep(idleTime)
		h.keep(kept[late+1])
		if closed() != 3+maxIdle || len(h.idle) != 1 {
			t.Errorf("%d idle and %d closed after their time", len(h.idle), closed())
		}
		h.retire()
		if conns[late+1].times != 1 || h.take() != nil {
			t.Error("retired, and one is left")
		}
		h.keep(kept[late+2])
		if conns[late+2].times != 1 || h.take() != nil {
			t.Error("retired, and one was kept")
		}
	})
}

// TestUnansweredCheck: when a check is not answered, connections that are idle are
// closed, whichever way they were made. What was at their other end may be gone.
func TestUnansweredCheck(t *testing.T) {
	const conns = 2
	ended := make(chan int, conns)
	w := newScript(t, func(n int, c net.Conn, in *bufio.Reader) {
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				if n < conns {
					ended <- n
				}
				return
			}
			if req.URL.Path == "/health" {
				continue
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	p := New(Options{})
	defer p.Update(nil, Policy{})
	p.Update([]Worker{w}, Policy{HealthInterval: 200 * time.Millisecond, StartupTimeout: time.Hour})
	bodies := [conns]io.ReadCloser{nil, io.NopCloser(strings.NewReader("by http.Transport"))}
	for _, body := range bodies {
		resp, err := p.Send(newRequest(t, http.MethodPost, body), nil, Want{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "ok" {
			t.Fatalf("%q, %v", got, err)
		}
		_ = resp.Body.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { p.Watch(ctx) })
	for range conns {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("a connection that is idle is still there")
		}
	}
}

// TestIdleTimeOfWorkers: what serves vLLM, SGLang, llama.cpp and Node ends a
// connection that has been idle for 5 s, and what is sent on it at that moment is lost.
func TestIdleTimeOfWorkers(t *testing.T) {
	const theirs = 5 * time.Second
	synctest.Test(t, func(t *testing.T) {
		h := newHTTP1(mustParse(t, "http://worker.test"), New(Options{}).options)
		h.keep(newConn(&closes{}, h))
		time.Sleep(theirs - theirs/10)
		if h.take() != nil {
			t.Error("a connection is used that the worker is about to end")
		}
	})
	p := newPool(t, Worker{URL: mustParse(t, "http://a.test")}, Worker{URL: mustParse(t, "https://b.test")})
	if plain, tls := p.workers[0].transport.IdleConnTimeout, p.workers[1].transport.IdleConnTimeout; plain <= 0 || plain >= theirs-theirs/10 || tls < time.Minute {
		t.Errorf("connections are kept for %v, and those of TLS for %v", plain, tls)
	}
}

// TestConnectionThatCannotBeLookedAt is not kept.
func TestConnectionThatCannotBeLookedAt(t *testing.T) {
	p := newPool(t, Worker{URL: mustParse(t, "http://worker.test")})
	dialBy(p.workers[0], speak(ok))
	if got := get(t, p) + get(t, p); got != "okok" || len(p.workers[0].http1.idle) != 0 {
		t.Errorf("answers %q, %d idle", got, len(p.workers[0].http1.idle))
	}
}

// closes counts how often it was closed.
type closes struct {
	net.Conn
	times int
}

func (c *closes) Close() error {
	c.times++
	return nil
}

// TestLateEndOfTheRequest: an answer waits for the request's end, but not long.
func TestLateEndOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			after time.Duration
			err   error
			want  bool
		}{
			{0, nil, true},
			{0, errors.New("broken"), false},
			{writeWait - time.Nanosecond, nil, true},
			{writeWait - time.Nanosecond, errors.New("broken"), false},
			{writeWait + time.Nanosecond, nil, false},
		} {
			c := &conn{quiet: func() bool { return true }, wrote: make(chan written, 1)}
			c.in = bufio.NewReader(c)
			wrote := c.wrote
			time.AfterFunc(tt.after, func() { wrote <- written{1, tt.err} })
			synctest.Wait()
			if got := c.clean(); got != tt.want || c.wrote != nil {
				t.Errorf("after %v with %v: clean %v, want %v", tt.after, tt.err, got, tt.want)
			}
			time.Sleep(2 * writeWait)
		}
	})
}

// TestNoLook: what is no socket, or none any more, cannot be looked at.
func TestNoLook(t *testing.T) {
	here, there := net.Pipe()
	defer func() { _, _ = here.Close(), there.Close() }()
	for _, c := range []net.Conn{here, &net.TCPConn{}} {
		if looker(c) != nil {
			t.Errorf("%T can be looked at", c)
		}
	}
}

// slowClose is a connection whose end takes until it is let.
type slowClose struct {
	net.Conn
	begun, let chan struct{}
}

func (s *slowClose) Close() error {
	close(s.begun)
	<-s.let
	return s.Conn.Close()
}

// TestCloseIsWhole: nobody who closes a connection goes on before it is closed,
// though another has begun to.
func TestCloseIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		s := &slowClose{ours, make(chan struct{}), make(chan struct{})}
		c := newConn(s, nil)
		go c.close()
		<-s.begun
		second := make(chan struct{})
		go func() {
			c.close()
			close(second)
		}()
		synctest.Wait()
		select {
		case <-second:
			t.Error("the second was done before the connection was closed")
		default:
		}
		close(s.let)
		<-second
	})
}
