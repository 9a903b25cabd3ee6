package provider

import (
	"unicode/utf16"
	"unicode/utf8"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
)

const (
	// documentDepth is how deep arrays and objects may lie in each other in an
	// answer; one that is deeper is read no further.
	documentDepth = 128
	// captureBytes is how much of a key, a number or a wanted string is looked
	// at; what is longer is none that is wanted.
	captureBytes = 64
)

// document reads a JSON document that comes in pieces of any size. It notes what
// its tree wants and keeps nothing else. It is as strict as encoding/json.
type document struct {
	tree  tree
	state state
	depth int
	// stack holds the node of every array and object that is open; arrayBit
	// tells the two from each other.
	stack [documentDepth]uint8
	node  uint8 // of the value that is next or being read
	want  want  // of that node
	isKey bool  // the string being read is a key

	captured int // bytes captured; more than captureBytes is too many
	capture  [captureBytes]byte

	number numberState
	word   string // null, true or false
	hex    rune   // the escape being read, in its first digits
	digits int    // how many those are
	high   bool   // the character before is the first half of a pair

	found found
}

const arrayBit = 1 << 7

// state is what a document has to go on with.
type state uint8

const (
	beforeValue   state = iota
	beforeElement       // or the end of the array
	beforeKey
	beforeField // a key, or the end of the object
	beforeColon
	afterValue // a comma, or the end of what the value is in
	inString
	inEscape
	inHex
	inNumber
	inWord
	complete
	broken // it is no JSON, or too deep
)

// start begins a document.
func (d *document) start(t tree) {
	d.tree = t
	d.state, d.depth = beforeValue, 0
	d.node = documentNode
	d.found.start()
}

// whole reports whether what was read is a whole document. A number that is one
// by itself has no end that could be seen.
func (d *document) whole() bool {
	return d.state == complete || d.state == inNumber && d.depth == 0 && d.number.ends()
}

// feed reads on.
func (d *document) feed(p []byte) {
	for len(p) > 0 && d.state != broken {
		p = p[d.step(p):]
	}
}

// feedOne reads on as far as the end of the document, and returns how many bytes
// it read. The document is an array or object.
func (d *document) feedOne(p []byte) (n int) {
	for n < len(p) && d.state != broken && d.state != complete {
		n += d.step(p[n:])
	}
	return n
}

// step reads the next of p, which is not empty, and returns how many bytes that
// was: none when what ended was a number.
func (d *document) step(p []byte) int {
	switch d.state {
	case inString:
		return d.chars(p)
	case inNumber:
		return d.numberBytes(p)
	case inWord:
		return d.wordBytes(p)
	case inEscape:
		d.escape(p[0])
	case inHex:
		d.hexDigit(p[0])
	default:
		if b := p[0]; b > ' ' || b != ' ' && b != '\n' && b != '\t' && b != '\r' {
			d.structure(b)
		}
	}
	return 1
}

// structure reads a byte that is no white space and not within a string, number
// or word.
func (d *document) structure(b byte) {
	switch d.state {
	case beforeElement, beforeValue:
		if b == ']' && d.state == beforeElement {
			d.close(true)
			return
		}
		d.value(b)
	case beforeField, beforeKey:
		switch {
		case b == '"':
			d.string(true)
		case b == '}' && d.state == beforeField:
			d.close(false)
		default:
			d.state = broken
		}
	case beforeColon:
		d.state = broken
		if b == ':' {
			d.state = beforeValue
		}
	case afterValue:
		top := d.stack[d.depth-1]
		switch {
		case b == ',' && top&arrayBit != 0:
			d.state, d.node = beforeValue, d.tree[top&^arrayBit].elem
		case b == ',':
			d.state = beforeKey
		case b == ']' || b == '}':
			d.close(b == ']')
		default:
			d.state = broken
		}
	default: // after the end
		d.state = broken
	}
}

// value begins a value with b.
func (d *document) value(b byte) {
	if d.state == beforeElement && d.tree[d.stack[d.depth-1]&^arrayBit].want == wantChoices {
		d.found.noChoices = false
	}
	if d.want = d.tree[d.node].want; d.want != nothing {
		d.found.begin(d.want, b)
	}
	switch b {
	case '"':
		d.string(false)
	case '{':
		d.open(0, beforeField)
	case '[':
		d.open(arrayBit, beforeElement)
	case 'n':
		d.state, d.word, d.captured = inWord, "null", 1
	case 't':
		d.state, d.word, d.captured = inWord, "true", 1
	case 'f':
		d.state, d.word, d.captured = inWord, "false", 1
	default:
		d.state, d.captured = inNumber, 0
		if d.number = numberBegin.step(b); d.number == noNumber {
			d.state = broken
			return
		}
		d.keep([]byte{b})
	}
}

