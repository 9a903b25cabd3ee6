package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/clientaddr"
	"github.com/penstock-dev/penstock/internal/workers"
)

const (
	plainAsk    = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
	plainAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
)

// likeAsks and likeAnswers are what a client and a worker say, as it stands on
// the wire. What a ReverseProxy answers now so and now so is not among them: it
// flushes the head of an answer at once, but from another goroutine.
var (
	likeAsks = map[string]string{
		"plain":              plainAsk,
		"lines of one name":  "GET /a HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n",
		"empty and odd":      "GET /a HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nX-Space: \t a b \t\r\nX-Bytes: \xc3\xa4\xff\r\nX_Under: 1\r\n!#$: 2\r\n\r\n",
		"named by the hop":   "GET /a HTTP/1.1\r\nHost: x\r\nConnection: x-drop, , keep-alive\r\nConnection: X-Also\r\nX-Drop: 1\r\nX-Also: 2\r\nX-Stays: 3\r\n\r\n",
		"names what we set":  "GET /a HTTP/1.1\r\nHost: x\r\nConnection: X-Request-Id, X-Forwarded-For, Te, User-Agent\r\nUser-Agent: me\r\nTE: trailers\r\n\r\n",
		"for this hop alone": "GET /a HTTP/1.1\r\nHost: x\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: a\r\nProxy-Authenticate: b\r\nTrailer: X-T\r\n\r\n",
		"te":                 "GET /a HTTP/1.1\r\nHost: x\r\nTE: deflate;q=0.5, Trailers\r\n\r\n",
		"te of another kind": "GET /a HTTP/1.1\r\nHost: x\r\nTE: deflate, trailers;q=1\r\n\r\n",
		"forwarded":          "GET /a HTTP/1.1\r\nHost: x\r\nForwarded: for=1.1.1.1\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\nX-Forwarded-Host: h\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /p\r\nX-Real-Ip: 4.4.4.4\r\n\r\n",
		"forwarded in part":  "GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n\r\n",
		"user agent":         "GET /a HTTP/1.1\r\nHost: x\r\nUser-Agent: me/1\r\n\r\n",
		"no user agent":      "GET /a HTTP/1.1\r\nHost: x\r\nUser-Agent:\r\n\r\n",
		"an upgrade":         "GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
		"upgrade, not named": "GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
		"half an upgrade":    "GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-Websocket-Key: a\r\n\r\n",
		"odd target":         "GET /a%2Fb/%zz/../c;x=1?a=1;b=%20&=&q#f HTTP/1.1\r\nHost: x\r\n\r\n",
		"whole target":       "GET http://other/a?b HTTP/1.1\r\nHost: x\r\n\r\n",
		"options":            "OPTIONS /a HTTP/1.1\r\nHost: x\r\nOrigin: http://o\r\n\r\n",
		"head":               "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n",
		"own method":         "PURGE /a HTTP/1.1\r\nHost: x\r\n\r\n",
		"old":                "GET /a HTTP/1.0\r\nHost: x\r\n\r\n",
		"a body":             "POST /a HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
		"no body":            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"a body in chunks":   "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
	}
	likeAnswers = map[string]string{
		"plain":               plainAnswer,
		"nothing":             "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"no type":             "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
		"an empty type":       "HTTP/1.1 200 OK\r\nContent-Type:\r\nContent-Length: 6\r\n\r\n<html>",
		"in chunks":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
		"to the end":          "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nabc",
		"old":                 "HTTP/1.0 200 OK\r\nContent-Type: a/b\r\n\r\nabc",
		"large":               "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("0123456789", 10000),
		"large, in chunks":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("a\r\n0123456789\r\n", 10000) + "0\r\n\r\n",
		"events":              "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n",
		"a trailer":           "HTTP/1.1 200 OK\r\nTrailer: X-T, X-U\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\nX-T: 2\r\nX-U: 3\r\n\r\n",
		"a sudden trailer":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
		"one more trailer":    "HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n",
		"no trailer":          "HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"a trailer alone":     "HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n\r\n",
		"early hints":         "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\nHTTP/1.1 102 Processing\r\nX-A: 1\r\n\r\n" + plainAnswer,
		"for this hop alone":  "HTTP/1.1 200 OK\r\nConnection: X-Drop, close\r\nX-Drop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: a\r\nProxy-Authenticate: b\r\nProxy-Authorization: c\r\nTE: d\r\nUpgrade: e\r\nX-Stays: 2\r\nContent-Length: 2\r\n\r\nok",
		"lines of one name":   "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Empty:\r\nX-Bytes: \xff\r\nVary: a\r\nVary: b\r\nContent-Length: 2\r\n\r\nok",
		"a date and a server": "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: s\r\nContent-Length: 2\r\n\r\nok",
		"a reason":            "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nok",
		"no reason":           "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
		"204":                 "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
		"304":                 "HTTP/1.1 304 Not Modified\r\nEtag: a\r\nContent-Length: 5\r\n\r\n",
		"404":                 "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
		"500":                 "HTTP/1.1 500 Internal Server Error\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nno",
		"999":                 "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok",
		"99":                  "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok",
		"two lengths":         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"lengths that differ": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
		"too short":           "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
		"a chunk that is cut": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n9\r\nabc",
		"no last chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"half a head":         "HTTP/1.1 200 OK\r\nContent-Le",
		"no answer":           "",
		"garbage":             "no HTTP at all\r\n\r\n",
		"another protocol":    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: odd\r\n\r\n",
	}
)

