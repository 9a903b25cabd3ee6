package gateway

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/traffic"
	"github.com/penstock-dev/penstock/internal/workers"
)

// modify makes of a worker's answer the one that the client gets: the worker's,
// with our limits in the place of its own. h is its header, which has all of the
// worker's.
func (x *exchange) modify(resp *http.Response, h http.Header) {
	x.status = resp.StatusCode
	x.learn(resp)
	x.unbuffer() // the worker has the body
	x.letGo()
	if x.begun && (resp.StatusCode != http.StatusOK || !isEventStream(resp.Header) || resp.Header.Get("Content-Encoding") != "") {
		x.unfit(resp)
	}
	if x.standing != nil {
		x.rules.Headers.Drop(h, x.endpoint.Dialect)
		x.setLimits(h)
	}
	x.dropTrailers(resp.Trailer)
	h["X-Request-Id"] = []string{x.id}
	x.setPosition(h)
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // net/http would guess one
	}
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		// One request, and no longer one in flight.
		x.inTime()
		x.finish()
	case x.counted && resp.StatusCode/100 == 2 && x.r.Method != http.MethodHead:
		x.metered = true
		x.events = isEventStream(resp.Header)
		x.answer.x = x
		if x.submits() {
			x.answer.keeps = workers.Keep(resp)
		}
		x.meter.Start(&x.asked, resp.Header, resp.Body)
		if x.asked.HideUsage() && x.events && h["Content-Length"] != nil {
			delete(h, "Content-Length") // an event of it may be taken out
			resp.ContentLength = -1
		}
		empty := resp.Body == http.NoBody
		resp.Body = &x.answer
		if empty { // the client has all of it with the headers
			_, _ = x.answer.Read(make([]byte, 1))
		}
	case resp.Body == http.NoBody:
		x.finish() // the headers are all there is
	default:
		resp.Body = &passing{resp.Body, x}
	}
}

// passing is the body of an answer that is not metered.
type passing struct {
	io.ReadCloser
	x *exchange
}

func (e *passing) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		e.x.finish()
	case err != nil && e.x.r.Context().Err() == nil:
		e.x.g.Metrics.Own(reply.UpstreamError.String())
		e.x.failing(reply.UpstreamError, err)
	}
	return n, err
}

// dropTrailers takes out of trailers what a worker may not say there, as it may
// not in its headers: of those that are announced, and again when all have come.
func (x *exchange) dropTrailers(trailer http.Header) {
	if x.standing != nil {
		x.rules.Headers.Drop(trailer, x.endpoint.Dialect)
	}
	maps.DeleteFunc(trailer, notInTrailer)
}

func isEventStream(h http.Header) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "text/event-stream")
}

// answer is the body of a worker's answer, metered on its way to the client.
type answer struct {
	x     *exchange
	last  []byte        // what is still to be said before the connection is cut
	err   error         // with which it ends
	keeps *workers.Kept // the worker, while it may have taken a job; nil where that is not known
}

// errOverrun cuts a stream that has used up its limit.
var errOverrun = errors.New("the stream has outgrown its limit")

