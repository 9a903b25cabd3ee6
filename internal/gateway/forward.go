package gateway

import (
	"context"
	"errors"
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
	if x.timer == nil {
		x.timer = time.AfterFunc(x.rules.RequestTimeout, x.timeOut)
	} else {
		x.timer.Reset(x.rules.RequestTimeout)
	}
	x.away = true
	r := x.outgoing()
	x.asking = time.Now()
	x.sent = true // until the pool says that nothing was
	resp, err := x.send(r)
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

// send asks the workers.
func (x *exchange) send(r *http.Request) (*http.Response, error) {
	want := workers.Want{Model: x.asked.Ask.Model, Tokens: x.need.Amounts[penstock.Tokens], Repeat: x.counted, Interim: x.interim}
	switch x.method() {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		want.Repeat = true
	}
	if x.read {
		return x.g.Workers.Send(r, &x.body, want)
	}
	return x.g.Workers.Send(r, nil, want)
}

// errTimeout ends a request's context.
var errTimeout = errors.New("the request took longer than request_timeout")

// lastWords is how long a client has after the timeout to take what it is still
// told. Then the connection is cut: one that reads nothing must not hold its slot
// for longer than a request may take.
const lastWords = time.Second

// timeOut ends a request that takes too long, unless it has ended.
func (x *exchange) timeOut() {
	x.timing.Lock()
	defer x.timing.Unlock()
	if x.over {
		return
	}
	x.cancel(errTimeout)
	// Where there is no deadline to set (not a connection), there is none. The
	// server takes it away before the next request.
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(lastWords))
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

// failed answers a request that no worker answered.
func (x *exchange) failed(err error) {
	var none *workers.ConnectError
	if errors.As(err, &none) || errors.Is(err, workers.ErrNoModel) || errors.Is(err, workers.ErrNoWorker) {
		x.sent = false
	}
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
	default:
		x.failing(reply.UpstreamError, err)
		x.refuse(reply.Denial{Code: reply.UpstreamError})
	}
}
