package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// recorded is a log and the lines that it wrote, without their time.
type recorded struct {
	*Log
	text *bytes.Buffer
}

func record(which Decisions) recorded {
	var b bytes.Buffer
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return recorded{NewLog(slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{ReplaceAttr: withoutTime})), which), &b}
}

func (r recorded) lines() []string {
	if r.text.Len() == 0 {
		return nil
	}
	return strings.Split(strings.TrimSpace(r.text.String()), "\n")
}

func denial() *traffic.Verdict {
	c := alice()
	c.Tenant = "acme"
	return &traffic.Verdict{
		Code: "rate_limit_exceeded", Rule: "default.tokens_per_minute", Caller: c,
		Path: "/v1/chat/completions", Model: "gpt-4", Wait: 1500 * time.Millisecond, RequestID: "req-1",
	}
}

func TestLogFields(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	tests := []struct {
		what    string
		verdict *traffic.Verdict
		want    string
	}{
		{"a denial", denial(), `{"level":"WARN","msg":"request denied","code":"rate_limit_exceeded","rule":"default.tokens_per_minute","caller":"alice","tenant":"acme","path":"/v1/chat/completions","model":"gpt-4","wait_seconds":1.5,"request_id":"req-1"}`},
		{"a denial of which little is known", &traffic.Verdict{Code: "queue_full"}, `{"level":"WARN","msg":"request denied","code":"queue_full","wait_seconds":0}`},
		{"allowed", &traffic.Verdict{Allowed: true, Caller: alice(), Path: "/v1/models"}, `{"level":"INFO","msg":"request allowed","caller":"alice","path":"/v1/models"}`},
		{"let through by a shadow", &traffic.Verdict{Allowed: true, Shadow: true, Rule: "heavy", Caller: alice(), Model: "gpt-4", Wait: 2 * time.Second}, `{"level":"INFO","msg":"request would be denied","rule":"heavy","caller":"alice","model":"gpt-4","wait_seconds":2}`},
		{"what a client may send", &traffic.Verdict{Code: "c", Path: "/\"\n\x1b[2J", Model: "\xff"}, `{"level":"WARN","msg":"request denied","code":"c","path":"/\"\n\u001b[2J","model":"�","wait_seconds":0}`},
	}
	for _, tt := range tests {
		l := record(All)
		l.Decided(now, tt.verdict)
		if diff := cmp.Diff([]string{tt.want}, l.lines()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, diff)
		}
	}
}

// TestLogFailed: what has failed is written, whichever decisions are.
func TestLogFailed(t *testing.T) {
	for _, which := range []Decisions{Denied, All, Sampled} {
		l := record(which)
		v := denial()
		v.Rule, v.Code = "", "upstream_timeout"
		for range 250 {
			l.Failed(time.Unix(1_800_000_000, 0), v, errors.New("it took too long"))
		}
		lines := l.lines()
		want := `{"level":"WARN","msg":"request failed","code":"upstream_timeout","caller":"alice","tenant":"acme","path":"/v1/chat/completions","model":"gpt-4","error":"it took too long","request_id":"req-1"}`
		if len(lines) != 101 || lines[0] != want {
			t.Errorf("%d: %d lines, the first %s", which, len(lines), lines[0])
		}
	}
}

// TestLogWhich: which decisions are written.
func TestLogWhich(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		which           Decisions
		denied, allowed int // of 200 and 100, within a minute
	}{
		{Denied, 200, 0},
		{All, 200, 100},
		{Sampled, 2, 1}, // the first of each hundred
	} {
		l := record(tt.which)
		for i := range 100 {
			at := now.Add(time.Duration(i) * 600 * time.Millisecond)
			l.Decided(at, denial())
			l.Decided(at, denial())
			l.Decided(at, &traffic.Verdict{Allowed: true})
		}
		denied, allowed := strings.Count(l.text.String(), "request denied"), strings.Count(l.text.String(), "request allowed")
		if denied != tt.denied || allowed != tt.allowed {
			t.Errorf("%d: %d denied and %d allowed, want %d and %d", tt.which, denied, allowed, tt.denied, tt.allowed)
		}
	}
}

