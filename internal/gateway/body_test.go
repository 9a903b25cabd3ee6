package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/internal/standin"
)

// failure reads the code and the message of an answer that penstock gave.
func failure(t *testing.T, a answered) (code, message string) {
	t.Helper()
	var body struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatalf("answer %d %q: %v", a.status, a.body, err)
	}
	return body.Error.Code, body.Error.Message
}

// TestInvalidBodies checks that a body that is not what the path reads is a 400
// that names what is wrong, comes to no worker and costs nothing.
func TestInvalidBodies(t *testing.T) {
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 1}})
	r := newRig(t, tokenLimits, worker)
	r.slots(1, 0, 0)
	for body, part := range map[string]string{
		"":                                    "JSON object",
		"no JSON":                             "JSON object",
		"[]":                                  "JSON object",
		`"model"`:                             "JSON object",
		"null":                                "JSON object",
		`{"model":"m"`:                        "JSON object",
		`{"model":"m"} {}`:                    "JSON object",
		`{"model":"m"}x`:                      "JSON object",
		`{"model":"m",}`:                      "JSON object",
		`{"model":"m","model":"m"}`:           "model",
		`{"model":"m","Model":"n"}`:           "model",
		`{"model":"m","mo\u0064el":"n"}`:      "model",
		`{"max_tokens":1,"MAX_TOKENS":2}`:     "max_tokens",
		`{"model":1}`:                         "model",
		`{"model":["m"]}`:                     "model",
		`{"max_tokens":-1}`:                   "max_tokens",
		`{"max_tokens":1.5}`:                  "max_tokens",
		`{"max_tokens":"many"}`:               "max_tokens",
		`{"max_tokens":99999999999999999999}`: "max_tokens",
		`{"max_completion_tokens":true}`:      "max_completion_tokens",
		`{"n":0}`:                             "n must",
		`{"stream":"yes"}`:                    "stream",
		`{"stream_options":1}`:                "stream_options",
		"{\"model\":\"\xff\"}":                "",
	} {
		a := r.send("POST", "/v1/chat/completions", body)
		if code, message := failure(t, a); a.status != 400 || code != "invalid_request" || !strings.Contains(message, part) {
			t.Errorf("%q is answered %d %s %q, want a 400 about %s", body, a.status, code, message, part)
		}
	}
	r.wantUsed(charged(0, 0, 0))
	if n := worker.Stats().Requests; n != 0 {
		t.Errorf("the worker got %d requests, want none", n)
	}
	if a := r.send("POST", "/v1/chat/completions", `{"model":"m","max_tokens":"1","messages":[{"role":"user","content":"a"}]}`); a.status != 200 {
		t.Errorf("digits in a string are answered %d %q, want 200", a.status, a.body)
	}
}

// TestTooLarge sends bodies over max_body_bytes, metered and not, of a length
// that was said and that was not.
func TestTooLarge(t *testing.T) {
	worker := standin.New(standin.Options{Output: standin.Lengths{Mean: 1}})
	const most = 1000
	r := newRig(t, tokenLimits+"\nmax_body_bytes: 1000", worker)
	requests := int64(0)
	bothProtocols(t, r, func(t *testing.T, client *http.Client) {
		for _, path := range []string{"/v1/completions", "/echo"} {
			for _, said := range []bool{true, false} {
				for _, size := range []int{most, most + 1, most + 300<<10} {
					body := `{"model":"m","prompt":"` + strings.Repeat("x", size-25) + `"}`
					req := r.request("POST", path, body)
					if !said {
						req.ContentLength = -1
						req.Body = io.NopCloser(strings.NewReader(body))
					}
					resp, err := client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					a := readAll(resp)
					if size <= most {
						requests++
						if a.status != 200 {
							t.Errorf("%d bytes to %s are answered %d %q, want 200", size, path, a.status, a.body)
						}
						continue
					}
					if path == "/echo" && !said {
						requests++ // a worker had seen it begin
					}
					if code, message := failure(t, a); a.status != 413 || code != "body_too_large" || !strings.Contains(message, "1000 bytes") {
						t.Errorf("%d bytes to %s are answered %d %q, want 413", size, path, a.status, a.body)
					}
				}
			}
		}
	})
	if got := r.used()["requests_per_hour"]; got != requests {
		t.Errorf("charged %d requests, want %d", got, requests)
	}
}

