// Package standin stands in for both sides of a gateway: a Worker is an
// inference server behind it, a Load is the callers in front of it.
//
// The worker speaks the dialects of OpenAI (Azure's paths too), Anthropic,
// Google and Ollama with vLLM's timing: a time to the first token, a time for
// each further one, a capacity that running requests share, and a line behind
// that. It has no model. Its answers are word-like text, the same for the same
// request and seed, and on request it breaks in the ways that real workers and
// networks do (see ParseFault). Beside that it is a ComfyUI: jobs, of which one
// runs at a time.
//
// Its tokenizer is arithmetic: a token is Options.BytesPerToken bytes of text,
// so input is counted as the bytes of all message texts divided by that,
// rounded up, and n tokens of output are n times that many bytes, rounded
// down. Both agree: an answer sent back as input counts as many tokens as it
// had. Token ids count as they are; images, files and tool definitions count
// nothing. Of a recording to be transcribed 3200 bytes are a token.
package standin

import (
	"crypto/subtle"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Speaks is which dialects a worker speaks, for help texts.
const Speaks = "OpenAI, Azure, Anthropic, Google, Ollama and ComfyUI"

// Options says how a worker behaves. The zero Options are a worker that
// answers any model at once, without pauses and faults.
type Options struct {
	// Models are the names that are served and listed; any other is answered
	// 404. None serves every name and lists the one name "standin".
	Models []string
	// APIKeys, when there are any, are the keys without one of which every path
	// below /v1/, /v1beta/ and /openai/ is answered 401. They come as a bearer or
	// in x-api-key, api-key or x-goog-api-key. The other paths stay open, as
	// vLLM's, Ollama's and ComfyUI's do.
	APIKeys []string

	// Capacity is the number of requests that run at full pace. With more, all
	// running requests share it: with k of them every token takes k/Capacity
	// times as long. Zero or less: 16.
	Capacity int
	// MaxRunning is the number of requests that run at once; the rest wait,
	// first come first served, in a line without bound, as vLLM's does. Zero
	// or less: four times Capacity.
	MaxRunning int
	// FirstToken is the time from the start of a request, once it runs, to its
	// first token, before PerInputToken. Zero: none; try 50ms.
	FirstToken time.Duration
	// PerInputToken is added to FirstToken for each input token that is not
	// cached. Zero: none; try 100us.
	PerInputToken time.Duration
	// PerOutputToken is the time from one token of an answer to its next. All
	// answers of one request (n) advance together. Zero: none; try 15ms.
	PerOutputToken time.Duration
	// JobTime is how long a job of ComfyUI runs. Zero: no time; try 4s.
	JobTime time.Duration

	// Output is how long answers are, in tokens, where the request does not
	// ask for less. Zero: DefaultOutput.
	Output Lengths
	// BytesPerToken is the size of a token in bytes of text, to a thousandth,
	// from 1 to 64. Zero, and what lies outside: 4, which makes every token of
	// an answer exactly a space and three letters.
	BytesPerToken float64
	// CachedShare is the share, from 0 to 1, of each request's input tokens
	// that is reported as cached and costs no time. In Anthropic's dialect it is
	// the share of what cache_control marks; the rest of that is reported as
	// written to the cache. Zero: none.
	CachedShare float64
	// Usage is how usage is reported. Zero: truly.
	Usage Usage
	// OmitNullUsage leaves the usage out of those chunks of a stream with
	// include_usage that have none, as vLLM does. False sends "usage":null in
	// them, as OpenAI does.
	OmitNullUsage bool

	// Fault is what befalls the requests that generate, in any dialect, and
	// whose header X-Standin-Fault names nothing. Zero: nothing.
	Fault Fault
	// FaultProbability is the share of them, from 0 to 1, that Fault befalls.
	// Zero: all.
	FaultProbability float64

	// Seed makes answers, ids and the drawing of faults repeatable. The text
	// and length of an answer depend on it and on the bytes of the request
	// body alone, never on the order in which requests come: vary the body's
	// seed or user for another answer.
	Seed uint64
}

// Worker is the stand-in for an inference server. Make one by New; its methods
// may be called by many goroutines.
type Worker struct {
	opts   Options
	draw   func(*rand.Rand) int64
	tokens tokenizer
	engine *engine
	jobs   *jobs
	routes map[string]methods // by path
	named  []pattern
	serial atomic.Uint64 // of the generation requests that arrived
}

// New returns a worker that behaves as o says. It needs no stopping.
func New(o Options) *Worker {
	o.Models, o.APIKeys = slices.Clone(o.Models), slices.Clone(o.APIKeys)
	if o.Output == (Lengths{}) {
		o.Output = DefaultOutput()
	}
	if !(o.CachedShare > 0) { // NaN too
		o.CachedShare = 0
	}
	o.CachedShare = min(o.CachedShare, 1)
	w := &Worker{
		opts:   o,
		draw:   o.Output.sampler(),
		tokens: newTokenizer(o.BytesPerToken),
		engine: newEngine(o.Capacity, o.MaxRunning),
		jobs:   newJobs(o.JobTime),
	}
	w.addRoutes()
	return w
}

// SetCapacity changes Capacity and MaxRunning of the options while the worker
// runs, as a neighbour on the same GPU does, or a clock that is throttled. What
// runs goes on at the new pace; with fewer places than run, nobody else gets one
// until enough have left.
func (w *Worker) SetCapacity(capacity, maxRunning int) { w.engine.resize(capacity, maxRunning) }

// Stats returns what the worker has counted so far, all at one moment (its Jobs at
// another).
func (w *Worker) Stats() Stats {
	s := w.engine.snapshot()
	s.Jobs = w.jobs.snapshot()
	return s
}

// ServeHTTP answers one request. Where a fault cuts the connection it panics
// with http.ErrAbortHandler, which is how net/http is told to.
func (w *Worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.engine.arrived()
	a := &answer{ResponseWriter: rw, request: r}
	w.serve(a, r)
	a.finish()
}

func (w *Worker) serve(a *answer, r *http.Request) {
	fault, err := ParseFault(strings.Join(r.Header.Values("X-Standin-Fault"), ","))
	to, found := w.find(a, r)
	if err != nil {
		a.refuse(badRequest("", "X-Standin-Fault: %v", err))
		return
	}
	if found.generates {
		a.serial = w.serial.Add(1)
		if fault.none() && w.struck(a.serial) {
			fault = w.opts.Fault
		}
	}
	a.fault = fault
	switch {
	case a.preempted():
		if a.serial > 0 && (a.err == nil || errors.Is(a.err, errCut)) {
			w.engine.ended("", faulted)
		}
	case asksForKey(r.URL.Path) && !w.authorized(r):
		a.refuse(&refusal{
			status: http.StatusUnauthorized, kind: "invalid_request_error", code: "invalid_api_key",
			message: "Incorrect API key provided.",
		})
	case to == nil:
		a.refuse(&refusal{
			status: http.StatusNotFound, kind: "invalid_request_error",
			message: "Invalid URL (" + r.Method + " " + r.URL.Path + ")",
		})
	case found.serve == nil:
		a.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(to)), ", "))
		a.refuse(&refusal{
			status: http.StatusMethodNotAllowed, kind: "invalid_request_error",
			message: "Not allowed to " + r.Method + " on " + r.URL.Path,
		})
	default:
		found.serve(a, r)
	}
}

// struck reports whether the fault of the options befalls the generation
// request of this number.
func (w *Worker) struck(serial uint64) bool {
	p := w.opts.FaultProbability
	return p <= 0 || rand.New(rand.NewPCG(w.opts.Seed, serial)).Float64() < p
}

// asksForKey reports whether a path is one of those for which a key is needed.
func asksForKey(path string) bool {
	return strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/v1beta/") || strings.HasPrefix(path, "/openai/")
}

func (w *Worker) authorized(r *http.Request) bool {
	if len(w.opts.APIKeys) == 0 {
		return true
	}
	var shown []string
	if key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		shown = append(shown, key)
	}
	for _, name := range []string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
		shown = append(shown, r.Header.Values(name)...)
	}
	return slices.ContainsFunc(w.opts.APIKeys, func(k string) bool {
		return slices.ContainsFunc(shown, func(key string) bool {
			return subtle.ConstantTimeCompare([]byte(k), []byte(key)) == 1
		})
	})
}
