package reply

import (
	"net/http"
	"strconv"
)

// maxFields is how many headers one answer gets at most: the documents' four
// and all the sets together.
const maxFields = 4 + 3*len(openAIUnits) + 3*len(anthropicUnits) + 2

// fields names the header values that were appended, one behind the other, to
// one buffer, so that all of an answer's cost two allocations: one string and
// one slice that they are cut from. The buffer is handed along rather than
// kept here, since it would not stay on the stack.
type fields struct {
	from  int // where in the buffer the first value begins
	n     int
	named [maxFields]struct {
		name string // canonical
		end  int
	}
}

// end names what b has more than at the field before.
func (f *fields) end(b []byte, name string) []byte {
	f.named[f.n].name, f.named[f.n].end = name, len(b)
	f.n++
	return b
}

func (f *fields) integer(b []byte, name string, v int64) []byte {
	return f.end(strconv.AppendInt(b, v, 10), name)
}

func (f *fields) text(b []byte, name, v string) []byte {
	return f.end(append(b, v...), name)
}

// set sets the fields in h and returns what is in b before the first.
func (f *fields) set(h http.Header, b []byte) string {
	text := string(b)
	values := make([]string, f.n)
	from := f.from
	for i, field := range f.named[:f.n] {
		values[i], from = text[from:field.end], field.end
		h[field.name] = values[i : i+1 : i+1]
	}
	return text[:f.from]
}