// TestEncodedBodies checks that metered paths take none, and other paths any.
func TestEncodedBodies(t *testing.T) {
	r := newRig(t, tokenLimits, standin.New(standin.Options{Output: standin.Lengths{Mean: 1}}))
	for _, c := range []struct {
		path     string
		encoding []string
		status   int
	}{
		{"/v1/completions", []string{"gzip"}, 415},
		{"/v1/completions", []string{"identity", "br"}, 415},
		{"/v1/completions", []string{"identity, gzip"}, 415},
		{"/v1/completions", []string{"identity"}, 200},
		{"/v1/completions", []string{" Identity "}, 200},
		{"/v1/completions", []string{""}, 200},
		{"/echo", []string{"gzip"}, 200},
	} {
		var headers []string
		for _, e := range c.encoding {
			headers = append(headers, "Content-Encoding", e)
		}
		a := r.send("POST", c.path, `{"model":"m","prompt":"a"}`, headers...)
		if a.status != c.status {
			t.Errorf("%s with %q is answered %d %q, want %d", c.path, c.encoding, a.status, a.body, c.status)
		}
		if a.status == 415 {
			if code, _ := failure(t, a); code != "unsupported_encoding" {
				t.Errorf("the code is %q", code)
			}
		}
	}
	r.wantUsed(charged(4, 3, 3))
}

// TestSlowBodies holds metered bodies to their time: half a minute, and a
// second more for each 64 KiB.
func TestSlowBodies(t *testing.T) {
	for name, c := range map[string]struct {
		size  int
		comes []int // bytes, one piece each 10 s
		after time.Duration
		ok    bool
	}{
		"never":             {size: 100, after: 30 * time.Second},
		"not to its end":    {size: 100, comes: []int{10, 10, 10}, after: 30 * time.Second},
		"in time":           {size: 100, comes: []int{10, 10, 80}, ok: true, after: 20 * time.Second},
		"later, being more": {size: 4 << 20, comes: []int{1 << 20, 2 << 20}, after: (30 + 48) * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRigOn(t, newPipes(), tokenLimits)
				w := r.pipe()
				began := time.Now()
				go func() {
					// The last writes fail where the body was given up.
					_, _ = fmt.Fprintf(w.Conn, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", c.size)
					for i, n := range c.comes {
						if i > 0 {
							time.Sleep(10 * time.Second) // the bubble's
						}
						_, _ = w.Conn.Write(bytes.Repeat([]byte(" "), n))
					}
				}()
				a := w.answer("POST")
				if d := time.Since(began); d != c.after {
					t.Errorf("the answer came after %v, want %v", d, c.after)
				}
				code, _ := failure(t, a)
				if want := map[bool]string{true: "invalid_request", false: "body_too_slow"}[c.ok]; code != want {
					t.Errorf("answer %d %q, want %s", a.status, a.body, want)
				}
				if !c.ok && a.status != 408 {
					t.Errorf("answer %d, want 408", a.status)
				}
				if !c.ok {
					w.wantClosed()
				}
				_ = w.Close()
				r.idle()
				synctest.Wait()
			})
		})
	}
}

// deadliner is a ResponseWriter with nothing but a deadline for reads.
type deadliner struct {
	http.ResponseWriter
	net.Conn
}

func (d deadliner) Write(p []byte) (int, error) { return len(p), nil }

