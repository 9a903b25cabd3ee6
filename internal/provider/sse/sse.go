// Package sse finds the events in a text/event-stream while it passes, in pieces
// of any size. It hands out the data of events piece by piece as it comes, so
// that nothing is kept however long a line is. The names and ids of events are
// passed over: in the streams of inference servers the data says all.
//
// Lines, fields, comments and the byte order mark are as in the HTML standard,
// section 9.2.6, "Interpreting an event stream".
package sse

import "bytes"

// Token is what a Parser came upon.
type Token uint8

// The tokens.
const (
	// More is nothing yet: all that was given is consumed.
	More Token = iota
	// Data is a piece of the data of an event, the line feeds between its lines
	// included.
	Data
	// Event is the blank line that completes an event, which has had data, if
	// only an empty line of it.
	Event
	// Blank is a blank line with no data before it: it completes what is no
	// event, such as a comment.
	Blank
	// Tail is the line feed of a blank line whose carriage return was the Event
	// or Blank before, and the last byte given.
	Tail
)

// Parser is a place in a stream. The zero Parser stands at the begin of one.
type Parser struct {
	line  state
	name  int  // bytes of "data" that the line has begun with
	mark  int  // bytes of the byte order mark that the stream has begun with
	begun bool // the stream has begun: no byte order mark can come any more
	data  bool // the event has had data
	blank bool // the line before was blank
	cr    bool // the byte before was a carriage return: a line feed belongs to it
}

// state is where in a line the parser is.
type state uint8

const (
	inName   state = iota // in the field's name, which is "data" so far
	atValue               // behind the colon; one space may follow
	inValue               // in the data
	inIgnore              // in what is not read
)

const (
	field         = "data"
	byteOrderMark = "\xef\xbb\xbf"
	// window is how far a line's end is looked for at a time, since that is done
	// for two bytes one after the other, and one of them may be far.
	window = 4096
)

var lineFeed = []byte{'\n'}

// Next consumes the first n bytes of src and tells what they were. Data is a
// part of src, except for a line feed between two lines. The bytes up to and
// including an Event or Blank are that event's; they end it, and a Tail may
// follow. Next is called again with the rest of src until there is More to come.
func (p *Parser) Next(src []byte) (n int, t Token, data []byte) {
	for n < len(src) {
		b := src[n]
		if p.cr {
			p.cr = false
			if b == '\n' {
				n++
				if p.blank {
					return n, Tail, nil
				}
				continue
			}
		}
		p.blank = false
		if !p.begun && p.readMark(b) {
			n++
			continue
		}
		if p.line == inValue || p.line == atValue {
			if p.line == atValue && b == ' ' {
				n++
			}
			p.line = inValue
			rest := lineOf(src[n:])
			n += len(rest)
			if len(rest) > 0 {
				return n, Data, rest
			}
			if n == len(src) {
				break
			}
			b = src[n]
		}
		n++
		if b == '\n' || b == '\r' {
			var skipped int
			skipped, t, data = p.endLine(b, src[n:])
			if n += skipped; t != More {
				return n, t, data
			}
			continue
		}
		if p.line == inIgnore {
			n += len(lineOf(src[n:]))
			continue
		}
		switch {
		case p.name < len(field) && b == field[p.name]:
			p.name++
		case p.name == len(field) && b == ':':
			p.line = atValue
			if p.data {
				return n, Data, lineFeed
			}
			p.data = true
		default:
			p.line = inIgnore
		}
	}
	return n, More, nil
}

// readMark reports whether b is the next byte of a byte order mark at the begin
// of the stream.
func (p *Parser) readMark(b byte) bool {
	if b == byteOrderMark[p.mark] {
		p.mark++
		p.begun = p.mark == len(byteOrderMark)
		return true
	}
	p.begun = true
	if p.mark > 0 { // a part of it is the begin of some field's name
		p.line = inIgnore
	}
	return false
}

// endLine ends the line at b, after which the stream goes on with rest, of which
// it skips the line feed that belongs to b.
func (p *Parser) endLine(b byte, rest []byte) (skipped int, t Token, data []byte) {
	p.cr = b == '\r'
	if p.cr && len(rest) > 0 {
		p.cr = false
		if rest[0] == '\n' {
			skipped = 1
		}
	}
	line, name := p.line, p.name
	p.line, p.name = inName, 0
	switch {
	case line == inName && name == 0:
		t = Blank
		if p.data {
			t = Event
		}
		p.data, p.blank = false, true
	case line == inName && name == len(field): // "data" alone is an empty line of it
		if p.data {
			t, data = Data, lineFeed
		}
		p.data = true
	}
	return skipped, t, data
}

// lineOf returns s up to the end of the line; it may return less.
func lineOf(s []byte) []byte {
	s = s[:min(len(s), window)]
	if i := bytes.IndexByte(s, '\n'); i >= 0 {
		s = s[:i]
	}
	if i := bytes.IndexByte(s, '\r'); i >= 0 {
		s = s[:i]
	}
	return s
}
