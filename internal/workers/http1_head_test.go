//go:build unix

package workers

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestWhichWay: what is not plain goes by http.Transport.
func TestWhichWay(t *testing.T) {
	w := newWorker(t, echo)
	for name, c := range map[string]struct {
		change func(*http.Request)
		fails  bool
		plain  bool
	}{
		"plain":                {func(*http.Request) {}, false, true},
		"no method":            {func(r *http.Request) { r.Method = "" }, false, true},
		"an empty body":        {func(r *http.Request) { r.Body = http.NoBody }, false, true},
		"no host":              {func(r *http.Request) { r.Host = "" }, false, true},
		"a body":               {func(r *http.Request) { r.Method, r.Body = "POST", newOnce("x") }, false, false},
		"a length and no body": {func(r *http.Request) { r.ContentLength = 1 }, true, false},
		"an upgrade": {func(r *http.Request) {
			r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"a"}
		}, false, false},
		"an expectation":         {func(r *http.Request) { r.Header["Expect"] = []string{"100-continue"} }, false, false},
		"closing":                {func(r *http.Request) { r.Close = true }, false, false},
		"a method with a space":  {func(r *http.Request) { r.Method = "GET /" }, true, false},
		"a target with a break":  {func(r *http.Request) { r.RequestURI = "/\r\nA: b" }, true, false},
		"a host with a break":    {func(r *http.Request) { r.Host = "a\r\nB: c" }, false, false},
		"a host in other script": {func(r *http.Request) { r.Host = "bücher.test" }, false, false},
		"a host with a zone":     {func(r *http.Request) { r.Host = "[fe80::1%25en0]:80" }, false, false},
		"a name with a colon":    {func(r *http.Request) { r.Header["A:"] = []string{"b"} }, true, false},
		"an empty name":          {func(r *http.Request) { r.Header[""] = []string{"b"} }, true, false},
		"a value with a break":   {func(r *http.Request) { r.Header["A"] = []string{"b\r\nC: d"} }, true, false},
		"a value begun with one": {func(r *http.Request) { r.Header["A"] = []string{"\r\n"} }, true, false},
		"a value with a NUL":     {func(r *http.Request) { r.Header["User-Agent"] = []string{"a", "\x00"} }, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, w)
			req := newRequest(t, "GET", nil)
			c.change(req)
			resp, err := p.RoundTrip(req)
			if (err != nil) != c.fails {
				t.Errorf("got %v, want an error: %v", err, c.fails)
			}
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if plain := len(p.workers[0].http1.idle) == 1; plain != c.plain {
				t.Errorf("by http1: %v, want %v", plain, c.plain)
			}
		})
	}
	for _, u := range []string{"https://worker.test", "http://bücher.test"} {
		if newHTTP1(&url.URL{Scheme: u[:strings.Index(u, ":")], Host: u[strings.Index(u, "/")+2:]}, Options{}) != nil {
			t.Errorf("%s is reached by http1", u)
		}
	}
}

// TestHead pins what is written of requests.
func TestHead(t *testing.T) {
	for _, c := range []struct {
		r    request
		want string
	}{
		{request{Request: &http.Request{}, target: "/", host: "w:80"}, "GET / HTTP/1.1\r\nHost: w:80\r\n\r\n"},
		{request{Request: &http.Request{Method: "DELETE", Host: "a"}, target: "*", host: "w"}, "DELETE * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{request{Request: &http.Request{Method: "POST", Host: "a"}, target: "/"}, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{request{Request: &http.Request{Method: "PATCH", Host: "a"}, target: "/"}, "PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{request{Request: &http.Request{Method: "GET", Host: "a"}, target: "/", held: holding([]byte{})}, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{request{Request: &http.Request{Method: "PUT", Host: "a", ContentLength: 9}, target: "/?b", held: holding([]byte("abc"))}, "PUT /?b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"},
		{request{Request: &http.Request{Host: "a", Header: http.Header{"A": {" b\t", "", "\xff c"}, "B": nil}}, target: "/"}, "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nA: \r\nA: \xff c\r\n\r\n"},
		{request{Request: &http.Request{Host: "a", Header: http.Header{"User-Agent": {"b", "c"}}}, target: "/"}, "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\n\r\n"},
		{request{Request: &http.Request{Host: "a", Header: http.Header{"User-Agent": {" "}}}, target: "/"}, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{request{Request: &http.Request{Host: "a", Header: http.Header{"Host": {"b"}, "Content-Length": {"7"}, "Transfer-Encoding": {"chunked"}, "Trailer": {"A"}}}, target: "/"}, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	} {
		got, ok := c.r.appendHead(nil)
		if string(got) != c.want || !ok {
			t.Errorf("got %q, %v, want %q", got, ok, c.want)
		}
	}
}

// FuzzHead: whatever a request consists of, the worker reads it as one with
// these parts, or it is not written.
func FuzzHead(f *testing.F) {
	f.Add("POST", "/a?b", "c.test", "D", "e", "User-Agent", "f", []byte("g"))
	f.Add("GET", "/\r\n", "h\r\nA: b", "A: b\r\nC", "\r\nGET / HTTP/1.1\r\n\r\n", "content-length", "9", []byte(nil))
	f.Add("", "*", "[::1]:80", "Te", "trailers", "A", "\tb ", []byte{})
	f.Fuzz(func(t *testing.T, method, target, host, name1, value1, name2, value2 string, held []byte) {
		h := http.Header{}
		h.Add(name1, value1)
		h.Add(name2, value2)
		r := request{Request: &http.Request{Method: method, Host: host, Header: h}, target: target, host: "worker.test", held: holding(held)}
		head, ok := r.appendHead(nil)
		if !ok {
			return
		}
		in := bufio.NewReader(bytes.NewReader(slices.Concat(head, held, []byte("next"))))
		got, err := http.ReadRequest(in)
		if err != nil {
			if _, bad := url.ParseRequestURI(target); bad != nil || strings.HasPrefix(target, "//") {
				return // which no server lets in
			}
			t.Fatalf("%q: %v", head, err)
		}
		body, err := io.ReadAll(got.Body)
		if err != nil || !bytes.Equal(body, held) {
			t.Fatalf("%q: body %q, %v", head, body, err)
		}
		if rest, _ := io.ReadAll(in); string(rest) != "next" {
			t.Fatalf("%q: %q is left", head, rest)
		}
		if method != "" && got.Method != method || got.RequestURI != target {
			t.Fatalf("%q: %s %s", head, got.Method, got.RequestURI)
		}
		for name, values := range got.Header {
			if name == "Content-Length" {
				continue
			}
			for i, v := range values {
				if want := h[name]; i >= len(want) || v != strings.Trim(want[i], " \t") {
					t.Fatalf("%q: %s is %q, want %q", head, name, values, want)
				}
			}
		}
	})
}
