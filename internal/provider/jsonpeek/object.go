package jsonpeek

import (
	"bytes"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// Unknown is the field of a key that is none of those named.
const Unknown = -1

const (
	maxFields = 64
	maxName   = 31
	// widest is how many bytes of a key may stand for one of a name: the
	// Kelvin sign is three and folds to k. An escape of six is decoded first.
	widest = 3
)

// Fields is the fields of an object that are read, at most 64, told by the place
// of their names. It is never changed and may be shared.
//
// Where workers disagree about which value a field has, nobody may gain by it:
// an object that has a key of them twice is refused, and so is one with a key
// that is equal to a name only when upper and lower case are the same
// ("MODEL", or one with the Kelvin sign for its k), since some readers take it for the name and others do not.
type Fields struct {
	names   [][]byte
	byLen   [maxName + 1]uint64 // a bit for each name of that length
	longest int
}

// NewFields returns the fields with these names. The names are ASCII in lower
// case, of at most 31 bytes, and differ; anything else panics, as they are
// written down in the program.
func NewFields(names ...string) *Fields {
	f := &Fields{}
	for _, name := range names {
		if len(f.names) == maxFields || len(name) > maxName || f.match([]byte(name)) != Unknown || canFold([]byte(name)) {
			panic(fmt.Sprintf("jsonpeek: the field %q cannot be told from others", name))
		}
		f.byLen[len(name)] |= 1 << len(f.names)
		f.names = append(f.names, []byte(name))
		f.longest = max(f.longest, len(name))
	}
	return f
}

// match returns the field that key names.
func (f *Fields) match(key []byte) int {
	if len(key) > maxName {
		return Unknown
	}
	for set := f.byLen[len(key)]; set != 0; set &= set - 1 {
		if i := bits.TrailingZeros64(set); string(f.names[i]) == string(key) {
			return i
		}
	}
	return Unknown
}

// canFold reports whether key could be another one in lower case.
func canFold(key []byte) bool {
	for _, b := range key {
		if 'A' <= b && b <= 'Z' || b >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// fold returns the field whose name key is equal to when case does not count.
func (f *Fields) fold(key []byte) int {
	if len(key) > widest*f.longest || !canFold(key) {
		return Unknown
	}
	for i, name := range f.names {
		if bytes.EqualFold(name, key) {
			return i
		}
	}
	return Unknown
}

// Object is a walk over the fields of an object.
type Object struct {
	// Field is the place of the field's name among those asked for, or Unknown.
	Field int

	c      *Cursor
	fields *Fields // nil: all are unknown, and none is refused
	seen   uint64  // a bit for each field that has been there
	value  int     // where the field's value begins; 0 before the first
}

// Object enters an object. It is an error when the value is none. Fields may be
// nil: then every field is Unknown and no key is refused.
func (c *Cursor) Object(fields *Fields) Object {
	if c.Kind() != ObjectKind {
		c.unexpected("an object")
	} else {
		c.enter()
	}
	return Object{Field: Unknown, c: c, fields: fields}
}

// Next moves to the next field and stands the cursor before its value; what the
// caller did not take of the one before is skipped. It returns false at the end
// of the object and after an error, and the cursor is behind the object then.
func (o *Object) Next() bool {
	c := o.c
	if o.value > 0 && c.pos == o.value {
		c.Skip()
	}
	if c.err != nil || c.leave(true) || o.value > 0 && !c.comma() {
		return false
	}
	start := c.pos
	key, text := c.key()
	if c.err != nil {
		return false
	}
	o.value, o.Field = c.pos, Unknown
	if o.fields != nil {
		o.find(start, key, text)
	}
	return c.err == nil
}

// find sets the field that key names, which the document has at start.
func (o *Object) find(start int, key []byte, text Text) {
	if text.Other > 0 && !utf8.Valid(key) {
		o.c.fail(start, "", "a key is not UTF-8")
		return
	}
	if text.Bytes() == int64(len(key)) {
		o.take(start, key)
	} else if text.Bytes() <= widest*maxName { // it has escapes
		var buf [widest * maxName]byte
		decoded, _ := Unquote(buf[:0], o.c.data[start:start+len(key)+2])
		o.take(start, decoded)
	}
}

// take sets the field that key, which is decoded, names.
func (o *Object) take(start int, key []byte) {
	if i := o.fields.match(key); i != Unknown {
		if o.seen>>i&1 != 0 {
			o.c.fail(start, string(key), fmt.Sprintf("the field %q is there twice", string(key)))
		}
		o.seen |= 1 << i
		o.Field = i
	} else if i := o.fields.fold(key); i != Unknown {
		name := string(o.fields.names[i])
		o.c.fail(start, name, fmt.Sprintf("the field %q must be written %q", string(key), name))
	}
}

// Array is a walk over the elements of an array.
type Array struct {
	c     *Cursor
	value int // where the element begins; 0 before the first
}

// Array enters an array. It is an error when the value is none.
func (c *Cursor) Array() Array {
	if c.Kind() != ArrayKind {
		c.unexpected("an array")
	} else {
		c.enter()
	}
	return Array{c: c}
}

// Next moves to the next element and stands the cursor before it; what the
// caller did not take of the one before is skipped. It returns false at the end
// of the array and after an error, and the cursor is behind the array then.
func (a *Array) Next() bool {
	c := a.c
	if a.value > 0 && c.pos == a.value {
		c.Skip()
	}
	if c.err != nil || c.leave(false) || a.value > 0 && !c.comma() {
		return false
	}
	a.value = c.pos
	return true
}
