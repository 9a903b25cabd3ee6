// Package gateway is the http.Handler that walks a request through everything:
// who asks, what for, what it is charged, a slot, a worker, and back, metering
// the answer as it streams past. It is the one room that joins its siblings.
package gateway

import (
	"context"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/identity"
	"github.com/penstock-dev/penstock/internal/jobs"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/provider"
	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/telemetry"
	"github.com/penstock-dev/penstock/internal/workers"
)

// Rules are what requests are held to: everything that a reload replaces, as a
// whole. They do not change. A request ends under those under which it began.
type Rules struct {
	Identifier *identity.Identifier
	Policy     *policy.Policy
	Headers    *reply.Headers
	Errors     *reply.Errors
	// TrustedProxies are those whose forwarding headers are passed on.
	TrustedProxies []netip.Prefix
	// AllowRoutes opens workers' routes that are closed else.
	AllowRoutes []string
	// Learned takes the keys that workers accept; nil when unknown keys are
	// not learned.
	Learned *identity.Learned
	// MaxBody bounds one request's body in bytes, MaxBuffered all those that
	// are held at a time.
	MaxBody, MaxBuffered int64
	// RequestTimeout is how long a worker may take from when it was asked to
	// the end of its answer.
	RequestTimeout time.Duration
	// MediaPart is how many tokens an image or a file in a request is taken
	// for.
	MediaPart int64
	// Progress tells streams that wait for a slot how far they are.
	Progress bool
	// StopOnOverrun cuts a stream that outgrows its reservation past a limit.
	StopOnOverrun bool
	// Decisions logs the decisions that are to be logged.
	Decisions *telemetry.Log
}

// generation is Rules made ready.
type generation struct {
	Rules
	open    *routeSet
	learner *learner
}

// Options are what a Gateway works with, for its whole life.
type Options struct {
	Limiter *penstock.Limiter
	Queue   *queue.Queue
	Workers *workers.Pool
	Jobs    *jobs.Watcher
	// Began is told how long a stream took from when it was sent to its first bytes,
	// and the tokens of its input; nil is not told.
	Began   func(took time.Duration, input int64)
	Peeker  *provider.Peeker
	Metrics *telemetry.Metrics
	Log     *slog.Logger
}

// Gateway is an http.Handler. SetRules must be called before the first request,
// and may be called at any time after.
type Gateway struct {
	Options
	rules    atomic.Pointer[generation]
	buffered atomic.Int64
	stopping atomic.Bool
	active   atomic.Int64  // requests
	empty    chan struct{} // one is there when active has come to 0 while stopping
	buffers  copyBuffers

	exchanges sync.Pool // of *exchange, that have ended well
	bodies    bodyBuffers
	upgraded  upgraded
}

// New returns a gateway without rules.
func New(o Options) *Gateway {
	for _, code := range reply.Codes() {
		o.Metrics.Codes(code.String())
	}
	return &Gateway{Options: o, empty: make(chan struct{}, 1)}
}

// SetRules makes the rules those of all requests that come from now on.
func (g *Gateway) SetRules(r Rules) {
	next := &generation{Rules: r, open: routes(r.AllowRoutes...)}
	if r.Learned != nil {
		next.learner = newLearner(g.Workers.Own(), r.Learned, g.Log)
	}
	g.Peeker.SetMediaPart(r.MediaPart)
	g.rules.Store(next)
}

// Stop turns away the requests that come from now on, and those that wait for a
// slot. Those that have one go on.
func (g *Gateway) Stop() {
	g.stopping.Store(true)
	g.Queue.Stop()
}

// Wait returns when no request is in flight any more, upgraded connections
// among them, or with ctx's error. Stop must have been called.
func (g *Gateway) Wait(ctx context.Context) error {
	for g.active.Load() > 0 {
		select {
		case <-g.empty:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leave notes that a request is over.
func (g *Gateway) leave() {
	if g.active.Add(-1) == 0 && g.stopping.Load() {
		select {
		case g.empty <- struct{}{}:
		default: // one is there
		}
	}
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, _ := g.exchanges.Get().(*exchange)
	if x == nil {
		x = &exchange{reused: new(reused)}
	}
	x.g, x.rules, x.w, x.r, x.began, x.covered, x.ceiling = g, g.rules.Load(), w, r, time.Now(), -1, math.MaxInt64
	x.walk()
	if x.forget() {
		g.exchanges.Put(x)
	}
}

// walk serves the request, and ends it whatever becomes of it.
func (x *exchange) walk() {
	g := x.g
	g.active.Add(1)
	defer g.leave()
	g.Metrics.Began()
	defer x.drain()
	defer x.end()
	defer func() {
		switch fault := recover(); {
		case fault == nil:
		case fault == http.ErrAbortHandler:
			x.aborted = true
			panic(fault) // the connection is to be cut, and nothing else
		default:
			g.Log.Error("a request failed by a fault of penstock", "request_id", x.id, "fault", fault, "stack", string(debug.Stack()))
			if x.status != 0 {
				x.aborted = true
				panic(http.ErrAbortHandler)
			}
			x.refuse(reply.Denial{Code: reply.InternalError})
		}
	}()
	x.serve()
	if x.status == statusClientClosed {
		panic(http.ErrAbortHandler) // no answer is an empty 200 to net/http
	}
}

// storeFailed notes that the store could not be asked.
func (g *Gateway) storeFailed(err error) {
	g.Metrics.StoreFailed()
	g.Log.Error("the store failed", "error", err)
}

// lasting is a context for what must be done even when the client has gone.
func lasting(r *http.Request) context.Context { return context.WithoutCancel(r.Context()) }

var _ io.ReadCloser = (*answer)(nil)
