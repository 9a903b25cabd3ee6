package sse

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// parse feeds the stream in the pieces that it is cut into, and returns the data
// of its events. It checks that what the parser says of bytes adds up.
func parse(t interface{ Fatalf(string, ...any) }, pieces ...[]byte) (events []string) {
	var p Parser
	var data []byte
	var all, consumed []byte
	ended := false
	for _, piece := range pieces {
		all = append(all, piece...)
		for calls := 0; ; calls++ {
			n, token, part := p.Next(piece)
			if n > len(piece) || n == 0 && token != More || calls > 2*len(all)+2 {
				t.Fatalf("%d bytes of %q are said to be token %d", n, piece, token)
			}
			consumed = append(consumed, piece[:n]...)
			piece = piece[n:]
			if token == More {
				if len(piece) > 0 {
					t.Fatalf("more is wanted while there is %q", piece)
				}
				break
			}
			switch token {
			case Data:
				data = append(data, part...)
			case Event:
				events = append(events, string(data))
				data = nil
			case Blank:
				if len(data) > 0 {
					t.Fatalf("the data %q is dropped", data)
				}
			case Tail:
				if !ended || !bytes.HasSuffix(consumed, []byte("\r\n")) {
					t.Fatalf("a tail after %q", consumed)
				}
			}
			ended = token == Event || token == Blank
		}
	}
	if !bytes.Equal(consumed, all) {
		t.Fatalf("consumed %q of %q", consumed, all)
	}
	return events
}

// model is the standard's algorithm over the whole stream.
func model(stream []byte) (events []string) {
	s := strings.TrimPrefix(string(stream), "\ufeff")
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(s, "\n")
	data := ""
	for _, line := range lines[:len(lines)-1] { // the last one has no end
		if line == "" {
			if data != "" {
				events = append(events, strings.TrimSuffix(data, "\n"))
			}
			data = ""
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		if name == "data" {
			data += strings.TrimPrefix(value, " ") + "\n"
		}
	}
	return events
}

func TestEvents(t *testing.T) {
	long := strings.Repeat("x", 3*window+5)
	for _, tt := range []struct {
		name, stream string
		want         []string
	}{
		{"empty", "", nil},
		{"one", "data: a\n\n", []string{"a"}},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}},
		{"CR", "data: a\r\rdata: b\r\r", []string{"a", "b"}},
		{"mixed ends", "data: a\r\ndata: b\r\n\ndata: c\n\r\ndata: d\n\r\r\n", []string{"a\nb", "c", "d"}},
		{"no space", "data:a\n\n", []string{"a"}},
		{"two spaces", "data:  a\n\n", []string{" a"}},
		{"space only", "data: \n\n", []string{""}},
		{"no value", "data:\n\n", []string{""}},
		{"no colon", "data\n\ndata\ndata\n\n", []string{"", "\n"}},
		{"several lines", "data: {\ndata:\ndata: }\ndata\n\n", []string{"{\n\n}\n"}},
		{"other fields", "event: x\nid: 1\nretry: 5\ndata: a\n\nevent: data\n\n", []string{"a"}},
		{"near names", "dat: a\ndatax: b\nDATA: c\n data: d\ndata : e\nxdata: f\nda\n\n", nil},
		{"comments", ": data: x\n:\n:data\n\n:a\ndata: b\n\n", []string{"b"}},
		{"blank lines", "\n\n\r\n\rdata: a\n\n\n\n", []string{"a"}},
		{"colon in value", "data: a: b\ndata::\n\n", []string{"a: b\n:"}},
		{"byte order mark", "\xef\xbb\xbfdata: a\n\ndata: b\n\n", []string{"a", "b"}},
		{"half a mark", "\xef\xbbdata: a\n\ndata: b\n\n", []string{"b"}},
		{"half a mark, blank line", "\xef\n\ndata: b\n\n", []string{"b"}},
		{"two marks", "\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", []string{"b"}},
		{"late mark", "data: a\n\xef\xbb\xbfdata: b\n\n", []string{"a"}},
		{"mark and blank", "\xef\xbb\xbf\r\n\r\ndata: a\n\n", []string{"a"}},
		{"unfinished", "data: a\n\ndata: b\n", []string{"a"}},
		{"unfinished line", "data: a\n\ndata: b", []string{"a"}},
		{"long line", "data: " + long + "\n\n:" + long + "\nignored" + long + "\n\ndata: b\r\n\r\n", []string{long, "b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stream := []byte(tt.stream)
			check := func(how string, got []string) {
				t.Helper()
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", how, diff)
				}
			}
			check("the model", model(stream))
			check("whole", parse(t, stream))
			check("byte by byte", parse(t, slices.Collect(slices.Chunk(stream, 1))...))
			for i := 0; i < len(stream) && i < 200; i++ {
				check(fmt.Sprint("cut at ", i), parse(t, stream[:i], stream[i:]))
			}
		})
	}
}

func checkModel(t interface{ Fatalf(string, ...any) }, stream []byte, size int) {
	want := model(stream)
	for _, size := range []int{len(stream) + 1, 1, size} {
		if diff := cmp.Diff(want, parse(t, slices.Collect(slices.Chunk(stream, size))...)); diff != "" {
			t.Fatalf("%q in pieces of %d (-want +got):\n%s", stream, size, diff)
		}
	}
}

// TestModel draws streams of the words that matter.
func TestModel(t *testing.T) {
	words := rapid.SampledFrom([]string{
		"\n", "\r", "\r\n", "\n\n", "data", "data:", "data: ", "dat", ":", " ", "x", "event: e", "\xef\xbb\xbf", "\xef", "\xbb\xbf", "[DONE]",
	})
	rapid.Check(t, func(t *rapid.T) {
		stream := []byte(strings.Join(rapid.SliceOfN(words, 0, 30).Draw(t, "words"), ""))
		checkModel(t, stream, rapid.IntRange(1, 9).Draw(t, "size"))
	})
}

func FuzzParser(f *testing.F) {
	for _, seed := range []string{
		"data: a\n\n", "\xef\xbb\xbfdata: {\r\ndata: }\r\n\r\n: ping\r\r", "data\n\ndata:\rdata\r\n\n", "event: x\ndata: [DONE]\n\n",
	} {
		f.Add([]byte(seed), 2)
	}
	f.Fuzz(func(t *testing.T, stream []byte, size int) {
		if len(stream) > 1<<16 {
			return
		}
		checkModel(t, stream, max(1, size))
	})
}

func BenchmarkEvents(b *testing.B) {
	event := `data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"
	stream := []byte(strings.Repeat(event, 50))
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		var p Parser
		events := 0
		for rest := stream; ; {
			n, token, _ := p.Next(rest)
			if rest = rest[n:]; token == More {
				break
			} else if token == Event {
				events++
			}
		}
		if events != 50 {
			b.Fatal(events)
		}
	}
}
