package provider

import (
	"cmp"
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
// it keeps of an answer is bounded: the begin of an event that is held back, and
// one that others are written like.
//
// Start makes a Meter ready for an answer, and again for the next one. It is for
// one goroutine and must not be copied.
type Meter struct {
	dialect    traffic.Dialect
	kind       traffic.Kind
	input      int64 // the estimate
	ofToken    int64 // weight of one
	background bool  // the answer to come is asked for elsewhere
	format     format
	body       io.ReadCloser
	filter     filter

	stream   sse.Parser
	marker   int      // bytes of doneMarker that the event's data is so far; -1: it is not it
	doc      document // the event's data, the line, the element, or the body
	array    arrayPlace
	totals   totals
	ended    bool
	closing  bool  // the last documents say that no more text comes
	resumed  bool  // text came where none was to come any more
	sequence int64 // of the last event that had a number; unreported: none had
	shape    shape // of a document of the stream
}

// format is how an answer is written.
type format uint8

const (
	unread format = iota // in no way that is read
	jsonBody
	eventStream
	jsonLines // a document a line
	jsonArray // of documents; a document that is no array is read as a body
)

const (
	// doneMarker is the data of the event that ends a stream.
	doneMarker = "[DONE]"
)

// Start makes the meter ready for the answer to r that has this header and this
// body.
func (m *Meter) Start(r *Request, header http.Header, body io.ReadCloser) {
	m.dialect, m.kind, m.input = r.Ask.Dialect, r.Ask.Kind, r.Ask.Input
	// Never more than is taken for granted: who teaches a model long tokens, by
	// prompts of odd text, must not have its unfinished answers counted short.
	m.background = r.background
	m.ofToken = min(cmp.Or(r.ofToken, defaultWeight), defaultWeight)
	m.format, m.body = formatOf(&r.Ask, header), body
	if m.dialect == traffic.Ollama && m.format == eventStream {
		// Some workers have OpenAI's chat at Ollama's path.
		m.dialect, m.kind = traffic.OpenAI, traffic.ChatCompletions
	}
	m.filter.start(r.HideUsage() && m.format == eventStream)
	m.stream, m.marker, m.array = sse.Parser{}, 0, beforeArray
	m.doc.start(m.tree())
	m.shape.start()
	m.totals = totals{input: unreported, output: unreported, apart: m.dialect == traffic.Anthropic, parts: noNumbers}
	m.ended, m.closing, m.resumed, m.sequence = false, false, false, unreported
}

// formatOf tells how an answer is written.
func formatOf(a *traffic.Ask, h http.Header) format {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return unread
	}
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	switch media = strings.TrimSpace(media); {
	case strings.EqualFold(media, "text/event-stream"):
		return eventStream
	case a.Dialect == traffic.Ollama && strings.EqualFold(media, "application/x-ndjson"):
		return jsonLines
	case !strings.EqualFold(media, "application/json"):
		return unread
	case a.Dialect == traffic.Google && a.Stream:
		return jsonArray
	case a.Dialect == traffic.Ollama && a.Stream:
		return jsonLines
	}
	return jsonBody
}

// tree returns what is wanted of the answer's documents.
func (m *Meter) tree() tree {
	switch m.dialect {
	case traffic.Anthropic:
		return anthropicTree(m.format)
	case traffic.Google:
		return googleTree
	case traffic.Ollama:
		return ollamaTree
	case traffic.ComfyUI:
		return comfyTree
	}
	return openAITree(m.kind, m.format)
}

// interpret makes of what was found in a document what its dialect means by it,
// and reports whether the document is the last one.
func (m *Meter) interpret(f *found) (last bool) {
	switch m.dialect {
	case traffic.Anthropic:
		return f.anthropicEvent()
	case traffic.Google:
		return f.googleChunk()
	case traffic.Ollama:
		return f.ollamaLine(m.kind)
	}
	return m.format == eventStream && f.openAIEvent(m.kind)
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
	case jsonLines:
		m.lines(p)
	case jsonArray:
		m.elements(p)
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
		usageOnly = m.endDocument()
	}
	return n, t, usageOnly
}

