package provider

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
)

// camelFields is the fields of an object that are read in Google's dialect, told
// by the place of their names. Each has two spellings that mean the same, as
// protocol buffers have them in JSON: maxOutputTokens and max_output_tokens. It
// is never changed and may be shared.
type camelFields []spellings

type spellings struct{ camel, snake []byte }

// newCamelFields returns the fields with these names in camelCase.
func newCamelFields(names ...string) camelFields {
	var f camelFields
	for _, name := range names {
		var snake strings.Builder
		for _, b := range name {
			if 'A' <= b && b <= 'Z' {
				snake.WriteByte('_')
				b += 'a' - 'A'
			}
			snake.WriteRune(b)
		}
		f = append(f, spellings{[]byte(name), []byte(snake.String())})
	}
	return f
}

// camelObject is a walk over the fields of an object in Google's dialect. It is
// as strict as a jsonpeek.Object with fields: two keys for one field are refused,
// in whichever spellings, and so is a key that is a name only when upper and
// lower case are the same.
type camelObject struct {
	field int // the place of the field's name, or jsonpeek.Unknown

	r      *reading
	o      jsonpeek.Object
	fields camelFields
	seen   uint64 // a bit for each field that has been there
	value  int    // where the field's value begins; 0 before the first
}

// camelObject enters an object.
func (r *reading) camelObject(fields camelFields) camelObject {
	return camelObject{field: jsonpeek.Unknown, r: r, o: r.c.Object(nil), fields: fields}
}

// next moves to the next field, as jsonpeek.Object's Next does.
func (o *camelObject) next() bool {
	c := &o.r.c
	if o.value > 0 && c.Offset() == o.value {
		c.Skip()
	}
	end := c.Offset()
	if !o.o.Next() {
		return false
	}
	o.value, o.field = c.Offset(), jsonpeek.Unknown
	// Between the value before and this one are a key and its colon.
	between := o.r.body[end:o.value]
	begin := bytes.IndexByte(between, '"')
	raw := between[begin : bytes.LastIndexByte(between, '"')+1]
	o.find(end+begin, raw)
	return true
}

// find sets the field that the key names which is raw in the body at this place.
func (o *camelObject) find(at int, raw []byte) {
	key := raw[1 : len(raw)-1]
	var buf [quoteBytes]byte
	if bytes.IndexByte(key, '\\') >= 0 {
		key, _ = jsonpeek.Unquote(buf[:0], raw)
	}
	for i := range o.fields {
		if name := &o.fields[i]; string(name.camel) == string(key) || string(name.snake) == string(key) {
			if o.seen>>i&1 != 0 {
				o.refuse(at, name, "the field %q is there twice")
			}
			o.seen |= 1 << i
			o.field = i
			return
		}
	}
	for i := range o.fields {
		name := &o.fields[i]
		// No letter folds to a shorter one than those of a name.
		if len(key) >= len(name.camel) && (bytes.EqualFold(name.camel, key) || bytes.EqualFold(name.snake, key)) {
			o.refuse(at, name, "the field %q must be written so, or in snake_case")
			return
		}
	}
	if !utf8.Valid(key) && o.r.err == nil {
		o.r.err = &RequestError{Message: fmt.Sprintf("a key is not UTF-8 (at byte %d)", at)}
	}
}

func (o *camelObject) refuse(at int, name *spellings, format string) {
	if o.r.err == nil {
		camel := string(name.camel)
		o.r.err = &RequestError{Message: fmt.Sprintf(format, camel) + fmt.Sprintf(" (at byte %d)", at), Param: camel}
	}
}
