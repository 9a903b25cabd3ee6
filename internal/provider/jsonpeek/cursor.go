// Package jsonpeek reads a few fields of a JSON document in one pass over its
// bytes, without decoding or allocating for the rest. A [Cursor] stands before
// a value; the caller looks at its [Kind], and takes it, enters it as an
// [Object] or [Array], or leaves it to be skipped.
//
// It stands where bodies come in from outside, so it is strict about all that
// it passes, read or skipped: it accepts nothing that is not JSON, no byte
// after the document, and no field read whose meaning depends on who reads it
// (see [Fields]).
package jsonpeek

import "fmt"

// MaxDepth is how deep arrays and objects may lie in each other.
const MaxDepth = 512

// Kind is what a value is, told by its first byte.
type Kind uint8

// The kinds. Invalid is no value.
const (
	Invalid Kind = iota
	Null
	True
	False
	Number
	String
	ArrayKind
	ObjectKind
)

// String returns the kind as an error says it: "an object".
func (k Kind) String() string {
	return [...]string{"no value", "null", "true", "false", "a number", "a string", "an array", "an object"}[k]
}

// kinds is the kind that a value's first byte tells.
var kinds = [256]Kind{
	'n': Null, 't': True, 'f': False, '"': String, '[': ArrayKind, '{': ObjectKind,
	'-': Number, '0': Number, '1': Number, '2': Number, '3': Number, '4': Number,
	'5': Number, '6': Number, '7': Number, '8': Number, '9': Number,
}

// Error is what is wrong with a document.
type Error struct {
	Offset  int    // the byte at which it shows, from 0
	Field   string // the field at fault, where it is a field
	Message string
}

// Error returns the message and where it applies.
func (e *Error) Error() string { return fmt.Sprintf("%s (at byte %d)", e.Message, e.Offset) }

// Cursor is a place in a document. The first error ends it: from then on there
// are no fields, elements or values left. It is for one goroutine, and its
// document must not change.
type Cursor struct {
	data  []byte
	pos   int
	depth int
	err   *Error
	value int // where the value begins that a walk stood the cursor before last

	// Counted is how much text the strings held that walks passed by themselves,
	// as Fields.Count has it. The caller changes it by Uncount.
	Counted Text

	record record
	quiet  bool // that it is an error is all that is wanted of one
}

// New returns a cursor before the document's value.
func New(document []byte) Cursor {
	c := Cursor{data: document}
	c.space()
	return c
}

// Kind returns the kind of the value that the cursor stands before; Invalid when
// it stands before none.
func (c *Cursor) Kind() Kind {
	if c.pos >= len(c.data) {
		return Invalid
	}
	return kinds[c.data[c.pos]]
}

// Offset returns where the cursor is, in bytes from the document's begin.
func (c *Cursor) Offset() int { return c.pos }

// Since returns the bytes of the document from an offset, which is not behind the
// cursor, up to the cursor.
func (c *Cursor) Since(offset int) []byte { return c.data[offset:c.pos:c.pos] }

