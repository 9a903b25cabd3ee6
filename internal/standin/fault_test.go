package standin

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseFault(t *testing.T) {
	tests := []struct{ in, err string }{
		{"", ""},
		{"status=503", ""},
		{"die-after=0, hang-after=3,trickle=10ms", ""},
		{"usage=garbage:negative,gzip", ""},
		{"nothing", `unknown fault "nothing"; there are ` + FaultNames},
		{"status=200,", `unknown fault ""; there are ` + FaultNames},
		{"status", `fault status: "" is no number from 200 to 599`},
		{"status=199", `fault status: "199" is no number from 200 to 599`},
		{"die-after=-1", `fault die-after: "-1" is no number from 0 to 1048576`},
		{"hang-after=9999999", `fault hang-after: "9999999" is no number from 0 to 1048576`},
		{"informational=0", `fault informational: "0" is no number from 1 to 1048576`},
		{"output=1048576", ""},
		{"output=0", `fault output: "0" is no number from 1 to 1048576`},
		{"slow-headers=1", `fault slow-headers: "1" is no duration; write one such as 20ms`},
		{"trickle=-1s", `fault trickle: "-1s" is no duration; write one such as 20ms`},
		{"usage=lies", `fault usage: "lies" is no way to report usage; write report, withhold, or garbage: with negative, huge, string, float or null`},
		{"hang=", `fault hang: takes no argument`},
		{"gzip,gzip", `fault gzip: given twice; give it once`},
	}
	for _, tc := range tests {
		_, err := ParseFault(tc.in)
		if got := fmt.Sprint(err); got != tc.err && (err != nil || tc.err != "") {
			t.Errorf("ParseFault(%q): %v, want %q", tc.in, err, tc.err)
		}
	}
}

// FuzzParseFault holds that what is taken is taken again, piece by piece.
func FuzzParseFault(f *testing.F) {
	for _, s := range []string{"", "status=500", "die-after=3,usage=null", " hang , gzip", "trickle=1h2m", "a,b", "x=y=z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fault, err := ParseFault(s)
		if err != nil {
			if !fault.none() {
				t.Errorf("%v, and still a fault", err)
			}
			return
		}
		var sum Fault
		for one := range strings.SplitSeq(s, ",") {
			part, err := ParseFault(one)
			if err != nil {
				t.Fatalf("%q is taken, its part %q is not: %v", s, one, err)
			}
			sum = sum.and(part)
		}
		if fmt.Sprint(sum) != fmt.Sprint(fault) {
			t.Errorf("%q is %v, its parts are %v", s, fault, sum)
		}
	})
}

// TestOutputAsTold: an answer is as long as the header says, or as the request
// asks for where that is less.
func TestOutputAsTold(t *testing.T) {
	for _, tt := range []struct{ more, want string }{
		{"", `"completion_tokens":7`},
		{`,"max_tokens":9`, `"completion_tokens":7`},
		{`,"max_tokens":3`, `"completion_tokens":3`},
	} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(chatBody(4, tt.more)))
		r.Header.Set("X-Standin-Fault", "output=7")
		New(Options{Output: fixed(20)}).ServeHTTP(rec, r)
		if !strings.Contains(rec.Body.String(), tt.want) {
			t.Errorf("%s: no %s in %s", tt.more, tt.want, rec.Body)
		}
	}
}

const streamed = `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`

