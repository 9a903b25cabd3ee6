package standin

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestEcho sends a request as it is seldom seen, and chunked.
func TestEcho(t *testing.T) {
	srv := serve(t, Options{})
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PATCH /echo/a%2Fb//c;x=1?q=%zz&q HTTP/1.1\r\nHost: a.example\r\nX-Twice: 1\r\nX-Twice: 2\r\n"+
		"Transfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-End: yes\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Method, Target, Proto, Host string
		Headers, Trailers           http.Header
		BodyBytes                   int64  `json:"body_bytes"`
		BodySHA256                  string `json:"body_sha256"`
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("hello world"))
	if got.Method != "PATCH" || got.Target != "/echo/a%2Fb//c;x=1?q=%zz&q" || got.Proto != "HTTP/1.1" || got.Host != "a.example" ||
		strings.Join(got.Headers["X-Twice"], ",") != "1,2" || got.Trailers.Get("X-End") != "yes" ||
		got.BodyBytes != 11 || got.BodySHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("%+v", got)
	}
}

func TestStatusAndBytes(t *testing.T) {
	srv := serve(t, Options{})
	tests := []struct {
		path, fault string
		status      int
		length      int64 // declared; -1 for chunked
		size        int
		cut         bool
	}{
		{"/status/200", "", 200, 14, 14, false},
		{"/status/204", "", 204, 0, 0, false},
		{"/status/304", "", 304, 0, 0, false},
		{"/status/503", "", 503, 14, 14, false},
		{"/status/99", "", 400, 123, 123, false},
		{"/status/204", "gzip,wrong-length,trailers", 204, 0, 0, false},
		{"/bytes?n=0", "", 200, 0, 0, false},
		{"/bytes?n=100000", "", 200, 100000, 100000, false},
		{"/bytes?n=100", "die-after=1", 200, 100, 50, true},
		{"/bytes?n=-1", "", 400, 125, 125, false},
		{"/bytes?n=x", "", 400, 124, 124, false},
		{"/chunks?n=0", "", 200, -1, 0, false},
		{"/chunks?n=3&every=1us", "", 200, -1, 24, false},
		{"/chunks?n=3", "die-after=2", 200, -1, 16, true},
		{"/chunks?n=3", "die-after=0", 200, -1, 0, true},
		{"/chunks?n=x", "", 400, 124, 124, false},
		{"/chunks?every=x", "", 400, 134, 134, false},
		{"/nothing", "", 404, 106, 106, false},
	}
	for _, tc := range tests {
		res, body, err := srv.do(t, "GET", tc.path, "", tc.fault)
		if res == nil {
			t.Fatal(err)
		}
		if res.StatusCode != tc.status || res.ContentLength != tc.length || len(body) != tc.size || errors.Is(err, io.ErrUnexpectedEOF) != tc.cut {
			t.Errorf("%s %s: %d, length %d, %d bytes, %v; want %+v", tc.path, tc.fault, res.StatusCode, res.ContentLength, len(body), err, tc)
		}
	}
}

// TestChunks times the chunks: each is sent when it is due.
func TestChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &flushClock{ResponseRecorder: httptest.NewRecorder(), start: time.Now()}
		New(Options{}).ServeHTTP(rec, httptest.NewRequest("GET", "/chunks?n=4&every=20ms", nil))
		want := []string{"0s: ", "0s: chunk 0\n", "20ms: chunk 1\n", "40ms: chunk 2\n", "60ms: chunk 3\n"}
		if fmt.Sprintf("%q", rec.flushes) != fmt.Sprintf("%q", want) {
			t.Errorf("%q, want %q", rec.flushes, want)
		}
	})
}

// flushClock notes what was flushed, and when.
type flushClock struct {
	*httptest.ResponseRecorder
	start   time.Time
	seen    int
	flushes []string
}

func (f *flushClock) Flush() {
	f.flushes = append(f.flushes, fmt.Sprintf("%v: %s", time.Since(f.start), f.Body.Bytes()[f.seen:]))
	f.seen = f.Body.Len()
}

func TestGzip(t *testing.T) {
	tests := []struct {
		accept string
		want   bool
	}{
		{"", false},
		{"gzip", true},
		{"br, GZIP", true},
		{"gzip;q=0", false},
		{"gzip; q=0.5", true},
		{"gzip;q=x", false},
		{"*", true},
		{"identity", false},
		{"deflate, gzip;q=1.0, *;q=0.5", true},
		{"xgzip", false},
	}
	for _, tc := range tests {
		r := httptest.NewRequest("GET", "/gzip", nil)
		r.Header.Set("Accept-Encoding", tc.accept)
		rec := httptest.NewRecorder()
		New(Options{}).ServeHTTP(rec, r)
		text := rec.Body.Bytes()
		if rec.Header().Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if text, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if got := rec.Header().Get("Content-Encoding") == "gzip"; got != tc.want || len(text) != 2800 || rec.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: compressed %t, %d bytes of text", tc.accept, got, len(text))
		}
	}
}
