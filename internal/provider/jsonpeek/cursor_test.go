package jsonpeek

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// testFields have names that fold in every way: K and s have fellows outside
// ASCII.
var testFields = NewFields("model", "max_tokens", "stop", "k", "s", "")

// padding is white space enough to read all that is before it with a margin.
var padding = strings.Repeat(" ", 2*margin)

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
		{"{\"a\":[\"b\n,1]}", `a control character in a string must be escaped (at byte 8)`},
		{"{\"a\":{\"b\x1f:1}}", `a control character in a string must be escaped (at byte 8)`},
		{"{\"a\":[\"b\\\",1]}", `a string does not end (at byte 14)`},
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
		_, padded := peek([]byte(tt.document+padding), testFields)
		if !sameError(err, padded) {
			t.Errorf("%.80q: error %v, with white space behind it %v", tt.document, err, padded)
		}
	}
}

// sameError reports whether a document has the same error with white space
// behind it; where it is that the document ends, it may be another one.
func sameError(alone, padded error) bool {
	if (alone == nil) != (padded == nil) {
		return false
	}
	if alone == nil || strings.Contains(alone.Error(), "document ends") || strings.Contains(padded.Error(), "document ends") {
		return true
	}
	var a, p *Error
	errors.As(alone, &a)
	errors.As(padded, &p)
	return *a == *p || a.Message == "a string does not end" || strings.HasPrefix(a.Message, "an escape") && strings.HasSuffix(alone.Error(), p.Error()[len(p.Message):])
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

// TestManyObjects has more objects beside each other than may lie in each other.
func TestValueDepth(t *testing.T) {
	for _, depth := range []int{0, 1, 2, MaxDepth} {
		for over := range 2 {
			s := strings.Repeat("[", depth+over) + strings.Repeat("]", depth+over)
			if n, ok := Value([]byte(s+"1"), depth); over == 0 && depth > 0 && (!ok || n != len(s)) || over == 1 && ok {
				t.Errorf("%d arrays in each other, %d may be: %d bytes, %v", depth+over, depth, n, ok)
			}
		}
	}
	if n, ok := Value([]byte("5]"), 0); n != 1 || !ok {
		t.Errorf("a number: %d bytes, %v", n, ok)
	}
}

func TestManyObjects(t *testing.T) {
	c := New([]byte(`[` + strings.Repeat(`{"k":"a"},{"model":"b" },{"x":[{}]},{"k":"a",  "s":"b",`+"\n"+`"x":1},`, MaxDepth) + `{}]`))
	for a := c.Array(); a.Next(); {
		o := c.Object(passing)
		for o.Next() {
			continue
		}
	}
	if err := c.End(); err != nil {
		t.Error(err)
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
