package workers

import (
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Stats is one worker at one moment. The counters count since the worker was
// added and only grow.
type Stats struct {
	URL string // without a password
	// Weight and Models are as configured, the weight at least 1.
	Weight int
	Models []string
	State  State
	// Why says why it is down or has not started yet; empty when it is up.
	Why     string
	Breaker Breaker
	// Resting is how long it is not asked since it answered 503 with a
	// Retry-After.
	Resting time.Duration
	// Outstanding counts the requests that it has not answered to the end,
	// Tokens what they were said to want, and those for which it is kept.
	Outstanding int
	Tokens      int64
	// Sent counts the requests for which there was a connection.
	Sent uint64
	// Failed counts the requests that it could not be reached for or did not
	// answer to the end, those not among them whose client went away.
	Failed uint64
	// Retries counts the requests that it was asked as a retry.
	Retries uint64
}

// Stats returns the workers in the order in which they were given, those that
// were added behind them.
func (p *Pool) Stats() []Stats {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := make([]Stats, len(p.workers))
	for i, w := range p.workers {
		s := Stats{
			URL:         w.url.Redacted(),
			Weight:      int(w.weight),
			Models:      slices.Clone(w.models),
			State:       w.state,
			Why:         w.why,
			Breaker:     w.breaker,
			Outstanding: w.outstanding,
			Tokens:      w.tokens,
			Sent:        w.sent,
			Failed:      w.failed,
			Retries:     w.retries,
		}
		if w.draining {
			s.State = Draining
		}
		if w.breaker == Open && !now.Before(w.openUntil) {
			s.Breaker = HalfOpen
		}
		if w.resting {
			s.Resting = max(w.restUntil.Sub(now), 0)
		}
		stats[i] = s
	}
	return stats
}

// Retries counts the requests that any worker was asked as a retry, whether it is
// still there or not. It only grows.
func (p *Pool) Retries() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retries
}

// Begun reports whether the body of an answer that Send has just returned can be
// read without waiting, as far as that is known.
func Begun(resp *http.Response) bool {
	b := plain(resp)
	return b != nil && b.begun(resp.TransferEncoding != nil) || resp.Body == http.NoBody
}

// Alone reports whether nobody but its caller holds on to the request of an answer
// that Send has just returned, once its body has been read to the end. Where that
// is not known it is false.
func Alone(resp *http.Response) bool {
	x, ok := resp.Body.(*exchange)
	return ok && !x.lent
}

// From returns the URL of the worker that gave an answer which Send has just returned,
// which must not be changed; nil where that is not known, as of one without a body.
func From(resp *http.Response) *url.URL {
	x, ok := resp.Body.(*exchange)
	if !ok {
		return nil
	}
	return x.worker.url
}

// plain is the body of an answer to a request that http1 has sent; nil of any
// other.
func plain(resp *http.Response) *body {
	if x, ok := resp.Body.(*exchange); ok {
		b, _ := x.body.(*body)
		return b
	}
	return nil
}
