package gateway

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nDate: Tue, 06 Oct 2026 10:00:00 GMT\r\n\r\nok"

// TestRequestsPass pins what a worker gets for what a client sent, byte for
// byte: the request line as it came where want says nothing else, and no
// header but those in want and what the gateway says itself.
func TestRequestsPass(t *testing.T) {
	for name, c := range map[string]struct {
		line    string // of the request
		headers string
		body    string
		want    string // line at the worker, if it is another
		pass    string // headers that reach the worker, sorted
	}{
		"plain":            {line: "GET /a/b"},
		"bare ?":           {line: "GET /a?"},
		"broken query":     {line: "GET /a?a=%zz;b&&=&c"},
		"query of marks":   {line: `GET /a?x=|{}\^"'<>` + "`&y=?/#"},
		"raw path":         {line: "GET /a%2Fb/../c/./d//e/%7e;x=1/"},
		"slashes":          {line: "GET //a//b"},
		"star":             {line: "PUT *"},
		"absolute form":    {line: "GET http://other.example/a%2fb?c", want: "GET /a%2fb?c"},
		"absolute, bare":   {line: "GET http://other.example", want: "GET /"},
		"absolute, query":  {line: "GET http://other.example?x", want: "GET /?x"},
		"scheme, no host":  {line: "GET http:/a/b", want: "GET /a/b"},
		"HEAD":             {line: "HEAD /a"},
		"PUT":              {line: "PUT /a", body: "abc"},
		"PATCH":            {line: "PATCH /a", body: "abc"},
		"DELETE":           {line: "DELETE /a"},
		"DELETE with body": {line: "DELETE /a", body: "abc", pass: "Connection: close\n"},
		"GET with body":    {line: "GET /a", body: "abc", pass: "Connection: close\n"},
		"OPTIONS":          {line: "OPTIONS /a"},
		"own method":       {line: "PROPFIND /a"},
		"POST":             {line: "POST /a", body: "abc"},
		"headers": {
			line: "GET /a",
			headers: "x-lower: 1\nX-Multi: a\nX-Multi: b, c\nX-Empty:\nCookie: a=1; b=2\n" +
				"Accept-Encoding: br;q=0.5, gzip\nUser-Agent: me/1.0\n",
			pass: "Accept-Encoding: br;q=0.5, gzip\nCookie: a=1; b=2\nUser-Agent: me/1.0\nX-Empty: \n" +
				"X-Lower: 1\nX-Multi: a\nX-Multi: b, c\n",
		},
		"bytes above ASCII": {line: "GET /a", headers: "X-Name: J\xf6rg \u00fc\n", pass: "X-Name: J\xf6rg \u00fc\n"},
		"hop by hop": {
			line: "GET /a",
			headers: "Connection: keep-alive, X-Mine\nX-Mine: 1\nKeep-Alive: 1\nProxy-Connection: x\n" +
				"Proxy-Authorization: Basic x\nTE: trailers, gzip\nX-Stays: 1\n",
			pass: "Te: trailers\nX-Stays: 1\n",
		},
		"forwarding headers of nobody's": {
			line:    "GET /a",
			headers: "X-Forwarded-For: 192.0.2.1\nX-Forwarded-Host: evil\nX-Forwarded-Proto: https\nForwarded: for=192.0.2.1\n",
		},
		"one key of several": {
			line:    "GET /a",
			headers: "Authorization: Bearer one\nX-Api-Key: two\nApi-Key: three\nX-Goog-Api-Key: four\n",
			pass:    "Authorization: Bearer one\n",
		},
		"no key, another scheme": {
			line:    "GET /a",
			headers: "Authorization: Basic one\nX-Api-Key: two\n",
			pass:    "Authorization: Basic one\nX-Api-Key: two\n",
		},
		"a metered one": {
			line:    "POST /v1/chat/completions",
			headers: "Accept-Encoding: gzip\nUser-Agent: me\nX-Own: 1\n",
			body:    `{ "model":"m" , "messages":[]}`,
			pass:    "User-Agent: me\nX-Own: 1\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			worker, requests := scripted(t, okAnswer)
			r := newRigFor(t, "", worker)
			w := r.dial()
			text := c.line + " HTTP/1.1\nHost: api.example:8080\nX-Request-Id: id-1\n" + c.headers
			if c.body != "" {
				text += fmt.Sprintf("Content-Length: %d\n", len(c.body))
			}
			w.write(strings.ReplaceAll(text+"\n", "\n", "\r\n") + c.body)
			method, _, _ := strings.Cut(c.line, " ")
			if a := w.answer(method); a.status != 200 || method != "HEAD" && a.body != "ok" {
				t.Fatalf("answer %d %q\n%s", a.status, a.body, r.log.String())
			}
			got := <-requests
			if c.want == "" {
				c.want = c.line
			}
			head := without(got[0], "Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id", "Content-Length")
			if d := cmp.Diff(c.want+" HTTP/1.1\n"+c.pass, head); d != "" {
				t.Errorf("at the worker (-want +got):\n%s", d)
			}
			if got[1] != c.body {
				t.Errorf("body at the worker %q, want %q", got[1], c.body)
			}
		})
	}
}

