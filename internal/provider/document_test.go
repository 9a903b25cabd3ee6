package provider

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
)

// feedDocument reads a document that comes in these pieces.
func feedDocument(t tree, parts ...[]byte) document {
	var d document
	d.start(t)
	for _, p := range parts {
		d.feed(p)
	}
	return d
}

func TestDocument(t *testing.T) {
	const zero = -2
	unsaid := func(f found) found {
		for _, n := range []*int64{&f.input, &f.moreInput, &f.total, &f.cached, &f.writes, &f.longWrites, &f.output, &f.moreOutput, &f.sequence} {
			switch *n {
			case 0:
				*n = unreported
			case zero:
				*n = 0
			}
		}
		return f
	}
	for _, tt := range []struct {
		name, document string
		tree           tree
		want           found // a number that is not there stands for none
	}{
		{"nothing", `{}`, openAIBody, found{}},
		{"usage", `{"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3}}}`, openAIBody, found{usage: true, numbers: numbers{input: 1, output: 2, cached: 3}}},
		{"other names", `{"usage":{"input_tokens":1,"output_tokens":2,"input_tokens_details":{"cached_tokens":3}}}`, openAIBody, found{usage: true, numbers: numbers{input: 1, output: 2, cached: 3}}},
		{"both names", `{"usage":{"input_tokens":4,"prompt_tokens":1,"completion_tokens":2,"output_tokens":5}}`, openAIBody, found{usage: true, numbers: numbers{input: 4, output: 5}}},
		{"escaped keys", `{"us\u0061ge":{"prompt\u005Ftokens":1}}`, openAIBody, found{usage: true, numbers: numbers{input: 1}}},
		{"near keys", `{"usag":{"prompt_tokens":1},"usagee":{"prompt_tokens":1},"Usage":{"prompt_tokens":1},"usage\u0000":{"prompt_tokens":1},"":{"prompt_tokens":1}}`, openAIBody, found{}},
		{"long keys", `{"` + strings.Repeat("usage", 20) + `":{"prompt_tokens":1},"\n` + strings.Repeat("x", 63) + `":1,"\n` + strings.Repeat("x", 64) + `":1}`, openAIBody, found{}},
		{"spaces", " {\n\t\"usage\" :\r { \"prompt_tokens\" : 1 , \"completion_tokens\" : 2 } } ", openAIBody, found{usage: true, numbers: numbers{input: 1, output: 2}}},
		{"last usage", `{"usage":{"prompt_tokens":1,"completion_tokens":2},"usage":{"prompt_tokens":3}}`, openAIBody, found{usage: true, numbers: numbers{input: 3}}},
		{"usage taken back", `{"usage":{"prompt_tokens":1},"usage":null}`, openAIBody, found{}},
		{"in an array", `[{"usage":{"prompt_tokens":1}}]`, openAIBody, found{}},
		{"deeper", `{"a":{"usage":{"prompt_tokens":1}},"usage":{"x":{"prompt_tokens":2},"prompt_tokens":[3]}}`, openAIBody, found{usage: true}},
		{"numbers", `{"usage":{"prompt_tokens":1.0e1,"completion_tokens":1E-1,"prompt_tokens_details":{"cached_tokens":-0}}}`, openAIBody, found{usage: true, numbers: numbers{input: 10, cached: zero}}},
		{"long number", `{"usage":{"prompt_tokens":1.` + strings.Repeat("0", 63) + `,"completion_tokens":1.` + strings.Repeat("0", 62) + `}}`, openAIBody, found{usage: true, numbers: numbers{output: 1}}},
		{"largest", `{"usage":{"prompt_tokens":100000000,"completion_tokens":100000001}}`, openAIBody, found{usage: true, numbers: numbers{input: maxTokens}}},
		{"choices", `{"choices":[{"text":"ab","message":{"content":"c\n\u00e9\ud83d\ude00\ud800","refusal":null}},"text",{"text":["x"],"message":{"content":{"content":"y"}}}]}`, openAIBody, found{text: jsonpeek.Text{ASCII: 4, Other: 9}}},
		{"halves", `{"choices":[{"text":"\ude00\ud83d\ud83d\ude00\ud83dx\ude00\ud83d\n\ude00"}]}`, openAIBody, found{text: jsonpeek.Text{ASCII: 2, Other: 3 + 3 + 4 + 3 + 3 + 3 + 3}}},
		{"empty choices", `{"choices":[ ]}`, openAIChunk, found{noChoices: true}},
		{"choices with nothing", `{"choices":[null],"error":null}`, openAIChunk, found{}},
		{"choices with an array", `{"choices":[[]]}`, openAIChunk, found{}},
		{"choices twice", `{"choices":[1],"choices":[]}`, openAIChunk, found{noChoices: true}},
		{"reasoning", `{"choices":[{"delta":{"reasoning":"abc","reasoning_content":"abcd"}}]}`, openAIChunk, found{reasoning: jsonpeek.Text{ASCII: 3}, thought: jsonpeek.Text{ASCII: 4}}},
		{"error", `{"error":"x"}`, openAIChunk, found{failed: true}},
		{"sequence", `{"sequence_number":7,"delta":"x\"y","delta":5}`, openAIResponse, found{sequence: 7, text: jsonpeek.Text{ASCII: 3}}},
		{"response", `{"response":{"usage":{"input_tokens":1}},"usage":{"input_tokens":2}}`, openAIResponse, found{usage: true, numbers: numbers{input: 1}}},
	} {
		want := unsaid(tt.want)
		for size := range 9 {
			parts := [][]byte{[]byte(tt.document)}
			if size > 0 {
				parts = slices.Collect(slices.Chunk(parts[0], size))
			}
			if d := feedDocument(tt.tree, parts...); d.found != want || !d.whole() {
				t.Errorf("%s in pieces of %d: found %+v, whole %v\nwant %+v", tt.name, size, d.found, d.whole(), want)
			}
		}
	}
}