// End returns the first error, of which a byte after the document's value is the
// last possible one. It is asked once that value has been taken.
func (c *Cursor) End() error {
	c.space()
	if c.pos < len(c.data) {
		c.unexpected("the end")
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

// quietError is the error of cursors that are quiet.
var quietError Error

// Value returns the length of the value that s begins with, in which arrays and
// objects lie no deeper in each other than depth, which is at most MaxDepth. It
// is not ok when there is none, or not all of it, and n is the length of s then.
// A number may go on behind s.
func Value(s []byte, depth int) (n int, ok bool) {
	if len(s) > 0 && s[0] == '"' {
		if n, _, ok := StringEnd(s[1:]); ok {
			return n + 2, true
		}
		return len(s), false
	}
	c := Cursor{data: s, depth: MaxDepth - depth, quiet: true}
	c.Skip()
	return c.pos, c.err == nil
}

// fail keeps the first error and goes where nothing more is found.
func (c *Cursor) fail(at int, field, message string) {
	if c.err == nil && c.quiet {
		c.err = &quietError
	}
	if c.err == nil {
		c.err = &Error{Offset: at, Field: field, Message: message}
	}
	c.pos = len(c.data)
}

func (c *Cursor) unexpected(want string) {
	if c.quiet {
		c.fail(c.pos, "", "")
		return
	}
	if c.pos >= len(c.data) {
		c.fail(len(c.data), "", "want "+want+", but the document ends")
		return
	}
	// The conversion is a copy, without which every cursor were on the heap.
	c.fail(c.pos, "", fmt.Sprintf("want %s, got %q", want, string(c.data[c.pos:c.pos+1])))
}

// space moves past white space.
func (c *Cursor) space() {
	if c.pos < len(c.data) && c.data[c.pos] <= ' ' {
		c.pos = spaces(c.data, c.pos)
	}
}

// spaces returns where the white space ends that data may have at i.
func spaces(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// Skip moves past the value.
func (c *Cursor) Skip() {
	switch c.Kind() {
	case String:
		c.Text()
	case Number:
		c.number()
	case ArrayKind, ObjectKind:
		c.nested()
	case Null:
		c.literal("null")
	case True:
		c.literal("true")
	case False:
		c.literal("false")
	default:
		c.unexpected("a value")
	}
}

// Raw moves past the value and returns its bytes, a part of the document; nil
// after an error.
func (c *Cursor) Raw() []byte {
	start := c.pos
	c.Skip()
	if c.err != nil {
		return nil
	}
	return c.data[start:c.pos:c.pos]
}

// Text moves past a string and returns how much text it holds.
func (c *Cursor) Text() Text {
	if s := window(c.data, c.pos); s != nil && s[0] == '"' {
		if n := short(s); n > 0 {
			c.pos += n
			return Text{ASCII: int64(n - 2)}
		}
	}
	return c.text()
}

// text is Text of a string that is not short, or of anything else.
func (c *Cursor) text() Text {
	if c.Kind() != String {
		c.unexpected("a string")
		return Text{}
	}
	s := c.data[c.pos+1:]
	n, t, f := text(s)
	if f != "" {
		c.fail(c.pos+1+n, "", string(f))
		return Text{}
	}
	c.pos += n + 2
	return t
}

// literal moves past the word.
func (c *Cursor) literal(word string) {
	if rest := c.data[c.pos:]; len(rest) < len(word) || string(rest[:len(word)]) != word {
		c.fail(c.pos, "", "want "+word)
		return
	}
	c.pos += len(word)
}

// number moves past a number.
func (c *Cursor) number() {
	i := c.pos
	if c.data[i] == '-' {
		i++
	}
	first := i
	i = c.digits(i)
	ok := i > first && (c.data[first] != '0' || i == first+1)
	if ok && i < len(c.data) && c.data[i] == '.' {
		fraction := i + 1
		i = c.digits(fraction)
		ok = i > fraction
	}
	if ok && i < len(c.data) && (c.data[i] == 'e' || c.data[i] == 'E') {
		i++
		if i < len(c.data) && (c.data[i] == '+' || c.data[i] == '-') {
			i++
		}
		exponent := i
		i = c.digits(exponent)
		ok = i > exponent
	}
	if !ok {
		c.fail(c.pos, "", "a number is not written as JSON writes it")
		return
	}
	c.pos = i
}

// digits returns where the digits end that begin at i.
func (c *Cursor) digits(i int) int {
	for i < len(c.data) && c.data[i]-'0' <= 9 {
		i++
	}
	return i
}

// enter moves past the bracket that opens a value of this kind.
func (c *Cursor) enter(kind Kind) {
	if c.Kind() != kind {
		c.unexpected(kind.String())
		return
	}
	if c.depth == MaxDepth {
		c.fail(c.pos, "", fmt.Sprintf("arrays and objects lie more than %d deep in each other", MaxDepth))
		return
	}
	c.depth++
	c.pos++
	c.space()
}

// leave moves past the bracket that closes an array or object, if it is next.
func (c *Cursor) leave(closing byte) bool {
	if c.pos >= len(c.data) || c.data[c.pos] != closing {
		return false
	}
	c.pos++
	c.depth--
	return true
}

// more moves from behind an element or field to the next one, or past the
// bracket that closes what they are in; it returns false then, and after an
// error.
func (c *Cursor) more(closing byte) bool {
	c.space()
	if c.leave(closing) {
		return false
	}
	if c.pos >= len(c.data) || c.data[c.pos] != ',' {
		c.unexpected("a comma or a closing bracket")
		return false
	}
	c.pos++
	c.space()
	return true
}

// key moves past a key and its colon, and returns the key as it is written,
// without its quotes, and how much text it is; nil after an error.
func (c *Cursor) key() (key []byte, t Text) {
	if c.Kind() != String {
		c.unexpected("a key")
		return nil, Text{}
	}
	start := c.pos + 1
	t = c.Text()
	end := c.pos - 1
	c.space()
	if c.err == nil && (c.pos >= len(c.data) || c.data[c.pos] != ':') {
		c.unexpected("a colon")
	}
	if c.err != nil {
		return nil, Text{}
	}
	c.pos++
	c.space()
	return c.data[start:end], t
}