// TestWorkersAreTold pins what the gateway itself says to a worker.
func TestWorkersAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		yaml, headers, want string
	}{
		"by anyone": {
			headers: "X-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: https\n",
			want: "Host: api.example:8080\nX-Forwarded-For: 127.0.0.1\nX-Forwarded-Host: api.example:8080\n" +
				"X-Forwarded-Proto: http\nX-Request-Id: id-1\n",
		},
		"by a trusted proxy": {
			yaml:    "trusted_proxies: [loopback]",
			headers: "X-Forwarded-For: 192.0.2.1, 192.0.2.2\nX-Forwarded-For: 192.0.2.3\nX-Forwarded-Host: shown.example\nX-Forwarded-Proto: https\n",
			want: "Host: api.example:8080\nX-Forwarded-For: 192.0.2.1, 192.0.2.2, 192.0.2.3, 127.0.0.1\nX-Forwarded-Host: shown.example\n" +
				"X-Forwarded-Proto: https\nX-Request-Id: id-1\n",
		},
		"by a trusted proxy that says nothing": {
			yaml: "trusted_proxies: [loopback]",
			want: "Host: api.example:8080\nX-Forwarded-For: 127.0.0.1\nX-Forwarded-Host: api.example:8080\n" +
				"X-Forwarded-Proto: http\nX-Request-Id: id-1\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			worker, requests := scripted(t, okAnswer)
			r := newRigFor(t, c.yaml, worker)
			w := r.dial()
			w.write(strings.ReplaceAll("GET /a HTTP/1.1\nHost: api.example:8080\nX-Request-Id: id-1\n"+c.headers+"\n", "\n", "\r\n"))
			w.answer("GET")
			if d := cmp.Diff("GET /a HTTP/1.1\n"+c.want, without((<-requests)[0])); d != "" {
				t.Errorf("at the worker (-want +got):\n%s", d)
			}
		})
	}
}

