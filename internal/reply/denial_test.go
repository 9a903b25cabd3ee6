package reply_test

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// codes is all of them.
func codes() (all []reply.Code) {
	for c := reply.InternalError; c <= reply.UpstreamTimeout; c++ {
		all = append(all, c)
	}
	return all
}

// TestGoldenCodes pins the answer of every code in every dialect.
func TestGoldenCodes(t *testing.T) {
	for _, d := range dialects {
		var b strings.Builder
		for _, c := range codes() {
			b.WriteString(section(c.String(), written(reply.Errors{}, "POST", d, reply.Denial{Code: c, RetryAfter: 44001 * time.Millisecond})))
		}
		golden(t, d.String()+".txt", b.String())
	}
}

// TestGoldenErrors pins what each option does, to what a limit or the queue
// refuses and to nothing else.
func TestGoldenErrors(t *testing.T) {
	custom := "You've exceeded your rate limit. Please upgrade your plan."
	global := &reply.Global{Current: 123, Limit: 100}
	rate := reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: 45 * time.Second}
	denials := []reply.Denial{
		rate,
		{Code: reply.RateLimitExceeded, RetryAfter: 45 * time.Second, Global: global},
		{Code: reply.RequestTooLargeForLimit, Message: "max_tokens can be at most 4096."},
		{Code: reply.QueueFull, RetryAfter: 1500 * time.Millisecond},
		{Code: reply.QueueTimeout, RetryAfter: 2 * time.Second},
		{Code: reply.NoWorker, RetryAfter: 5 * time.Second},
	}
	for name, e := range map[string]reply.Errors{
		"standard":              {},
		"status-message":        {Status: 503, Message: custom},
		"no-retry-after":        {NoRetryAfter: true},
		"no-retry-after-custom": {NoRetryAfter: true, Message: custom},
		"no-retry-after-header": {NoRetryAfterHeader: true},
		"no-body":               {NoBody: true},
		"global-dialect":        {GlobalDialect: true},
	} {
		var b strings.Builder
		for _, den := range denials {
			title := den.Code.String()
			if den.Global != nil {
				title += ", global"
			}
			b.WriteString(section(title, written(e, "POST", traffic.OpenAI, den)))
		}
		golden(t, "errors-"+name+".txt", b.String())
	}

	var b strings.Builder
	for _, d := range dialects {
		b.WriteString(section(d.String(), written(reply.Errors{GlobalDialect: true}, "POST", d, denials[1])))
	}
	golden(t, "global-dialects.txt", b.String())
}

// TestGoldensParse reads every golden answer back: the body is JSON of the
// length that is said, and no text has the words at which clients stop for
// good.
func TestGoldensParse(t *testing.T) {
	stop := regexp.MustCompile(`(?i)insufficient_quota|exceeded your .*quota|usage quota|quota exhausted|billing|credit balance|will reset at|quota`)
	paths, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	answers := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range strings.Split(string(text), "--- ")[1:] {
			head, body, ok := strings.Cut(section, "\n\n")
			if !ok || filepath.Base(path) == "headers.txt" {
				continue
			}
			answers++
			body = strings.TrimSuffix(body, "\n")
			if !strings.Contains(head, "\nContent-Length: "+strconv.Itoa(len(body))+"\n") {
				t.Errorf("%s: %s: %d bytes of body", path, head, len(body))
			}
			if stop.MatchString(body) {
				t.Errorf("%s: clients stop for good at %s", path, body)
			}
			if body == "" {
				continue
			}
			var v map[string]any
			if err := json.Unmarshal([]byte(body), &v); err != nil {
				t.Errorf("%s: %s: %v", path, body, err)
			} else if v["error"] == nil {
				t.Errorf("%s: %s has no error", path, body)
			}
		}
	}
	if want := len(dialects)*len(codes()) + 7*6 + len(dialects); answers != want {
		t.Errorf("%d answers were read, want %d", answers, want)
	}
}

func TestWaitHeaders(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		den                reply.Denial
		seconds, ms, retry string
	}{
		{reply.Denial{Code: reply.RateLimitExceeded}, "1", "1000", ""},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: -time.Hour}, "1", "1000", ""},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: 1}, "1", "1", ""},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: 120 * time.Millisecond}, "1", "120", ""},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: time.Second}, "1", "1000", ""},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: time.Second + 1}, "2", "1001", ""},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: time.Minute}, "60", "60000", ""},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: time.Minute + 1}, "61", "60001", "false"},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: 20 * day}, "1728000", "1728000000", "false"},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: 31 * day}, "1728000", "1728000000", "false"},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: math.MaxInt64}, "1728000", "1728000000", "false"},
		{reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: time.Second, Permanent: true}, "", "", "false"},
		{reply.Denial{Code: reply.RequestTooLargeForLimit, RetryAfter: time.Second}, "", "", "false"},
		{reply.Denial{Code: reply.ShuttingDown, RetryAfter: 2 * time.Minute}, "120", "120000", "false"},
		{reply.Denial{Code: reply.InvalidRequest, RetryAfter: time.Second}, "", "", ""},
		{reply.Denial{Code: reply.UpstreamError, RetryAfter: time.Second}, "", "", ""},
		{reply.Denial{Code: reply.InvalidRequest, Permanent: true}, "", "", "false"},
	} {
		h := written(reply.Errors{}, "POST", traffic.OpenAI, c.den).Header()
		if s, ms, retry := h.Get("Retry-After"), h.Get("retry-after-ms"), h.Get("x-should-retry"); s != c.seconds || ms != c.ms || retry != c.retry {
			t.Errorf("%+v: Retry-After %q, retry-after-ms %q, x-should-retry %q; want %q, %q, %q", c.den, s, ms, retry, c.seconds, c.ms, c.retry)
		}
	}
}

