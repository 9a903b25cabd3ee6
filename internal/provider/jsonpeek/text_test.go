package jsonpeek

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestSimpleEscape(t *testing.T) {
	for b := range 256 {
		var want string
		if err := json.Unmarshal([]byte{'"', '\\', byte(b), '"'}, &want); err != nil {
			want = "\x00"
		}
		if got := SimpleEscape(byte(b)); string(rune(got)) != want {
			t.Errorf("a backslash and %q are %q, want %q", rune(b), got, want)
		}
	}
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		raw  string
		want Text
	}{
		{`""`, Text{}},
		{`"abc"`, Text{3, 0}},
		{`"a\nb"`, Text{3, 0}},
		{`"\u0041\u00e9\u4e2d\ud83d\ude00"`, Text{1, 9}},
		{`"\ud800"`, Text{0, 3}},
		{`"\ud800\ud83d\ude00\ude00"`, Text{0, 10}},
		{`"\ud800\u0041\ud800x\ud800\n"`, Text{3, 9}},
		{`"中文 and \"quotes\""`, Text{13, 6}},
		{"\"\xff\xfe1234567890\"", Text{10, 2}},
	} {
		c := New([]byte(tt.raw))
		if got := c.Text(); got != tt.want || c.End() != nil || c.Offset() != len(tt.raw) {
			t.Errorf("%s holds %v, want %v; error %v", tt.raw, got, tt.want, c.End())
		}
	}
}

// TestUnquoteStops gives Unquote what no cursor accepts.
func TestUnquoteStops(t *testing.T) {
	if text, valid := Unquote([]byte("a"), []byte(`"b\x"`)); string(text) != "ab" || valid {
		t.Errorf("%q, %v; want what is before the escape, and that it is not valid", text, valid)
	}
}

// checkString compares what a string is decoded to and counted as.
func checkString(t interface{ Fatalf(string, ...any) }, raw []byte) {
	if len(raw) == 0 || raw[0] != '"' {
		return
	}
	var want string
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	text, valid := Unquote(nil, raw)
	if got := strings.ToValidUTF8(string(text), "\ufffd"); utf8.Valid(raw) && string(text) != want || valid && got != want {
		t.Fatalf("%s is %q, want %q", raw, text, want)
	}
	if c := New(raw); c.Text() != CountText(text) {
		t.Fatalf("%s is counted otherwise than %q", raw, text)
	}
}

// FuzzText holds what is counted of a string against encoding/json, wherever in
// a word something stands.
func FuzzText(f *testing.F) {
	for _, seed := range []string{
		``, `abc`, `\n\"\\\/`, `0123456\n`, `01234567\u00e9\ud83d\ude00\ud83d`, "0123456789abcdef\x1f", "\xff" + strings.Repeat("x", 70),
		strings.Repeat("é", 40) + `\t`, strings.Repeat(`\u4e2d`, 10), strings.Repeat("x", 33) + `\`, `\ud800\ud800\udc00`, `\"`, strings.Repeat(`\t`, 20),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, s []byte) { checkText(t, s) })
}

func checkText(t interface{ Fatalf(string, ...any) }, s []byte) {
	raw := append(append([]byte{'"'}, s...), '"')
	checkEnd(t, s)
	checkEnd(t, append(raw[1:len(raw):len(raw)], padding...))
	for _, document := range [][]byte{raw, append(raw[:len(raw):len(raw)], padding...)} {
		c := New(document)
		got := c.Text()
		if err := c.End(); (err == nil) != json.Valid(raw) {
			t.Fatalf("%q: error %v", document, err)
		} else if err == nil {
			checkString(t, raw)
			if text, _ := Unquote(nil, raw); got != CountText(text) {
				t.Fatalf("%q is %v, want %v", document, got, CountText(text))
			}
		}
	}
	if n, got, ok := StringEnd(raw[1:]); ok {
		text, _ := Unquote(nil, raw[:n+2])
		if !json.Valid(raw[:n+2]) || got != CountText(text) {
			t.Fatalf("%q has no string that ends at %d and holds %v", raw, n, got)
		}
	} else if json.Valid(raw) {
		t.Fatalf("%q has a string that was not found", raw)
	}
	n, other := Plain(s)
	for i, b := range s[:n] {
		if b < ' ' || b == '"' || b == '\\' {
			t.Fatalf("%q has no plain run of %d: %q at %d", s, n, b, i)
		}
		other -= int(b >> 7)
	}
	if other != 0 || n < len(s) && s[n] >= ' ' && s[n] != '"' && s[n] != '\\' {
		t.Fatalf("%q has no plain run of %d with as many bytes of other text", s, n)
	}
}

// TestTextProperty makes strings of every mixture.
func TestTextProperty(t *testing.T) {
	piece := rapid.OneOf(
		rapid.StringMatching(`[ -!#-\[\]-~]{0,40}`), rapid.StringMatching(`(\\[nt"\\]){1,6}`), rapid.StringMatching(`[é中😀]{1,12}`),
		rapid.StringMatching(`(\\u[0-9a-fA-F]{4}){1,3}`), rapid.SampledFrom([]string{`\`, `\ud83d\ude00`, `\x`, `\u12`, "\x1f", `"`}),
	)
	rapid.Check(t, func(t *rapid.T) {
		checkText(t, []byte(strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces"), "")))
	})
}
