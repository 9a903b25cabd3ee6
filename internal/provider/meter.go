package provider

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
	"github.com/penstock-dev/penstock/internal/provider/sse"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// Meter is an answer's body, an io.ReadCloser that tells what the answer used
// while it is read. A stream in which a usage is to be hidden loses the event
// that has it; of any other answer every byte passes as it came, at once. What
// it keeps of an answer is bounded: the begin of an event, held back or learned.
//
// Start makes a Meter ready for an answer, and again for the next one. It is for
// one goroutine and must not be copied.
type Meter struct {
	kind   traffic.Kind
	input  int64 // the estimate
	format format
	body   io.ReadCloser
	filter filter

	stream   sse.Parser
	marker   int      // bytes of doneMarker that the event's data is so far; -1: it is not it
	doc      document // the event's data, or the body
	totals   totals
	ended    bool
	sequence int64 // of the last event that had a number; unreported: none had

	// The events of a stream begin alike, up to the output. So the last begin
	// is kept, and where it led to: one that is the same need not be read.
	begin  []byte
	atText document
}

// format is how an answer is written.
type format uint8

const (
	unread format = iota // in no way that is read
	jsonBody
	eventStream
)

const (
	// doneMarker is the data of the event that ends a stream.
	doneMarker = "[DONE]"
	// maxBegin bounds the begin of an event that is kept.
	maxBegin = 512
)

// Start makes the meter ready for the answer to r that has this header and this
// body.
func (m *Meter) Start(r *Request, header http.Header, body io.ReadCloser) {
	m.kind, m.input, m.format, m.body = r.Ask.Kind, r.Ask.Input, formatOf(header), body
	m.filter.start(r.HideUsage() && m.format == eventStream)
	m.stream, m.marker = sse.Parser{}, 0
	m.doc.start(openAITree(m.kind, m.format))
	m.begin = m.begin[:0]
	m.totals = totals{input: unreported, output: unreported}
	m.ended, m.sequence = false, unreported
}

// formatOf tells how an answer is written.
func formatOf(h http.Header) format {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return unread
	}
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	switch media = strings.TrimSpace(media); {
	case strings.EqualFold(media, "text/event-stream"):
		return eventStream
	case strings.EqualFold(media, "application/json"):
		return jsonBody
	}
	return unread
}

// Read reads the next bytes of the answer that the client may see. It waits for
// more only when there are none yet.
func (m *Meter) Read(p []byte) (n int, err error) {
	if m.filter.on {
		return m.filter.read(m, p)
	}
	n, err = m.body.Read(p)
	m.feed(p[:n])
	return n, err
}

// Close closes the answer's body. What the meter tells stays as it is.
func (m *Meter) Close() error { return m.body.Close() }

// feed reads what is passed on unchanged.
func (m *Meter) feed(p []byte) {
	switch m.format {
	case jsonBody:
		m.doc.feed(p)
	case eventStream:
		for more := true; more; {
			n, t, _ := m.next(p)
			if n > 0 {
				m.filter.inside = t == sse.More || t == sse.Data
			}
			p, more = p[n:], t != sse.More
		}
	}
}

// next reads the first n bytes of p, up to something that the stream's parser
// came upon. It tells of an event whether it is there for the usage alone.
func (m *Meter) next(p []byte) (n int, t sse.Token, usageOnly bool) {
	n, t, data := m.stream.Next(p)
	switch t {
	case sse.Data:
		m.data(data)
	case sse.Event:
		f, last := m.event()
		usageOnly = f.usage && f.noChoices
		m.totals.add(&f)
		if f.sequence != unreported {
			m.sequence = f.sequence
		}
		m.ended = m.ended || last
		m.doc.start(m.doc.tree)
		m.marker = 0
	}
	return n, t, usageOnly
}

// data reads data of an event.
func (m *Meter) data(p []byte) {
	first := m.marker == 0
	if m.marker >= 0 {
		n := min(len(p), len(doneMarker)-m.marker)
		if string(p[:n]) == doneMarker[m.marker:m.marker+n] {
			m.marker += n
		} else {
			m.marker = -1
		}
	}
	if first {
		p = p[m.dataBegin(p):]
	}
	m.doc.feed(p)
}

// dataBegin reads the begin of an event's data and returns how many bytes it read.
func (m *Meter) dataBegin(p []byte) int {
	if len(m.begin) > 0 && bytes.HasPrefix(p, m.begin) {
		m.doc = m.atText
		return len(m.begin)
	}
	n, found := m.doc.feedToText(p)
	m.begin = m.begin[:0]
	if found && n <= maxBegin {
		m.begin = append(m.begin, p[:n]...)
		m.atText = m.doc
	}
	return n
}

// event returns what is found in the event as it is now, which is nothing unless
// its data is whole, and whether it is the last one.
func (m *Meter) event() (f found, last bool) {
	if !m.doc.whole() {
		f.start()
		return f, m.marker == len(doneMarker)
	}
	f = m.doc.found
	return f, f.openAIEvent(m.kind)
}

// Ended reports whether the answer has come to its end: the end of the JSON, or
// the mark or event that a stream ends with. An answer that stops before was
// broken off; of one in no form that is read it is never known.
func (m *Meter) Ended() bool {
	if m.format != eventStream {
		return m.doc.whole()
	}
	_, last := m.event() // which may lack but its blank line
	return m.ended || last
}

// AtEventBoundary reports whether what was read so far is whole events, so that
// an ErrorEvent may follow.
func (m *Meter) AtEventBoundary() bool {
	return m.format == eventStream && !m.filter.inside && len(m.filter.ready) == 0
}

// now returns the totals with what is whole by now.
func (m *Meter) now() totals {
	t := m.totals
	if m.format == eventStream {
		f, _ := m.event()
		t.add(&f)
	} else {
		t.add(&m.doc.found)
	}
	return t
}

// OutputSoFar returns how many tokens of output have passed: as last reported,
// and an estimate for the text since then.
func (m *Meter) OutputSoFar() int64 {
	t := m.now()
	return t.tokens()
}

// Usage returns what the answer used, once it has been read or given up: as the
// worker reported it, else as it was estimated and counted, half by half. The
// source is traffic.Reserved when the answer was in no form that is read.
func (m *Meter) Usage() traffic.Usage {
	t := m.now()
	u := traffic.Usage{Input: m.input, CachedInput: t.cached, Output: t.tokens(), Source: traffic.Counted}
	if t.input >= 0 {
		u.Input = t.input
	}
	if t.input >= 0 || t.output >= 0 {
		u.Source = traffic.Reported
	}
	if m.format == unread {
		u.Source = traffic.Reserved
	}
	return u
}

// totals is what the documents of an answer add up to.
type totals struct {
	input, output int64 // as last reported, or unreported
	cached        int64 // as reported with the input
	text          jsonpeek.Text
	since         jsonpeek.Text // the text that came after the output was reported
}

func (t *totals) add(f *found) {
	text := f.answer()
	t.text.Add(text)
	t.since.Add(text)
	if f.input >= 0 {
		t.input, t.cached = f.input, min(max(f.cached, 0), f.input)
	}
	if f.output >= 0 {
		t.output, t.since = f.output, jsonpeek.Text{}
	}
}

// tokens returns the number of tokens of output.
func (t *totals) tokens() int64 {
	if t.output < 0 {
		return tokens(weigh(t.text), defaultWeight)
	}
	return t.output + tokens(weigh(t.since), defaultWeight)
}
