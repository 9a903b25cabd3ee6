package provider

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// quoteBytes is how much of a value an error message quotes.
const quoteBytes = 128

// Peeker reads what requests ask for, and learns from what they then used. It is
// safe for concurrent use.
type Peeker struct {
	mediaPart atomic.Int64
	learned   learned
}

// NewPeeker returns a Peeker that takes a media part for 1000 tokens and has
// learned nothing.
func NewPeeker() *Peeker {
	p := &Peeker{}
	p.SetMediaPart(1000)
	return p
}

// SetMediaPart says how many tokens an image, a recording, a video or a file in
// a request is taken for from now on, whatever its size. It is not negative.
func (p *Peeker) SetMediaPart(tokens int64) { p.mediaPart.Store(tokens) }

// Request is what a body asks for.
type Request struct {
	// Ask is what it asks for.
	Ask traffic.Ask

	weight     int64 // of its text
	background bool  // the answer only says that the work has begun
	ofToken    int64 // weight of the model's tokens; 0: not known better than defaultWeight
	ids, media int64
	edit       edit
}

// edit is what to change in a body: [at, end), which is was, becomes insert. The
// zero edit is none.
type edit struct {
	at, end int
	insert  string
	was     string
}

// HideUsage reports whether the worker is to be asked for a usage that the
// client did not ask for: then AppendBody is what the worker gets, and the
// client must not see the event with the usage.
func (r *Request) HideUsage() bool { return r.edit.insert != "" }

// AppendBody appends to dst the body that the worker gets, and returns the
// extended buffer, which is allocated at most once. The body is that from which
// the Request was read; it comes out byte for byte but for the wish for usage,
// if that was missing.
func (r *Request) AppendBody(dst, body []byte) []byte {
	if size := len(dst) + len(body) - (r.edit.end - r.edit.at) + len(r.edit.insert); size > cap(dst) {
		dst = append(make([]byte, 0, size), dst...)
	}
	dst = append(dst, body[:r.edit.at]...)
	dst = append(dst, r.edit.insert...)
	return append(dst, body[r.edit.end:]...)
}

// RefusesUsage reports whether what a worker says in an error is about the wish
// for usage that AppendBody has added.
func (r *Request) RefusesUsage(said []byte) bool {
	return r.HideUsage() && (bytes.Contains(said, []byte("stream_options")) || bytes.Contains(said, []byte("include_usage")))
}

// TakeBack takes the wish for usage back: it appends to dst the body as the client
// sent it, of what AppendBody has made of it, and no usage is hidden any more.
func (r *Request) TakeBack(dst, sent []byte) []byte {
	e := r.edit
	r.edit = edit{}
	return append(append(append(dst, sent[:e.at]...), e.was...), sent[e.at+len(e.insert):]...)
}

// Unread returns what a request asks for whose body is not read: what its path
// says. No tokens are estimated.
func Unread(endpoint traffic.Endpoint) Request {
	return Request{Ask: traffic.Ask{Endpoint: endpoint, Model: endpoint.Model, Stream: endpoint.Stream, MaxOutput: -1, Answers: 1}}
}

// Peek reads the body of a request to an endpoint that is metered, which is a
// JSON object. Nothing of the body is kept. Every error is a *RequestError.
func (p *Peeker) Peek(endpoint traffic.Endpoint, body []byte) (Request, error) {
	r := reading{
		body:    body,
		c:       jsonpeek.New(body),
		peeker:  p,
		most:    -1,
		n:       1,
		prompts: 1,
		weight:  defaultWeight,
	}
	r.ask.Endpoint, r.ask.Stream = endpoint, endpoint.Stream
	switch endpoint.Dialect {
	case traffic.Anthropic:
		r.anthropic()
	case traffic.Google:
		r.google()
	case traffic.Ollama:
		r.ollama(endpoint.Kind)
	case traffic.ComfyUI:
		r.comfyUI()
	default:
		r.openAI(endpoint.Kind)
	}
	if endpoint.Model != "" {
		r.named(endpoint.Model)
	}
	if r.most < 0 && !endpoint.Generates() {
		r.most = 0 // a vector is no output
	}
	if err := r.c.End(); err != nil {
		return Request{}, bodyError(err)
	}
	if r.err != nil {
		return Request{}, r.err
	}
	return r.request(), nil
}

