package jsonpeek

import (
	"strings"
	"testing"
)

var alikeFields = NewFields("role", "text", "kind", "parts").Skip(0).Count(1)

// alikeReader counts the text of objects in arrays, and in their parts, beside
// what the cursor counts. That of an object whose kind is "void" is none.
type alikeReader struct {
	Cursor
	text     Text
	example  bool // elements are examples for others
	repeated int  // how many of an outermost array were passed
}

func (r *alikeReader) elements(outermost bool) {
	for a := r.Array(); a.Next(); {
		if r.Kind() != ObjectKind {
			continue
		}
		if r.example {
			a.Example()
		}
		counted, text, void := r.Counted, r.text, false
		for o := r.Object(alikeFields); o.Next(); {
			switch {
			case o.Field == 1 && r.Kind() == String: // near the end
				r.text.Add(r.Text())
			case o.Field == 2:
				void = string(r.Raw()) == `"void"`
			case o.Field == 3:
				r.elements(false)
			}
		}
		if void {
			r.Uncount(counted)
			r.text = text
		}
		n := a.Repeat()
		r.text.ASCII += int64(n) * (r.text.ASCII - text.ASCII)
		r.text.Other += int64(n) * (r.text.Other - text.Other)
		if outermost {
			r.repeated += n
		}
	}
}

func TestAlike(t *testing.T) {
	list := func(elements ...string) string { return "[" + strings.Join(elements, ",") + "]" }
	element := func(text string) string { return `{"role":"user","text":"` + text + `"}` }
	long := strings.Repeat("x", 100)
	for _, tt := range []struct {
		name, document string
		repeated       int
	}{
		{"none", `[]`, 0},
		{"the second is the example", list(element("a"), element("b")), 0},
		{"alike", list(element("a"), element("b"), element("cd"), element(""), element(long)), 3},
		{"escapes", list(element("a"), element("b"), element(`\n\u00e9`), element("é"), element(`\"`)), 3},
		{"a long example", list(element("a"), element(long), element("b"), element(long)), 2},
		{"another skipped string", list(element("a"), element("b"), `{"role":"model","text":"c"}`), 1},
		{"spaces", "[ " + element("a") + " , " + element("b") + " , " + element("c") + " ]", 1},
		{"other spaces", list(element("a"), element("b")+" ", element("c"), element("d")+" ", element("e")), 0},
		{"another field", list(element("a"), element("b"), `{"role":"user","test":"c"}`, element("d"), element("e")), 1},
		{"after another field", list(element("a"), element("b"), `{"role":"user","test":"c"}`, element("d"), element("e"), element("f")), 2},
		{"another kind", list(element("a"), element("b"), `{"role":"user","text":5}`), 0},
		{"nothing passed", `[{"x":1},{"x":1},{"x":1},{"x":2}]`, 1},
		{"numbers", "[1,2,3,4]", 0},
		{"void", list(`{"text":"a","kind":"void"}`, `{"text":"","kind":"void"}`, `{"text":"b","kind":"void"}`, `{"text":"c","kind":"void"}`), 0},
		{"parts", list(`{"parts":[{"text":"a"}]}`, `{"parts":[{"text":"b"}]}`, `{"parts":[{"text":"c"}]}`, `{"parts":[{"text":"d"},{"text":"e"}]}`), 1},
		{"parts alike", list(`{"parts":` + list(element("a"), element("b"), element("c")) + `}`), 0},
		{"the most strings", list(strings.Split(strings.Repeat(`{"parts":[{"text":"a"},{"text":"b"},{"text":"c"},{"text":"d"}]};`, 4), ";")[:4]...), 2},
		{"too many strings", list(strings.Split(strings.Repeat(`{"parts":[{"text":"a"},{"text":"b"},{"text":"c"},{"text":"d"},{"text":"e"}]};`, 4), ";")[:4]...), 0},
		{"given up", list(`{"a":1}`, `{"b":1}`, `{"c":1}`, `{"d":1}`, `{"e":1}`, element("a"), element("b"), element("c")), 0},
		{"almost given up", list(`{"a":1}`, `{"b":1}`, `{"c":1}`, `{"d":1}`, element("a"), element("b"), element("c")), 2},

		{"a string does not end", "[" + element("a") + "," + element("b") + `,{"role":"user","text":"c`, 0},
		{"a control character", list(element("a"), element("b"), element("\n")), 0},
		{"no escape", list(element("a"), element("b"), element(`\x`)), 0},
		{"cut", "[" + element("a") + "," + element("b") + "," + element("c"), 1},
		{"twice", list(element("a"), element("b"), `{"role":"user","text":"c","text":"d"}`), 0},
		{"an error in the example", list(element("a"), `{"role":"user","text":"b",}`, element("c")), 0},
	} {
		for _, behind := range []string{"", padding, strings.Repeat(" ", minRest)} {
			plain, fast := alikeReader{Cursor: New([]byte(tt.document + behind))}, alikeReader{Cursor: New([]byte(tt.document + behind)), example: true}
			plain.elements(true)
			fast.elements(true)
			plain.text.Add(plain.Counted)
			fast.text.Add(fast.Counted)
			if fast.text != plain.text && plain.End() == nil || !sameError(fast.End(), plain.End()) {
				t.Errorf("%s: counted %v, want %v; error %v, want %v", tt.name, fast.text, plain.text, fast.End(), plain.End())
			}
			if fast.repeated != tt.repeated && len(behind) >= minRest {
				t.Errorf("%s: repeated %d, want %d", tt.name, fast.repeated, tt.repeated)
			}
		}
	}
}
