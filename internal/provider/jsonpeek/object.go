package jsonpeek

import (
	"fmt"
	"unicode/utf8"
)

// Object is a walk over the fields of an object. It is four words, so that a loop
// may copy it at no cost.
type Object struct {
	// Field is the place of the field's name among those asked for, or Unknown.
	// It means nothing before the first Next.
	Field int

	c      *Cursor
	fields *Fields // nil: all are unknown, and none is refused
	seen   uint64  // a bit for each field that has been there, and refused
}

// before is the Field of an object whose first field is yet to come.
const before = -2

// none is the fields of a walk that asks for none.
var none Fields

// Object enters an object. It is an error when the value is none. Fields may be
// nil: then every field is Unknown and no key is refused.
func (c *Cursor) Object(fields *Fields) Object {
	c.enter(ObjectKind)
	return Object{Field: before, c: c, fields: fields, seen: refused}
}

// Has reports whether the field has been there so far.
func (o *Object) Has(field int) bool { return o.seen>>field&1 != 0 }

// Next moves to the next field and stands the cursor before its value; what the
// caller did not take of the one before is skipped. It returns false at the end
// of the object and after an error, and the cursor is behind the object then.
func (o *Object) Next() bool {
	c := o.c
	if o.Field == before {
		if c.leave('}') {
			return false
		}
	} else {
		if c.pos == c.value {
			c.Skip()
		}
		if !c.more('}') {
			return false
		}
	}
	f := o.fields
	if f == nil {
		f = &none
	}
	// What follows reads what is written as nearly all is: with a space or none
	// between tokens, a key of the names or a short one, and far from the end.
	// It keeps its place in a register, and leaves everything else, all that
	// may be wrong included, to the methods that read anything.
	i := c.pos
	for {
		s := window(c.data, i)
		if s == nil || s[0] != '"' {
			break
		}
		w := word(s[1:])
		h := hashWord(w)
		place := f.slots[h] & maxFields
		for w&f.known[place].mask != f.known[place].word {
			h++
			place = f.slots[h] & maxFields
		}
		k := &f.known[place]
		n := int(k.len&wordsName) + 2
		if place == 0 {
			n = short(s)
			if n > wordsName+2 || n < 2 || o.fields != nil && canFold(s[1:n-1]) {
				break
			}
		} else if n >= 8+2 && word(s[9:])&k.mask2 != k.word2 || o.seen&k.bit != 0 {
			break
		}
		if s[n] != ':' {
			break
		}
		o.seen |= k.bit
		o.Field = int(k.field) - 1
		n++
		if s[n] == ' ' {
			n++
		}
		i += foreseen(n)
		if k.string == stop || s[n] != '"' {
			c.pos = i
			c.space()
			c.value = c.pos
			return true
		}
		if s = window(c.data, i); s != nil {
			if n := short(s) % margin; n > 0 {
				if c.record.on {
					c.record.add(i, n, k.string)
				}
				if k.string == count {
					c.Counted.ASCII += int64(n - 2)
				}
				if s[n] == ',' {
					n++
					if s[n] == ' ' {
						n++
					}
					if k.string == skip {
						n = foreseen(n)
					}
					i += n
					continue
				}
				i += n
				if s[n] == '}' {
					c.pos = i + 1
					c.depth--
					return false
				}
				c.pos = i
				if !c.more('}') {
					return false
				}
				i = c.pos
				continue
			}
		}
		c.pos = i
		if t := c.text(); k.string == count {
			c.Counted.Add(t)
		}
		if c.record.on {
			c.record.add(i, c.pos-i, k.string)
		}
		if !c.more('}') {
			return false
		}
		i = c.pos
	}
	c.pos = i
	c.space()
	o.any()
	return c.err == nil
}

// foreseen returns n. What depends on a length waits until it is known; what is
// behind a branch does not, as the processor foresees the branch from those
// before, and keys come in the same order again and again.
func foreseen(n int) int {
	switch n {
	case 4:
		return 4
	case 5:
		return 5
	case 6:
		return 6
	case 7:
		return 7
	case 8:
		return 8
	case 9:
		return 9
	case 10:
		return 10
	case 11:
		return 11
	case 12:
		return 12
	case 13:
		return 13
	case 14:
		return 14
	case 15:
		return 15
	}
	return n
}

// any reads any key.
func (o *Object) any() {
	c := o.c
	start := c.pos
	key, text := c.key()
	if c.err != nil {
		return
	}
	c.value, o.Field = c.pos, Unknown
	if o.fields != nil {
		o.find(start, key, text)
	}
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
	f := o.fields
	if k := &f.known[f.match(key)]; k.field > 0 {
		o.Field = int(k.field) - 1
		if o.seen&k.bit != 0 {
			name := string(f.names[o.Field])
			o.c.fail(start, name, fmt.Sprintf("the field %q is there twice", name))
		}
		o.seen |= k.bit
	} else if folded := f.fold(key); folded != nil {
		name := string(folded)
		message := fmt.Sprintf("the field %q must be written %q", string(key), name)
		if f.camel {
			message = fmt.Sprintf("the field %q must be written so, or in snake_case", name)
		}
		o.c.fail(start, name, message)
	}
}

// Array is a walk over the elements of an array.
type Array struct {
	c       *Cursor
	begun   bool // the first element has been there
	example bool // the element is written down as one for others
	missed  int  // how many were for none
	end     int  // where the element before this one ends; 0 for the first
}

// Array enters an array. It is an error when the value is none.
func (c *Cursor) Array() Array {
	c.enter(ArrayKind)
	return Array{c: c}
}

// Next moves to the next element and stands the cursor before it; what the
// caller did not take of the one before is skipped. It returns false at the end
// of the array and after an error, and the cursor is behind the array then.
func (a *Array) Next() bool {
	c := a.c
	if !a.begun {
		if c.err != nil || c.leave(']') {
			return false
		}
	} else {
		if c.pos == c.value {
			c.Skip()
		}
		a.end = c.pos
		if i := c.pos; i+1 < len(c.data) && c.data[i] == ',' && c.data[i+1] > ' ' {
			c.pos = i + 1
		} else if !c.more(']') {
			return false
		}
	}
	a.begun = true
	c.value = c.pos
	return true
}