// TestAnswersPass pins what a client gets for what a worker answered: the same
// bytes, but for the request's id, the framing, and headers between neighbours.
func TestAnswersPass(t *testing.T) {
	for name, c := range map[string]struct {
		method, path string
		answer       string // with line feeds alone in its head
		want         string // head without X-Request-Id and Date, sorted, and body
	}{
		"headers": {
			answer: "HTTP/1.1 200 Fine\nContent-Length: 2\nContent-Type: a/b\nx-lower: 1\nX-Multi: a\nX-Multi: b, c\nX-Empty:\n" +
				"Set-Cookie: a=1\nSet-Cookie: b=2\nServer: me\n\nok",
			want: "HTTP/1.1 200 OK\nContent-Length: 2\nContent-Type: a/b\nServer: me\nSet-Cookie: a=1\nSet-Cookie: b=2\n" +
				"X-Empty: \nX-Lower: 1\nX-Multi: a\nX-Multi: b, c\n\nok",
		},
		"hop by hop": {
			answer: "HTTP/1.1 200 OK\nContent-Length: 2\nContent-Type: a/b\nConnection: X-Mine\nX-Mine: 1\nKeep-Alive: 5\nProxy-Authenticate: x\n\nok",
			want:   "HTTP/1.1 200 OK\nContent-Length: 2\nContent-Type: a/b\n\nok",
		},
		"no type":         {answer: "HTTP/1.1 200 OK\nContent-Length: 6\n\n<html>", want: "HTTP/1.1 200 OK\nContent-Length: 6\n\n<html>"},
		"204":             {answer: "HTTP/1.1 204 No Content\nX-Own: 1\n\n", want: "HTTP/1.1 204 No Content\nX-Own: 1\n\n"},
		"304":             {answer: "HTTP/1.1 304 Not Modified\nEtag: \"a\"\n\n", want: "HTTP/1.1 304 Not Modified\nEtag: \"a\"\n\n"},
		"HEAD":            {method: "HEAD", answer: "HTTP/1.1 200 OK\nContent-Length: 2000\nContent-Type: a/b\n\n", want: "HTTP/1.1 200 OK\nContent-Length: 2000\nContent-Type: a/b\n\n"},
		"chunked":         {answer: "HTTP/1.1 200 OK\nContent-Type: a/b\nTransfer-Encoding: chunked\n\n2\r\nok\r\n0\r\n\r\n", want: "HTTP/1.1 200 OK\nContent-Type: a/b\nTransfer-Encoding: chunked\n\n2\r\nok\r\n0\r\n\r\n"},
		"to the end":      {answer: "HTTP/1.1 200 OK\nContent-Type: a/b\n\nok", want: "HTTP/1.1 200 OK\nContent-Type: a/b\nTransfer-Encoding: chunked\n\n2\r\nok\r\n0\r\n\r\n"},
		"of HTTP/1.0":     {answer: "HTTP/1.0 200 OK\nContent-Type: a/b\n\nok", want: "HTTP/1.1 200 OK\nContent-Type: a/b\nTransfer-Encoding: chunked\n\n2\r\nok\r\n0\r\n\r\n"},
		"redirect":        {answer: "HTTP/1.1 302 Found\nContent-Length: 0\nLocation: /b?%zz\n\n", want: "HTTP/1.1 302 Found\nContent-Length: 0\nLocation: /b?%zz\n\n"},
		"error":           {answer: "HTTP/1.1 500 Internal Server Error\nContent-Length: 2\nContent-Type: a/b\n\nno", want: "HTTP/1.1 500 Internal Server Error\nContent-Length: 2\nContent-Type: a/b\n\nno"},
		"unknown status":  {answer: "HTTP/1.1 299 Odd\nContent-Length: 2\nContent-Type: a/b\n\nok", want: "HTTP/1.1 299 status code 299\nContent-Length: 2\nContent-Type: a/b\n\nok"},
		"own rate limits": {answer: "HTTP/1.1 429 Too Many Requests\nContent-Length: 2\nContent-Type: a/b\nRetry-After: 7\nX-Ratelimit-Limit: 9\n\nno", want: "HTTP/1.1 429 Too Many Requests\nContent-Length: 2\nContent-Type: a/b\nRetry-After: 7\nX-Ratelimit-Limit: 9\n\nno"},
		"trailer, announced": {
			answer: "HTTP/1.1 200 OK\nContent-Type: a/b\nTrailer: X-Sum\nTransfer-Encoding: chunked\n\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
			want:   "HTTP/1.1 200 OK\nContent-Type: a/b\nTrailer: X-Sum\nTransfer-Encoding: chunked\n\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
		},
		"trailer, not announced": {
			answer: "HTTP/1.1 200 OK\nContent-Type: a/b\nTransfer-Encoding: chunked\n\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
			want:   "HTTP/1.1 200 OK\nContent-Type: a/b\nTransfer-Encoding: chunked\n\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
		},
		"early hints": {
			answer: "HTTP/1.1 103 Early Hints\nLink: </a>\nLink: </b>\n\n" + strings.ReplaceAll(okAnswer, "\r", ""),
			want:   "HTTP/1.1 103 Early Hints\nLink: </a>\nLink: </b>\n\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nDate: Tue, 06 Oct 2026 10:00:00 GMT\r\nX-Request-Id: id-1\r\n\r\nok",
		},
		"early hints, with what is for this hop alone": {
			answer: "HTTP/1.1 103 Early Hints\nLink: </a>\nConnection: X-Mine\nX-Mine: 1\nKeep-Alive: 5\n\n" + strings.ReplaceAll(okAnswer, "\r", ""),
			want:   "HTTP/1.1 103 Early Hints\nLink: </a>\n\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nDate: Tue, 06 Oct 2026 10:00:00 GMT\r\nX-Request-Id: id-1\r\n\r\nok",
		},
		"metered, with bytes in any order": {
			method: "POST", path: "/v1/completions",
			answer: "HTTP/1.1 200 OK\nContent-Length: 7\nContent-Type: application/json\n\n{ }\n\x00\xff ",
			want:   "HTTP/1.1 200 OK\nContent-Length: 7\nContent-Type: application/json\n\n{ }\n\x00\xff ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			head, body, _ := strings.Cut(c.answer, "\n\n")
			worker, _ := scripted(t, strings.ReplaceAll(head+"\n\n", "\n", "\r\n")+body)
			r := newRigFor(t, "", worker)
			w := r.dial()
			if c.method == "" {
				c.method = "GET"
			}
			if c.path == "" {
				c.path = "/a"
			}
			text := c.method + " " + c.path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: id-1\r\n"
			if c.method == "POST" {
				text += "Content-Length: 2\r\n\r\n{}"
			} else {
				text += "\r\n"
			}
			w.write(text)
			gotHead, err := readHead(w.r)
			if err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(w.r)
			if err != nil {
				t.Fatal(err)
			}
			got := without(gotHead, "Date", "Connection", "X-Request-Id") + "\n" + strings.Replace(string(rest), "Connection: close\r\n", "", 1)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("at the client (-want +got):\n%s", d)
			}
		})
	}
}