// TestFaultsOnTheWire enacts the faults that a client sees in the answer, each by
// the header, by the model's name and by the options.
func TestFaultsOnTheWire(t *testing.T) {
	plain := strings.Replace(streamed, "true", "false", 1)
	good := post(New(Options{Output: fixed(20)}), "/v1/chat/completions", plain).Body.Len()
	tests := []struct {
		fault, body string
		check       func(t *testing.T, res *http.Response, body []byte, err error)
		want        Counts
	}{
		{"status=500", plain, func(t *testing.T, res *http.Response, body []byte, _ error) {
			if res.StatusCode != 500 || !strings.Contains(string(body), `"type":"server_error"`) || res.Header.Get("Retry-After") != "" {
				t.Errorf("%s %s", res.Status, body)
			}
		}, Counts{Faulted: 1}},
		{"status=429", plain, func(t *testing.T, res *http.Response, _ []byte, _ error) {
			if res.StatusCode != 429 || res.Header.Get("Retry-After") != "1" {
				t.Errorf("%s %v", res.Status, res.Header)
			}
		}, Counts{Faulted: 1}},
		{"status=204", plain, func(t *testing.T, res *http.Response, body []byte, err error) {
			if res.StatusCode != 204 || len(body) > 0 || err != nil {
				t.Errorf("%s %s %v", res.Status, body, err)
			}
		}, Counts{Faulted: 1}},
		{"die-before-headers", plain, func(t *testing.T, res *http.Response, _ []byte, err error) {
			if res != nil || !errors.Is(err, io.EOF) {
				t.Errorf("%v %v", res, err)
			}
		}, Counts{Faulted: 1}},
		{"die-within-headers", plain, func(t *testing.T, res *http.Response, _ []byte, err error) {
			if res != nil || err == nil {
				t.Errorf("%v %v", res, err)
			}
		}, Counts{Faulted: 1}},
		{"die-after=0", streamed, func(t *testing.T, res *http.Response, body []byte, err error) {
			if res.StatusCode != 200 || len(body) != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s %q %v", res.Status, body, err)
			}
		}, Counts{Faulted: 1}},
		{"die-after=3", streamed, func(t *testing.T, res *http.Response, body []byte, err error) {
			if res.StatusCode != 200 || len(events(string(body))) != 3 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s %q %v", res.Status, body, err)
			}
		}, Counts{Faulted: 1, InputTokens: 1, OutputTokens: 2}},
		{"die-after=3", plain, func(t *testing.T, res *http.Response, body []byte, err error) {
			if res.StatusCode != 200 || len(body) != good/2 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s %q %v", res.Status, body, err)
			}
		}, Counts{Faulted: 1, InputTokens: 1, OutputTokens: 20}},
		{"no-done", streamed, func(t *testing.T, res *http.Response, body []byte, err error) {
			if all := events(string(body)); len(all) != 22 || !strings.Contains(all[21], `"finish_reason":"stop"`) || err != nil {
				t.Errorf("%q %v", body, err)
			}
		}, Counts{Finished: 1, InputTokens: 1, OutputTokens: 20}},
		{"garbage", plain, func(t *testing.T, res *http.Response, body []byte, err error) {
			if res.StatusCode != 200 || len(body) != good || json.Valid(body) || err != nil {
				t.Errorf("%s %q %v", res.Status, body, err)
			}
		}, Counts{Finished: 1, InputTokens: 1, OutputTokens: 20}},
		{"garbage", streamed, func(t *testing.T, res *http.Response, body []byte, err error) {
			if res.StatusCode != 200 || len(body) < 1000 || len(events(string(body))) > 0 || err != nil {
				t.Errorf("%s %q %v", res.Status, body, err)
			}
		}, Counts{Finished: 1, InputTokens: 1, OutputTokens: 20}},
		{"huge-line", streamed, func(t *testing.T, res *http.Response, body []byte, err error) {
			all := events(string(body))
			if len(all) != 23 || len(all[0]) < 2<<20 || len(all[1]) > 1000 || !json.Valid([]byte(all[0])) || err != nil {
				t.Errorf("%d events, %v", len(all), err)
			}
		}, Counts{Finished: 1, InputTokens: 1, OutputTokens: 20}},
		{"early-answer", plain, func(t *testing.T, res *http.Response, body []byte, err error) {
			if res.StatusCode != 400 || !res.Close || err != nil {
				t.Errorf("%s %s %v", res.Status, body, err)
			}
		}, Counts{Faulted: 1}},
		{"trailers", plain, func(t *testing.T, res *http.Response, body []byte, err error) {
			if got := res.Trailer.Get("X-Standin-Bytes"); got != fmt.Sprint(len(body)) || len(body) != good || err != nil {
				t.Errorf("trailer %q on %d bytes, %v", got, len(body), err)
			}
		}, Counts{Finished: 1, InputTokens: 1, OutputTokens: 20}},
		{"wrong-length", plain, func(t *testing.T, res *http.Response, body []byte, err error) {
			if res.ContentLength != int64(good+1<<20) || len(body) != good || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d: %d bytes, %v", res.ContentLength, len(body), err)
			}
		}, Counts{Finished: 1, InputTokens: 1, OutputTokens: 20}},
		{"wrong-length", streamed, func(t *testing.T, res *http.Response, body []byte, err error) {
			if res.ContentLength != 1<<20 || !strings.HasSuffix(string(body), "[DONE]\n\n") || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d: %d bytes, %v", res.ContentLength, len(body), err)
			}
		}, Counts{Finished: 1, InputTokens: 1, OutputTokens: 20}},
		{"gzip", streamed, func(t *testing.T, res *http.Response, body []byte, err error) {
			z, zerr := gzip.NewReader(bytes.NewReader(body))
			if zerr != nil || res.Header.Get("Content-Encoding") != "gzip" {
				t.Fatalf("%v %v %v", res.Header, err, zerr)
			}
			if text, err := io.ReadAll(z); err != nil || len(events(string(text))) != 23 {
				t.Errorf("%q %v", text, err)
			}
		}, Counts{Finished: 1, InputTokens: 1, OutputTokens: 20}},
		{"gzip,trailers,die-after=2", streamed, func(t *testing.T, res *http.Response, body []byte, err error) {
			if !errors.Is(err, io.ErrUnexpectedEOF) || res.Trailer.Get("X-Standin-Bytes") != "" {
				t.Errorf("%v %v", err, res.Trailer)
			}
		}, Counts{Faulted: 1, InputTokens: 1, OutputTokens: 1}},
	}
	for _, tc := range tests {
		for _, by := range []string{"header", "model", "options"} {
			t.Run(tc.fault+" by "+by, func(t *testing.T) {
				o, body, header := Options{Output: fixed(20)}, tc.body, ""
				switch by {
				case "header":
					header = tc.fault
				case "model":
					body = strings.Replace(body, `"m"`, `"m!`+tc.fault+`"`, 1)
				default:
					o.Fault = mustFault(tc.fault)
				}
				srv := serve(t, o)
				srv.Client().Transport.(*http.Transport).DisableCompression = true
				res, got, err := srv.do(t, "POST", "/v1/chat/completions", body, header)
				if res == nil && err == nil {
					t.Fatal("no answer and no error")
				}
				tc.check(t, res, got, err)
				srv.Close() // the handler has returned
				s := srv.worker.Stats()
				tc.want.Started = 1
				if s.Counts != tc.want || s.Running != 0 {
					t.Errorf("%+v, want %+v", s.Counts, tc.want)
				}
				if model := s.PerModel["m"]; by == "model" && model != tc.want {
					t.Errorf("of the model %+v, want %+v", model, tc.want)
				}
			})
		}
	}
}