// TestLikeReverseProxy plays requests and answers through the gateway and through
// the httputil.ReverseProxy that it is in the place of, and compares what the
// worker and the client have seen.
func TestLikeReverseProxy(t *testing.T) {
	for _, trusted := range []string{"[loopback]", "[]"} {
		var mu sync.Mutex // guards what follows
		var says string
		var keeps bool
		var seen []string
		worker := rawWorker(t, func(c net.Conn, from *bufio.Reader) {
			for again := true; again; {
				head, body, err := readRequest(from)
				if err != nil {
					return
				}
				mu.Lock()
				seen = append(seen, seenByWorker(head+"\n"+body))
				answer := says
				again = keeps
				mu.Unlock()
				_, _ = io.WriteString(c, answer)
			}
		})
		r := newRigFor(t, "trusted_proxies: "+trusted+"\n", worker)
		other := reverseProxy(t, r, worker)
		play := func(t *testing.T, ask, answer string) {
			t.Helper()
			method, _, _ := strings.Cut(ask, " ")
			if method == "HEAD" {
				answer, _, _ = strings.Cut(answer, "\r\n\r\n")
				answer += "\r\n\r\n"
			}
			var got [2]string
			var saw [2][]string
			for i, address := range []string{other, r.addr} {
				mu.Lock()
				says, keeps, seen = answer, keepsOpen(method, answer), nil
				mu.Unlock()
				got[i] = seenByClient(t, address, method, ask)
				mu.Lock()
				saw[i] = seen
				mu.Unlock()
			}
			if diff := cmp.Diff(saw[0], saw[1]); diff != "" {
				t.Errorf("the worker sees (-ReverseProxy +gateway):\n%s", diff)
			}
			if diff := cmp.Diff(got[0], got[1]); diff != "" {
				t.Errorf("the client sees (-ReverseProxy +gateway):\n%s", diff)
			}
		}
		for name, ask := range likeAsks {
			t.Run(trusted+" asks "+name, func(t *testing.T) { play(t, ask, plainAnswer) })
		}
		for name, says := range likeAnswers {
			for _, ask := range []string{"plain", "head", "a body", "half an upgrade", "old"} {
				if ask != "half an upgrade" || name != "for this hop alone" {
					t.Run(trusted+" answers "+name+" to "+ask, func(t *testing.T) { play(t, likeAsks[ask], says) })
				}
			}
		}
		r.idle()
	}
}

// keepsOpen reports whether whoever reads these answers uses the connection again.
func keepsOpen(method, answers string) bool {
	in := bufio.NewReader(strings.NewReader(answers))
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return false
		}
		if resp.StatusCode < 200 {
			continue
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err == nil && !resp.Close
	}
}

// reverseProxy starts a ReverseProxy as the gateway's rules want one, and returns
// its address.
func reverseProxy(t *testing.T, r *rig, worker string) string {
	base, err := url.Parse(worker)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode < 100 {
				return errStatus
			}
			return nil
		},
		Rewrite: func(p *httputil.ProxyRequest) {
			in, out := p.In.Header, p.Out.Header
			if clientaddr.Trusted(r.rules.Load().TrustedProxies).Peer(p.In) {
				out["X-Forwarded-For"] = in["X-Forwarded-For"]
				p.SetXForwarded()
				for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
					if said := in[name]; len(said) > 0 {
						out[name] = said
					}
				}
			} else {
				maps.DeleteFunc(out, func(name string, _ []string) bool {
					return strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip"
				})
				p.SetXForwarded()
			}
			out.Set("X-Request-Id", in.Get("X-Request-Id"))
			if !strings.EqualFold(in.Get("Upgrade"), "websocket") {
				out.Del("Upgrade")
				out.Del("Connection")
				out.Del("Http2-Settings")
			}
			workers.SetTarget(p.Out, base, p.In.RequestURI)
		},
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil // none is guessed
		proxy.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// seenByWorker is a request, its headers in order. Its key is the gateway's own.
func seenByWorker(text string) string {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	slices.SortStableFunc(lines[1:], func(a, b string) int {
		a, _, _ = strings.Cut(a, ":")
		b, _, _ = strings.Cut(b, ":")
		return strings.Compare(a, b)
	})
	return strings.Join(lines, "\n") + "\n\n" + body
}

// seenByClient is what comes of a request: every answer, the headers in order but
// for the gateway's own, the body and the trailer, and whether it is whole. An
// answer of the proxy's own is its status.
func seenByClient(t *testing.T, address, method, ask string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	ask = strings.Replace(ask, "Host: x\r\n", "Host: x\r\nConnection: close\r\nX-Request-Id: own-1\r\n", 1)
	if _, err := io.WriteString(c, ask); err != nil {
		t.Fatal(err)
	}
	raw, _ := io.ReadAll(c)
	var b strings.Builder
	in := bufio.NewReader(bytes.NewReader(raw))
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			fmt.Fprintf(&b, "end: %v\n", err == io.EOF || err == io.ErrUnexpectedEOF)
			return b.String()
		}
		if resp.StatusCode == http.StatusBadGateway {
			return b.String() + resp.Status
		}
		body, err := io.ReadAll(resp.Body)
		resp.Header.Del("X-Request-Id")
		resp.Header.Del("Trailer") // of an old answer, which has none; its names are in no order
		if resp.Header.Get("Date") != "Mon, 01 Jan 2024 00:00:00 GMT" {
			resp.Header.Del("Date")
		}
		fmt.Fprintf(&b, "%s %s length %d %v close %v\n%v\n%q %v\n%v\n", resp.Proto, resp.Status, resp.ContentLength, resp.TransferEncoding, resp.Close, resp.Header, body, err, resp.Trailer)
	}
}
