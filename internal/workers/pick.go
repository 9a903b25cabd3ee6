package workers

import (
	"errors"
	"fmt"
	"math/bits"
	"net/textproto"
	"slices"
	"time"
)

// Want is what a request wants of a worker.
type Want struct {
	// Model is the model that it asks for; empty where it names none.
	Model string
	// Tokens is the work that it is, while it is outstanding. Less than 1 means 1.
	Tokens int64
	// Repeat says that the request may be sent anew when a worker has answered
	// 502, 503 or 504 to it.
	Repeat bool
	// Interim is told of the answers of 1xx that come before the answer, 101 not
	// among them; an error ends the request. It may be called from another
	// goroutine, and when Send has returned. Nil: the Got1xxResponse of the
	// httptrace.ClientTrace in the request's context is told.
	Interim func(code int, header textproto.MIMEHeader) error
}

// ErrNoWorker is what Send returns when the pool is empty. An *UnavailableError
// is one, too. Nothing was sent.
var ErrNoWorker = errors.New("workers: none is configured; add one to workers")

// ErrNoModel is what Send returns when there are workers, and none of them
// serves the request's model. Nothing was sent.
var ErrNoModel = errors.New("workers: none serves this model; add it to the models of one")

// UnavailableError is what Send returns when no worker that serves the model may
// be asked now. Nothing was sent. It is an ErrNoWorker.
type UnavailableError struct {
	// Down, Draining, Open and Resting count these workers by what they are.
	Down, Draining, Open, Resting int
	// RetryAfter is the time until the first of them may be asked; 0 where that
	// is not known.
	RetryAfter time.Duration
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("workers: none may be asked now: %d down, %d draining, %d with an open breaker, %d resting", e.Down, e.Draining, e.Open, e.Resting)
}

// Is reports whether target is ErrNoWorker.
func (e *UnavailableError) Is(target error) bool { return target == ErrNoWorker }

// attempt says what a worker is looked for.
type attempt uint8

const (
	first     attempt = iota
	failOver          // nothing was sent to the ones before: another one, for nothing
	retryNow          // another one, out of the budget
	retryLast         // another one or, where there is none, one that was tried
	look              // is there one for retryLast?
)

// The budget of retries, in fifths of one: each request adds a fifth, so that
// retries are at most 20 % of requests but for a first stock.
const (
	perRequest = 1
	perRetry   = 5
	mostBudget = 10 * perRetry
)

// claim is a worker that a request has been given to.
type claim struct {
	worker *worker // nil: there is none
	*reach
	tokens  int64
	probe   uint32 // not 0: it is to see whether the worker works again
	returns uint32 // the worker's, when it was given the request
	young   bool   // the worker was starting
}

// pick gives the request to the worker with the least outstanding tokens by its
// weight, of several the next in turn, among those that serve its model and may
// be asked: to one that is starting only where none is up, and to one that was
// tried only where the attempt allows it and there is no other. retries is
// the number of the request's so far.
func (p *Pool) pick(want *Want, tried []*worker, a attempt, retries int) (c claim) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch a {
	case first:
		p.budget = min(p.budget+perRequest, mostBudget)
	case retryNow, retryLast, look:
		if retries >= p.policy.Retries || p.budget < perRetry {
			return claim{}
		}
	}
	var best *worker
	var now time.Time
	var tier, bestTier uint8
	var tokens int64  // of the best
	var weight uint64 // 0: there is none
	n, at, next := len(p.workers), p.next, 0
	for range n {
		if at >= n {
			at = 0
		}
		w := p.workers[at]
		at++
		if bestTier == 0 && w.weight == weight && w.tokens >= tokens {
			continue // as it is for most, so that it comes first
		}
		if w.standing != (standing{}) && !w.mayBeAsked(&now) || want.Model != "" && w.serves != nil && !w.has(want.Model) {
			continue
		}
		tier = uint8(w.state) // Up or Starting
		better := w.tokens < tokens
		if w.weight != weight {
			better = isLess(w.tokens, w.weight, tokens, weight)
		}
		if best != nil && (tier > bestTier || tier == bestTier && !better) {
			continue // before all that were tried are looked through, of which there may be as many
		}
		if len(tried) > 0 && slices.Contains(tried, w) {
			tier |= 2
			if a != retryLast && a != look || best != nil && (tier > bestTier || tier == bestTier && !better) {
				continue
			}
		}
		best, bestTier, next, tokens, weight = w, tier, at, w.tokens, w.weight
	}
	if best == nil || a == look {
		return claim{worker: best}
	}
	p.next = next
	if a >= retryNow {
		p.budget -= perRetry
		best.retries++
		p.retries++
	}
	c = claim{worker: best, reach: best.reach, tokens: max(want.Tokens, 1), returns: best.returns, young: best.state == Starting}
	best.outstanding++
	best.tokens += c.tokens
	if best.breaker != Closed {
		best.probes = max(best.probes+1, 1) // never 0
		best.breaker, best.probe, c.probe = HalfOpen, best.probes, best.probes
	}
	return c
}

// isLess reports whether n tokens are fewer than n2, each by its weight.
func isLess(n int64, weight uint64, n2 int64, weight2 uint64) bool {
	high, low := bits.Mul64(uint64(n), weight2)
	high2, low2 := bits.Mul64(uint64(n2), weight)
	return high < high2 || high == high2 && low < low2
}

// Ready returns nil when some worker that serves the model may be asked now, else
// what Send would return: ErrNoModel or an *UnavailableError. Where there is no
// worker at all, Send says so.
func (p *Pool) Ready(model string) error {
	if p.mayAsk(model) {
		return nil
	}
	return p.none(model)
}

func (p *Pool) mayAsk(model string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var now time.Time
	return len(p.workers) == 0 || slices.ContainsFunc(p.workers, func(w *worker) bool { return w.has(model) && w.mayBeAsked(&now) })
}

// none says why pick has found no worker at the first attempt.
func (p *Pool) none(model string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.workers) == 0 {
		return ErrNoWorker
	}
	now := time.Now()
	var e UnavailableError
	serving := false
	for _, w := range p.workers {
		if !w.has(model) {
			continue
		}
		serving = true
		var wait time.Duration
		switch {
		case w.draining:
			e.Draining++
			continue
		case w.state == Down:
			e.Down++
			continue
		case w.resting && now.Before(w.restUntil):
			e.Resting++
			wait = w.restUntil.Sub(now)
		default:
			e.Open++
			if wait = w.openUntil.Sub(now); wait <= 0 {
				wait = time.Second // what the one that sees whether it works takes is not known
			}
		}
		if e.RetryAfter == 0 || wait < e.RetryAfter {
			e.RetryAfter = wait
		}
	}
	if !serving {
		return ErrNoModel
	}
	return &e
}
