package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/standin"
)

// smuggled is what a body holds that must never be taken for a request.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// TestReuseAfterDenials denies requests whose bodies nobody has read, and uses
// the connection again: nothing of a body is taken for another request.
func TestReuseAfterDenials(t *testing.T) {
	chunked := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)
	large := strings.Repeat(smuggled, drainBytes/len(smuggled)+2)
	for name, c := range map[string]struct {
		rest   string // of the request, behind its first headers
		status int    // of the denial; 429 where it is 0
		path   string
		reused bool
	}{
		"no body":               {rest: "\r\n", reused: true},
		"a body":                {rest: fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(smuggled), smuggled), reused: true},
		"a chunked body":        {rest: chunked},
		"a body, HTTP/1.0 like": {rest: fmt.Sprintf("Connection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", len(smuggled), smuggled), reused: true},
		"a large body":          {rest: fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(large), large)},
		"a large chunked body":  {rest: fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(large), large)},
		"broken chunks":         {rest: "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + smuggled},
		"invalid JSON":          {path: "/v1/completions", status: 400, rest: fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(smuggled), smuggled), reused: true},
		"compressed":            {path: "/v1/completions", status: 415, rest: fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(smuggled), smuggled)},
		"closed route":          {path: "/metrics", status: 404, rest: fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(smuggled), smuggled), reused: true},
	} {
		t.Run(name, func(t *testing.T) {
			yaml := "rate_limiting: {default: {requests_per_hour: 1}}"
			if c.status != 0 {
				yaml = ""
			} else {
				c.status = 429
			}
			if c.path == "" {
				c.path = "/a"
			}
			worker := standin.New(standin.Options{})
			r := newRig(t, yaml, worker)
			if c.status == 429 {
				r.send("GET", "/echo", "")
			}
			r.idle()
			before := worker.Stats().Requests
			w := r.dial()
			// The write fails where the gateway cuts the connection.
			go func() { _, _ = io.WriteString(w.Conn, "POST "+c.path+" HTTP/1.1\r\nHost: x\r\n"+c.rest) }()
			if a := w.answer("POST"); a.status != c.status {
				t.Fatalf("answer %d %q, want %d", a.status, a.body, c.status)
			}
			if c.reused {
				w.write("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
				if a := w.answer("GET"); a.status != 200 || a.body != "{\"status\":\"ok\"}\n" {
					t.Errorf("on the same connection %d %q, want penstock's health", a.status, a.body)
				}
			} else {
				_ = w.SetReadDeadline(time.Now().Add(patience))
				if rest, err := io.ReadAll(w.r); len(rest) > 0 || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("behind the answer %q and %v, want the end of the connection", rest, err)
				}
			}
			r.idle()
			if n := worker.Stats().Requests - before; n != 0 {
				t.Errorf("the worker got %d requests, want none", n)
			}
			if c.reused && r.begun > 3 {
				t.Errorf("%d requests came, want at most 3", r.begun)
			}
		})
	}
}

// TestDeniedBodiesThatNeverCome denies requests that have sent nothing of their
// bodies: the answer does not wait for them, and the connection not for long.
func TestDeniedBodiesThatNeverCome(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		status  int
		body    string // part of the answer's
		after   time.Duration
	}{
		"denied by what headers say": {
			request: "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
			status:  429, body: "rate_limit_exceeded", after: drainTime,
		},
		"chunked": {
			request: "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
			status:  429, body: "rate_limit_exceeded", after: lingerTime,
		},
		"asks whether to send it": {
			request: "POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
			status:  429, body: "rate_limit_exceeded", after: lingerTime,
		},
		"plain": {
			request: "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
			status:  429, body: "rate_limit_exceeded", after: drainTime,
		},
		"of HTTP/1.0, kept alive, with Expect": {
			request: "POST /a HTTP/1.0\r\nExpect: 100-continue\r\nConnection: keep-alive\r\nContent-Length: 100\r\n\r\n",
			status:  429, body: "rate_limit_exceeded", after: drainTime,
		},
		"too large": {
			request: "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n",
			status:  429, body: "rate_limit_exceeded", after: lingerTime, // net/http's own
		},
		"too large, and the last": {
			request: "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2000000\r\n\r\n",
			status:  429, body: "rate_limit_exceeded", after: lingerTime,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigOn(t, newPipes(), "rate_limiting: {default: {requests_per_hour: 1}}")
				if a := r.send("GET", "/a", ""); a.status != 503 {
					t.Fatalf("answer %d, want 503: there is no worker", a.status)
				}
				// That was given back; this is not.
				charges := r.rules.Load().Policy.Precheck(nil, r.pipeCaller(), policy.Target{})
				if d, err := r.Limiter.Allow(t.Context(), charges...); err != nil || !d.Allowed {
					t.Fatalf("the limit is not there to be used up: %v", err)
				}
				w := r.pipe()
				began := time.Now()
				w.write(c.request)
				if a := w.answer("POST"); a.status != c.status || !strings.Contains(a.body, c.body) {
					t.Errorf("answer %d %q", a.status, a.body)
				}
				if d := time.Since(began); d != 0 {
					t.Errorf("the answer took %v, want none", d)
				}
				if rest, err := io.ReadAll(w.r); len(rest) > 0 || err != nil {
					t.Errorf("behind the answer %q and %v, want the end", rest, err)
				}
				if d := time.Since(began); d != c.after {
					t.Errorf("the connection was closed after %v, want %v", d, c.after)
				}
			})
		})
	}
}

