package workers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// ConnectError is what Send returns when there was no connection to any worker.
// Nothing was sent.
type ConnectError struct {
	// Err says why for the worker tried last: a failed dial, a failed TLS
	// handshake, or the end of the request's context before either was through.
	Err error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("workers: no connection to any: %v", e.Err)
}

// Unwrap returns Err.
func (e *ConnectError) Unwrap() error { return e.Err }

// RoundTrip is Send of a request that names no model and is not repeated once
// it was sent.
func (p *Pool) RoundTrip(req *http.Request) (*http.Response, error) {
	return p.Send(req, nil, Want{})
}

// Send sends req to the least busy worker and, while none can be reached, to
// each of the others once, for half a minute. The client's target is req.RequestURI or, where that
// is empty, req.URL's; see SetTarget. The worker counts as busy until the body
// of the answer has ended or was closed; after a 101 until the connection was
// closed or req's context has ended.
//
// As often as the policy says, and while there are no more than one for every
// five requests, requests are retried: where no worker was reached, and where
// a worker has refused it twice by HTTP/2, and where want says so after an answer
// of 502, 503 or 504, at the first time with another worker if there is one, else
// after a wait. The last answer is
// returned, whatever it is.
//
// A body that is held is sent in the place of req's, which must be nil, and let
// go of once a worker has it.
//
// The client's Host reaches an http worker as it is; an https worker is called
// by its own. A worker with a key of its own sees none of the client's.
//
// After ErrNoWorker, ErrNoModel and a *ConnectError, and then only, it is
// certain that nothing was sent. ErrHeaders is about the request. Any other error is the transport's own; the
// request may have been sent then, in part or whole, and is not sent again.
//
// Of the hooks of an httptrace.ClientTrace, Got1xxResponse alone is sure to be
// called, and that where want has no Interim.
//
// A body that was given to one worker is given to no other, unless req.GetBody
// can make it anew. As http.RoundTripper demands, req is not changed and its
// body is closed.
func (p *Pool) Send(req *http.Request, held *Held, want Want) (*http.Response, error) {
	if held != nil {
		held.use()
		defer held.done()
	}
	target := req.RequestURI
	if target == "" {
		target = req.URL.RequestURI()
	}
	body := req.Body
	once := body != nil && body != http.NoBody && req.GetBody == nil
	c := p.pick(&want, nil, first, 0)
	if c.worker == nil {
		if body != nil {
			_ = body.Close()
		}
		return nil, p.none(want.Model)
	}

	var answer *http.Response // of a worker that was too busy
	var tried []*worker
	connected, lent := false, false
	var again again
	for {
		x := &exchange{claim: c, pool: p, ctx: req.Context(), interim: want.Interim, before: answer, lent: lent}
		resp, err := x.send(req, body, held, once, target)
		lent = x.lent
		if x.connected.Load() {
			answer, connected = nil, true
		}
		switch {
		case err == nil && (once || !want.Repeat || !isBusy(resp)):
			return resp, nil
		case err == nil:
			answer = resp
		case x.connected.Load() && (once || !isDialError(err) && err != errRefused):
			// The transport dials again when a kept connection turns out to be
			// dead and the request may be sent anew. When that fails, too, the
			// request may as well go to another worker, and so it may when it was
			// refused. Else it may not.
			return nil, err
		}
		tried = append(tried, c.worker)
		if c = p.another(x.ctx, &want, tried, err != nil && err != errRefused, &again); c.worker == nil {
			return last(x.ctx, answer, err, body, once, connected)
		}
		if req.GetBody != nil {
			if body, err = req.GetBody(); err != nil {
				x = &exchange{claim: c, pool: p, ctx: req.Context()}
				x.end(left, nil)
				return last(x.ctx, answer, fmt.Errorf("body for another worker: %w", err), body, false, connected)
			}
		}
	}
}

// last is what Send returns when there is no other worker to try.
func last(ctx context.Context, answer *http.Response, err error, body io.Closer, once, connected bool) (*http.Response, error) {
	if once { // else the transport has closed it
		_ = body.Close()
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
		if answer != nil {
			_ = answer.Body.Close()
		}
	case answer != nil:
		return answer, nil
	}
	if !connected {
		return nil, &ConnectError{Err: err}
	}
	return nil, err
}

// isBusy reports whether another worker might answer better.
func isBusy(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

const (
	firstWait = 50 * time.Millisecond // at most, before the second attempt with the same worker
	mostWait  = time.Second

	// failOverFor is how long a request goes from one worker that cannot be reached
	// to the next, from when that shows for the first time. One that refuses takes no
	// time; of those that do not answer at all each takes a DialTimeout, and hundreds
	// would take the time and the slot of a request that none can serve.
	failOverFor = 30 * time.Second
)

// again counts what a request has had of retries, and of waits before them.
type again struct {
	retries, waits int
	failed         time.Time // when a worker could not be reached for the first time
}

// another gives a request to the next worker, perhaps after a wait; to none
// where that may not be, there is none, or the request's context has ended.
func (p *Pool) another(ctx context.Context, want *Want, tried []*worker, unsent bool, a *again) claim {
	if ctx.Err() != nil {
		return claim{}
	}
	if unsent {
		now := time.Now()
		if a.failed.IsZero() {
			a.failed = now
		}
		if now.Sub(a.failed) < failOverFor {
			if c := p.pick(want, tried, failOver, a.retries); c.worker != nil {
				return c
			}
		}
	}
	if a.retries == 0 {
		if c := p.pick(want, tried, retryNow, 0); c.worker != nil {
			a.retries++
			return c
		}
	}
	if c := p.pick(want, tried, look, a.retries); c.worker == nil {
		return c // so there is nothing to wait for
	}
	wait := time.NewTimer(p.options.jitter(min(firstWait<<min(a.waits, 8), mostWait)))
	defer wait.Stop()
	a.waits++
	select {
	case <-ctx.Done():
		return claim{}
	case <-wait.C:
	}
	c := p.pick(want, tried, retryLast, a.retries)
	a.retries++
	return c
}

const (
	discardMost = 4 << 10
	discardWait = 50 * time.Millisecond
)

// discard ends an answer that is not passed on. A short one is read to its end,
// so that its connection may serve again.
func discard(resp *http.Response) {
	t := time.AfterFunc(discardWait, func() { _ = resp.Body.Close() })
	_, _ = io.CopyN(io.Discard, resp.Body, discardMost)
	t.Stop()
	_ = resp.Body.Close()
}