// endDocument takes in what is found in the event, line or element that ends
// here, and reports whether that is a usage alone.
func (m *Meter) endDocument() (usageOnly bool) {
	if f := &m.doc.found; m.doc.whole() {
		last := m.interpret(f)
		m.ended = last || m.ended
		m.resumed = m.resumed || m.closing && weigh(f.answer()) > 0
		m.closing = m.closes(f, last)
		m.totals.add(f)
		if f.sequence != unreported {
			m.sequence = f.sequence
		}
		usageOnly = f.usage && f.noChoices
	} else if m.isDone() {
		m.ended, m.closing = true, true
	}
	m.doc.start(m.doc.tree)
	m.marker = 0
	return usageOnly
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
		p = p[m.beginDocument(p):]
	}
	m.doc.feed(p)
}

// beginDocument reads the event, line or element that p begins with, as far as p
// has it, and returns how many bytes that was.
func (m *Meter) beginDocument(p []byte) int {
	n, cut := m.shape.read(p, &m.doc.found)
	switch {
	case n > 0:
		m.doc.state = complete
	case cut: // the shape is still good for those to come
		n = m.doc.feedOne(p)
	default:
		n = m.shape.learn(&m.doc, p)
	}
	return n
}

// isDone reports whether the event's data is the mark that ends a stream.
func (m *Meter) isDone() bool { return m.format == eventStream && m.marker == len(doneMarker) }

// isBody reports whether the answer is one document.
func (m *Meter) isBody() bool {
	return m.format == jsonBody || m.format == jsonArray && m.array == noArray
}

// Ended reports whether the answer has come to its end: the end of the JSON, or
// the mark or event that a stream ends with. An answer that stops before was
// broken off; of one in no form that is read it is never known.
func (m *Meter) Ended() bool {
	if m.isBody() {
		return m.doc.whole()
	}
	if m.format == jsonArray {
		return m.array == afterArray
	}
	if m.ended || !m.doc.whole() {
		return m.ended || m.isDone()
	}
	f := m.doc.found // of an event that may lack but its blank line
	return m.interpret(&f)
}

// Closing reports whether the answer is said to be complete but for what ends
// it, as its usage: there is nothing left to be saved by stopping it. Where text
// follows all the same, of another choice, it is not.
func (m *Meter) Closing() bool {
	switch {
	case m.isBody():
		return m.doc.whole()
	case !m.doc.whole():
		return m.closing || m.isDone()
	}
	f := m.doc.found // of an event that may lack but its blank line
	return m.closes(&f, m.interpret(&f))
}

// closes reports whether a document, which was interpreted, says that no more
// text comes, or says nothing where one before it did. Some workers say it in every
// one, so that it is not taken from what has text itself once that has gone on.
func (m *Meter) closes(f *found, last bool) bool {
	if (m.closing || m.resumed) && weigh(f.answer()) > 0 {
		return false
	}
	return last || f.finished || f.usage && f.noChoices || m.closing
}

// AtEventBoundary reports whether what was read so far is whole events, lines or
// elements of a stream, so that an ErrorEvent may follow.
func (m *Meter) AtEventBoundary() bool {
	switch m.format {
	case eventStream, jsonLines:
		return !m.filter.inside && len(m.filter.ready) == 0
	case jsonArray:
		return m.array == beforeArray || m.array == beforeElementOrEnd || m.array == beforeNextElement || m.array == afterElement
	}
	return false
}

// ErrorEvent returns what tells the client why the stream ends before its time.
// It is for a stream at an event boundary, and the connection is to be cut after
// it, since clients take a clean end for success.
func (m *Meter) ErrorEvent(code, message string) []byte {
	switch m.dialect {
	case traffic.Anthropic:
		return anthropicError(code, message)
	case traffic.Google:
		return m.googleError(code, message)
	case traffic.Ollama:
		return ollamaError(message)
	}
	return m.openAIError(code, message)
}

