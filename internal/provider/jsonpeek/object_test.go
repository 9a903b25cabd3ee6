package jsonpeek

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// deeper reports whether arrays and objects of a valid document lie deeper in
// each other than limit.
func deeper(document []byte, limit int) bool {
	depth := 0
	for d := json.NewDecoder(bytes.NewReader(document)); ; {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if b, ok := token.(json.Delim); ok && (b == '{' || b == '[') {
			if depth++; depth > limit {
				return true
			}
		} else if ok {
			depth--
		}
	}
}

// topKeys returns the keys of a valid object, decoded, in their order.
func topKeys(document []byte) (keys []string) {
	d := json.NewDecoder(bytes.NewReader(document))
	d.Token()
	for d.More() {
		key, _ := d.Token()
		keys = append(keys, key.(string))
		var value json.RawMessage
		d.Decode(&value)
	}
	return keys
}

// FuzzObject holds the cursor against encoding/json: it accepts exactly the
// valid objects, but for those too deep, with ambiguous fields or with keys that
// are not Unicode, and reports the same values.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{"model":"x","max_tokens":1e2,"stop":["a","\u0062"],"k":null,"s":{"a":[true,false]}}`,
		`{"mod\u0065l":"\ud83d\ude00","K":1}`, `{"model":1,"model":2}`, "{\"a\xff\":\"\xff\"}", `{"":0}`, `[{"a":1}]`, ` {"a" : [ ] } `,
		`{"a":"` + strings.Repeat("x", 40) + `\"` + strings.Repeat("é", 20) + "\x1f" + `"}`, `{"a":-0.1e+5}`, `{"a":01}`, `{"a":[1,]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		checkObject(t, document)
	})
}

func checkObject(t interface{ Fatalf(string, ...any) }, document []byte) {
	got, err := peek(document, testFields)
	padded := append(document[:len(document):len(document)], padding...)
	if gotPadded, errPadded := peek(padded, testFields); !sameError(err, errPadded) || err == nil && !reflect.DeepEqual(got, gotPadded) {
		t.Fatalf("%q is %v, %v; with white space behind it %v, %v", document, got, err, gotPadded, errPadded)
	}
	trimmed := bytes.TrimLeft(document, " \t\r\n")
	c := New(trimmed)
	c.Skip()
	if n, ok := Value(trimmed, MaxDepth); ok != (c.err == nil) || ok && n != c.pos {
		t.Fatalf("%q begins with a value of %d bytes: %v, want %d: %v", trimmed, n, ok, c.pos, c.err == nil)
	}
	if !json.Valid(document) || trimmed[0] != '{' {
		if err == nil {
			t.Fatalf("accepted %q", document)
		}
		return
	}
	refused := deeper(document, MaxDepth)
	count := map[string]int{}
	for _, key := range topKeys(document) {
		for _, name := range testFields.names {
			if strings.EqualFold(key, string(name)) {
				count[string(name)]++
				refused = refused || key != string(name) || count[key] > 1
			}
		}
		// A key that was not UTF-8 decodes to replacement characters; so does
		// one that had them, or half a pair of escapes, which is accepted.
		if strings.ContainsRune(key, utf8.RuneError) && !utf8.Valid(document) {
			return
		}
	}
	if (err != nil) != refused {
		t.Fatalf("%q: error %v, want one: %v", document, err, refused)
	}
	if err != nil {
		return
	}
	var want map[string]json.RawMessage
	if err := json.Unmarshal(document, &want); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	for i, name := range testFields.names {
		if !bytes.Equal(got[i], want[string(name)]) {
			t.Fatalf("%q: the field %q is %s, want %s", document, name, got[i], want[string(name)])
		}
		checkString(t, got[i])
	}
	for _, document := range [][]byte{document, padded} {
		if err := walk(document); err != nil {
			t.Fatalf("walking %q: %v", document, err)
		}
		checkPassing(t, document, got)
	}
}

// passing has the names of testFields, and what a walk may pass by itself.
var passing = NewFields("model", "max_tokens", "stop", "k", "s", "").Skip(0, 3).Count(1, 2, 5)

// checkPassing compares what a walk counts and returns with got, the fields.
func checkPassing(t interface{ Fatalf(string, ...any) }, document []byte, got map[int]json.RawMessage) {
	var want, counted Text
	for i, raw := range got {
		if raw[0] == '"' && (i == 1 || i == 2 || i == 5) {
			text, _ := Unquote(nil, raw)
			want.Add(CountText(text))
		}
	}
	c := New(document)
	o := c.Object(passing)
	for o.Next() {
		if o.Field == Unknown {
			continue
		}
		kind, raw := c.Kind(), c.Raw()
		if !bytes.Equal(raw, got[o.Field]) {
			t.Fatalf("%q: the field %d is %s, want %s", document, o.Field, raw, got[o.Field])
		}
		if kind == String && (o.Field == 1 || o.Field == 2 || o.Field == 5) { // at the end of the document
			c := New(raw)
			counted.Add(c.Text())
		}
	}
	counted.Add(c.Counted)
	if err := c.End(); err != nil || counted != want {
		t.Fatalf("%q: counted %v, want %v; error %v", document, counted, want, err)
	}
	for i := range testFields.names {
		if _, ok := got[i]; o.Has(i) != ok {
			t.Fatalf("%q has the field %d: %v, want %v", document, i, o.Has(i), ok)
		}
	}
}

// TestObjectProperty makes documents that are nearly valid, which a fuzzer
// seldom finds.
func TestObjectProperty(t *testing.T) {
	var value *rapid.Generator[string]
	text := rapid.StringMatching(`"([ -!#-\[\]-~é中😀]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}|\\ud83d\\ude00){0,20}"`)
	key := rapid.OneOf(rapid.SampledFrom([]string{
		`"model"`, `"max_tokens"`, `"stop"`, `"k"`, `"s"`, `"\u212a"`, `"K"`, `"ſ"`, `"mod\u0065l"`, `"MODEL"`, `""`, `"x"`,
	}), text)
	value = rapid.Deferred(func() *rapid.Generator[string] {
		return rapid.OneOf(
			text,
			rapid.StringMatching(`-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?`),
			rapid.SampledFrom([]string{"null", "true", "false", "[]", "{}"}),
			rapid.Custom(func(t *rapid.T) string {
				return "[" + strings.Join(rapid.SliceOfN(value, 0, 3).Draw(t, "elements"), " , ") + "]"
			}),
			rapid.Custom(func(t *rapid.T) string { return object(t, key, value) }),
		)
	})
	rapid.Check(t, func(t *rapid.T) {
		document := []byte(object(t, key, value))
		if rapid.Bool().Draw(t, "damaged") {
			i := rapid.IntRange(0, len(document)-1).Draw(t, "at")
			document[i] = rapid.SampledFrom([]byte("\"\\{}[],:0-. eux\n\x1f\x7f\xff")).Draw(t, "byte")
		}
		checkObject(t, document)
	})
}

func object(t *rapid.T, key, value *rapid.Generator[string]) string {
	var b strings.Builder
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		if b.Len() > 0 {
			b.WriteString(rapid.SampledFrom([]string{",", ", ", ",  ", "\n,\n"}).Draw(t, "comma"))
		}
		colon := rapid.SampledFrom([]string{":", ": ", ":  ", " :\n"}).Draw(t, "colon")
		b.WriteString(key.Draw(t, "key") + colon + value.Draw(t, "value"))
	}
	return "{" + b.String() + "}"
}
