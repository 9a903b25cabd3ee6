package client

import (
	"context"
	"math"
	"net/http"
	"sync"
	"time"
)

// Adaptive is an [http.RoundTripper] that keeps to a rate and adapts it to the
// answers: multiplied by 1.1, up to Max, at each one below 400; halved, down to
// one a minute, at a 429. Other answers and errors leave it as it is, and so does
// a 429 that says x-should-retry: false and no wait, which is about that one
// request. An answer counts when its headers are there.
//
// The answers to requests sent before the last halving change nothing: a burst
// of 429s halves the rate once, and what succeeds behind it does not take that
// back.
//
// Requests wait for their turn, first come first served, and their turns are
// evenly spaced, at least 1/rate apart: idle time is not saved up for a burst.
// One whose context is done leaves with the context's cause, and takes no turn. A
// rate that nobody waits for grows as well: it is what may be sent, not what is.
//
// The rate is that of all requests together: use one Adaptive for each server
// and key. The zero Adaptive is ready for use; it must not be copied, or its
// fields changed, after its first use. It is safe for concurrent use.
type Adaptive struct {
	// Base sends the requests; nil is [http.DefaultTransport].
	Base http.RoundTripper
	// Start is the rate to begin with, in requests per second, at most Max;
	// what is not positive and finite is 10.
	Start float64
	// Max is the highest rate, in requests per second; what is not positive
	// and finite is 100.
	Max float64

	once    sync.Once
	head    chan struct{} // holds one: who is the head of the line
	changed chan struct{} // holds one: the rate has changed since the head looked

	mu   sync.Mutex
	pace pace
}

var _ http.RoundTripper = (*Adaptive)(nil)

// RoundTrip sends req when its turn has come. Its errors are those of Base and
// the cause of the context's end.
func (a *Adaptive) RoundTrip(req *http.Request) (*http.Response, error) {
	a.once.Do(a.begin)
	number, err := a.turn(req.Context())
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	resp, err := sender(a.Base).RoundTrip(req)
	if err == nil {
		a.learn(number, resp)
	}
	return resp, err
}

// CloseIdleConnections does so at Base, if it can.
func (a *Adaptive) CloseIdleConnections() { closeIdle(a.Base) }

// Rate returns the present rate, in requests per second.
func (a *Adaptive) Rate() float64 {
	a.once.Do(a.begin)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pace.rate
}

func (a *Adaptive) begin() {
	a.head = make(chan struct{}, 1)
	a.changed = make(chan struct{}, 1)
	a.pace.most = positive(a.Max, 100)
	a.pace.rate = min(positive(a.Start, 10), a.pace.most)
}

func positive(rate, otherwise float64) float64 {
	if rate > 0 && !math.IsInf(rate, 1) {
		return rate
	}
	return otherwise
}

// turn waits for the turn of one request and returns the request's number. The
// line is those who wait to send to head, which the runtime serves in their
// order; only its head has a timer, and looks at the rate.
func (a *Adaptive) turn(ctx context.Context) (number uint64, err error) {
	select {
	case a.head <- struct{}{}:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	defer func() { <-a.head }()
	for woken := false; ctx.Err() == nil; {
		var wait time.Duration
		if wait, number = a.take(time.Now(), woken); number > 0 {
			return number, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			woken = true
		case <-a.changed:
			woken = false
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return 0, context.Cause(ctx)
}

// take returns the number of the request that is sent now, or how long to wait.
// woken says that a timer was waited for.
func (a *Adaptive) take(now time.Time, woken bool) (wait time.Duration, number uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if wait = a.pace.due().Sub(now); wait > 0 {
		return wait, 0
	}
	return 0, a.pace.send(now, woken)
}

// learn adapts the rate to the answer of a request.
func (a *Adaptive) learn(number uint64, resp *http.Response) {
	limited := tooFast(resp)
	if !limited && resp.StatusCode >= 400 {
		return
	}
	a.mu.Lock()
	if limited {
		a.pace.limited(number)
	} else {
		a.pace.succeeded(number)
	}
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default: // the head has not looked yet
	}
}