// TestDeniedWhileItSends denies requests whose connection ends with the answer
// anyway, as proxies ask by HTTP/1.0 or "Connection: close". Their bodies are taken
// all the same: who cannot send on, and is a proxy, answers 502 in the place of 429.
func TestDeniedWhileItSends(t *testing.T) {
	const length = 4 * drainBytes
	body := strings.Repeat("x", length)
	for name, head := range map[string]string{
		"HTTP/1.1":          "HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
		"HTTP/1.0":          "HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
		"HTTP/1.1, chunked": "HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigOn(t, newPipes(), "rate_limiting: {default: {requests_per_hour: 1}}")
				charges := r.rules.Load().Policy.Precheck(nil, r.pipeCaller(), policy.Target{})
				if d, err := r.Limiter.Allow(t.Context(), charges...); err != nil || !d.Allowed {
					t.Fatalf("the limit is not there to be used up: %v", err)
				}
				w := r.pipe()
				w.write("POST /v1/completions " + fmt.Sprintf(head, length))
				if a := w.answer("POST"); a.status != 429 {
					t.Errorf("answer %d %q, want 429", a.status, a.body)
				}
				w.write(body)
				if strings.Contains(head, "chunked") {
					w.write("\r\n0\r\n\r\n")
				}
				if rest, err := io.ReadAll(w.r); len(rest) > 0 || err != nil {
					t.Errorf("behind the answer %q and %v, want the end", rest, err)
				}
			})
		})
	}
}

// TestEarlyAnswers has workers that answer while the upload goes on.
func TestEarlyAnswers(t *testing.T) {
	t.Run("and close", func(t *testing.T) {
		// The client has sent a part and waits for the answer.
		r := newRigFor(t, "", rawWorker(t, func(c net.Conn, r *bufio.Reader) {
			if _, err := readHead(r); err == nil {
				_, _ = io.ReadFull(r, make([]byte, 3))
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot this!")
			}
		}))
		w := r.dial()
		w.write("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
		if a := w.answer("POST"); a.status != 400 || a.body != "not this!" || a.err != nil {
			t.Errorf("answer %d %q %v", a.status, a.body, a.err)
		}
		w.write("def" + smuggled)
		w.wantClosed()
		r.idle()
		if r.begun != 1 {
			t.Errorf("%d requests came, want 1", r.begun)
		}
	})
	t.Run("before the end of a large one", func(t *testing.T) {
		r := newRig(t, "", standin.New(standin.Options{}))
		bothProtocols(t, r, func(t *testing.T, client *http.Client) {
			body := &watched{left: 32 << 20}
			req := r.request("POST", "/echo", "", "X-Standin-Fault", "early-answer")
			req.Body, req.ContentLength = io.NopCloser(body), body.left
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if a := readAll(resp); a.status != 400 || !strings.Contains(a.body, "before the body was read") || a.err != nil {
				t.Errorf("answer %d %q %v", a.status, a.body, a.err)
			}
		})
	})
	t.Run("and streams on", func(t *testing.T) {
		// The answer and the upload flow side by side.
		r := newRig(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			b := make([]byte, 1)
			for {
				if _, err := io.ReadFull(r.Body, b); err != nil {
					return
				}
				_, _ = w.Write(b)
				w.(http.Flusher).Flush()
			}
		}))
		bothProtocols(t, r, func(t *testing.T, client *http.Client) {
			body, pieces := io.Pipe()
			req := r.request("POST", "/a", "")
			req.Body, req.ContentLength = body, -1
			go func() { _, _ = io.WriteString(pieces, "a") }()
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got := make([]byte, 1)
			for i, next := range []string{"b", "c", ""} {
				if _, err := io.ReadFull(resp.Body, got); err != nil || got[0] != "abc"[i] {
					t.Fatalf("read %q and %v", got, err)
				}
				_, _ = io.WriteString(pieces, next)
			}
			_ = pieces.Close()
			if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
				t.Errorf("behind the echo %q and %v", rest, err)
			}
		})
	})
}

