package standin

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

// call is one generation request on its way through the worker.
type call struct {
	worker  *Worker
	answer  *answer
	fields  fields
	model   string
	id      string
	created time.Time
	// stream says that the answer is a stream, of the type streamType.
	stream     bool
	streamType string
	// includeUsage says that a stream of chunks ends with one of usage.
	includeUsage  bool
	usage         Usage
	input, cached int64      // tokens
	rng           *rand.Rand // of this request's seed
	choices       []choice
}

// choice is one answer of a call.
type choice struct {
	want int64 // tokens
	cut  bool  // want is the request's maximum: the model would have gone on
	made int64 // tokens
	pen  pen
	text strings.Builder
}

// shape is one form of generated answers on the wire. Its stream methods are
// called in order: begin, then token and stop of the choices, then end.
type shape interface {
	// ask reads the shape's own fields: it sets the input, the choices, whether
	// and how it streams, and includeUsage.
	ask(c *call) error
	// body returns the answer, a JSON object, to a request that is not for a
	// stream.
	body(c *call) any
	// begin comes with the first token and before it.
	begin(c *call) error
	token(c *call, i int, text string) error
	stop(c *call, i int) error
	// end comes after the last token.
	end(c *call) error
}

// errAnswered says that a fault which the model names has answered already.
var errAnswered = errors.New("answered by a fault")

// newCall reads what all generation requests have in common. Its error, for
// answer.refuseFor, is a refusal, errAnswered, or that of a client that has gone.
func (w *Worker) newCall(a *answer, idPrefix string) (*call, error) {
	body, err := readBody(a)
	if err != nil {
		return nil, err
	}
	f, err := parseFields(body)
	if err != nil {
		return nil, err
	}
	return w.newCallOf(a, idPrefix, body, f)
}

// newCallOf is newCall for a body whose fields are f.
func (w *Worker) newCallOf(a *answer, idPrefix string, body []byte, f fields) (*call, error) {
	name, err := f.text("model")
	if err != nil {
		return nil, err
	}
	if a.model != "" {
		name = a.model // the path's
	}
	model, spec, _ := strings.Cut(name, "!")
	fault, err := ParseFault(spec)
	if err != nil {
		return nil, badRequest("model", "Behind the model's name: %v.", err)
	}
	if model == "" {
		return nil, badRequest("model", "you must provide a model parameter")
	}
	if len(w.opts.Models) > 0 && !slices.Contains(w.opts.Models, model) {
		return nil, &refusal{
			status: http.StatusNotFound, kind: "invalid_request_error", code: "model_not_found",
			message: fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", model),
		}
	}
	if a.add(fault) {
		if a.serial > 0 {
			w.engine.ended(model, faulted)
		}
		return nil, errAnswered
	}
	c := &call{
		worker: w, answer: a, fields: f, model: model,
		id:      fmt.Sprintf("%s%08x%016x", idPrefix, uint32(w.opts.Seed), a.serial),
		created: time.Now(),
		usage:   w.opts.Usage,
	}
	if how, ok := a.fault.get("usage"); ok {
		c.usage = how.usage
	}
	h := fnv.New64a()
	_, _ = h.Write(body) // never fails
	c.rng = rand.New(rand.NewPCG(w.opts.Seed, h.Sum64()))
	return c, nil
}

// askStream reads stream, which is otherwise where it is absent or null.
func (c *call) askStream(otherwise bool, streamType string) error {
	stream, err := c.fields.flag("stream")
	c.stream, c.streamType = stream || otherwise && c.fields["stream"] == nil, streamType
	return err
}

// setInput sets the number of input tokens.
func (c *call) setInput(tokens int64) {
	c.input = tokens
	c.cached = c.share(tokens)
}

// share returns how many of so many tokens are in the cache.
func (c *call) share(tokens int64) int64 {
	return int64(float64(tokens) * c.worker.opts.CachedShare)
}

// setAnswers makes n choices of at most so many tokens each.
func (c *call) setAnswers(n, most int64) {
	c.choices = make([]choice, n)
	for i := range c.choices {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), c.rng.Uint64()))
		want := c.worker.draw(rng)
		if said, ok := c.answer.fault.get("output"); ok {
			want = said.count
		}
		c.choices[i] = choice{
			want: min(want, most), cut: most < want,
			pen: pen{tokens: c.worker.tokens, rng: rng},
		}
	}
}

// made returns the output tokens of all choices so far.
func (c *call) made() int64 {
	var sum int64
	for i := range c.choices {
		sum += c.choices[i].made
	}
	return sum
}

func (ch *choice) finishReason() string {
	if ch.cut {
		return "length"
	}
	return "stop"
}

// generate serves one generation request in the given shape.
func (w *Worker) generate(a *answer, idPrefix string, s shape) {
	c, err := w.newCall(a, idPrefix)
	c.serve(a, s, err)
}

// serve answers a call in the given shape, or refuses it for the error that came
// of making it.
func (c *call) serve(a *answer, s shape, err error) {
	if err == nil {
		err = s.ask(c)
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	c.run(func(r *run) error { return c.write(r, s) })
}

// refuseFor ends the answer for an error that came before its beginning.
func (a *answer) refuseFor(err error) {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		a.refuse(refused)
	case !errors.Is(err, errAnswered):
		a.err = err // the client has gone
	}
}

// run takes the call through the engine: write is called with its place, after
// the input has been processed.
func (c *call) run(write func(*run) error) {
	ctx := c.answer.request.Context()
	r := c.worker.engine.submit(c.model)
	var err error
	if c.stream {
		err = c.answer.openStream(c.streamType) // like vLLM: the headers do not wait for a place
	}
	if err == nil {
		err = r.wait(ctx)
	}
	if err == nil {
		o := &c.worker.opts
		err = r.work(ctx, o.FirstToken+o.PerInputToken*time.Duration(c.input-c.cached))
	}
	if err == nil {
		r.read(c.input)
		err = write(r)
	}
	switch {
	case err == nil:
		r.leave(finished)
	case errors.Is(err, errCut):
		r.leave(faulted)
	default:
		r.leave(cancelled)
		c.answer.err = err
	}
}

// write generates the answer at the worker's pace: the first token of every
// choice is due at once.
func (c *call) write(r *run, s shape) error {
	if c.stream {
		if err := s.begin(c); err != nil {
			return err
		}
	}
	for open := len(c.choices); ; {
		for i := range c.choices {
			ch := &c.choices[i]
			if ch.made == ch.want {
				continue
			}
			text := ch.pen.next()
			ch.text.WriteString(text)
			ch.made++
			r.wrote(1)
			if c.stream {
				if err := s.token(c, i, text); err != nil {
					return err
				}
			}
			if ch.made < ch.want {
				continue
			}
			open--
			if c.stream {
				if err := s.stop(c, i); err != nil {
					return err
				}
			}
		}
		if open == 0 {
			break
		}
		if err := r.work(c.answer.request.Context(), c.worker.opts.PerOutputToken); err != nil {
			return err
		}
	}
	if c.stream {
		return s.end(c)
	}
	return c.answer.json(http.StatusOK, s.body(c))
}
