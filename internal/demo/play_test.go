package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/internal/standin"
)

// played plays a trace at servers of one handler. It returns what was printed,
// and how many requests each server had.
func played(t *testing.T, ctx context.Context, p Play, servers int, h http.HandlerFunc) (string, []int64) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	had := make([]atomic.Int64, servers)
	var up []*httptest.Server
	for i := range servers {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			had[i].Add(1)
			h(w, r)
		}))
		up, p.To = append(up, s), append(p.To, s.URL)
	}
	var out bytes.Buffer
	p.Out = &out
	err := p.Run(ctx)
	for _, s := range up {
		s.Close()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	goleak.VerifyNone(t, before)
	var counts []int64
	for i := range had {
		counts = append(counts, had[i].Load())
	}
	return out.String(), counts
}

// fatesOf reads a client's row: asked, answered, refused, gave up, failed, under
// way.
func fatesOf(t *testing.T, text, client string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ *` + client + ` +(\d+ +\d+ +\d+ +\d+ +\d+ +\d+) `).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no row of %s in\n%s", client, text)
	}
	return strings.Join(strings.Fields(m[1]), " ")
}

// faulty is a worker that breaks its answers in this way.
func faulty(fault string) http.HandlerFunc {
	w := standin.New(standin.Options{})
	return func(rw http.ResponseWriter, r *http.Request) {
		r.Header.Add("X-Standin-Fault", fault)
		w.ServeHTTP(rw, r)
	}
}

func refusing(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// TestFates plays one request of each client, to each of whom something else
// happens.
func TestFates(t *testing.T) {
	tests := []struct {
		serve         http.HandlerFunc
		fates, served string
		failure       string
	}{
		{standin.New(standin.Options{}).ServeHTTP, "1 1 0 0 0 0", "100.0 %", ""},
		{faulty("huge-line"), "1 1 0 0 0 0", "100.0 %", ""},
		{refusing(http.StatusTooManyRequests), "1 0 1 0 0 0", "0.0 %", ""},
		{refusing(http.StatusRequestTimeout), "1 0 1 0 0 0", "0.0 %", ""},
		{faulty("die-after=6"), "1 0 0 0 1 0", "66.7 %", "unexpected EOF"}, // the beginning and 5 tokens
		{faulty("die-before-headers"), "1 0 0 0 1 0", "0.0 %", "EOF"},
		{faulty("status=503,wrong-length"), "1 0 0 0 1 0", "0.0 %", "unexpected EOF"},
		{faulty("no-done"), "1 0 0 0 1 0", "100.0 %", "the stream ended without data: [DONE]"},
	}
	for i, tt := range tests {
		text, _ := played(t, t.Context(), Play{Trace: []standin.Request{{Caller: i, InputTokens: 10, OutputTokens: 10}}, Patience: time.Hour}, 1, tt.serve)
		if got := fatesOf(t, text, fmt.Sprint(i)); got != tt.fates {
			t.Errorf("%d: %s, want %s", i, got, tt.fates)
		}
		if !regexp.MustCompile(`(?m)^ *all .* 100\.0 % +\S+( %)? +` + regexp.QuoteMeta(tt.served) + ` `).MatchString(text) {
			t.Errorf("%d: no %s are served of what was asked in\n%s", i, tt.served, text)
		}
		_, failure, ok := strings.Cut(text, "\nThe first failure: ")
		if failure, _, _ = strings.Cut(failure, ".\n"); ok != (tt.failure != "") || !strings.HasSuffix(failure, tt.failure) {
			t.Errorf("%d: the failure is %q, want %q", i, failure, tt.failure)
		}
	}
}

// TestPatience has a client give up on a server that never answers, and another
// one wait for ever, until the play is over.
func TestPatience(t *testing.T) {
	trace := []standin.Request{{Caller: 1}, {Caller: 2}}
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http looks out for the client's end after that
		<-r.Context().Done()
	}
	text, _ := played(t, t.Context(), Play{Trace: trace, Patience: time.Second, Speed: 60}, 1, hang)
	if got := fatesOf(t, text, "all"); got != "2 0 0 2 0 0" {
		t.Errorf("%s, want both to give up", got)
	}
	ctx, over := context.WithCancel(t.Context())
	text, _ = played(t, ctx, Play{Trace: trace}, 1, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer trace-2" {
			over()
		}
		hang(w, r)
	})
	if got := fatesOf(t, text, "2"); got != "1 0 0 0 0 1" {
		t.Errorf("%s, want it to be under way", got)
	}
	text, _ = played(t, t.Context(), Play{Trace: trace[:1], For: time.Millisecond}, 1, hang)
	if got := fatesOf(t, text, "1"); got != "1 0 0 0 0 1" {
		t.Errorf("%s, want it to be under way", got)
	}
}

// TestWhatIsSent looks at requests as a server sees them.
func TestWhatIsSent(t *testing.T) {
	var trace []standin.Request
	for i := range 9 {
		trace = append(trace, standin.Request{Caller: i % 2, InputTokens: 3, OutputTokens: int64(i) << 20})
	}
	seen := make(chan string, len(trace))
	text, had := played(t, t.Context(), Play{Trace: trace}, 3, func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Model    string
			Stream   bool
			Messages []struct{ Role, Content string }
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		seen <- fmt.Sprint(r.Method, " ", r.URL.Path, " ", r.Header.Get("Authorization"), " ", r.Header.Get("X-Standin-Fault"), " ", body)
		w.WriteHeader(http.StatusTeapot)
	})
	if !slices.Equal(had, []int64{3, 3, 3}) {
		t.Errorf("the servers had %v requests", had)
	}
	close(seen)
	got := map[string]int{}
	for s := range seen {
		got[s]++
	}
	const line = "POST /v1/chat/completions Bearer trace-%d output=%d {demo-large true [{user meter the w}]}"
	want := map[string]int{
		fmt.Sprintf(line, 0, 1): 1, fmt.Sprintf(line, 0, 1<<20): 4, fmt.Sprintf(line, 1, 1<<20): 4, // as long as may be said
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(text, "Refused by status: 9 of 418.") {
		t.Error(text)
	}
}

func TestPlayErrors(t *testing.T) {
	if err := (Play{Speed: 7}).Run(t.Context()); err == nil || err.Error() != "demo: 7 times as fast: it must divide a minute, up to 60, such as 10, 30 or 60" {
		t.Error(err)
	}
	s := &sender{Play: Play{To: []string{"http://a b"}, Speed: 1}, client: http.DefaultClient}
	if e := s.send(t.Context(), standin.Request{}); e.fate != failed || e.err == nil {
		t.Errorf("%+v of a URL that is none", e)
	}
}

// TestReport pins what is printed, in the trace's time.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &sender{Play: Play{Speed: 10, Out: &out}, began: time.Now(), accounts: map[int]*account{}, refusals: map[int]int{}}
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		hog := standin.Request{Caller: 1, InputTokens: 100, OutputTokens: 50}
		s.note(hog, ending{status: 200, tokens: 50, first: ms(40), last: ms(138)})
		s.note(hog, ending{status: 200, tokens: 50, first: ms(6000), last: ms(6098)})
		s.note(hog, ending{fate: refused, status: 429})
		s.note(hog, ending{fate: refused, status: 408})
		s.note(hog, ending{fate: refused, status: 429})
		s.note(hog, ending{fate: gaveUp})
		s.note(hog, ending{fate: failed, tokens: 1, first: ms(100), last: ms(100), err: errors.New("gone")})
		s.note(hog, ending{fate: failed, err: errors.New("gone again")})
		s.note(standin.Request{Caller: 7, InputTokens: 20, OutputTokens: 40}, ending{fate: underWay, status: 200, tokens: 1, first: ms(1), last: ms(1)})
		s.note(standin.Request{Caller: 8}, ending{fate: refused, status: 503})
		time.Sleep(10 * time.Second)
		s.progress()
		s.summarize()
		const want = `  1m40s   2 answered, 4 refused, 1 gave up, 2 failed

  client  asked  answered  refused  gave up  failed  under way  asked of all  served of all  served of asked  first token: 50 %    90 %    99 %  a token
       1      8         2        3        1       2          0        94.1 %         95.8 %           31.4 %              1.0 s  60.0 s  60.0 s    20 ms
       7      1         0        0        0       0          1         5.9 %          4.2 %           22.0 %              0.0 s   0.0 s   0.0 s        -
       8      1         0        1        0       0          0         0.0 %          0.0 %                -                  -       -       -        -
     all     10         2        4        1       2          1       100.0 %        100.0 %           30.8 %              0.4 s  60.0 s  60.0 s    20 ms

Refused by status: 1 of 408, 2 of 429, 1 of 503.

The first failure: gone.

Asked and served are input tokens, and output tokens twice. Output came at 1 tokens a second.
`
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}