// TestLengthOfNoStream: of an answer that is no stream nothing is taken out, so
// that it keeps its length, by which a client of HTTP/1.0 sees whether it is whole.
func TestLengthOfNoStream(t *testing.T) {
	worker, _ := scripted(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	r := newRigFor(t, "", worker)
	a := r.send("POST", "/v1/chat/completions", prompt(40, `"stream":true,`))
	if got := a.header.Get("Content-Length"); a.status != 200 || a.body != "{}" || got != "2" {
		t.Errorf("answer %d %q of length %q", a.status, a.body, got)
	}
}

// TestRequestTrailersPass sends trailers, announced and not, through the
// gateway to a worker.
func TestRequestTrailersPass(t *testing.T) {
	for name, c := range map[string]struct{ announced, want string }{
		"announced":     {"Trailer: X-Sum\r\n", "abcdeX-Sum: 1\n"},
		"not announced": {"", "abcdeX-Sum: 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			worker, requests := scripted(t, okAnswer)
			r := newRigFor(t, "", worker)
			w := r.dial()
			w.write("POST /a HTTP/1.1\r\nHost: x\r\n" + c.announced + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n")
			if a := w.answer("POST"); a.status != 200 {
				t.Fatalf("answer %d %q", a.status, a.body)
			}
			if got := (<-requests)[1]; got != c.want {
				t.Errorf("body and trailer at the worker %q, want %q", got, c.want)
			}
		})
	}
}