// TestBadFault refuses a fault that there is not.
func TestBadFault(t *testing.T) {
	srv := serve(t, Options{})
	res, body, err := srv.do(t, "GET", "/health", "", "hiccup")
	if err != nil || res.StatusCode != 400 || !strings.Contains(string(body), `X-Standin-Fault: unknown fault \"hiccup\"`) {
		t.Errorf("%v %s %v", res, body, err)
	}
}

// TestFaultOfHeaderWins has the header's fault win over the model's.
func TestFaultOfHeaderWins(t *testing.T) {
	srv := serve(t, Options{Output: fixed(3), Fault: mustFault("status=500")})
	res, body, err := srv.do(t, "POST", "/v1/chat/completions", strings.Replace(streamed, `"m"`, `"m!die-after=1,usage=null"`, 1), "die-after=2")
	if err == nil || res.StatusCode != 200 || len(events(string(body))) != 2 {
		t.Errorf("%v %s %v", res, body, err)
	}
}

func TestFaultProbability(t *testing.T) {
	outcome := func(seed uint64) string {
		w := New(Options{Fault: mustFault("status=500"), FaultProbability: 0.25, Seed: seed, Output: fixed(1)})
		var all strings.Builder
		for range 1000 {
			code := post(w, "/v1/completions", `{"model":"m","prompt":"x"}`).Code
			all.WriteByte(byte('0' + code/100))
		}
		return all.String()
	}
	first := outcome(1)
	if n := strings.Count(first, "5"); n < 210 || n > 290 {
		t.Errorf("%d of 1000 befallen, want about 250", n)
	}
	if first != outcome(1) || first == outcome(2) {
		t.Error("the seed does not decide")
	}
	w := New(Options{Fault: mustFault("status=500")})
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequest("GET", "/health", nil))
	if rec.Code != 200 {
		t.Errorf("the fault befell /health: %d", rec.Code)
	}
}