// TestLogSampling: above a hundred a second for a rule each hundredth is
// written, with how many were left out; another rule has its own hundred.
func TestLogSampling(t *testing.T) {
	l := record(Denied)
	now := time.Unix(1_800_000_000, 0)
	v := denial()
	other := denial()
	other.Rule = "other"
	for i := range 1000 {
		l.Decided(now.Add(time.Duration(i)*time.Millisecond/2), v)
	}
	l.Decided(now, other)
	var dropped []int
	for _, line := range l.lines() {
		var f struct {
			Rule    string
			Dropped int
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		if f.Rule == "other" {
			f.Dropped = -1
		}
		dropped = append(dropped, f.Dropped)
	}
	want := append(make([]int, 100), 99, 99, 99, 99, 99, 99, 99, 99, 99, -1)
	if diff := cmp.Diff(want, dropped); diff != "" {
		t.Errorf("lines by how many were left out before (-want +got):\n%s", diff)
	}

	// In the next second a line is written again, and what was left out since
	// the last one is told.
	for range 50 {
		l.Decided(now.Add(999*time.Millisecond), v)
	}
	before := len(l.lines())
	for range 100 {
		l.Decided(now.Add(time.Second), v)
	}
	after := l.lines()[before:]
	if len(after) != 100 || !strings.Contains(after[0], `"dropped":50`) || strings.Contains(after[1], "dropped") {
		t.Errorf("%d lines in the next second, the first %s", len(after), after[0])
	}
}

// TestLogLateComers: requests that waited come with an earlier time, and do not
// open a new second.
func TestLogLateComers(t *testing.T) {
	l := record(Denied)
	now := time.Unix(1_800_000_000, 0)
	v := denial()
	for i := range 400 {
		at := now
		if i%2 == 1 {
			at = now.Add(-time.Minute)
		}
		l.Decided(at, v)
	}
	if n := len(l.lines()); n != 103 {
		t.Errorf("%d lines of 400 in one second, want 103", n)
	}
}

// TestLogIsBounded: names of rules that reloads have left do not add up.
func TestLogIsBounded(t *testing.T) {
	l := record(Denied)
	v := denial()
	for i := range 5000 {
		v.Rule = fmt.Sprint("rule ", i)
		l.Decided(time.Unix(1_800_000_000, 0), v)
		if len(l.rules) > mostRules {
			t.Fatalf("%d rules are kept", len(l.rules))
		}
	}
	if n := len(l.lines()); n != 5000 {
		t.Errorf("%d lines, want 5000", n)
	}
}

func TestCut(t *testing.T) {
	exact := strings.Repeat("x", mostBytes)
	tests := []struct{ text, want string }{
		{"", ""},
		{exact, exact},
		{exact + "y", exact + "…"},
		{exact[1:] + "é", exact[1:] + "…"},
		{exact[2:] + "é", exact[2:] + "é"},
		{exact[2:] + "éy", exact[2:] + "é…"},
		{exact[1:] + "😀", exact[1:] + "…"},
		{exact[3:] + "😀", exact[3:] + "…"},
		{exact[4:] + "😀", exact[4:] + "😀"},
		{exact[4:] + "😀y", exact[4:] + "😀…"},
	}
	for _, tt := range tests {
		if got := cut(tt.text); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.StringN(0, 200, 400), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 300), func(b []byte) string { return string(b) })).Draw(t, "s")
		got := cut(s)
		kept, cutOff := strings.CutSuffix(got, "…")
		switch {
		case len(s) <= mostBytes && got != s:
			t.Fatal("cut, though it is short")
		case len(s) > mostBytes && (!cutOff || len(kept) > mostBytes || len(kept) < mostBytes-utf8.UTFMax || !strings.HasPrefix(s, kept)):
			t.Fatalf("%q was cut to %q", s, got)
		case utf8.ValidString(s) && !utf8.ValidString(got):
			t.Fatalf("%q was cut in the middle of a letter: %q", s, got)
		}
	})
}

// TestLogCuts: everything that a client may have chosen is cut.
func TestLogCuts(t *testing.T) {
	l := record(All)
	long := strings.Repeat("ä", 1000)
	l.Decided(time.Unix(0, 0), &traffic.Verdict{
		Code: long, Rule: long, Path: long, Model: long, RequestID: long,
		Caller: &traffic.Caller{Name: long, Tenant: long},
	})
	var f map[string]any
	if err := json.Unmarshal(l.text.Bytes(), &f); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"code", "rule", "path", "model", "request_id", "caller", "tenant"} {
		if got, want := f[name], strings.Repeat("ä", mostBytes/2)+"…"; got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestLogMovesNoCursor: what a terminal would obey, and what turns text around, is not
// written as it came, also where JSON would have it so.
func TestLogMovesNoCursor(t *testing.T) {
	var b bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&b, nil), slog.NewTextHandler(&b, nil)} {
		b.Reset()
		v := denial()
		v.Path, v.Model = "/a\u009b31m\x7f\u0085b", "m\x1b[2J\n\u202eé漢😀\u00a0\xff"
		NewLog(slog.New(h), Denied).Decided(time.Unix(0, 0), v)
		text := strings.TrimSuffix(b.String(), "\n")
		if at := strings.IndexFunc(text, func(c rune) bool { return c < ' ' || c >= 0x7f && !unicode.IsGraphic(c) }); at >= 0 {
			t.Errorf("%q at %d of %q", text[at:], at, text)
		}
		if !strings.Contains(text, "/a\ufffd31m\ufffd\ufffdb") || !strings.Contains(text, "é漢😀") {
			t.Errorf("what can be read is not there: %s", text)
		}
	}
}

func TestLogRace(t *testing.T) {
	l := NewLog(slog.New(slog.DiscardHandler), All)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				l.Decided(time.Now(), denial())
				l.Decided(time.Now(), &traffic.Verdict{Allowed: true})
			}
		})
	}
	wg.Wait()
}
