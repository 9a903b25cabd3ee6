package workers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outcome is what a client sees of an answer.
type outcome struct {
	Failed  bool // before the headers were whole
	Code    int
	Status  string
	Length  int64
	Header  http.Header
	Body    string
	Broken  bool // the body ended in an error
	Trailer http.Header
	Hints   []string // of 1xx
}

// speak is a worker in memory that reads a request and says raw, whatever was
// asked; then it hangs up.
func speak(raw string) func(dialFunc) dialFunc {
	return func(dialFunc) dialFunc {
		return func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer func() { _ = there.Close() }()
				if req, err := http.ReadRequest(bufio.NewReader(there)); err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
					_, _ = io.WriteString(there, raw)
				}
			}()
			return here, nil
		}
	}
}

// hear sends a request to a worker that says raw.
func hear(t testing.TB, newPool newPoolFunc, method, raw string) (o outcome) {
	t.Helper()
	p := newPool(t, Worker{URL: mustParse(t, "http://worker.test")})
	dialBy(p.workers[0], speak(raw))
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		o.Hints = append(o.Hints, fmt.Sprint(code, h))
		return nil
	}}
	req := newRequest(t, method, nil)
	req = req.WithContext(httptrace.WithClientTrace(t.Context(), trace))
	resp, err := p.RoundTrip(req)
	if err != nil {
		o.Failed = true
		return o
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	o.Code = resp.StatusCode
	o.Status, o.Length, o.Header, o.Trailer = resp.Proto+" "+resp.Status, resp.ContentLength, resp.Header, resp.Trailer
	o.Body, o.Broken = string(body), err != nil
	return o
}