func TestEventType(t *testing.T) {
	long := strings.Repeat("x", captureBytes-6) + ".delta"
	for document, want := range map[string]string{
		`{"type":"a.delta"}`:            "a.delta",
		`{"type":"\u0061.d\/"}`:         "a.d/",
		`{"type":"` + long + `"}`:       long,
		`{"type":"x` + long + `"}`:      "",
		`{"type":"a","type":"b"}`:       "b",
		`{"type":"a","type":5}`:         "",
		`{"type":["a"],"x":{"type":1}}`: "",
		`{"x":{"type":"a"}}`:            "",
	} {
		d := feedDocument(openAIResponse, []byte(document))
		if got := string(d.found.eventType()); got != want {
			t.Errorf("%s is of the type %q, want %q", document, got, want)
		}
	}
}

func TestTreeIsBounded(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a tree with more nodes than a stack can name did not panic")
		}
	}()
	newTree([]wanted{{strings.Repeat("a.", arrayBit) + "a", wantText}})
}

// checkDocument holds a document against encoding/json, whole and in pieces.
func checkDocument(t interface{ Fatalf(string, ...any) }, raw []byte, size int) {
	whole := feedDocument(openAIBody, raw)
	if valid := json.Valid(raw); whole.whole() != (valid && !tooDeep(raw)) {
		t.Fatalf("%q is a whole document: %v, and valid: %v", raw, whole.whole(), valid)
	}
	parts := feedDocument(openAIBody, slices.Collect(slices.Chunk(raw, size))...)
	if parts.found != whole.found || parts.whole() != whole.whole() {
		t.Fatalf("%q in pieces of %d: found %+v, want %+v", raw, size, parts.found, whole.found)
	}
}

// tooDeep reports whether a valid document is deeper than one is read.
func tooDeep(raw []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch b := raw[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '[' || b == '{':
			if depth++; depth > documentDepth {
				return true
			}
		case b == ']' || b == '}':
			depth--
		}
	}
	return false
}

func TestDocumentDepth(t *testing.T) {
	for _, n := range []int{1, documentDepth, documentDepth + 1, 10_000} {
		for _, bracket := range []string{"[]", "{}"} {
			opening := bracket[:1]
			if opening == "{" {
				opening = `{"a":`
			}
			checkDocument(t, []byte(strings.Repeat(opening, n)+"1"+strings.Repeat(bracket[1:], n)), 7)
		}
	}
}

func TestDocumentInvalid(t *testing.T) {
	for _, raw := range []string{
		``, ` `, `{`, `[`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{,}`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a":1]`, `[1}`, `[1 2]`, `[1,]`, `[,1]`, `{"a":1,}`,
		`{1:2}`, `nul`, `nulL`, `truE`, `fals`, `-`, `01`, `1.`, `1.e1`, `.5`, `1e`, `1e+`, `--1`, `+1`, `1x`, `[1x]`, `[1.]`, `[-]`, `[1e]`, `"`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"a\nb\"", "\"\x00\"",
		`{}x`, `{}{}`, `1 2`, `[]]`, `}`, `]`, `:`, `,`, `"a"b`, "\xef\xbb\xbf{}", `{"a":1}"`, `{"a""b"}`, `["a""b"]`,
	} {
		if json.Valid([]byte(raw)) {
			t.Errorf("%q is valid", raw)
		}
		checkDocument(t, []byte(raw), 1)
	}
}

func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		`{"usage":{"prompt_tokens":1e2,"completion_tokens":-0.5},"choices":[{"message":{"content":"a\u00e9\ud83d\ude00\n"},"text":"x"}]}`,
		`[true,false,null,"",{},[]]`, `{"a":[1,{"b":-1.5e+10}]}`, ` 5 `, `{"us\u0061ge":null}`, `{"a":1`,
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		checkDocument(t, raw, max(size, 1))
	})
}
