package provider

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// checkShape reads documents of a stream, each by the shape of those before if
// it can be, and holds what is found against what is found without a shape. It
// returns how each was read: l as a new shape, p as one that has none, s by the
// shape, t by the shape that was then made tight, c without it as it was cut, or
// seems so.
func checkShape(t interface{ Fatalf(string, ...any) }, tree tree, documents ...[]byte) string {
	var s shape
	var d document
	how := make([]byte, 0, len(documents))
	s.start()
	for i, p := range documents {
		d.start(tree)
		before := s.tight
		n, cut := s.read(p, &d.found)
		switch {
		case n > 0 && s.tight > before:
			how = append(how, 't')
			d.state = complete
		case n > 0:
			how = append(how, 's')
			d.state = complete
		case cut:
			how = append(how, 'c')
		default:
			if n = s.learn(&d, p); len(s.written) > 0 {
				how = append(how, 'l')
			} else {
				how = append(how, 'p')
			}
		}
		d.feed(p[n:])
		if want := feedDocument(tree, p); d.whole() != want.whole() || d.whole() && d.found != want.found {
			t.Fatalf("document %d of %q, by shape (%s): whole %v, found %+v\nwant %v, %+v", i, documents, how, d.whole(), d.found, want.whole(), want.found)
		}
		if len(s.written) > maxShape || len(s.holes) > maxHoles || s.tight > maxTight {
			t.Fatalf("document %d of %q: a shape of %d bytes and %d holes, the %dth", i, documents, len(s.written), len(s.holes), s.tight)
		}
	}
	return string(how)
}

func TestShape(t *testing.T) {
	const chunk = `{"id":"a","n":5,"choices":[{"text":"@"}],"usage":{"prompt_tokens":1}}`
	other := func(old, new string) string { return strings.Replace(chunk, old, new, 1) }
	wide := func(bytes int) string {
		return fmt.Sprintf(`{"%s":1,"a":""}`, strings.Repeat("k", bytes-len(`{"":1,"a":""}`)))
	}
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	numbers := func(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }
	for _, tt := range []struct {
		name      string
		documents []string
		how       string
	}{
		{"alike", []string{chunk, chunk, other("@", "yz"), other(":1", ":234")}, "ltss"},
		{"escapes", []string{chunk, other("@", `\u00e9\ud83d\ude00\"`), other("@", `\\`), other("@", "é"), other("@", "")}, "ltsss"},
		{"what differs at once stays a hole", []string{chunk, other("5", "6"), other("5", "70")}, "lts"},
		{"what differs later does not", []string{chunk, chunk, other("5", "6"), chunk}, "ltlt"},
		{"wanted numbers", []string{chunk, chunk, other(":1", ":1.0e1"), other(":1", ":-1"), other(":1", ":0"), other(":1", ":100000001"), other(":1", ":"+strings.Repeat("9", 25)), other(":1", ":1."+strings.Repeat("0", 99))}, "ltssssss"},
		{"no numbers", []string{chunk, other(":1", ":01"), chunk, other(":1", ":1."), chunk, other(":1", ":-"), chunk, other(":1", ":1x"), chunk, other(":1", ":")}, "lplplplplp"},
		{"no strings", []string{chunk, other("@", "\n"), chunk, other("@", `\x`), chunk, other("@", `\u12"`)}, "lplplp"},
		{"another kind of value", []string{chunk, other(`"@"`, "null"), other(`"@"`, "1"), other(":1", ":null"), other(":1", `:"1"`)}, "lllll"},
		{"any other value where none is wanted", []string{chunk, other(`"a"`, `[1,{"b":"c"}, null]`), other(`"a"`, "-1.5e3"), other(`"a"`, "{}"), other("5", "true"), other(`"a"`, `"\u00e9"`)}, "ltsslt"},
		{"no value where none is wanted", []string{chunk, other(`"a"`, "[1"), other(`"a"`, "[1}"), other(`"a"`, "nul"), other(`"a"`, ""), other(`"a"`, "01"), other(`"a"`, "{1:2}"), other(`"a"`, "}"), chunk}, "lccccccct"},
		{"the deepest", []string{`{"a":1,"b":1}`, `{"a":2,"b":` + nested(documentDepth-1) + `}`, `{"a":3,"b":` + nested(documentDepth) + `}`, `{"a":4,"b":` + nested(documentDepth-1) + `}`}, "ltcs"},
		{"another key", []string{chunk, other(`"n"`, `"m"`), other(`"n"`, `"\u006e"`)}, "lll"},
		{"white space", []string{chunk, " " + chunk, chunk + " ", chunk + "x", chunk, chunk + chunk}, "llltss"},
		{"cut", []string{chunk, chunk[:9], chunk[:len(chunk)-1], chunk[:8], other("@", "yyy")[:40], chunk[:16], chunk}, "lccccct"},
		{"an event's type is no hole", []string{`{"type":"a","delta":"x"}`, `{"type":"b","delta":"x"}`, `{"type":"b","delta":"y"}`, `{"type":"b","delta":"z"}`}, "llts"},
		{"a later usage makes numbers void", []string{`{"usage":{"prompt_tokens":1},"usage":{"completion_tokens":2}}`, `{"usage":{"prompt_tokens":1},"usage":{"completion_tokens":2}}`}, "pp"},
		{"as does a usage that is none", []string{`{"usage":{"prompt_tokens":1},"usage":5}`, `{"usage":{"prompt_tokens":1},"usage":"x"}`, `{"usage":{"prompt_tokens":1},"usage":null}`}, "ppp"},
		{"no objects", []string{`[1]`, `[2]`, `"a"`, `"b"`, `5`, `6`, `null`, `null`}, "ltltpplt"},
		{"a number by itself", []string{"1x", "1x", "10", "1", "1 "}, "ppppp"},
		{"nothing", []string{``, ` `, `x`}, "ppp"},
		{"the largest", []string{wide(maxShape), wide(maxShape), wide(maxShape + 1), wide(maxShape + 1)}, "ltpp"},
		{"the most holes", []string{numbers(maxHoles), numbers(maxHoles), numbers(maxHoles + 1), numbers(maxHoles + 1)}, "ltpp"},
		{"a long text", []string{other("@", strings.Repeat("x", 70_000)), chunk, other("@", strings.Repeat("x", 70_000))}, "plt"},
		{"not tight for ever", slices.Repeat([]string{chunk, chunk, other("a", "b"), other("a", "b")}, maxTight), strings.Repeat("lt", maxTight) + "l" + strings.Repeat("s", 2*maxTight-1)},
	} {
		var documents [][]byte
		for _, d := range tt.documents {
			documents = append(documents, []byte(d))
		}
		tree := openAIChunk
		if strings.Contains(tt.documents[0], "type") {
			tree = openAIResponse
		}
		if how := checkShape(t, tree, documents...); how != tt.how {
			t.Errorf("%s: the documents were read by %s, want %s", tt.name, how, tt.how)
		}
	}
}