// answers are what workers say, well or with ill intent.
var answers = []struct {
	name, raw string
	want      string // of a GET: status, body, and what became of it
}{
	{"length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "200 ab"},
	{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "200 ab"},
	{"until the end", "HTTP/1.1 200 OK\r\n\r\nab", "200 ab"},
	{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nab", "200 ab"},
	{"HTTP/1.0, kept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab", "200 ab"},
	{"HTTP/1.0, chunks that are none", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200 0\r\n\r\n"},
	{"no content", "HTTP/1.1 204 No Content\r\n\r\n", "204 "},
	{"no content, with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nab", "204 "},
	{"not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304 "},
	{"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 "},
	{"trailers", "HTTP/1.1 200 OK\r\nTrailer: A\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nA: 1\r\nB: 2\r\n\r\n", "200 ab [A:1 B:2]"},
	{"trailers without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nA: 1\r\n", "200 ab broken"},
	{"a trailer that would frame", "HTTP/1.1 200 OK\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "failed"},
	{"hints", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "200 ab"},
	{"hints and no answer", "HTTP/1.1 103 Early Hints\r\n\r\n", "failed"},
	{"go on, unasked", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 "},
	{"closing", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab", "200 ab"},
	{"more than the length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcd", "200 ab"},
	{"less than the length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "200 ab broken"},
	{"nothing", "", "failed"},
	{"half a status line", "HTTP/1.1 20", "failed"},
	{"headers without end", "HTTP/1.1 200 OK\r\nA: b\r\n", "failed"},
	{"garbage first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "failed"},
	{"no HTTP", "SSH-2.0-OpenSSH_9.6\r\n", "failed"},
	{"HTTP/2", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "200 "}, // of its answer's text alone
	{"HTTP/x", "HTTP/x 200 OK\r\n\r\n", "failed"},
	{"a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "failed"},
	{"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "failed"},
	{"a negative status", "HTTP/1.1 -20 OK\r\n\r\n", "failed"},
	{"a status below 100", "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nab", "99 ab"},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "failed"},
	{"the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", "200 ab"},
	{"a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab", "failed"},
	{"a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab", "failed"},
	{"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab", "failed"},
	{"an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nab", "failed"},
	{"a length beyond all", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nab", "failed"},
	{"length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "200 ab"},
	{"chunks twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "failed"},
	{"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "failed"},
	{"a folded line", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nab", "200 ab"}, // joined by a space
	{"a folded first line", "HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 2\r\n\r\nab", "failed"},
	{"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 2\n\nab", "200 ab"},
	{"a bare carriage return", "HTTP/1.1 200 OK\r\nA: b\rC: d\r\nContent-Length: 2\r\n\r\nab", "failed"},
	{"NUL in a value", "HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 2\r\n\r\nab", "failed"},
	{"NUL in a name", "HTTP/1.1 200 OK\r\nA\x00: b\r\nContent-Length: 2\r\n\r\nab", "failed"},
	{"a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab", "200 ab"}, // no length, then; no server writes such a name
	{"no colon", "HTTP/1.1 200 OK\r\nA\r\n\r\nab", "failed"},
	{"no name", "HTTP/1.1 200 OK\r\n: b\r\n\r\nab", "failed"},
	{"a chunk's extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nab\r\n0\r\n\r\n", "200 ab"},
	{"a line feed in an extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nxx\r\nab\r\n0\r\n\r\n", "200  broken"},
	{"an endless extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + strings.Repeat("a", 5000) + "\r\nab\r\n0\r\n\r\n", "200  broken"},
	{"a chunk larger than it says", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "200 a broken"},
	{"a chunk smaller than it says", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab\r\n0\r\n\r\n", "200 ab\r\n0\r\n\r\n broken"},
	{"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "200 ab broken"},
	{"a signed chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n", "200  broken"},
	{"a chunk beyond all", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab", "200  broken"},
	{"large headers", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", maxHeaderBytes) + "\r\n\r\n", "failed"},
	{"endless hints' headers", "HTTP/1.1 103 Early Hints\r\nA: " + strings.Repeat("a", maxHeaderBytes) + "\r\n\r\n", "failed"},
	{"switching, unasked", "HTTP/1.1 101 Switching Protocols\r\n\r\nab", "101 "},
}

// TestAnswers pins what becomes of every answer, by both ways.
func TestAnswers(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		for _, a := range answers {
			t.Run(a.name, func(t *testing.T) {
				o := hear(t, newPool, http.MethodGet, a.raw)
				got := "failed"
				if !o.Failed {
					got = fmt.Sprintf("%d %s", o.Code, o.Body)
					if len(o.Trailer) > 0 {
						got += strings.NewReplacer("map", "", "[[", "[", ":[", ":", "]]", "]", "] ", " ").Replace(fmt.Sprint(" ", o.Trailer))
					}
					if o.Broken {
						got += " broken"
					}
				}
				if got != a.want {
					t.Errorf("%q, want %q", got, a.want)
				}
			})
		}
	})
}

// FuzzAnswer says the same bytes by both ways: what a client sees is the same,
// but for an unasked switch of protocols, of which Transport hands the
// connection out.
func FuzzAnswer(f *testing.F) {
	for _, a := range answers {
		if len(a.raw) < 1000 {
			f.Add(a.raw, uint8(0))
			f.Add(a.raw, uint8(1))
		}
	}
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost}
	f.Fuzz(func(t *testing.T, raw string, method uint8) {
		m := methods[int(method)%len(methods)]
		want := hear(t, newTransportPool, m, raw)
		if want.Code == http.StatusSwitchingProtocols {
			t.Skip("an unasked switch")
		}
		if d := cmp.Diff(want, hear(t, newPool, m, raw)); d != "" {
			t.Errorf("%s of %q (-Transport +http1):\n%s", m, raw, d)
		}
	})
}

// TestHintsAreBounded: a worker that only ever says 1xx is not listened to for
// ever. Their headers count with those of the answer.
func TestHintsAreBounded(t *testing.T) {
	const hint = "HTTP/1.1 103 Early Hints\r\n\r\n"
	o := hear(t, newPool, http.MethodGet, strings.Repeat(hint, 2*maxHeaderBytes/len(hint)))
	if !o.Failed || len(o.Hints) == 0 || len(o.Hints) > maxHeaderBytes/len(hint) {
		t.Errorf("failed: %v, after %d hints", o.Failed, len(o.Hints))
	}
}

// TestHintIsRefused has the one who is told of a 1xx refuse it.
func TestHintIsRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		refused := errors.New("no hints")
		p := newPool(t, Worker{URL: mustParse(t, "http://worker.test")})
		dialBy(p.workers[0], speak("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"))
		trace := &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { return refused }}
		req := newRequest(t, http.MethodGet, nil)
		if _, err := p.RoundTrip(req.WithContext(httptrace.WithClientTrace(t.Context(), trace))); !errors.Is(err, refused) {
			t.Errorf("got %v, want %v", err, refused)
		}
		// With nobody to tell, they are passed over.
		if got := get(t, p); got != "" {
			t.Errorf("answer %q", got)
		}
	})
}