// TestInformational counts the answers before the answer.
func TestInformational(t *testing.T) {
	srv := serve(t, Options{Output: fixed(1)})
	hints := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 103 && h.Get("Link") != "" && h.Get("Content-Type") == "" {
				hints++
			}
			return nil
		},
	})
	r, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/v1/chat/completions", strings.NewReader(streamed))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Standin-Fault", "informational=3")
	res, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if hints != 3 || res.StatusCode != 200 || res.Header.Get("Link") != "" {
		t.Errorf("%d hints, then %s %v", hints, res.Status, res.Header)
	}
}

// TestEarlyAnswer gets the answer while the body is still being sent.
func TestEarlyAnswer(t *testing.T) {
	srv := serve(t, Options{})
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nX-Standin-Fault: early-answer\r\n\r\n{")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 400 {
		t.Fatalf("%v %v", res, err)
	}
	_ = res.Body.Close()
}

// TestDieWithinHeaders looks at the bytes: half a head, then a reset.
func TestDieWithinHeaders(t *testing.T) {
	srv := serve(t, Options{})
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /health HTTP/1.1\r\nHost: x\r\nX-Standin-Fault: die-within-headers\r\n\r\n")
	got, err := io.ReadAll(conn)
	if string(got) != "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Le" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q %v", got, err)
	}
}

// TestHang leaves a worker that hangs, at each of the places where it can.
func TestHang(t *testing.T) {
	tests := []struct {
		path, body, fault string
		chunks            int // of the answer that arrive; -1: not even the headers
		key               string
	}{
		{"/v1/chat/completions", streamed, "hang", -1, "k"},
		{"/v1/chat/completions", strings.Replace(streamed, "true", "false", 1), "hang", -1, "k"},
		{"/v1/chat/completions", streamed, "hang-after=0", 0, "k"},
		{"/v1/chat/completions", streamed, "hang-after=3", 3, "k"},
		{"/v1/chat/completions", `{}`, "hang", -1, "k"},
		{"/v1/chat/completions", streamed, "hang", -1, "wrong"}, // does not read the body by itself
		{"/health", ``, "hang", -1, "k"},
		{"/status/204", ``, "hang", -1, "k"},
	}
	for _, tc := range tests {
		t.Run(tc.path+" "+tc.fault, func(t *testing.T) {
			srv := serve(t, Options{Output: fixed(9), APIKeys: []string{"k"}})
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\nX-Standin-Fault: %s\r\n\r\n%s",
				tc.path, tc.key, len(tc.body), tc.fault, tc.body)
			if tc.chunks >= 0 {
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewReader(res.Body)
				for range tc.chunks * 2 { // a data line and an empty one
					if _, err := lines.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
			}
			if tc.body != `{}` && strings.HasPrefix(tc.path, "/v1") && tc.key == "k" {
				waitFor(t, srv.worker, func(s Stats) bool { return s.Running == 1 })
			} else {
				waitFor(t, srv.worker, func(s Stats) bool { return s.Requests == 1 })
			}
			_ = conn.Close()
			closed := make(chan struct{})
			go func() { srv.Close(); close(closed) }() // blocks until the handler has returned
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Fatal("it hangs on when the client has left")
			}
			if s := srv.worker.Stats(); s.Cancelled != s.Started || s.Running != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// waitFor looks at the worker's counts until they are as they should be.
func waitFor(t *testing.T, w *Worker, ok func(Stats) bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(w.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10s: %+v", w.Stats())
		}
	}
}

// TestClientLeaves has clients leave a real server, in each state of a request: it
// is noticed at once, and the place is free.
func TestClientLeaves(t *testing.T) {
	srv := serve(t, Options{Capacity: 1, MaxRunning: 1, Output: fixed(1e6), PerOutputToken: time.Hour})
	var conns []net.Conn
	for i, body := range []string{streamed, strings.Replace(streamed, "true", "false", 1), streamed} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		waitFor(t, srv.worker, func(s Stats) bool { return s.Running == 1 && s.Waiting == int64(i) })
	}
	_ = conns[2].Close() // waits
	waitFor(t, srv.worker, func(s Stats) bool { return s.Cancelled == 1 && s.Running == 1 && s.Waiting == 1 })
	_ = conns[0].Close() // streams
	waitFor(t, srv.worker, func(s Stats) bool { return s.Cancelled == 2 && s.Running == 1 && s.Waiting == 0 })
	_ = conns[1].Close() // has no byte yet
	waitFor(t, srv.worker, func(s Stats) bool { return s.Cancelled == 3 && s.Running == 0 })
	if s := srv.worker.Stats(); s.OutputTokens != 2 {
		t.Errorf("%d tokens, want the first of two answers", s.OutputTokens)
	}
}

// TestSlowFaults times slow-headers and trickle.
func TestSlowFaults(t *testing.T) {
	tests := []struct {
		fault string
		first time.Duration // when the headers are sent
		last  func(bytes int) time.Duration
	}{
		{"slow-headers=3s", 3 * time.Second, func(int) time.Duration { return 3 * time.Second }},
		{"trickle=1ms", 0, func(n int) time.Duration { return time.Duration(n-1) * time.Millisecond }},
	}
	for _, tc := range tests {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			rec := &headerClock{ResponseRecorder: httptest.NewRecorder(), start: start}
			r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(chatBody(1, "")))
			r.Header.Set("X-Standin-Fault", tc.fault)
			New(Options{Output: fixed(2)}).ServeHTTP(rec, r)
			if last := time.Since(start); rec.at != tc.first || last != tc.last(rec.Body.Len()) || !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%s: headers at %v, end at %v, %q", tc.fault, rec.at, last, rec.Body)
			}
		})
	}
}