// TestSlowUploads holds uploads to the same time, of which only what the client
// takes counts.
func TestSlowUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		u := &upload{
			from:    &http.Request{Body: server},
			control: http.NewResponseController(deadliner{Conn: server}),
			most:    1 << 30,
		}
		go func() {
			for range 5 {
				time.Sleep(6 * time.Second)
				_, _ = client.Write([]byte("a"))
			}
		}()
		b := make([]byte, 1)
		for i := range 4 { // 24 s of the client's
			if _, err := u.Read(b); err != nil {
				t.Fatalf("read %d: %v", i, err)
			}
			time.Sleep(time.Hour) // the worker's
			_ = i
		}
		if _, err := u.Read(b); err != nil { // it was there already
			t.Fatal(err)
		}
		began := time.Now()
		_, err := u.Read(b)
		if want := "upload: body_too_slow"; err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if d, want := time.Since(began), 30*time.Second-6*time.Second; d != want {
			t.Errorf("it was waited for %v, want %v", d, want)
		}
		_ = u.Close()
		if _, err := u.Read(b); err != http.ErrBodyReadAfterClose {
			t.Errorf("after Close the error is %v", err)
		}
	})
}

// TestOneBodyIsHeld: a body as large as one may be is held where no other is, though
// what is lent for it is larger than all of them may be.
func TestOneBodyIsHeld(t *testing.T) {
	const requests = "rate_limiting: {default: {requests_per_minute: 1000}}"
	r := newRig(t, requests, standin.New(standin.Options{Output: standin.Lengths{Mean: 1}}))
	for _, tt := range []struct{ most, size int }{
		{100, 40}, {100, 100}, {1 << 20, 1 << 20}, {3 << 20, 3 << 20}, {3 << 20, 5 << 19},
	} {
		rules := r.rulesOf(requests)
		rules.MaxBody, rules.MaxBuffered = int64(tt.most), int64(tt.most)
		r.SetRules(rules)
		head, end := `{"model":"m","prompt":"`, `"}`
		body := head + strings.Repeat("x", tt.size-len(head)-len(end)) + end
		for _, chunked := range []bool{false, true} {
			w := r.dial()
			if chunked {
				w.write(fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body))
			} else {
				w.write(fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
			}
			if a := w.answer("POST"); a.status != 200 {
				t.Errorf("%d bytes of %d, chunked %t, are answered %d %q, want 200", tt.size, tt.most, chunked, a.status, a.body)
			}
			_ = w.Close()
			r.idle()
		}
	}
	if n := r.buffered.Load(); n != 0 {
		t.Errorf("%d bytes are held, want 0", n)
	}
}

// TestOverload has more bodies being read at a time than may be held.
func TestOverload(t *testing.T) {
	const size = 60_000
	r := newRig(t, tokenLimits, standin.New(standin.Options{Output: standin.Lengths{Mean: 1}}))
	rules := r.rulesOf(tokenLimits)
	rules.MaxBuffered = 100_000
	r.SetRules(rules)
	body := `{"model":"m","prompt":"` + strings.Repeat("x", size-25) + `"}`
	head := fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
	first := r.dial()
	first.write(head + body[:size-1])
	eventually(t, "the first body is held", func() bool { return r.buffered.Load() > size/2 })
	for range 3 {
		a := r.send("POST", "/v1/completions", body)
		if code, _ := failure(t, a); a.status != 503 || code != "overloaded" || a.header.Get("Retry-After") != "1" {
			t.Errorf("answer %d %q %v, want 503", a.status, a.body, a.header)
		}
	}
	if a := r.send("POST", "/v1/completions", `{"model":"m","prompt":"a"}`); a.status != 200 {
		t.Errorf("a small one is answered %d %q, want 200", a.status, a.body)
	}
	first.write(body[size-1:])
	if a := first.answer("POST"); a.status != 200 {
		t.Errorf("the first is answered %d %q, want 200", a.status, a.body)
	}
	if a := r.send("POST", "/v1/completions", body); a.status != 200 {
		t.Errorf("the next is answered %d %q, want 200", a.status, a.body)
	}
	if n := r.buffered.Load(); n != 0 {
		t.Errorf("%d bytes are held, want 0", n)
	}
}
