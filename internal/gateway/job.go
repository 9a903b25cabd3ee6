package gateway

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// A worker that takes a job answers at once, with the job's id, and works later.
// What may have become a job is followed until that is known, whether its client
// waits for it or not: else a worker would have work that no slot stands for.

// answerPatience is how long a worker may take to say which job it has taken when
// the client has left.
const answerPatience = 5 * time.Second

// errUnanswered ends a request of whose job nothing became known.
var errUnanswered = errors.New("the client has left, and the worker does not say whether it took the job")

// submits reports whether the request may become a job.
func (x *exchange) submits() bool {
	return x.endpoint.Kind == traffic.ComfyPrompt && x.counted && x.read
}

// untilAnswered is the context that the request is sent with: the client's, but
// for one that may become a job, which goes on for some time without the client.
func (x *exchange) untilAnswered() (context.Context, context.CancelCauseFunc) {
	if !x.submits() {
		return context.WithCancelCause(x.r.Context())
	}
	ctx, cancel := context.WithCancelCause(lasting(x.r))
	stop := context.AfterFunc(x.r.Context(), func() {
		patience := time.AfterFunc(answerPatience, func() { cancel(errUnanswered) })
		context.AfterFunc(ctx, func() { patience.Stop() })
	})
	return ctx, func(cause error) {
		stop()
		cancel(cause)
	}
}

// mostSubmitted is how much is read of such an answer that its client has not
// taken. ComfyUI's have some hundred bytes.
const mostSubmitted = 64 << 10

// readJob reads what the client has left of the answer, as it may say which job
// the worker has taken.
func (a *answer) readJob() {
	if a.x.submits() && !a.x.finished {
		_, _ = io.CopyN(io.Discard, a, mostSubmitted)
	}
}

// follow keeps what the request holds until the job has ended that came of it, and
// reports whether there is one.
func (x *exchange) follow(s settlement) bool {
	keeps := x.answer.keeps
	if keeps == nil {
		if x.sent && x.status == statusClientClosed {
			x.g.Log.Warn("a client has left before the worker said whether it took the job: the worker may be busy with one that holds no slot", "request_id", x.id)
		}
		return false
	}
	id := x.meter.Job()
	if id == "" {
		keeps.Release()
		return false
	}
	g := x.g
	x.shared = true // what it holds has its charges here
	g.Jobs.Hold(keeps.URL(), nil, id, x.rules.RequestTimeout, func() {
		keeps.Release()
		g.settle(context.Background(), &s)
	})
	return true
}