// TestShapeModel draws streams of documents that are alike but for some of their
// strings and numbers, and some other bytes.
func TestShapeModel(t *testing.T) {
	document := documentGenerator()
	trees := rapid.SampledFrom([]tree{openAIBody, openAIChunk, openAIResponse, openAIScores, ollamaTree})
	value := rapid.SampledFrom([]string{`"word"`, `""`, `"\u00e9\n\ud83d\ude00"`, `"\ud83d"`, `"字\"x"`, "0", "7", "123", "1e2", "-1", "1.5", "null", "01", `"`, "x"})
	rapid.Check(t, func(t *rapid.T) {
		parts := splitValues(document.Draw(t, "document"))
		var documents [][]byte
		for range rapid.IntRange(2, 8).Draw(t, "documents") {
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				if at := rapid.IntRange(0, len(parts)-1).Draw(t, "part"); at%2 == 1 {
					parts[at] = value.Draw(t, "value")
				}
			}
			p := strings.Join(parts, "")
			documents = append(documents, []byte(p[:len(p)-max(rapid.IntRange(-20, 20).Draw(t, "cut"), 0)%(len(p)+1)]))
		}
		checkShape(t, trees.Draw(t, "tree"), documents...)
	})
}

// splitValues returns a document in parts, of which every other one, from the
// second on, is a string or a number, or a key.
func splitValues(document string) (parts []string) {
	for len(document) > 0 {
		i := strings.IndexAny(document, `"-0123456789`)
		if i < 0 {
			break
		}
		n := numberLength([]byte(document[i:]))
		if document[i] == '"' {
			for n = 1; document[i+n] != '"'; n++ {
				if document[i+n] == '\\' {
					n++
				}
			}
			n++
		}
		parts = append(parts, document[:i], document[i:i+n])
		document = document[i+n:]
	}
	return append(parts, document)
}

func FuzzShape(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1}}`,
		`{"choices":[{"text":"\u00e9"}],"usage":null,"error":null}`,
		`{"usage":{"prompt_tokens":1},"usage":{"completion_tokens":2}}`,
	} {
		f.Add([]byte(seed), 9, 1, []byte("12"))
		f.Add([]byte(seed), 40, 3, []byte(`"`))
	}
	f.Fuzz(func(t *testing.T, document []byte, at, size int, other []byte) {
		if len(document) > 1<<12 || len(other) > 1<<12 {
			return
		}
		at = int(uint(at) % uint(len(document)+1))
		size = int(uint(size) % uint(len(document)-at+1))
		changed := slices.Concat(document[:at], other, document[at+size:])
		again := bytes.Replace(changed, []byte("1"), []byte("27"), 1)
		for _, tree := range []tree{openAIChunk, openAIResponse, googleTree} {
			checkShape(t, tree, document, document, changed, changed, again, document, changed, document[:at])
		}
	})
}
