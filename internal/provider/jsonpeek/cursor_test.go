package jsonpeek

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// testFields have names that fold in every way: K and s have fellows outside
// ASCII.
var testFields = NewFields("model", "max_tokens", "stop", "k", "s", "")

// peek walks the document's top level and returns the raw values of the fields.
func peek(document []byte, fields *Fields) (map[int]json.RawMessage, error) {
	got := map[int]json.RawMessage{}
	c := New(document)
	for o := c.Object(fields); o.Next(); {
		if o.Field != Unknown {
			got[o.Field] = c.Raw()
		}
	}
	return got, c.End()
}

func TestAccepts(t *testing.T) {
	for _, tt := range []struct {
		document string
		err      string // empty: accepted
	}{
		{`{}`, ""},
		{" \n\t\r{ } \n", ""},
		{`{"a":1,"b":[1,2,{"c":null}],"d":{"e":[[],{}]}}`, ""},
		{`{"a":-0,"b":0.5e-10,"c":1E+2,"d":-12.50,"e":true,"f":false}`, ""},
		{`{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800"}`, ""},
		{"{\"a\":\"\x7f\xc3\x28\"}", ""}, // a value that is not read may be any bytes
		{`{ "model" : "x" , "stop" : [ 1 , 2 ] }`, ""},

		{``, `want an object, but the document ends (at byte 0)`},
		{`  `, `want an object, but the document ends (at byte 2)`},
		{`[]`, `want an object, got "[" (at byte 0)`},
		{`"a"`, `want an object, got "\"" (at byte 0)`},
		{`nul`, `want an object, got "n" (at byte 0)`},
		{"\xef\xbb\xbf{}", `want an object, got "\xef" (at byte 0)`},
		{`{} x`, `want the end, got "x" (at byte 3)`},
		{`{}{}`, `want the end, got "{" (at byte 2)`},
		{"{}\x00", `want the end, got "\x00" (at byte 2)`},
		{`{`, `want a key, but the document ends (at byte 1)`},
		{`{,}`, `want a key, got "," (at byte 1)`},
		{`{"a"}`, `want a colon, got "}" (at byte 4)`},
		{`{"a" 1}`, `want a colon, got "1" (at byte 5)`},
		{`{"a":}`, `want a value, got "}" (at byte 5)`},
		{`{"a":1,}`, `want a key, got "}" (at byte 7)`},
		{`{"a":1 "b":2}`, `want a comma or a closing bracket, got "\"" (at byte 7)`},
		{`{"a":1]`, `want a comma or a closing bracket, got "]" (at byte 6)`},
		{`{'a':1}`, `want a key, got "'" (at byte 1)`},
		{`{a:1}`, `want a key, got "a" (at byte 1)`},
		{`{"a":[1,]}`, `want a value, got "]" (at byte 8)`},
		{`{"a":[,1]}`, `want a value, got "," (at byte 6)`},
		{`{"a":[1 2]}`, `want a comma or a closing bracket, got "2" (at byte 8)`},
		{`{"a":[1}]`, `want a comma or a closing bracket, got "}" (at byte 7)`},
		{`{"a":{"b":1]}`, `want a comma or a closing bracket, got "]" (at byte 11)`},
		{`{"a":{"b":1,}}`, `want a key, got "}" (at byte 12)`},
		{`{"a":{1:2}}`, `want a key, got "1" (at byte 6)`},
		{`{"a":{"b"}}`, `want a colon, got "}" (at byte 9)`},
		{`{"a":tru}`, `want true (at byte 5)`},
		{`{"a":falsehood}`, `want a comma or a closing bracket, got "h" (at byte 10)`},
		{`{"a":nULL}`, `want null (at byte 5)`},
		{`{"a":fal`, `want false (at byte 5)`},
		{`{"a":NaN}`, `want a value, got "N" (at byte 5)`},
		{`{"a":01}`, `a number is not written as JSON writes it (at byte 5)`},
		{`{"a":-}`, `a number is not written as JSON writes it (at byte 5)`},
		{`{"a":+1}`, `want a value, got "+" (at byte 5)`},
		{`{"a":.5}`, `want a value, got "." (at byte 5)`},
		{`{"a":1.}`, `a number is not written as JSON writes it (at byte 5)`},
		{`{"a":1e}`, `a number is not written as JSON writes it (at byte 5)`},
		{`{"a":1e+}`, `a number is not written as JSON writes it (at byte 5)`},
		{`{"a":-01}`, `a number is not written as JSON writes it (at byte 5)`},
		{`{"a":0x10}`, `want a comma or a closing bracket, got "x" (at byte 6)`},
		{`{"a":1`, `want a comma or a closing bracket, but the document ends (at byte 6)`},
		{`{"a":"b`, `a string does not end (at byte 7)`},
		{`{"a`, `a string does not end (at byte 3)`},
		{`{"a":"\x"}`, `an escape in a string is none that JSON has (at byte 6)`},
		{`{"a":"\u12g4"}`, `an escape in a string is none that JSON has (at byte 6)`},
		{`{"a":"\u12`, `an escape in a string is none that JSON has (at byte 6)`},
		{`{"a":"\`, `an escape in a string is none that JSON has (at byte 6)`},
		{"{\"a\":\"b\nc\"}", `a control character in a string must be escaped (at byte 7)`},
		{"{\"a\":\"0123456789\x00\"}", `a control character in a string must be escaped (at byte 16)`},
		{"{\"a\u00a0\":\"\",\x0b}", `want a key, got "\v" (at byte 10)`},

		{`{"model":1,"model":1}`, `the field "model" is there twice (at byte 11)`},
		{`{"model":1,"mod\u0065l":1}`, `the field "model" is there twice (at byte 11)`},
		{`{"model":1,"MODEL":1}`, `the field "MODEL" must be written "model" (at byte 11)`},
		{`{"Model":1,"model":1}`, `the field "Model" must be written "model" (at byte 1)`},
		{`{"mod\u0045l":1}`, `the field "modEl" must be written "model" (at byte 1)`},
		{`{"max_to` + "\u212a" + `ens":1}`, "the field \"max_to\u212aens\" must be written \"max_tokens\" (at byte 1)"},
		{`{"` + "\u017f" + `top":1}`, `the field "ſtop" must be written "stop" (at byte 1)`},
		{`{"\u017ftop":1}`, `the field "ſtop" must be written "stop" (at byte 1)`},
		{`{"":1,"":2}`, `the field "" is there twice (at byte 6)`},
		{"{\"a\xff\":1}", `a key is not UTF-8 (at byte 1)`},
		{"{\"a\\n\xff" + strings.Repeat("x", 200) + "\":1}", `a key is not UTF-8 (at byte 1)`},
		{`{"\ud800":1,"` + strings.Repeat(`\u0041`, 500) + `":1}`, ""},
		{`{"other":1,"other":2,"OTHER":3,"x":{"model":1,"model":2,"MODEL":3}}`, ""},
	} {
		_, err := peek([]byte(tt.document), testFields)
		if got := fmt.Sprint(err); err == nil && tt.err != "" || err != nil && got != tt.err {
			t.Errorf("%.80q: error %q, want %q", tt.document, got, tt.err)
		}
	}
}

func TestErrorNamesField(t *testing.T) {
	for document, field := range map[string]string{
		`{"MODEL":1}`:                     "model",
		`{"stop":1,"st\u006fp":1}`:        "stop",
		`{"stop":1,"model":01}`:           "",
		`{"max_to` + "\u212a" + `ens":1}`: "max_tokens",
	} {
		_, err := peek([]byte(document), testFields)
		var e *Error
		if !errors.As(err, &e) || e.Field != field {
			t.Errorf("%s: error %#v, want one that names the field %q", document, err, field)
		}
	}
}

func TestDepth(t *testing.T) {
	for _, open := range []string{"[", `{"a":`} {
		closing := map[string]string{"[": "]", `{"a":`: "}"}[open]
		for _, tt := range []struct {
			depth int // below the top
			ok    bool
		}{{1, true}, {63, true}, {64, true}, {MaxDepth - 1, true}, {MaxDepth, false}, {100000, false}} {
			document := `{"v":` + strings.Repeat(open, tt.depth) + "1" + strings.Repeat(closing, tt.depth) + "}"
			if _, err := peek([]byte(document), nil); (err == nil) != tt.ok {
				t.Errorf("%d of %s below the top: error %v, want none: %v", tt.depth, open, err, tt.ok)
			}
			if err := walk([]byte(document)); (err == nil) != tt.ok {
				t.Errorf("walking %d of %s below the top: error %v, want none: %v", tt.depth, open, err, tt.ok)
			}
		}
	}
}

// walk visits every value there is by Object and Array.
func walk(document []byte) error {
	c := New(document)
	walkValue(&c)
	return c.End()
}

func walkValue(c *Cursor) {
	switch c.Kind() {
	case ObjectKind:
		for o := c.Object(nil); o.Next(); {
			walkValue(c)
		}
	case ArrayKind:
		for a := c.Array(); a.Next(); {
			walkValue(c)
		}
	default:
		c.Raw()
	}
}

func TestKind(t *testing.T) {
	for document, want := range map[string]string{
		`null`: "null", ` true`: "true", `false`: "false", `-1`: "a number", `9`: "a number",
		`"a"`: "a string", `[]`: "an array", `{}`: "an object", ``: "no value", `x`: "no value",
	} {
		c := New([]byte(document))
		if got := c.Kind().String(); got != want {
			t.Errorf("%q is %s, want %s", document, got, want)
		}
	}
}

// TestWrongKind takes values as what they are not.
func TestWrongKind(t *testing.T) {
	for want, take := range map[string]func(*Cursor){
		`want an object, got "1" (at byte 0)`: func(c *Cursor) { c.Object(nil) },
		`want an array, got "1" (at byte 0)`:  func(c *Cursor) { c.Array() },
		`want a string, got "1" (at byte 0)`:  func(c *Cursor) { c.Text() },
	} {
		c := New([]byte("1"))
		take(&c)
		if err := c.End(); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if c.Kind() != Invalid || c.Raw() != nil {
			t.Error("there is a value after an error")
		}
	}
}

// TestSkipsWhatIsLeft leaves every other value for the walk to skip.
func TestSkipsWhatIsLeft(t *testing.T) {
	c := New([]byte(`{"model":[1,"a\n",[2],{"b":3},true,null,-4e5],"stop":[],"k":6} `))
	var got []string
	for o := c.Object(testFields); o.Next(); {
		if o.Field != 0 {
			continue
		}
		a := c.Array()
		for take := true; a.Next(); take = !take {
			if take {
				got = append(got, string(c.Raw()))
			}
		}
	}
	if want := `1 [2] true -4e5`; strings.Join(got, " ") != want || c.End() != nil {
		t.Errorf("took %s, want %s; error %v", got, want, c.End())
	}
}

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

func TestWhole(t *testing.T) {
	const most, least = math.MaxInt64, math.MinInt64
	for _, tt := range []struct {
		raw  string
		want int64
		ok   bool
	}{
		{"0", 0, true},
		{"-0", 0, true},
		{"0.000", 0, true},
		{"0e999999999999999999999", 0, true},
		{"100", 100, true},
		{"100.0", 100, true},
		{"1e2", 100, true},
		{"1E+2", 100, true},
		{"1.5e1", 15, true},
		{"1000e-1", 100, true},
		{"10e-1", 1, true},
		{"-7", -7, true},
		{"120.50e1", 1205, true},
		{"1002003.000", 1002003, true},
		{"0.5", 0, false},
		{"1.5", 0, false},
		{"1e-1", 0, false},
		{"100.01", 0, false},
		{"1e-99999999999999999999", 0, false},
		{"9223372036854775807", most, true},
		{"9223372036854775807.0", most, true},
		{"922337203685477580700e-2", most, true},
		{"9223372036854775808", most, false},
		{"-9223372036854775808", least, false},
		{"1e19", most, false},
		{"-1e19", least, false},
		{"1e999999999999999999999", most, false},
		{"99999999999999999999999.5", 0, false},
		{"9999999999999999999999900e-3", 0, false},
		{"9999999999999999999990000e-3", most, false},
		{"0.00001e5", 1, true},
		{strings.Repeat("1", 1000), most, false},
		{"1" + strings.Repeat("0", 1000) + "e-1000", 1, true},
	} {
		if got, ok := Whole([]byte(tt.raw)); got != tt.want || ok != tt.ok {
			t.Errorf("%s is %d, %v; want %d, %v", tt.raw, got, ok, tt.want, tt.ok)
		}
	}
}

// TestUnquoteStops gives Unquote what no cursor accepts.
func TestUnquoteStops(t *testing.T) {
	if text, valid := Unquote([]byte("a"), []byte(`"b\x"`)); string(text) != "ab" || valid {
		t.Errorf("%q, %v; want what is before the escape, and that it is not valid", text, valid)
	}
}

// TestWholeModel compares with exact rational numbers.
func TestWholeModel(t *testing.T) {
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		raw := number.Draw(t, "number")
		exact, _ := new(big.Rat).SetString(raw)
		want, ok := int64(0), exact.IsInt()
		if limit := new(big.Rat).SetInt64(math.MaxInt64); ok && exact.Cmp(limit) > 0 {
			want, ok = math.MaxInt64, false
		} else if ok && exact.Cmp(limit.Neg(limit)) < 0 {
			want, ok = math.MinInt64, false
		} else if ok {
			want = exact.Num().Int64()
		}
		if got, gotOK := Whole([]byte(raw)); got != want || gotOK != ok {
			t.Fatalf("%s is %d, %v; want %d, %v", raw, got, gotOK, want, ok)
		}
	})
}

func TestNewFieldsPanics(t *testing.T) {
	for name, names := range map[string][]string{
		"twice": {"a", "a"}, "upper case": {"A"}, "not ASCII": {"é"}, "long": {strings.Repeat("a", 32)},
		"many": strings.Split(strings.Repeat("x,", 64), ","),
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Errorf("NewFields(%q) did not panic", names)
				}
			}()
			if name == "many" {
				for i := range names {
					names[i] = fmt.Sprint("f", i)
				}
			}
			NewFields(names...)
		})
	}
}

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
	trimmed := bytes.TrimLeft(document, " \t\r\n")
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
	if err := walk(document); err != nil {
		t.Fatalf("walking %q: %v", document, err)
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
			b.WriteString(",")
		}
		b.WriteString(key.Draw(t, "key") + ": " + value.Draw(t, "value"))
	}
	return "{" + b.String() + "}"
}
