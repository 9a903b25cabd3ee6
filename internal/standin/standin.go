// Package standin stands in for both sides of a gateway: a Worker is an
// inference server behind it, a Load is the callers in front of it.
//
// The worker speaks OpenAI's dialect with vLLM's timing: a time to the first
// token, a time for each further one, a capacity that running requests share,
// and a line behind that. It has no model. Its answers are word-like text, the
// same for the same request and seed, and on request it breaks in the ways
// that real workers and networks do (see ParseFault).
//
// Its tokenizer is arithmetic: a token is Options.BytesPerToken bytes of text,
// so input is counted as the bytes of all message texts divided by that,
// rounded up, and n tokens of output are n times that many bytes, rounded
// down. Both agree: an answer sent back as input counts as many tokens as it
// had. Token ids count as they are; images, audio, files and tool definitions
// count nothing.
package standin

import (
	"crypto/subtle"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Options says how a worker behaves. The zero Options are a worker that
// answers any model at once, without pauses and faults.
type Options struct {
	// Models are the names that are served and listed; any other is answered
	// 404. None serves every name and lists the one name "standin".
	Models []string
	// APIKeys, when there are any, are the bearer keys without one of which
	// every path below /v1/ is answered 401. The other paths stay open, as
	// vLLM's do.
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

	// Output is how long answers are, in tokens, where the request does not
	// ask for less. Zero: DefaultOutput.
	Output Lengths
	// BytesPerToken is the size of a token in bytes of text, to a thousandth,
	// from 1 to 64. Zero, and what lies outside: 4, which makes every token of
	// an answer exactly a space and three letters.
	BytesPerToken float64
	// CachedShare is the share, from 0 to 1, of each request's input tokens
	// that is reported as cached and costs no time. Zero: none.
	CachedShare float64
	// Usage is how usage is reported. Zero: truly.
	Usage Usage
	// OmitNullUsage leaves the usage out of those chunks of a stream with
	// include_usage that have none, as vLLM does. False sends "usage":null in
	// them, as OpenAI does.
	OmitNullUsage bool

	// Fault is what befalls the POST requests below /v1/ whose header
	// X-Standin-Fault names nothing. Zero: nothing.
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
	routes map[string]route
	serial atomic.Uint64 // of the generation requests that arrived
}

// route is one endpoint: the method it takes (GET includes HEAD) and whether
// it is one that generates.
type route struct {
	method    string
	generates bool
	serve     func(*answer, *http.Request)
}

// New returns a worker that behaves as o says. It needs no stopping.
func New(o Options) *Worker {
	o.Models, o.APIKeys = slices.Clone(o.Models), slices.Clone(o.APIKeys)
	if o.Capacity <= 0 {
		o.Capacity = 16
	}
	if o.MaxRunning <= 0 {
		o.MaxRunning = 4 * o.Capacity
	}
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
	}
	w.routes = map[string]route{
		"/v1/chat/completions": {"POST", true, w.chatCompletions},
		"/v1/completions":      {"POST", true, w.completions},
		"/v1/responses":        {"POST", true, w.responses},
		"/v1/embeddings":       {"POST", true, w.embeddings},
		"/v1/models":           {"GET", false, w.modelList},
		"/health":              {"GET", false, health},
		"/metrics":             {"GET", false, w.metrics},
		"/bytes":               {"GET", false, bytesOut},
		"/chunks":              {"GET", false, chunksOut},
		"/gzip":                {"GET", false, gzipOut},
		"/ws":                  {"GET", false, websocket},
	}
	return w
}

// Stats returns what the worker has counted so far, all at one moment.
func (w *Worker) Stats() Stats { return w.engine.snapshot() }

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
	if err != nil {
		a.refuse(badRequest("", "X-Standin-Fault: %v", err))
		return
	}
	to, found := w.find(r.URL.Path)
	if to.generates && r.Method == to.method {
		a.serial = w.serial.Add(1)
		if fault.none() && w.struck(a.serial) {
			fault = w.opts.Fault
		}
	}
	a.fault = fault
	switch {
	case a.preempted():
		if a.serial > 0 && (a.err == nil || errors.Is(a.err, errCut)) {
			w.engine.faulted("")
		}
	case strings.HasPrefix(r.URL.Path, "/v1/") && !w.authorized(r):
		a.refuse(&refusal{
			status: http.StatusUnauthorized, kind: "invalid_request_error", code: "invalid_api_key",
			message: "Incorrect API key provided.",
		})
	case !found:
		a.refuse(&refusal{
			status: http.StatusNotFound, kind: "invalid_request_error",
			message: "Invalid URL (" + r.Method + " " + r.URL.Path + ")",
		})
	case to.method != "" && r.Method != to.method && (r.Method != http.MethodHead || to.method != http.MethodGet):
		a.Header().Set("Allow", to.method)
		a.refuse(&refusal{
			status: http.StatusMethodNotAllowed, kind: "invalid_request_error",
			message: "Not allowed to " + r.Method + " on " + r.URL.Path,
		})
	default:
		to.serve(a, r)
	}
}

// find returns the endpoint at path. /echo and /status also own what lies
// below them and take every method.
func (w *Worker) find(path string) (route, bool) {
	if path == "/echo" || strings.HasPrefix(path, "/echo/") {
		return route{serve: echo}, true
	}
	if strings.HasPrefix(path, "/status/") {
		return route{serve: status}, true
	}
	to, ok := w.routes[path]
	return to, ok
}

// struck reports whether the fault of the options befalls the generation
// request of this number.
func (w *Worker) struck(serial uint64) bool {
	p := w.opts.FaultProbability
	return p <= 0 || rand.New(rand.NewPCG(w.opts.Seed, serial)).Float64() < p
}

func (w *Worker) authorized(r *http.Request) bool {
	if len(w.opts.APIKeys) == 0 {
		return true
	}
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && slices.ContainsFunc(w.opts.APIKeys, func(k string) bool {
		return subtle.ConstantTimeCompare([]byte(k), []byte(key)) == 1
	})
}