func (a *answer) Read(p []byte) (int, error) {
	x := a.x
	if a.err != nil {
		if len(a.last) > 0 {
			n := copy(p, a.last)
			a.last = a.last[n:]
			return n, nil
		}
		return 0, a.err
	}
	n, err := a.x.meter.Read(p)
	x.letGo()
	if n > 0 {
		if !x.flowed {
			x.flowed = true
			x.first()
		}
		x.cover()
	}
	if err == nil && x.broken == errOverrun {
		// At the next event's end, wherever the read stopped.
		if whole := a.whole(p[:n]); whole >= 0 {
			n, err = whole, x.broken
		}
	}
	if err == io.EOF {
		x.finish()
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	// The client must not take what it has for the whole answer: it is told
	// why where that fits, and the connection is cut.
	x.broken, a.err = err, err
	if x.r.Context().Err() == nil {
		code, message, why := reply.UpstreamError, "The worker broke off.", err
		switch {
		case errors.Is(err, errOverrun):
			code, message = reply.RateLimitExceeded, "The answer has used up the limit."
		case errors.Is(context.Cause(x.ctx), errTimeout):
			code, message, why = reply.UpstreamTimeout, "The answer took too long.", errTimeout
		}
		x.g.Metrics.Own(code.String())
		x.failing(code, why)
		if whole := a.whole(p[:n]); whole >= 0 {
			n = whole
			a.last = a.x.meter.ErrorEvent(code.String(), message)
		}
	}
	if n == 0 {
		return a.Read(p)
	}
	return n, nil
}

// whole is how much of what was read last, for the client, are whole events; -1
// when none of it ends one.
func (a *answer) whole(p []byte) int {
	if a.x.meter.AtEventBoundary() {
		return len(p)
	}
	if !a.x.events {
		return -1
	}
	for i := len(p) - 1; i > 0; i-- {
		if p[i] == '\n' && (p[i-1] == '\n' || i > 2 && p[i-1] == '\r' && p[i-2] == '\n') || p[i] == '\r' && p[i-1] == '\r' {
			return i + 1
		}
	}
	return -1
}

func (a *answer) Close() error {
	a.readJob()
	return a.x.meter.Close()
}

// first tells how long a stream took to begin.
func (x *exchange) first() {
	if x.g.Began != nil && x.events && x.asked.Ask.Stream {
		x.g.Began(time.Since(x.asking), x.asked.Ask.Input)
	}
}

// topUp is how many tokens a stream takes at a time when it has outgrown its
// reservation.
const topUp = 256

// cover makes the reservation cover what has flowed.
func (x *exchange) cover() {
	slot := x.slot != (queue.Slot{})
	if x.res == nil && !slot {
		return
	}
	output := x.meter.OutputSoFar()
	if slot {
		x.grown(output)
	}
	if x.res == nil {
		return
	}
	if x.covered < 0 {
		x.covered = x.reservedOutput()
	}
	if output > x.covered {
		x.raise(output)
	}
	if output > x.ceiling && x.rules.StopOnOverrun && x.asked.Ask.Stream && !x.meter.Closing() {
		x.broken = errOverrun
	}
}

// raise takes a step more than covers the output.
func (x *exchange) raise(output int64) {
	x.covered = (output + topUp - 1) / topUp * topUp
	over, err := x.res.Raise(lasting(x.r), x.upTo(x.covered))
	if err != nil {
		x.g.storeFailed(err)
		return
	}
	x.ceiling = x.outputWithin(&over)
}

// upTo is what the request uses by unit with so much output.
func (x *exchange) upTo(output int64) penstock.Amounts {
	return x.amounts(traffic.Usage{Input: x.asked.Ask.Input, Output: output})
}

// outputWithin is how much output the limits have room for when so much of what
// is covered is over them.
func (x *exchange) outputWithin(over *penstock.Amounts) int64 {
	most := int64(math.MaxInt64)
	if n := max(over[penstock.Tokens], over[penstock.OutputTokens]); n > 0 {
		most = x.covered - n
	}
	if n := over[penstock.Cost]; n > 0 {
		within := x.upTo(x.covered)[penstock.Cost] - n
		most = min(most, int64(sort.Search(int(x.covered), func(i int) bool {
			return x.upTo(int64(i) + 1)[penstock.Cost] > within
		})))
	}
	return most
}

// reservedOutput is how much output every charge covers.
func (x *exchange) reservedOutput() int64 {
	covered := penstock.MaxAmount
	for i := range x.res.Charges {
		c := &x.res.Charges[i]
		switch c.Limit().Unit {
		case penstock.Tokens:
			covered = min(covered, c.Amount-x.asked.Ask.Input)
		case penstock.OutputTokens:
			covered = min(covered, c.Amount)
		case penstock.Cost:
			if c.Amount < x.need.Amounts[penstock.Cost] {
				return 0 // it was cut
			}
			covered = min(covered, x.need.Amounts[penstock.OutputTokens])
		}
	}
	return max(covered, 0)
}

// amounts is what a usage is by unit.
func (x *exchange) amounts(u traffic.Usage) (a penstock.Amounts) {
	a[penstock.InputTokens], a[penstock.OutputTokens], a[penstock.Tokens] = u.Input, u.Output, u.Input+u.Output
	a[penstock.Cost] = x.rules.Policy.Cost(x.asked.Ask.Model, u)
	return a
}

// end ends the request, wherever it got: what it took is settled or given back,
// once, and what it held is free.
func (x *exchange) end() {
	x.finish()
	x.unbuffer()
	x.letGo()
	x.inTime()
	if x.cancel != nil {
		x.cancel(nil)
	}
	x.closed()
	x.g.Metrics.Ended(time.Since(x.began))
}

// finish settles the request and gives its slot back, the first time that it is
// called: with the last bytes of the answer, before the client has them, since
// it may ask again as soon as it does. A job keeps both until it has ended.
func (x *exchange) finish() {
	if x.finished {
		return
	}
	x.finished = true
	s := x.settlement()
	if x.submits() && x.follow(s) {
		return
	}
	x.g.settle(lasting(x.r), &s)
}

// settlement is how a request ends.
type settlement struct {
	res   *penstock.Reservation // nil: nothing was charged
	slot  queue.Slot
	how   ending
	usage penstock.Amounts
}

// ending says what becomes of a reservation.
type ending uint8

const (
	cancelled ending = iota // nothing was sent
	kept                    // what was used cannot be known
	settled                 // by the usage
)

// settlement is what was used, and counts it.
func (x *exchange) settlement() settlement {
	usage, known := x.used()
	s := settlement{slot: x.slot}
	switch {
	case !known: // it stays charged as it was reserved
		x.count(traffic.Usage{Input: x.need.Amounts[penstock.InputTokens], Output: x.need.Amounts[penstock.OutputTokens], Source: traffic.Reserved})
	case x.metered:
		x.count(usage)
		fallthrough
	case x.read && x.counted:
		x.slot.Served(work(usage.Input, usage.Output))
	}
	if !x.sent {
		x.slot.Unsent()
	}
	if x.res == nil || !x.res.Allowed {
		return s
	}
	s.res = x.res
	switch {
	case !x.sent:
	case !known:
		s.how = kept
	default:
		s.how, s.usage = settled, x.amounts(usage)
	}
	return s
}

// settle ends a request: what it reserved is corrected to what it used, and its
// slot is another's.
func (g *Gateway) settle(ctx context.Context, s *settlement) {
	if s.res != nil {
		var err error
		switch s.how {
		case cancelled:
			err = s.res.Cancel(ctx)
		case kept:
			err = s.res.Keep(ctx)
		case settled:
			err = s.res.Settle(ctx, s.usage)
		}
		if err != nil {
			g.storeFailed(err)
		}
	}
	s.slot.Release()
}

// count counts what a request used that a worker has answered.
func (x *exchange) count(u traffic.Usage) {
	model := x.asked.Ask.Model
	x.g.Metrics.Used(model, true, u)
	if x.rules.Policy.Priced() {
		price, listed := x.rules.Policy.Price(model)
		if u.Input+u.Output > 0 {
			x.g.Metrics.Cost(model, price.Cost(u), listed)
		}
	}
	if u.Source == traffic.Reported {
		x.g.Metrics.Estimated(x.need.Amounts[penstock.Tokens], u.Input+u.Output)
	}
}

// used is what the request really used, as far as that can be known; where it
// cannot, the reservation stands.
func (x *exchange) used() (u traffic.Usage, known bool) {
	left := x.r.Context().Err() != nil
	switch {
	case !x.sent, !x.counted:
		return u, true // nothing is counted of what no worker saw, or is not metered
	case !x.metered && left && x.status == statusClientClosed:
		// It left before the answer began. What a stream has cost until then
		// is its input; of anything else nobody can say.
		u.Input = x.asked.Ask.Input
		return u, x.asked.Ask.Stream
	case !x.metered, x.broken != nil && !x.flowed && !left:
		return u, true // the worker failed, or refused it: no tokens
	}
	u = x.meter.Usage()
	switch {
	case u.Source == traffic.Reserved:
		return u, false
	case left && !x.asked.Ask.Stream && !x.meter.Ended():
		return u, false
	}
	if u.Source == traffic.Reported && x.meter.Ended() {
		if x.caller.Verified && x.meter.InputReported() {
			x.g.Peeker.Learn(&x.asked, u)
		}
		x.rules.Policy.Learn(&x.caller, &x.asked.Ask, u)
	}
	return u, true
}