func TestUnknownCode(t *testing.T) {
	c := reply.Code(255)
	if c.String() != "internal_error" || c.Status() != 500 {
		t.Errorf("code 255 is %s, %d", c, c.Status())
	}
	got := written(reply.Errors{}, "POST", traffic.OpenAI, reply.Denial{Code: c})
	want := written(reply.Errors{}, "POST", traffic.OpenAI, reply.Denial{})
	if got.Code != want.Code || got.Body.String() != want.Body.String() {
		t.Errorf("code 255: %d %s, want %d %s", got.Code, got.Body, want.Code, want.Body)
	}
}

// Over a real connection: the length is right, HEAD has no body, and headers
// that were set before stay.
func TestOverHTTP(t *testing.T) {
	var e reply.Errors
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "id")
		e.Write(w, r, traffic.OpenAI, reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: 45 * time.Second})
	}))
	defer s.Close()
	const want = `{"error":{"message":"Rate limit exceeded. Please retry after 45 seconds.","type":"rate_limit_error","code":"rate_limit_exceeded","retry_after":45}}`
	for method, wantBody := range map[string]string{"POST": want, "HEAD": ""} {
		req, err := http.NewRequest(method, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 429 || resp.ContentLength != int64(len(want)) || string(body) != wantBody ||
			resp.Header.Get("X-Request-Id") != "id" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d, %d bytes: %s\n%v", method, resp.StatusCode, resp.ContentLength, body, resp.Header)
		}
	}
	if w := written(e, "HEAD", traffic.OpenAI, reply.Denial{}); w.Body.Len() != 0 {
		t.Errorf("HEAD was answered with %s", w.Body)
	}
}

// message returns the message in a body of dialect d.
func message(t interface{ Fatalf(string, ...any) }, d traffic.Dialect, body []byte) string {
	var full struct{ Error struct{ Message string } }
	var flat struct{ Error string }
	var err error
	if d == traffic.Ollama {
		err = json.Unmarshal(body, &flat)
		full.Error.Message = flat.Error
	} else {
		err = json.Unmarshal(body, &full)
	}
	if err != nil {
		t.Fatalf("%v: %s: %v", d, body, err)
	}
	return full.Error.Message
}

// Any message is read back as it was given, bytes that are no UTF-8 as U+FFFD.
func TestMessageRoundTrip(t *testing.T) {
	texts := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		text := texts.Filter(func(s string) bool { return s != "" }).Draw(t, "message")
		d := rapid.SampledFrom(dialects).Draw(t, "dialect")
		c := rapid.SampledFrom(codes()).Draw(t, "code")
		w := written(reply.Errors{}, "POST", d, reply.Denial{Code: c, Message: text, RetryAfter: 3 * time.Second})
		want := string([]rune(text))
		if w.Header().Get("Retry-After") != "" {
			want += " Please retry after 3 seconds."
		}
		if diff := cmp.Diff(want, message(t, d, w.Body.Bytes())); diff != "" {
			t.Fatalf("%s\n%s", w.Body, diff)
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, s := range []string{"plain", `"\`, "\x00\x1f\x7f", "\xff\xfe", "\u2028 < > &", "ü€😀"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" {
			return // asks for the standard one
		}
		for _, d := range dialects {
			w := written(reply.Errors{}, "POST", d, reply.Denial{Code: reply.InvalidRequest, Message: text})
			if got, want := message(t, d, w.Body.Bytes()), string([]rune(text)); got != want {
				t.Errorf("%v: %q was read back as %q", d, want, got)
			}
		}
	})
}

// sink is a ResponseWriter that forgets everything but its header.
type sink struct{ h http.Header }

func (s sink) Header() http.Header                    { return s.h }
func (sink) WriteHeader(int)                          {}
func (sink) Write(b []byte) (int, error)              { return len(b), nil }
func (sink) WriteString(text string) (n int, _ error) { return len(text), nil }

func writeOnce() func() {
	var e reply.Errors
	w, r := sink{make(http.Header, 16)}, httptest.NewRequest("POST", "/", nil)
	return func() {
		e.Write(w, r, traffic.OpenAI, reply.Denial{Code: reply.RateLimitExceeded, RetryAfter: 44100 * time.Millisecond})
	}
}

func TestWriteAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(100, writeOnce()); n > 2 {
		t.Errorf("%v allocations, want at most 2", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	write := writeOnce()
	b.ReportAllocs()
	for b.Loop() {
		write()
	}
}
