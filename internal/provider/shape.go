package provider

import (
	"bytes"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
)

const (
	// maxShape and maxHoles bound a shape; a document that needs more has none.
	maxShape = 2048
	maxHoles = 64
	// maxTight is how many shapes of a stream are made tight: where they do not
	// last, it is better to leave them as they are.
	maxTight = 16
)

// shape is a document as it was written, and where in it others may say other
// things. The documents of a stream are written alike, so that most are read by
// the shape of one before, with no look at what their structure means.
//
// At first all is a hole that nothing is wanted of, and every string and number
// but for keys and the type of an event. Then the holes that nothing is wanted of,
// and that hold the same in the next document, are none any more, which makes
// the shape tight.
//
// The zero shape is of no document.
type shape struct {
	written []byte
	holes   []hole // in the order in which they come
	found   found  // what is found in what is not in the holes
	fresh   bool   // it is still to be made tight
	tight   int    // how many shapes were made so
}

// hole is a place in a shape. Its bounds are those of what the document that was
// written has there.
type hole struct {
	begin, end uint16
	kind       holeKind
	want       want
	depth      uint8 // how many arrays and objects it is in
}

// holeKind is what may stand in a hole.
type holeKind uint8

const (
	anyValue holeKind = iota // of which nothing is wanted
	someText                 // what is within a string
	someNumber
)

// start begins a stream.
func (s *shape) start() {
	s.forget()
	s.tight = 0
}

// forget makes it the shape of no document.
func (s *shape) forget() { s.written, s.holes = s.written[:0], s.holes[:0] }

// read reads the document that p begins with, if it has this shape, and returns
// how long it is: f is what was found in it then. Otherwise it returns 0, f says
// nothing, and cut tells whether p ended before it was seen to have another one.
func (s *shape) read(p []byte, f *found) (n int, cut bool) {
	if len(s.written) == 0 {
		return 0, false
	}
	*f = s.found
	from := 0 // what is before was read
	for i := range s.holes {
		h := &s.holes[i]
		fixed := s.written[from:h.begin]
		if !bytes.HasPrefix(p[n:], fixed) {
			f.start()
			return 0, bytes.HasPrefix(fixed, p[n:])
		}
		n += len(fixed)
		size, ok := h.read(p[n:], f)
		if !ok {
			f.start()
			return 0, n+size == len(p)
		}
		n += size
		from = int(h.end)
	}
	fixed := s.written[from:]
	if !bytes.HasPrefix(p[n:], fixed) {
		f.start()
		return 0, bytes.HasPrefix(fixed, p[n:])
	}
	n += len(fixed)
	if s.fresh {
		s.tighten(p[:n])
	}
	return n, false
}

// tighten takes out the holes that are good for nothing and in which p, which
// has this shape, has the same.
func (s *shape) tighten(p []byte) {
	s.fresh = false
	s.tight++
	holes := s.holes[:0]
	from := 0
	for _, h := range s.holes {
		p = p[int(h.begin)-from:]
		n, _ := h.read(p, &found{})
		if h.kind != anyValue || !bytes.Equal(p[:n], s.written[h.begin:h.end]) {
			holes = append(holes, h)
		}
		p, from = p[n:], int(h.end)
	}
	s.holes = holes
}

// read reads what is in the hole, which p begins with, and returns how long it
// is. It is not ok when it is not what belongs there; n is the length of p then
// where p may have ended too early.
func (h *hole) read(p []byte, f *found) (n int, ok bool) {
	switch {
	case h.kind == someNumber:
		return h.readNumber(p, f)
	case h.kind == someText:
		n, t, ok := jsonpeek.StringEnd(p)
		f.add(h.want, t)
		return n, ok
	}
	return jsonpeek.Value(p, documentDepth-int(h.depth))
}

func (h *hole) readNumber(p []byte, f *found) (n int, ok bool) {
	const digits = 18 // that 64 bits hold
	v := int64(0)
	for n < len(p) && n < digits && p[n]-'0' <= 9 {
		v = v*10 + int64(p[n]-'0')
		n++
	}
	if n > 0 && n < len(p) && (n == 1 || n < digits && p[0] != '0') && p[n] != '.' && p[n]|' ' != 'e' {
		// It ends here, or the number is none and what follows is not what must.
		f.note(h.want, v)
		return n, true
	}
	if n = numberLength(p); n < len(p) && n > 0 && n <= captureBytes {
		f.noteNumber(h.want, p[:n])
	}
	return n, n > 0 && n < len(p)
}

// learn reads the document that p begins with, as far as p has it, and returns
// how long that is. The document is at its begin. If p has all of it, and it is
// no larger than a shape may be, this becomes the shape.
func (s *shape) learn(d *document, p []byte) (n int) {
	s.forget()
	counts := false // there is a number in a hole
	for n < len(p) && d.state != complete && d.state != broken {
		was, unwanted, depth := d.state, d.node == 0, d.depth
		n += d.step(p[n:])
		if was != beforeValue && was != beforeElement || d.depth < depth || d.depth == depth && d.state == was {
			continue // no value began
		}
		if d.want == wantUsage && counts {
			s.forget() // it makes void what is in holes before it
			return n + d.feedOne(p[n:])
		}
		h := hole{begin: uint16(n - 1), want: d.want, depth: uint8(depth)}
		switch {
		case unwanted:
		case d.state == inNumber:
			h.kind = someNumber
		case d.state == inString && d.want != wantType:
			h.kind = someText
			h.begin++ // the quote
		default:
			continue
		}
		if n > maxShape || len(s.holes) == maxHoles || depth == 0 && h.kind == someNumber {
			s.forget() // too much, or a number by itself, whose end is not seen
			return n + d.feedOne(p[n:])
		}
		for n < len(p) && d.state != broken && (d.state != afterValue || d.depth > depth) && d.state != complete {
			n += d.step(p[n:])
		}
		if h.end = uint16(n); h.kind == someText {
			h.end--
		}
		counts = counts || h.want >= wantInput && h.want <= wantAllOutput
		s.holes = append(s.holes, h)
	}
	if d.state != complete || n > maxShape {
		s.forget()
		return n + d.feedOne(p[n:])
	}
	s.written = append(s.written, p[:n]...)
	s.fresh = s.tight < maxTight
	s.found = d.found
	s.found.forgetHoles()
	return n
}
