package client

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// Retry is an [http.RoundTripper] that sends a request again where that is safe
// and may help:
//
//   - it was answered 429, 503 or Anthropic's 529, or 408 with a wait (which is how penstock says
//     that it waited in the queue in vain; other 408s are about the request);
//   - it was answered any error with x-should-retry: true;
//   - no connection could be made, so nothing was sent.
//
// x-should-retry: false forbids it. A request with a body is sent again only
// when it has a GetBody, which [http.NewRequest] sets for bodies in memory. All
// else is returned as it came, 502 and 504 too: the work may have been done.
//
// It waits as long as retry-after-ms says, else as Retry-After says, in seconds
// or by a date. Where neither says a time to come, the nth wait is random below
// 1 s, 2 s, 4 s, 8 s, … (full jitter), and below MaxWait. When the wait would be
// longer than MaxWait, or would not end before the deadline of the request's
// context, the answer is returned at once, as is that of the last try. While it
// waits, it holds no connection and returns when the context is done, with its
// cause.
//
// The zero Retry is ready for use, a Retry may be copied, and it is safe for
// concurrent use.
type Retry struct {
	// Base sends the requests; nil is [http.DefaultTransport].
	Base http.RoundTripper
	// Tries is how many times a request is sent at most, the first one
	// included; 0 and less is 5.
	Tries int
	// MaxWait is the longest wait between two tries; 0 and less is a minute.
	// Where penstock tells more than a minute, it also forbids to try again.
	MaxWait time.Duration
}

var _ http.RoundTripper = Retry{}

// RoundTrip sends req, again where that may help. Its errors are those of Base
// and the cause of the context's end.
func (r Retry) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.Tries <= 0 {
		r.Tries = 5
	}
	if r.MaxWait <= 0 {
		r.MaxWait = time.Minute
	}
	ctx := req.Context()
	next := req
	for try := 1; ; try++ {
		resp, err := sender(r.Base).RoundTrip(next)
		if try == r.Tries {
			return resp, err
		}
		wait, again := r.wait(try, resp, err)
		if !again || !endsBefore(ctx, wait) {
			return resp, err
		}
		if next, again = another(req); !again {
			return resp, err
		}
		at := time.Now().Add(wait)
		if resp != nil {
			discard(resp, wait)
		}
		if err := sleep(ctx, time.Until(at)); err != nil {
			if next.Body != nil {
				next.Body.Close()
			}
			return nil, err
		}
	}
}

// CloseIdleConnections does so at Base, if it can.
func (r Retry) CloseIdleConnections() { closeIdle(r.Base) }

// wait returns how long to wait before the request is sent again whose nth try,
// from 1, had this answer or error; false when it is not to be.
func (r Retry) wait(nth int, resp *http.Response, err error) (time.Duration, bool) {
	if err != nil {
		return backoff(nth, r.MaxWait), unsent(err)
	}
	wait, told := toldWait(resp.Header, time.Now())
	if !repeatable(resp, told) || told && wait > r.MaxWait {
		return 0, false
	}
	if !told {
		wait = backoff(nth, r.MaxWait)
	}
	return wait, true
}

// backoff is exponential with full jitter (Marc Brooker, "Exponential Backoff
// And Jitter", AWS Architecture Blog, 2015): callers who were refused together
// come back apart.
func backoff(nth int, most time.Duration) time.Duration {
	if doublings := nth - 1; doublings <= 33 { // beyond, a Duration is too short
		most = min(time.Second<<doublings, most)
	}
	return rand.N(most)
}

// unsent says that err came before anything of the request was sent, from a
// server that may be there later. A name that does not exist is an answer.
func unsent(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" && op.Op != "proxyconnect" {
		return false
	}
	var name *net.DNSError
	return !errors.As(err, &name) || !name.IsNotFound
}

// endsBefore says that a wait from now on is over before the context is.
func endsBefore(ctx context.Context, wait time.Duration) bool {
	deadline, has := ctx.Deadline()
	return ctx.Err() == nil && (!has || wait < time.Until(deadline))
}

// another returns req to be sent once more, for req itself belongs to the
// caller; false when its body cannot be had again.
func another(req *http.Request) (*http.Request, bool) {
	next := req.WithContext(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return next, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, false // the answer that is there says more
	}
	next.Body = body
	return next, true
}

// discard ends an answer that is not returned. What says that it is short is
// read, so that its connection can be used again, for as long as the next try
// waits anyway; another could go on for ever.
func discard(resp *http.Response, wait time.Duration) {
	late := time.AfterFunc(wait, func() { resp.Body.Close() })
	if 0 <= resp.ContentLength && resp.ContentLength <= 64<<10 {
		// One byte more than there are, so as to read its end. After an
		// error the connection is just not used again.
		_, _ = io.CopyN(io.Discard, resp.Body, resp.ContentLength+1)
	}
	if late.Stop() {
		resp.Body.Close()
	}
}

// sleep returns when d is over, or the cause of the context's end.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return context.Cause(ctx) // nil before its end
}
