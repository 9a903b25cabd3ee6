package gateway

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/telemetry"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// work is what serving tokens weighs where callers wait for their turns: making
// one takes about twice what reading one does.
func work(input, output int64) int64 { return input + 2*output }

// enter waits for a slot and a bucket token.
func (x *exchange) enter() bool {
	if !x.takesSlot() {
		return true
	}
	if x.isShort() && x.g.Queue.Busy() && !x.readAhead() {
		return false
	}
	x.turn()
	ask := queue.Ask{Caller: x.caller.ID, Class: x.class, Weight: x.weight, Cost: x.rules.MediaPart}
	if x.read && x.counted {
		x.served = x.need.Amounts[penstock.OutputTokens]
		ask.Cost = work(x.asked.Ask.Input, x.served)
	}
	if x.rules.Progress && x.toldWhileWaiting() {
		ask.Progress, x.shared = x.waiting, true
	}
	slot, err := x.g.Queue.Enter(x.r.Context(), ask)
	if n := slot.Position(); n > 0 {
		x.position = n
		x.g.Metrics.Waited(x.class, slot.Waited())
	}
	if err != nil {
		x.notEntered(err)
		return false
	}
	x.slot = slot
	return true
}

// takesSlot reports whether the request needs a place at a worker. While jobs
// hold places, what they are watched and called off by needs none: else who
// waits for a job to end would wait for the place that the job has. As all that
// loosens, that is for clean paths.
func (x *exchange) takesSlot() bool {
	if x.upgrades() || !x.endpoint.TakesSlot() {
		return false
	}
	control := x.endpoint.Dialect == traffic.ComfyUI && x.endpoint.Kind == traffic.Other && isClean(rawPath(x.r.RequestURI))
	return !control || x.g.Jobs.Open() == 0
}

// turn says whose turn it is that the request waits for. A request may lower its
// own class, never raise it.
func (x *exchange) turn() {
	x.class, x.weight = x.rules.Policy.Turn(&x.caller, x.target(), &x.asked.Ask)
	asked := x.r.Header["X-Priority"]
	if len(asked) != 1 {
		return
	}
	for _, c := range traffic.Classes() {
		if strings.EqualFold(asked[0], c.String()) && x.class.Before(c) {
			x.class = c
		}
	}
}

// grown corrects what the caller was counted for, as the answer grows beyond
// what was expected of it.
func (x *exchange) grown(output int64) {
	if output <= x.served {
		return
	}
	x.served = (output + topUp - 1) / topUp * topUp
	x.slot.Served(work(x.asked.Ask.Input, x.served))
}

// notEntered answers a request that got no slot.
func (x *exchange) notEntered(err error) {
	var full *queue.FullError
	var late *queue.TimeoutError
	switch {
	case errors.As(err, &full):
		x.turnAway(telemetry.Reason(full.Reason), reply.QueueFull, full.RetryAfter)
	case errors.As(err, &late):
		x.turnAway(telemetry.Timeout, reply.QueueTimeout, late.RetryAfter)
	case errors.Is(err, queue.ErrStopped):
		x.g.Metrics.Rejected(x.class, telemetry.Stopped)
		x.giveBack()
		x.refuse(reply.Denial{Code: reply.ShuttingDown})
	default: // the client has gone: nobody reads an answer
		x.g.Metrics.Left(x.class)
		x.status = statusClientClosed
	}
}

// statusClientClosed is what nginx calls the answer that nobody waits for.
const statusClientClosed = 499

func (x *exchange) turnAway(reason telemetry.Reason, code reply.Code, wait time.Duration) {
	x.g.Metrics.Rejected(x.class, reason)
	x.verdict(traffic.Verdict{Code: code.String(), Wait: wait})
	x.giveBack()
	x.refuse(reply.Denial{Code: code, RetryAfter: wait})
}

// giveBack gives back what was reserved, and looks at how the limits stand without
// it, where the client is still to be told that.
func (x *exchange) giveBack() {
	if x.res == nil || x.begun {
		return
	}
	x.finish()
	x.stood = time.Now()
	d, err := x.g.Limiter.Look(x.r.Context(), x.res.Charges...)
	if err != nil {
		x.g.storeFailed(err) // it is turned away all the same
		d = penstock.Decision{}
	}
	x.standing = &d
}

// setPosition tells a client that waited at which place of the line it began to.
func (x *exchange) setPosition(h http.Header) {
	h.Del("X-Queue-Position")
	if x.position > 0 {
		h.Set("X-Queue-Position", strconv.Itoa(x.position))
	}
}