// now returns the totals with what is whole by now.
func (m *Meter) now() totals {
	t := m.totals
	if m.isBody() || m.doc.whole() {
		f := m.doc.found
		m.interpret(&f)
		t.add(&f)
	}
	return t
}

// OutputSoFar returns how many tokens of output have passed: as last reported,
// and an estimate for the text since then.
func (m *Meter) OutputSoFar() int64 {
	t := m.now()
	return t.tokens(m.ofToken)
}

// Usage returns what the answer used, once it has been read or given up: as the
// worker reported it, else as it was estimated and counted, half by half. The
// source is traffic.Reserved when the answer was in no form that is read, or is a
// body without a usage that turned out to be no JSON: nobody can say then how much
// of it there was.
func (m *Meter) Usage() traffic.Usage {
	if m.kind == traffic.ComfyPrompt {
		return traffic.Usage{Source: traffic.Reported} // a job has no tokens
	}
	t := m.now()
	u := traffic.Usage{
		Input: m.input, CachedInput: t.cached, CacheWrites: t.writes, LongCacheWrites: t.longWrites,
		Output: t.tokens(m.ofToken), Source: traffic.Counted,
	}
	if t.input >= 0 {
		u.Input = t.input
	}
	if t.input >= 0 || t.output >= 0 {
		u.Source = traffic.Reported
	}
	unreadable := m.background || m.isBody() && m.doc.state == broken
	if m.format == unread || unreadable && u.Source == traffic.Counted {
		u.Source = traffic.Reserved
	}
	return u
}

// InputReported reports whether the input of Usage is the worker's number, and not
// the estimate: there are workers that report their output alone.
func (m *Meter) InputReported() bool {
	t := m.now()
	return t.input >= 0
}

// totals is what the documents of an answer add up to.
type totals struct {
	input, output  int64 // as last reported, or unreported
	cached, writes int64 // as reported with the input
	longWrites     int64 // of the writes
	text           jsonpeek.Text
	since          jsonpeek.Text // the text that came after the output was reported

	// Where what is read from a cache and written to one is counted apart from
	// the input, and a report need not repeat what an earlier one has said, the
	// parts are each as last reported.
	apart bool
	parts numbers
}

func (t *totals) add(f *found) {
	text, n := f.answer(), f.numbers
	t.text.Add(text)
	t.since.Add(text)
	if t.apart {
		n = t.sum(n)
	}
	n.input = max(n.input, n.total)
	// There are workers that report noughts, whatever they have read and said.
	if n.input > 0 {
		t.input, t.cached = n.input, min(max(n.cached, 0), n.input)
		t.writes = min(max(n.writes, 0), t.input-t.cached)
		t.longWrites = min(max(n.longWrites, 0), t.writes)
	}
	if n.output > 0 || n.output == 0 && weigh(t.text) == 0 {
		t.output, t.since = n.output, jsonpeek.Text{}
	}
}

// sum returns the numbers with the parts of the input added up.
func (t *totals) sum(n numbers) numbers {
	if max(n.input, n.cached, n.writes) <= 0 {
		return n
	}
	for _, p := range [...]struct{ part, said *int64 }{
		{&t.parts.input, &n.input},
		{&t.parts.cached, &n.cached},
		{&t.parts.writes, &n.writes},
		{&t.parts.longWrites, &n.longWrites},
	} {
		if *p.said >= 0 {
			*p.part = *p.said
		}
	}
	n.input, n.cached, n.writes, n.longWrites = unreported, t.parts.cached, t.parts.writes, t.parts.longWrites
	if t.parts.input >= 0 {
		n.input = together(t.parts.input, together(n.cached, n.writes))
	}
	return n
}

// tokens returns the number of tokens of output.
func (t *totals) tokens(ofToken int64) int64 {
	if t.output < 0 {
		return tokens(weigh(t.text), ofToken)
	}
	return t.output + tokens(weigh(t.since), ofToken)
}