// Learn takes in what a request used whose answer was a 2xx, so that its model's
// next ones are estimated better. Only a reported usage of a longer text teaches
// anything; its input must be the worker's number (see Meter.InputReported), since an
// estimate, rounded up, would grow by itself.
func (p *Peeker) Learn(r *Request, u traffic.Usage) {
	if u.Source != traffic.Reported || u.Input <= 0 || r.ids > 0 || r.media > 0 || r.Ask.TextBytes < learnBytes ||
		r.Ask.Model == "" || len(r.Ask.Model) > learnName {
		return
	}
	p.learned.learn(r.Ask.Model, r.weight, u.Input)
}

// reading is a body while it is read. Its methods take the value that the cursor
// stands before.
type reading struct {
	body   []byte
	c      jsonpeek.Cursor
	peeker *Peeker
	err    *RequestError // the first one that is not in the JSON itself
	ask    traffic.Ask
	edit   edit

	amounts
	weight  int64 // of the model's tokens
	most    int64 // the largest of the request's maxima, negative when it has none
	n       int64 // the larger of n and best_of
	prompts int64

	background bool // the answer only says that the work has begun
}

// amounts is what a part of a body adds to.
type amounts struct {
	text       jsonpeek.Text // beside what the cursor counted
	ids, media int64
}

// repeat passes the elements that are alike the one before which the amounts
// were so, and adds what they hold.
func (r *reading) repeat(a *jsonpeek.Array, before amounts) {
	if n := int64(a.Repeat()); n > 0 {
		r.text.ASCII += n * (r.text.ASCII - before.text.ASCII)
		r.text.Other += n * (r.text.Other - before.text.Other)
		r.ids += n * (r.ids - before.ids)
		r.media += n * (r.media - before.media)
	}
}

// The maxima are what some worker or other takes for the most output, at the top
// of a body. They are the first fields of each dialect's, in this order, since a
// worker may honour those of another dialect.
const (
	maxTokensField = iota
	maxCompletionTokensField
	maxOutputTokensField
	numPredictField
	nPredictField
	maxima // how many there are
)

var maximaNames = [maxima]string{"max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict", "n_predict"}

// withMaxima returns the fields of a dialect's requests: the maxima, then these.
func withMaxima(names ...string) *jsonpeek.Fields {
	return jsonpeek.NewFields(append(maximaNames[:], names...)...)
}

// maximum reads a most number of output tokens, of which the largest counts. In
// the two that come from llama.cpp -1 is no end and -2 a full context: neither
// names a number.
func (r *reading) maximum(field int) {
	least := int64(0)
	if field == numPredictField || field == nPredictField {
		least = -2
	}
	r.maximumOf(maximaNames[field], least)
}

func (r *reading) maximumOf(name string, least int64) {
	if n, ok := r.whole(name, least); ok && n >= 0 {
		r.most = max(r.most, n)
	}
}

// answers reads a number of answers, of which the largest counts.
func (r *reading) answers(field string) {
	if n, ok := r.whole(field, 1); ok {
		r.n = max(r.n, n)
	}
}

// request returns what was read, added up.
func (r *reading) request() Request {
	text := r.text
	text.Add(r.c.Counted)
	a, weight := r.ask, weigh(text)
	a.TextBytes = text.Bytes()
	a.Input = plus(plus(tokens(weight, r.weight), r.ids), times(r.media, r.peeker.mediaPart.Load()))
	a.LeastInput = plus(ceilDiv(a.TextBytes, leastBytes), r.ids)
	a.Answers = times(r.n, r.prompts)
	a.MaxOutput = r.most
	if r.most > 0 {
		a.MaxOutput = times(r.most, a.Answers)
	}
	return Request{Ask: a, weight: weight, background: r.background, ofToken: r.weight, ids: r.ids, media: r.media, edit: r.edit}
}

// bodyError returns the error of the JSON itself as the client reads it.
func bodyError(err error) *RequestError {
	var e *jsonpeek.Error
	if errors.As(err, &e) && e.Field != "" {
		return &RequestError{Message: e.Error(), Param: e.Field}
	}
	return &RequestError{Message: "the body must be a JSON object: " + err.Error()}
}

