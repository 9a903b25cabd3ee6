package provider

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// answerKinds are the kinds as transcripts name them.
var answerKinds = map[string]traffic.Kind{"chat": chatKind, "completion": textKind, "embedding": vectorKind, "response": respKind}

// transcript is an answer and what a meter must make of it.
type transcript struct {
	request   Request
	mediaType string
	answer    []byte // as the worker gives it
	seen      []byte // as the client sees it
	usage     string
	ended     string
}

func readTranscript(t *testing.T, file string) transcript {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := strings.Cut(string(raw), "\n----------\n")
	if !ok {
		t.Fatalf("%s has no line of dashes", file)
	}
	tr, end := transcript{mediaType: "text/event-stream; charset=utf-8"}, "\n"
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "kind":
			tr.request.Ask.Kind, ok = answerKinds[value]
			tr.request.Ask.Dialect = traffic.OpenAI
		case "path":
			tr.request.Ask.Endpoint = Route("POST", value)
			ok = tr.request.Ask.Metered()
		case "stream":
			tr.request.Ask.Stream = value == "true"
		case "hide":
			if value == "true" {
				tr.request.edit.insert = "x"
			}
		case "estimate":
			_, err = fmt.Sscan(value, &tr.request.Ask.Input)
		case "type":
			tr.mediaType = value
		case "usage":
			tr.usage = value
		case "ended":
			tr.ended = value
		case "ends":
			end, ok = map[string]string{"CRLF": "\r\n", "CR": "\r"}[value]
		default:
			ok = false
		}
		if !ok || err != nil {
			t.Fatalf("%s: the line %q says nothing; error %v", file, line, err)
		}
	}
	for line := range strings.SplitAfterSeq(body, "\n") {
		text, hidden := strings.CutPrefix(line, "-")
		text = strings.ReplaceAll(text, "\n", end)
		tr.answer = append(tr.answer, text...)
		if !hidden {
			tr.seen = append(tr.seen, text...)
		}
	}
	return tr
}

// outcome is all that a meter tells of an answer.
type outcome struct {
	usage    traffic.Usage
	ended    bool
	boundary bool
	seen     string
}

// agrees reports whether o is what the model wants.
func (o outcome) agrees(want outcome) bool {
	want.boundary = o.boundary
	return o == want
}

// meter reads an answer that comes in these pieces.
func meter(t interface{ Fatalf(string, ...any) }, m *Meter, r *Request, mediaType string, answer ...[]byte) outcome {
	answer = slices.DeleteFunc(answer, func(p []byte) bool { return len(p) == 0 })
	m.Start(r, http.Header{"Content-Type": {mediaType}}, &pieces{all: answer})
	var seen bytes.Buffer
	// Not io.Copy, so that the buffer is of this size.
	buf := make([]byte, 64<<10)
	for {
		n, err := m.Read(buf)
		seen.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil || n == 0 {
			t.Fatalf("read %d bytes, error %v", n, err)
		}
	}
	if got, want := m.OutputSoFar(), m.Usage().Output; got != want {
		t.Fatalf("the output so far is %d, and in the end %d", got, want)
	}
	return outcome{m.Usage(), m.Ended(), m.AtEventBoundary(), seen.String()}
}

// cut returns p cut at these places.
func cut(p []byte, at ...int) (parts [][]byte) {
	last := 0
	for _, i := range append(at, len(p)) {
		if i > last {
			parts = append(parts, p[last:i])
			last = i
		}
	}
	return parts
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/answers/*.txt")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d transcripts, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			tr := readTranscript(t, file)
			var m Meter
			got := meter(t, &m, &tr.request, tr.mediaType, tr.answer)
			source := map[traffic.Source]string{traffic.Reported: "reported", traffic.Counted: "counted", traffic.Reserved: "reserved"}[got.usage.Source]
			usage := fmt.Sprintf("%s input=%d cached=%d output=%d", source, got.usage.Input, got.usage.CachedInput, got.usage.Output)
			if got.usage.CacheWrites > 0 {
				usage += fmt.Sprintf(" writes=%d", got.usage.CacheWrites)
			}
			if got.usage.LongCacheWrites > 0 {
				usage += fmt.Sprintf(" long=%d", got.usage.LongCacheWrites)
			}
			if usage != tr.usage {
				t.Errorf("usage: %s, want %s", usage, tr.usage)
			}
			if ended := fmt.Sprint(got.ended); ended != tr.ended {
				t.Errorf("ended: %s, want %s", ended, tr.ended)
			}
			if got.seen != string(tr.seen) {
				t.Errorf("the client sees\n%s\nwant\n%s", got.seen, tr.seen)
			}
			if want, sure := modelOutcome(&tr.request, tr.mediaType, tr.answer); sure && !got.agrees(want) {
				t.Errorf("the model makes of it %+v", want)
			}
			if again := meter(t, &m, &tr.request, tr.mediaType, slices.Collect(slices.Chunk(tr.answer, 1))...); again != got {
				t.Errorf("byte by byte: %+v\nwant %+v", again, got)
			}
			for i := range tr.answer {
				if again := meter(t, &m, &tr.request, tr.mediaType, cut(tr.answer, i)...); again != got {
					t.Fatalf("cut at %d: %+v\nwant %+v", i, again, got)
				}
			}
		})
	}
}

// TestRequests reads requests as clients send them.
func TestRequests(t *testing.T) {
	files, err := filepath.Glob("testdata/requests/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d requests, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			head, body, ok := strings.Cut(string(raw), "\n----------\n")
			path, want, said := strings.Cut(strings.TrimPrefix(head, "path: "), "\nask: ")
			if !ok || !said {
				t.Fatalf("%s has no line of dashes, or no ask", file)
			}
			endpoint := Route("POST", path)
			r, err := NewPeeker().Peek(endpoint, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			a := r.Ask
			got := fmt.Sprintf("model=%s stream=%v text=%d input=%d least=%d most=%d answers=%d",
				a.Model, a.Stream, a.TextBytes, a.Input, a.LeastInput, a.MaxOutput, a.Answers)
			if got != want || a.Endpoint != endpoint {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if r.HideUsage() || string(r.AppendBody(nil, []byte(body))) != body {
				t.Error("the worker gets another body")
			}
			checkPeek(t, endpoint, []byte(body))
			for i := range len(body) - 1 { // what is cut off is refused, whatever was read of it
				if _, err := NewPeeker().Peek(endpoint, []byte(body[:i])); err == nil && strings.TrimSpace(body[i:]) != "" {
					t.Fatalf("%q is accepted", body[:i])
				}
			}
		})
	}
}