// TestWhenTheClientLeaves checks that the worker hears of it, and the slot is
// free then.
func TestWhenTheClientLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		method, path, body string
		started            bool // it leaves when it has the headers of the answer
	}{
		"before the answer":       {"GET", "/a", "", false},
		"within it":               {"GET", "/a", "", true},
		"after an upload":         {"POST", "/a", "abc", false},
		"metered":                 {"POST", "/v1/completions", `{}`, false},
		"within a metered answer": {"POST", "/v1/completions", `{}`, true},
		"within a stream":         {"POST", "/v1/completions", `{"stream":true}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			here, gone := make(chan struct{}), make(chan struct{})
			r := newRig(t, "rate_limiting: {default: {concurrent_requests: 1}}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if c.started {
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w, "{")
					w.(http.Flusher).Flush()
				}
				here <- struct{}{}
				<-r.Context().Done()
				gone <- struct{}{}
			}))
			r.slots(1, 0, 0)
			bothProtocols(t, r, func(t *testing.T, client *http.Client) {
				ctx, leave := context.WithCancel(t.Context())
				left := make(chan error, 1)
				go func() {
					resp, err := client.Do(r.request(c.method, c.path, c.body).WithContext(ctx))
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
					left <- err
				}()
				<-here
				if s := r.Queue.Stats(); s.InFlight != 1 {
					t.Errorf("%d slots are held, want 1", s.InFlight)
				}
				leave()
				if err := <-left; !errors.Is(err, context.Canceled) {
					t.Errorf("the client got %v", err)
				}
				<-gone
				r.wantUsed("concurrent_requests 0")
				if s := r.Queue.Stats(); s.InFlight != 0 {
					t.Errorf("%d slots are held, want 0", s.InFlight)
				}
			})
		})
	}
}

// TestHalfClosed has a client that ends its direction of the connection, which
// net/http takes for leaving: it gets no empty 200 for an answer.
func TestHalfClosed(t *testing.T) {
	r := newRig(t, "", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	w := r.dial()
	w.write("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
	r.came(1)
	if err := w.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	w.wantClosed()
}

// TestWorkersThatBreakOff checks what a client gets from a worker that does not
// end its answer: an error it can read, or a connection that is cut.
func TestWorkersThatBreakOff(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
		body   string // what came of it; of a 502 a part
		cut    bool
	}{
		"at once":             {answer: "", status: 502, body: `"code":"upstream_error"`},
		"within the headers":  {answer: "HTTP/1.1 200 OK\r\nContent-Le", status: 502, body: `"code":"upstream_error"`},
		"garbage":             {answer: "nonsense\r\n\r\n", status: 502, body: `"code":"upstream_error"`},
		"after the headers":   {answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", status: 200, cut: true},
		"within the body":     {answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", status: 200, body: "abc", cut: true},
		"within chunks":       {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", status: 200, body: "abc", cut: true},
		"without a length":    {answer: "HTTP/1.1 200 OK\r\n\r\nabc", status: 200, body: "abc"}, // the end is the end
		"two lengths":         {answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", status: 502, body: `"code":"upstream_error"`},
		"an upgrade unasked":  {answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", status: 502, body: `"code":"upstream_error"`},
		"headers without end": {answer: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10) + "\r\n\r\n", status: 502, body: `"code":"upstream_error"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigFor(t, "rate_limiting: {default: {requests_per_hour: 9}}", rawWorker(t, func(c2 net.Conn, r *bufio.Reader) {
				if _, _, err := readRequest(r); err == nil {
					_, _ = io.WriteString(c2, c.answer)
				}
			}))
			bothProtocols(t, r, func(t *testing.T, client *http.Client) {
				resp, err := client.Do(r.request("POST", "/a", "x"))
				if err != nil && c.cut && c.body == "" {
					return // the headers had not been sent yet
				}
				if err != nil {
					t.Fatal(err)
				}
				a := readAll(resp)
				if a.status != c.status || c.status == 200 && a.body != c.body || !strings.Contains(a.body, c.body) {
					t.Errorf("answer %d %q, want %d %q", a.status, a.body, c.status, c.body)
				}
				if cut := a.err != nil; cut != c.cut {
					t.Errorf("cut: %v, want %v: %v", cut, c.cut, a.err)
				}
			})
			r.wantUsed("requests_per_hour 2")
		})
	}
}

// TestNoWorker checks that what no worker has seen costs nothing.
func TestNoWorker(t *testing.T) {
	for name, c := range map[string]struct {
		workers []string
		status  int
		code    string
	}{
		"none":            {nil, 503, "no_worker"},
		"none that lives": {[]string{"http://" + closedAddr(t), "http://" + closedAddr(t)}, 503, "no_worker"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigFor(t, "rate_limiting: {default: {requests_per_hour: 9, tokens_per_hour: 9000, concurrent_requests: 9}}", c.workers...)
			bothProtocols(t, r, func(t *testing.T, client *http.Client) {
				for _, path := range []string{"/a", "/v1/completions"} {
					a := r.sendOn(client, "POST", path, "{}")
					if a.status != c.status || !strings.Contains(a.body, `"code":"`+c.code+`"`) {
						t.Errorf("answer %d %q, want %d %s", a.status, a.body, c.status, c.code)
					}
				}
			})
			r.wantUsed("concurrent_requests 0, requests_per_hour 0, tokens_per_hour 0")
		})
	}
}
