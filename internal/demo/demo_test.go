package demo

import (
	"bytes"
	"context"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/internal/standin"
)

// shown runs the demo until it is over and returns what it printed.
func shown(t *testing.T, ctx context.Context, o Options) string {
	t.Helper()
	before := goleak.IgnoreCurrent()
	// The usual ports are taken, by us if by nobody else: it takes others.
	for _, address := range []string{"127.0.0.1:3000", "127.0.0.1:3001"} {
		if l, err := net.Listen("tcp", address); err == nil {
			defer l.Close()
		}
	}
	var out, log bytes.Buffer
	o.Out, o.Log = &out, &log
	if err := Run(ctx, o); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if log.Len() > 0 {
		t.Errorf("the log says\n%s", log.String())
	}
	goleak.VerifyNone(t, before)
	if regexp.MustCompile(`listens on http://127.0.0.1:300[01] `).MatchString(out.String()) {
		t.Error("it listens where somebody else does")
	}
	return out.String()
}

// row is a line of the summary's table: asked, let through, limited, failed,
// under way.
func row(t *testing.T, text, caller string) (figures [5]int) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^    ` + caller + ` +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no line of %s in\n%s", caller, text)
	}
	for i := range figures {
		figures[i], _ = strconv.Atoi(m[1+i]) // digits
	}
	if f := figures; f[0] != f[1]+f[2]+f[3]+f[4] {
		t.Errorf("%s: what became of its requests does not add up: %v", caller, f)
	}
	return figures
}

func TestDrawnTraffic(t *testing.T) {
	text := shown(t, t.Context(), Options{For: 2 * time.Second})
	asked, limited := 0, 0
	for _, c := range callers {
		f := row(t, text, c.Name)
		asked, limited = asked+f[0], limited+f[2]
		if f[3] != 0 {
			t.Errorf("%d requests of %s failed", f[3], c.Name)
		}
	}
	if asked == 0 || limited == 0 {
		t.Errorf("%d requests, and %d of them limited: there is nothing to see", asked, limited)
	}
	_, refusal, ok := strings.Cut(text, "One refusal in full:")
	for _, part := range []string{"POST /v1/chat/completions", "429 Too Many Requests", "Retry-After: ", "X-Ratelimit-Limit: ", "\"type\": \"rate_limit_error\"", "\"retry_after\": "} {
		if !ok || !strings.Contains(refusal, part) {
			t.Errorf("no %q in the refusal\n%s", part, refusal)
		}
	}
	m := regexp.MustCompile(`admitted: (\d+) of (\d+) \(([\d.]+) %\)`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("it does not say how much was admitted:\n%s", text)
	}
	if share, err := strconv.ParseFloat(m[3], 64); err != nil || share > 100 || share == 0 {
		t.Errorf("%s %% of a limit were admitted", m[3])
	}
	if !strings.Contains(text, "    "+strings.Split(policy, "\n")[0]+"\n") {
		t.Error("the policy is not shown")
	}
	for _, c := range callers {
		if c.Key != "" && strings.Contains(refusal, c.Key) {
			t.Errorf("the refusal shows the key of %s", c.Name)
		}
	}
}

// TestTrace plays a trace to its end: what it asked for, and what was admitted
// in each of its minutes.
func TestTrace(t *testing.T) {
	trace, err := standin.ReadTrace(strings.NewReader("TIMESTAMP,ContextTokens,GeneratedTokens\n" +
		"2023-11-16 18:15:46.0,100,20\n2023-11-16 18:15:47.5,40,2\n2023-11-16 18:17:00.0,7,1\n"))
	if err != nil {
		t.Fatal(err)
	}
	text := shown(t, t.Context(), Options{Trace: trace, Speed: 60})
	if f := row(t, text, "trace"); f != [5]int{3, 3, 0, 0, 0} {
		t.Errorf("%v, want three requests let through", f)
	}
	for _, line := range []string{
		"A trace of 3 requests plays at 60 times its speed.",
		"Tokens by minute of the trace, limit 500000:",
		"tokens_per_minute: 30000000}", // as much faster
		"window: {size: 1s}",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("it does not say %q:\n%s", line, text)
		}
	}
	for _, want := range []string{`0 +162 +162`, `1 +8 +8`} {
		if !regexp.MustCompile(`(?m)^ +` + want + `$`).MatchString(text) {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
}

// TestInterrupted: when it is told to stop it says what it has seen.
func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	text := shown(t, ctx, Options{})
	if f := row(t, text, "alice"); f[0] != f[4] {
		t.Errorf("%v of alice's, though it was over before it began", f)
	}
}

