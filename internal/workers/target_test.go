package workers

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// targets are what clients send and what reaches the worker; want is empty
// where that is the same.
var targets = []struct{ base, target, want string }{
	{"", "/", ""},
	{"", "/v1/chat/completions", ""},
	{"", "/a%2fb", ""},
	{"", "/a%2Fb%20c", ""},
	{"", "/a^b", ""},
	{"", "/a;b", ""},
	{"", "/a:b@c", ""},
	{"", "/%7Euser", ""},
	{"", "/~user", ""},
	{"", "/a/../b/./c", ""},
	{"", "/a//b/", ""},
	{"", `/<"|>{}\` + "`", ""},
	{"", "/caf\xc3\xa9", ""},
	{"", "/\xff", ""},
	{"", "/a#b", ""},
	{"", "//x", ""},
	{"", "//x/y?z", ""},
	{"", "///x%2f", ""},
	{"", "//x^y", "//x%5Ey"},
	{"", "/a?", ""},
	{"", "/?", ""},
	{"", "/a??", ""},
	{"", "/a?a=%zz;b", ""},
	{"", "/a?b=c&&d=^\"<>", ""},
	{"", "/a?b#c", ""},
	{"", "/a?http://b/c", ""},
	{"", "*", ""},
	{"", "http://other.test/a%2fb?c=%zz", "/a%2fb?c=%zz"},
	{"", "http://other.test:80//a^b", "//a%5Eb"},
	{"", "HTTPS://other.test", "/"},
	{"", "http://other.test?a/b", "/?a/b"},
	{"", "http://other.test?", "/?"},
	{"/", "/a^b", ""},
	{"/", "//a", ""},
	{"/base", "/a^b?c", "/base/a^b?c"},
	{"/base/", "/a", "/base/a"},
	{"/base", "//a^b", "/base//a^b"},
	{"/base", "/", "/base/"},
	{"/base", "*", "*"},
	{"/b%2fse", "/a", "/b%2fse/a"},
	{"/base?q=1", "/a?b", "/base/a?b"},
	// What leads out of the base, in whatever writing, stays below it.
	{"/base", "/a/../b/./c//d/..", "/base/a/../b/./c//d/.."},
	{"/base", "/a..b/...", "/base/a..b/..."},
	{"/base", "/../other?a=/../..", "/base/other?a=/../.."},
	{"/base", "/a/../../other/", "/base/other/"},
	{"/base", "/..", "/base/"},
	{"/base", "//..//../other", "/base/other"},
	{"/base", "/./../other", "/base/other"},
	{"/base", "/%2e%2E/other", "/base/other"},
	{"/base", "/.%2e/a%20b", "/base/a%20b"},
	{"/base", "/..%2fother", "/base/other"},
	{"/base", "/a%2Fb/../../other", "/base/other"},
	{"/base", "/a%2f..%2f../other", "/base/other"},
	{"/base", `/..\other`, "/base/other"},
	{"/base", "/..%5Cother", "/base/other"},
	{"/base", `/a\b/../../other`, "/base/other"},
	{"/base", "/..;x=1/other", "/base/other"},
	{"/base", "/..%3bx/other", "/base/other"},
	{"/base", "/..#/other", "/base/other"},
	{"/base", "http://x.test/../other", "/base/other"},
	{"", "/../other", "/../other"}, // there is nothing to lead out of
}

// requestLines is a worker that says which target it was asked for, as it
// stands in the request line.
func requestLines(t *testing.T) Worker {
	return newRawWorker(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		line, err := in.ReadString('\n')
		for err == nil {
			var header string
			if header, err = in.ReadString('\n'); header == "\r\n" {
				break
			}
		}
		target := strings.TrimSuffix(strings.TrimPrefix(line, "GET "), " HTTP/1.1\r\n")
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+target)
	})
}

// TestTargetOnTheWire sends every target through a gateway over sockets.
func TestTargetOnTheWire(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		w := requestLines(t)
		for _, tt := range targets {
			base := mustParse(t, w.URL.String()+tt.base)
			gateway, _ := newGateway(t, newPool(t, Worker{URL: base}))
			_, in := dial(t, gateway, "GET "+tt.target+" HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			want := tt.want
			if want == "" {
				want = tt.target
			}
			if string(got) != want {
				t.Errorf("base %q, target %q: the worker was asked for %q, want %q (status %d)", tt.base, tt.target, got, want, resp.StatusCode)
			}
		}
	})
}

// TestTargetThatNoServerLetsIn checks what cannot come over an HTTP/1.1
// socket.
func TestTargetThatNoServerLetsIn(t *testing.T) {
	base := mustParse(t, "http://worker.test")
	for _, tt := range []struct{ target, want string }{
		{"", "/"},
		{"a", "/"},
		{"scheme:opaque", "/"},
		{"scheme:opaque://host/admin", "/"},
		{"http:/a^b?c", "/a^b?c"},
		{"scheme:?a", "/?a"},
		{"//x%zz", "//x%25zz"},
		// Over HTTP/2 a path may hold a space.
		{"/a HTTP/1.1", "/a%20HTTP/1.1"},
		{"/a?b c", "/a?b%20c"},
	} {
		var out http.Request // without a URL
		SetTarget(&out, base, tt.target)
		if got := out.URL.RequestURI(); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.target, got, tt.want)
		}
	}
}

func TestSetTargetLeavesHostAlone(t *testing.T) {
	out := &http.Request{
		Host: "gateway.test",
		URL:  mustParse(t, "http://user:secret@gateway.test/a?b"),
	}
	SetTarget(out, mustParse(t, "https://user:secret@worker.test:8443/"), "/c")
	if out.Host != "gateway.test" {
		t.Errorf("Host is %q", out.Host)
	}
	if want := (url.URL{Scheme: "https", Host: "worker.test:8443", Opaque: "/c"}); *out.URL != want {
		t.Errorf("URL is %#v, want %#v", *out.URL, want)
	}
}

// FuzzTarget checks, for every target that the server lets in, that the worker
// is asked for the same, that it stays one word of the request line, and that
// it means the same path and query to both.
func FuzzTarget(f *testing.F) {
	for _, tt := range targets {
		f.Add(tt.target)
	}
	f.Add("/a b?c d")
	f.Add("scheme:opaque://host/admin")
	f.Add("http:///a")
	f.Add("http:/a")
	base := &url.URL{Scheme: "http", Host: "worker.test"}
	f.Fuzz(func(t *testing.T, target string) {
		in, err := url.ParseRequestURI(target)
		if err != nil {
			t.Skip("no server lets it in")
		}
		var out http.Request
		SetTarget(&out, base, target)
		got := out.URL.RequestURI()
		if strings.Contains(got, " ") {
			t.Fatalf("%q: a space in %q", target, got)
		}
		if target[0] == '/' && !strings.HasPrefix(target, "//") && !strings.Contains(target, " ") && got != target {
			t.Fatalf("%q: got %q", target, got)
		}
		back, err := url.ParseRequestURI(got)
		if err != nil {
			t.Fatalf("%q: got %q: %v", target, got, err)
		}
		path := in.Path
		if path == "" {
			path = "/"
		}
		if back.Path != path {
			t.Fatalf("%q: path %q, the client asked for %q", target, back.Path, path)
		}
		if want := strings.ReplaceAll(in.RawQuery, " ", "%20"); in.Opaque == "" && back.RawQuery != want {
			t.Fatalf("%q: query %q, the client asked for %q", target, back.RawQuery, want)
		}
	})
}