// open enters an array or object.
func (d *document) open(array uint8, next state) {
	if d.depth == len(d.stack) {
		d.state = broken
		return
	}
	d.stack[d.depth] = d.node | array
	d.depth++
	d.state = next
	d.node = d.tree[d.node].elem // of an array's first element
}

// close leaves an array or object.
func (d *document) close(array bool) {
	if array != (d.stack[d.depth-1]&arrayBit != 0) {
		d.state = broken
		return
	}
	d.depth--
	d.end()
}

// end ends a value.
func (d *document) end() {
	d.state = afterValue
	if d.depth == 0 {
		d.state = complete
	}
}

// string begins a string.
func (d *document) string(key bool) {
	d.state, d.isKey, d.captured, d.high = inString, key, 0, false
}

// keep captures bytes.
func (d *document) keep(p []byte) {
	if d.captured+len(p) <= len(d.capture) {
		copy(d.capture[d.captured:], p)
	}
	d.captured = min(d.captured+len(p), len(d.capture)+1)
}

// add takes in what a string is found to hold: p as it stands, which is t.
func (d *document) add(p []byte, t jsonpeek.Text) {
	if d.isKey {
		d.keep(p)
		return
	}
	d.found.add(d.want, t)
	if d.want == wantType {
		d.keep(p)
	}
}

// chars reads on in a string and returns how many bytes it read.
func (d *document) chars(p []byte) int {
	n, other := jsonpeek.Plain(p)
	if n > 0 {
		d.high = false
		if d.isKey && n < len(p) && p[n] == '"' && d.captured == 0 {
			d.endKey(p[:n])
			return n + 1
		}
		d.add(p[:n], jsonpeek.Text{ASCII: int64(n - other), Other: int64(other)})
	}
	if n == len(p) {
		return n
	}
	switch p[n] {
	case '"':
		d.endString()
	case '\\':
		d.state = inEscape
	default:
		d.state = broken
	}
	return n + 1
}

func (d *document) endString() {
	switch {
	case d.isKey && d.captured > len(d.capture):
		d.endKey(nil)
	case d.isKey:
		d.endKey(d.capture[:d.captured])
	default:
		if d.want == wantType && d.captured <= len(d.capture) {
			d.found.kindLen = copy(d.found.kind[:], d.capture[:d.captured])
		}
		d.end()
	}
}

func (d *document) endKey(key []byte) {
	d.state = beforeColon
	d.node = d.tree.field(d.stack[d.depth-1]&^arrayBit, key)
}

// escape reads the byte behind a backslash.
func (d *document) escape(b byte) {
	if b == 'u' {
		d.state, d.hex, d.digits = inHex, 0, 0
		return
	}
	char := jsonpeek.SimpleEscape(b)
	if char == 0 {
		d.state = broken
		return
	}
	d.state, d.high = inString, false
	d.add([]byte{char}, jsonpeek.Text{ASCII: 1})
}

// hexDigit reads a digit of an escape with four of them.
func (d *document) hexDigit(b byte) {
	switch {
	case '0' <= b && b <= '9':
		b -= '0'
	case 'a' <= b && b <= 'f':
		b -= 'a' - 10
	case 'A' <= b && b <= 'F':
		b -= 'A' - 10
	default:
		d.state = broken
		return
	}
	d.hex = d.hex<<4 | rune(b)
	if d.digits++; d.digits < 4 {
		return
	}
	d.state = inString
	if d.high && utf16.DecodeRune(0xd800, d.hex) != utf8.RuneError {
		// The half before was counted as U+FFFD, three bytes; the pair is four.
		// What is captured is none that is wanted, either way.
		d.high = false
		d.add(nil, jsonpeek.Text{Other: 1})
		return
	}
	d.high = utf16.IsSurrogate(d.hex) && d.hex < 0xdc00
	var buf [utf8.UTFMax]byte
	p := utf8.AppendRune(buf[:0], d.hex) // U+FFFD for half a pair
	d.add(p, jsonpeek.CountText(p))
}

// wordBytes reads on in null, true or false.
func (d *document) wordBytes(p []byte) int {
	rest := d.word[d.captured:]
	n := min(len(rest), len(p))
	if string(p[:n]) != rest[:n] {
		d.state = broken
	} else if d.captured += n; n == len(rest) {
		d.end()
	}
	return n
}

// numberBytes reads on in a number and returns how many bytes it read; none when
// the number ended before p.
func (d *document) numberBytes(p []byte) (n int) {
	for n < len(p) {
		next := d.number.step(p[n])
		if next == noNumber {
			break
		}
		d.number = next
		n++
	}
	d.keep(p[:n])
	if n < len(p) {
		d.endNumber()
	}
	return n
}

// endNumber ends a number, which the byte before was the last one of.
func (d *document) endNumber() {
	if !d.number.ends() {
		d.state = broken
		return
	}
	if d.want != nothing && d.captured <= len(d.capture) {
		d.found.noteNumber(d.want, d.capture[:d.captured])
	}
	d.end()
}