func TestCheckSpeed(t *testing.T) {
	for speed, want := range map[int]string{
		1: "", 2: "", 10: "", 30: "", 60: "", 48: "",
		0: "0 times", -1: "-1 times", 7: "7 times", 61: "61 times", 120: "120 times",
	} {
		err := CheckSpeed(speed)
		if want == "" {
			if err != nil {
				t.Errorf("%d: %v", speed, err)
			}
			continue
		}
		if want += " as fast: it must divide a minute, up to 60, such as 10, 30 or 60"; err == nil || err.Error() != want {
			t.Errorf("%d: %v, want %s", speed, err, want)
		}
		if speed != 0 {
			if err := Run(t.Context(), Options{Speed: speed}); err == nil || err.Error() != "demo: "+want {
				t.Errorf("Run with %d: %v", speed, err)
			}
		}
	}
}

// TestProgress: one line says how everybody fares.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	d := &demo{out: &out, callers: callers[:2], began: time.Now(), tallies: make([]tally, 2)}
	d.note(standin.Request{Caller: 0}, 200, "", time.Second, false)
	d.note(standin.Request{Caller: 1}, 429, "first", 0, false)
	d.note(standin.Request{Caller: 1}, 429, "second", 0, false)
	d.note(standin.Request{Caller: 1}, 408, "", 0, false)
	d.note(standin.Request{Caller: 1}, 502, "", 0, false)
	d.note(standin.Request{Caller: 1}, 0, "", 0, false)
	d.note(standin.Request{Caller: 1}, 0, "", 0, true)
	d.progress()
	if got, want := out.String(), "  0s   alice: 1 through, 0 limited  bob: 0 through, 3 limited\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := d.tallies[1]; got.asked != 6 || got.failed != 2 || got.left != 1 || d.refusal != "first" {
		t.Errorf("%+v, and the refusal %q", got, d.refusal)
	}
}

func TestPercentile(t *testing.T) {
	for _, tt := range []struct {
		of      []time.Duration
		percent int
		want    time.Duration
	}{
		{nil, 50, 0},
		{[]time.Duration{5}, 1, 5},
		{[]time.Duration{5}, 100, 5},
		{[]time.Duration{9, 1, 2}, 50, 2},
		{[]time.Duration{9, 1}, 50, 1},
		{[]time.Duration{9, 1}, 51, 9},
		{[]time.Duration{4, 3, 2, 1, 5, 6, 7, 8, 9, 10}, 90, 9},
		{[]time.Duration{4, 3, 2, 1, 5, 6, 7, 8, 9, 10}, 99, 10},
	} {
		if got := percentile(tt.of, tt.percent); got != tt.want {
			t.Errorf("%d %% of %v: %v, want %v", tt.percent, tt.of, got, tt.want)
		}
	}
}

func TestPretty(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 429\n\n{\"a\":1}": "HTTP/1.1 429\n\n{\n  \"a\": 1\n}",
		"HTTP/1.1 429\n\n{\"a\":":   "HTTP/1.1 429\n\n{\"a\":",
		"HTTP/1.1 429\n\n":          "HTTP/1.1 429\n\n",
	} {
		if got := pretty(answer); got != want {
			t.Errorf("%q: %q, want %q", answer, got, want)
		}
	}
}
