package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/traffic"
	"github.com/penstock-dev/penstock/internal/workers"
)

// forward sends the request to a worker and its answer to the client.
func (x *exchange) forward() {
	if x.endpoint.Kind == traffic.Other && x.r.Method == http.MethodPost || x.endpoint.Metered() && !x.counted {
		x.g.Metrics.Unmetered(x.path)
	}
	x.ctx, x.cancel = x.untilAnswered()
	x.beginTime()
	x.away = true
	r := x.outgoing()
	x.sent = true // until the pool says that nothing was
	resp, err := x.send(r, &x.body)
	if err != nil {
		x.sent = !isUnsent(err)
	} else if own := x.ownBody(resp); own != nil {
		resp, err = x.send(r, own)
	}
	x.hear(nil)
	switch {
	case err != nil:
		x.failed(err)
	case resp.StatusCode == http.StatusSwitchingProtocols:
		x.handOver(r, resp)
	default:
		alone := workers.Alone(resp)
		x.pass(resp)
		x.away = !alone
	}
}

// send asks the workers. What was read of the request's body is sent as held.
func (x *exchange) send(r *http.Request, held *workers.Held) (*http.Response, error) {
	want := workers.Want{Model: x.asked.Ask.Model, Tokens: x.need.Amounts[penstock.Tokens], Repeat: x.counted, Interim: x.interim}
	switch x.method() {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		want.Repeat = true
	}
	x.asking = time.Now()
	if x.read {
		return x.g.Workers.Send(r, held, want)
	}
	return x.g.Workers.Send(r, nil, want)
}

// refusalBytes is how long an answer may be that is read to see what it refuses.
const refusalBytes = 16 << 10

// ownBody returns the body as the client sent it where the worker knows no wish for
// usage, and has refused the request for the one that the client knows nothing of.
// The answer is over then. Else it returns nil, and the answer is as it was.
func (x *exchange) ownBody(resp *http.Response) *workers.Held {
	if !x.asked.HideUsage() || resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusUnprocessableEntity {
		return nil
	}
	alone := workers.Alone(resp)
	said, err := io.ReadAll(io.LimitReader(resp.Body, refusalBytes))
	if err != nil || len(said) == refusalBytes || !x.asked.RefusesUsage(said) {
		resp.Body = &halfRead{resp.Body, said, err}
		return nil
	}
	_ = resp.Body.Close()
	x.shared = x.shared || !alone
	own := &workers.Held{}
	own.Hold(x.asked.TakeBack(make([]byte, 0, len(x.lent)), x.lent))
	x.letGo()
	return own
}

// halfRead is the body of an answer of which the begin was read, and perhaps an
// error after it.
type halfRead struct {
	io.ReadCloser
	begin []byte
	err   error
}

// Read implements io.Reader.
func (h *halfRead) Read(p []byte) (int, error) {
	switch {
	case len(h.begin) > 0:
		n := copy(p, h.begin)
		h.begin = h.begin[n:]
		return n, nil
	case h.err != nil:
		return 0, h.err
	}
	return h.ReadCloser.Read(p)
}

// errTimeout ends a request's context.
var errTimeout = errors.New("the request took longer than request_timeout")

// lastWords is how long a client has after the timeout to take what it is still
// told. Then the connection is cut: one that reads nothing must not hold its slot
// for longer than a request may take.
const lastWords = time.Second

// unread is how long a client has to take a piece of its answer, up to twice that:
// one that takes none must not hold its slot for as long as a request may take.
const unread = time.Minute

// beginTime begins the time that the request has.
func (x *exchange) beginTime() {
	x.timing.Lock() // the timer may be early
	defer x.timing.Unlock()
	x.left = x.rules.RequestTimeout
	next := min(x.left, unread)
	x.left -= next
	if x.timer == nil {
		x.timer = time.AfterFunc(next, x.watch)
	} else {
		x.timer.Reset(next)
	}
}

// watch sees whether the client takes its answer, from time to time, and in the
// end ends a request that takes too long. One that has ended it leaves alone.
func (x *exchange) watch() {
	x.timing.Lock()
	defer x.timing.Unlock()
	if x.over {
		return
	}
	// Where there is no deadline to set (not a connection), there is none. The
	// server takes it away before the next request.
	control := http.NewResponseController(x.w)
	if x.left == 0 {
		x.cancel(errTimeout)
		_ = control.SetWriteDeadline(time.Now().Add(lastWords))
		return
	}
	writes := x.writes.Load()
	if writes%2 == 1 && writes == x.looked {
		_ = control.SetWriteDeadline(time.Now()) // as if it had left
	}
	x.looked = writes
	next := min(x.left, unread)
	x.left -= next
	x.timer.Reset(next)
}

// inTime ends the time that the request has.
func (x *exchange) inTime() {
	if x.ctx == nil || x.over {
		return
	}
	if !x.timer.Stop() {
		x.shared = true // it has begun to run out
	}
	x.timing.Lock()
	defer x.timing.Unlock()
	x.over = true
}

// hasWorker reports whether a worker that serves the model may be asked, which
// nobody has to wait for, or to pay for, to hear.
func (x *exchange) hasWorker() bool {
	err := x.g.Workers.Ready(x.asked.Ask.Model)
	if err != nil {
		x.unserved(err)
	}
	return err == nil
}

// unserved answers a request for which there is no worker.
func (x *exchange) unserved(err error) {
	x.standing = nil // what it says was given back
	d := reply.Denial{Code: reply.NoWorker}
	var away *workers.UnavailableError
	switch {
	case errors.Is(err, workers.ErrNoModel):
		d = reply.Denial{Code: reply.NotFound, Message: "No worker serves this model."}
	case errors.As(err, &away):
		d.RetryAfter = away.RetryAfter
	}
	x.failing(d.Code, err)
	x.refuse(d)
}

// isUnsent reports whether the pool says that nothing was sent.
func isUnsent(err error) bool {
	var none *workers.ConnectError
	return errors.As(err, &none) || errors.Is(err, workers.ErrNoModel) || errors.Is(err, workers.ErrNoWorker)
}

// failed answers a request that no worker answered.
func (x *exchange) failed(err error) {
	x.broken = err
	var problem *uploadError
	switch {
	case errors.As(err, &problem):
		x.cut = true
		x.refuse(problem.denial)
	case x.r.Context().Err() != nil:
		x.status = statusClientClosed
	case errors.Is(context.Cause(x.ctx), errTimeout):
		x.failing(reply.UpstreamTimeout, errTimeout)
		x.refuse(reply.Denial{Code: reply.UpstreamTimeout})
	case !x.sent:
		x.unserved(err)
	case errors.Is(err, workers.ErrHeaders):
		x.refuse(reply.Denial{Code: reply.InvalidRequest, Message: "The request's headers are larger than the worker takes. Send fewer."})
	default:
		x.failing(reply.UpstreamError, err)
		x.refuse(reply.Denial{Code: reply.UpstreamError})
	}
}
