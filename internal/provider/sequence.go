package provider

import "bytes"

// lines reads on in a stream that has a document a line. A line that is no
// document says nothing; what is kept of one does not grow with it.
func (m *Meter) lines(p []byte) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		line := p
		if end >= 0 {
			line = p[:end]
		}
		if !m.filter.inside {
			line = line[m.beginDocument(line):]
		}
		m.doc.feed(line)
		if m.filter.inside = end < 0; m.filter.inside {
			return
		}
		m.endDocument()
		p = p[end+1:]
	}
}

// arrayPlace is a place in an array of documents that is a stream.
type arrayPlace uint8

const (
	beforeArray        arrayPlace = iota
	beforeElementOrEnd            // behind the bracket
	inElement
	afterElement
	beforeNextElement // behind a comma
	afterArray
	brokenArray // what follows is not read
	noArray     // it is one document
)

// elements reads on in an array of documents.
func (m *Meter) elements(p []byte) {
	for len(p) > 0 {
		switch m.array {
		case noArray:
			m.doc.feed(p)
			return
		case inElement:
			if m.doc.state == beforeValue && m.doc.depth == 0 {
				p = p[m.beginDocument(p):]
			} else {
				p = p[m.doc.feedOne(p):]
			}
			switch m.doc.state {
			case complete:
				m.endDocument()
				m.array = afterElement
			case broken:
				m.array = brokenArray
			}
		case brokenArray:
			return
		default:
			m.array = m.array.step(p[0])
			if m.array != inElement && m.array != noArray {
				p = p[1:]
			}
		}
	}
}

// step returns the place behind b, which is not within an element. An element
// begins with b; so does what is no array.
func (a arrayPlace) step(b byte) arrayPlace {
	if b == ' ' || b == '\n' || b == '\t' || b == '\r' {
		return a
	}
	switch {
	case a == beforeArray && b == '[':
		return beforeElementOrEnd
	case (a == beforeElementOrEnd || a == beforeNextElement) && b == '{':
		return inElement
	case (a == beforeElementOrEnd || a == afterElement) && b == ']':
		return afterArray
	case a == afterElement && b == ',':
		return beforeNextElement
	case a == beforeArray:
		return noArray
	}
	return brokenArray
}