// refuse keeps the first error: that field must be what is said, and is raw.
func (r *reading) refuse(field, must string, raw []byte) {
	if r.err != nil {
		return
	}
	param, _, _ := strings.Cut(field, ".")
	r.err = &RequestError{Message: fmt.Sprintf("%s must %s, got %s", field, must, quote(raw)), Param: param}
}

// quote returns a value as an error message shows it.
func quote(raw []byte) string {
	c := jsonpeek.New(raw)
	if kind := c.Kind(); kind == jsonpeek.ArrayKind || kind == jsonpeek.ObjectKind {
		return kind.String()
	}
	if len(raw) <= quoteBytes {
		return strings.ToValidUTF8(string(raw), "\ufffd")
	}
	cut := quoteBytes
	for cut > quoteBytes-utf8.UTFMax && !utf8.RuneStart(raw[cut]) {
		cut--
	}
	return strings.ToValidUTF8(string(raw[:cut]), "\ufffd") + "…"
}

// truth reads true, false or null, which is false.
func (r *reading) truth(field string) bool {
	kind := r.c.Kind()
	raw := r.c.Raw()
	if kind != jsonpeek.True && kind != jsonpeek.False && kind != jsonpeek.Null {
		r.refuse(field, "be true or false", raw)
	}
	return kind == jsonpeek.True
}

// says reads a value and reports whether it is a string that says this word.
func (r *reading) says(word string) bool {
	kind := r.c.Kind()
	raw := r.c.Raw()
	if raw == nil || kind != jsonpeek.String {
		return false
	}
	var buf [64]byte
	said, _ := jsonpeek.Unquote(buf[:0], raw)
	return string(said) == word
}

// whole reads a whole number of at least least, where null is none. Digits in a
// string are one too, since workers read them so.
func (r *reading) whole(field string, least int64) (n int64, ok bool) {
	kind := r.c.Kind()
	raw := r.c.Raw()
	if raw == nil || kind == jsonpeek.Null {
		return 0, false
	}
	switch {
	case kind == jsonpeek.Number:
		n, ok = jsonpeek.Whole(raw)
	case kind == jsonpeek.String:
		n, ok = wholeDigits(raw)
	}
	switch {
	case n < least && (ok || n != 0):
		r.refuse(field, fmt.Sprintf("be at least %d", least), raw)
	case !ok && n != 0:
		r.refuse(field, fmt.Sprintf("be at most %d", int64(math.MaxInt64)), raw)
	case !ok:
		r.refuse(field, "be a whole number", raw)
	}
	return n, ok && n >= least
}

// wholeDigits is jsonpeek.Whole of a string that holds nothing but digits.
func wholeDigits(raw []byte) (n int64, ok bool) {
	var buf [64]byte
	digits, _ := jsonpeek.Unquote(buf[:0], raw)
	for _, b := range digits {
		if b < '0' || b > '9' {
			return 0, false
		}
	}
	if len(digits) == 0 {
		return 0, false
	}
	return jsonpeek.Whole(digits)
}

// model reads the model's name, which this field has.
func (r *reading) model(field string) {
	kind := r.c.Kind()
	raw := r.c.Raw()
	if raw == nil || kind == jsonpeek.Null {
		return
	}
	if kind != jsonpeek.String {
		r.refuse(field, "be a string", raw)
		return
	}
	var buf [learnName]byte
	name, valid := jsonpeek.Unquote(buf[:0], raw)
	if !valid {
		r.refuse(field, "be Unicode text", raw)
		return
	}
	if !r.learned(name) {
		r.ask.Model = string(name)
	}
}

// named notes the model whose name is known.
func (r *reading) named(name string) {
	var buf [learnName]byte
	if r.weight = defaultWeight; !r.learned(append(buf[:0], name...)) {
		r.ask.Model = name
	}
}

// learned notes the model that has this name, if something was learned of it.
func (r *reading) learned(name []byte) bool {
	f := r.peeker.learned.find(name)
	if f != nil {
		r.ask.Model, r.weight = f.model, f.weight.Load()
	}
	return f != nil
}