// headerClock notes when the headers are sent.
type headerClock struct {
	*httptest.ResponseRecorder
	start time.Time
	at    time.Duration
}

func (h *headerClock) WriteHeader(code int) {
	h.at = time.Since(h.start)
	h.ResponseRecorder.WriteHeader(code)
}

// TestSlowFaultsEndWithTheClient has the client leave while a fault keeps it
// waiting.
func TestSlowFaultsEndWithTheClient(t *testing.T) {
	for _, fault := range []string{"slow-headers=1h", "trickle=1h"} {
		srv := serve(t, Options{Output: fixed(2)})
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Standin-Fault: %s\r\nContent-Length: %d\r\n\r\n%s", fault, len(streamed), streamed)
		waitFor(t, srv.worker, func(s Stats) bool { return s.Running == 1 })
		_ = conn.Close()
		waitFor(t, srv.worker, func(s Stats) bool { return s.Cancelled == 1 && s.Running == 0 })
	}
}

// TestBodyBreaksOff has the client break off within its own body.
func TestBodyBreaksOff(t *testing.T) {
	for _, fault := range []string{"", "status=500"} {
		for _, path := range []string{"/v1/chat/completions", "/echo"} {
			srv := serve(t, Options{})
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nX-Standin-Fault: %s\r\nContent-Length: 100\r\n\r\n{", path, fault)
			waitFor(t, srv.worker, func(s Stats) bool { return s.Requests == 1 })
			_ = conn.Close()
			srv.Close()
			if s := srv.worker.Stats(); s.Counts != (Counts{}) || s.Running != 0 {
				t.Errorf("%+v", s)
			}
		}
	}
}

// streams are all that stream, with bodies that have it and the chunk that marks
// the end, a part of it.
var streams = []struct{ path, body, mark string }{
	{"/v1/chat/completions", `{"model":"m","stream":true,"n":2,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`, "[DONE]"},
	{"/v1/completions", `{"model":"m","stream":true,"n":2,"stream_options":{"include_usage":true},"prompt":"x"}`, "[DONE]"},
	{"/v1/responses", `{"model":"m","stream":true,"input":"x"}`, `"response.completed"`},
	{"/v1/messages", `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, `"message_stop"`},
	{"/v1beta/models/m:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"candidateCount":2}}`, `"STOP"`},
	{"/v1beta/models/m:streamGenerateContent", `{"contents":[{"parts":[{"text":"x"}]}]}`, `"STOP"`},
	{"/api/chat", `{"model":"m","messages":[{"role":"user","content":"x"}]}`, `"done":true`},
	{"/api/generate", `{"model":"m","prompt":"x"}`, `"done":true`},
	{"/v1/audio/speech", `{"model":"m","input":"x"}`, ""},
}

// chunked counts the writes of an answer.
type chunked struct {
	*httptest.ResponseRecorder
	writes int
}

func (c *chunked) Write(p []byte) (int, error) {
	c.writes++
	return c.ResponseRecorder.Write(p)
}

// TestCutAtEachChunk cuts every kind of stream at every one of its chunks.
func TestCutAtEachChunk(t *testing.T) {
	for _, tc := range streams {
		w := New(Options{Output: fixed(2)})
		whole := &chunked{ResponseRecorder: httptest.NewRecorder()}
		w.ServeHTTP(whole, httptest.NewRequest("POST", tc.path, strings.NewReader(tc.body)))
		if !strings.Contains(whole.Body.String(), tc.mark) {
			t.Errorf("%s: no %s in %s", tc.path, tc.mark, whole.Body)
		}
		for n := range whole.writes + 1 {
			rec := &chunked{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequest("POST", tc.path, strings.NewReader(tc.body))
			r.Header.Set("X-Standin-Fault", fmt.Sprintf("die-after=%d", n))
			func() {
				defer func() {
					if p := recover(); p != http.ErrAbortHandler {
						t.Errorf("%s after %d: %v", tc.path, n, p)
					}
				}()
				w.ServeHTTP(rec, r)
			}()
			if rec.writes != n {
				t.Errorf("%s: %d chunks of %d, want %d", tc.path, rec.writes, whole.writes, n)
			}
		}
		if s := w.Stats(); s.Finished != 1 || s.Faulted != int64(whole.writes+1) || s.Running != 0 {
			t.Errorf("%s: %+v", tc.path, s)
		}
	}
}

// TestNoMark ends every kind of stream cleanly, but without what marks its end.
func TestNoMark(t *testing.T) {
	for _, tc := range streams {
		if tc.mark == "" {
			continue
		}
		w := New(Options{Output: fixed(2), Fault: mustFault("no-done")})
		rec := post(w, tc.path, tc.body)
		if rec.Code != 200 || strings.Contains(rec.Body.String(), tc.mark) || len(chunks(rec.Body.String())) < 2 {
			t.Errorf("%s: %d %s", tc.path, rec.Code, rec.Body)
		}
		if s := w.Stats(); s.Finished != 1 || s.OutputTokens < 2 {
			t.Errorf("%s: %+v", tc.path, s)
		}
	}
}

// TestHugeLines has a line of 2 MiB in every kind of stream of JSON.
func TestHugeLines(t *testing.T) {
	for _, tc := range streams {
		if tc.mark == "" {
			continue
		}
		rec := post(New(Options{Output: fixed(2), Fault: mustFault("huge-line")}), tc.path, tc.body)
		all := chunks(rec.Body.String())
		if len(all[0]) < 2<<20 || len(all[1]) > 1000 || !json.Valid([]byte(all[0])) {
			t.Errorf("%s: the first chunk has %d bytes, the second %d", tc.path, len(all[0]), len(all[1]))
		}
	}
}

// TestLeaversOfAllStreams has a client leave at each chunk of every kind of stream.
func TestLeaversOfAllStreams(t *testing.T) {
	for _, tc := range streams {
		for after := 1; after <= 3; after++ {
			synctest.Test(t, func(t *testing.T) {
				w := New(Options{Output: fixed(50), PerOutputToken: time.Second})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				rec := &leaver{ResponseRecorder: httptest.NewRecorder(), cancel: cancel, after: after}
				defer func() {
					if p := recover(); p != http.ErrAbortHandler {
						t.Errorf("%s: %v", tc.path, p)
					}
					if s := w.Stats(); s.Cancelled != 1 || s.Running != 0 || s.OutputTokens > 6 {
						t.Errorf("%s: %+v", tc.path, s)
					}
				}()
				w.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, "POST", tc.path, strings.NewReader(tc.body)))
			})
		}
	}
}

// TestWriteFails has the connection fail under the answer.
func TestWriteFails(t *testing.T) {
	for _, body := range []string{streamed, strings.Replace(streamed, "true", "false", 1)} {
		w := New(Options{Output: fixed(2)})
		func() {
			defer func() {
				if p := recover(); p != http.ErrAbortHandler {
					t.Errorf("%v", p)
				}
			}()
			w.ServeHTTP(&brokenWriter{httptest.NewRecorder()}, httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(body)))
		}()
		if s := w.Stats(); s.Cancelled != 1 || s.Finished != 0 || s.Running != 0 {
			t.Errorf("%+v", s)
		}
	}
}

type brokenWriter struct{ *httptest.ResponseRecorder }

func (*brokenWriter) Write([]byte) (int, error) { return 0, net.ErrClosed }
