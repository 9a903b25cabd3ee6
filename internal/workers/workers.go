// Package workers sends requests to the inference servers behind the gateway:
// each to the one with the least outstanding work among those that serve its
// model and may be asked, and on to the next one when it cannot be reached or
// is too busy.
package workers

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Worker is one inference server.
type Worker struct {
	// URL holds the scheme, http or https, the host, and a path that is put in
	// front of every request's. Nothing else of it is used. It must not be nil
	// or change; two workers with the same URL are one.
	URL *url.URL
	// Weight is its share of the work beside the others'. Zero means 1.
	Weight int
	// Models are the models that it serves, as package modelname matches names.
	// None, or a "*" among them, means all.
	Models []string
	// Key is sent as a bearer in the place of whatever credentials the client
	// shows. Empty: the client's pass.
	Key string
	// CA holds the roots that the certificate of an https worker is checked
	// by. Nil means the system's.
	CA *x509.CertPool
}

// Policy says when a worker is asked, and when it is asked again. The zero
// Policy asks every worker always, and goes on to the next one when there is no
// connection to one.
type Policy struct {
	// StartupTimeout is how long a worker that was added may take until it
	// answers well for the first time; zero is no time at all.
	StartupTimeout time.Duration
	// HealthPath is what is asked for by active checks, behind the path of the
	// worker's URL. Empty means /health.
	HealthPath string
	// HealthInterval is the time from one active check of a worker to the next,
	// at most a second of one that is not up. Zero means that there are none;
	// where there are, Watch must run.
	HealthInterval time.Duration
	// Retries is how often at most a request is sent again, fail-overs to
	// workers that were not tried yet not counted.
	Retries int
	// Failures is the number of failures in a row that open a worker's breaker:
	// no connection, an answer of 502, 503 without a Retry-After or 504, or one
	// that broke off. A whole answer below 500 ends the row; others, a 500 among
	// them, say neither. Zero means that there is no breaker.
	Failures int
	// Open is how long a breaker stays open until one request is let through to
	// see whether the worker works again.
	Open time.Duration
}

// Options says how workers are reached.
type Options struct {
	// DialTimeout bounds the connecting, and after it the TLS handshake. Zero
	// means 5 s.
	DialTimeout time.Duration
	// MostConnections bounds the connections to all workers. When there are as many,
	// the idle ones are closed; where none is idle, it is as if the system had no
	// file for one more. Zero means that there may be any number.
	MostConnections int
	// Log is told when a worker goes up or down, and when its breaker opens or
	// closes. Nil means that nobody is.
	Log *slog.Logger

	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	jitter func(most time.Duration) time.Duration // anything from 0 to most
}

// Pool is the workers. It is an http.RoundTripper that can be the Transport of an
// httputil.ReverseProxy. All methods may be called from any goroutine.
type Pool struct {
	options Options
	changed chan struct{} // tells Watch that the list or the policy is another

	mu      sync.Mutex
	policy  Policy
	workers []*worker
	kept    []*worker // that were removed and are kept
	next    int       // where the search for the least busy worker begins
	budget  int       // of retries, in fifths of one
	retries uint64    // so far, with workers that are no longer there, too
	events  []event
}

var _ http.RoundTripper = (*Pool)(nil)

// New returns a pool without workers, which Update gives it.
func New(o Options) *Pool {
	if o.DialTimeout == 0 {
		o.DialTimeout = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.jitter == nil {
		o.jitter = func(most time.Duration) time.Duration { return rand.N(most + 1) }
	}
	p := &Pool{changed: make(chan struct{}, 1), budget: mostBudget}
	if o.dial == nil {
		c := &connections{most: int64(o.MostConnections), idle: p.closeIdle, dialer: net.Dialer{Timeout: o.DialTimeout}}
		o.dial = c.dial
	}
	p.options = o
	return p
}

// Update replaces the workers and the policy. Workers that stay, by their URL,
// keep their connections, health and counts whatever else of them is new; a new
// Key or CA is that of requests which come from now on. Those that go finish the
// requests that they have; their connections are closed as they become idle.
// What Add, Drain and Remove did is undone. A pool that is no longer used is
// updated to no workers.
func (p *Pool) Update(workers []Worker, policy Policy) {
	p.mu.Lock()
	another := p.policy != policy
	p.policy = policy
	before := make(map[string]*worker, len(p.workers))
	for _, w := range p.workers {
		before[w.key] = w
		w.removed = true
	}
	after := make([]*worker, 0, len(workers))
	for _, add := range workers {
		key := keyOf(add.URL)
		w := before[key]
		if w == nil {
			w = p.newWorker(add)
			before[key] = w
		} else if !w.removed {
			continue // the same URL twice
		} else if another {
			wake(w.poke)
		}
		w.removed, w.draining, w.forget = false, false, false
		w.configure(add, &p.options)
		p.obey(w)
		after = append(after, w)
	}
	gone := slices.DeleteFunc(p.workers, func(w *worker) bool { return !w.removed })
	p.workers = after
	p.keepRemoved(gone)
	p.unlock()

	for _, w := range gone {
		w.retire()
	}
	wake(p.changed)
}

// obey puts a worker into a state that the policy has. The lock is held.
func (p *Pool) obey(w *worker) {
	if p.policy.HealthInterval <= 0 {
		w.state, w.why, w.missed, w.refused = Up, "", 0, 0
	}
	if p.policy.Failures <= 0 {
		w.breaker, w.failures, w.probe = Closed, 0, 0
	}
}

// Live reports whether some worker may be asked now, be it only because it is
// not known yet whether it answers.
func (p *Pool) Live() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var now time.Time
	return slices.ContainsFunc(p.workers, func(w *worker) bool { return w.mayBeAsked(&now) })
}

// wake tells whoever listens to c, unless it has not heard of the last time yet.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// event is a line of the log.
type event struct {
	level slog.Level
	text  string
	args  []slog.Attr
}

// note keeps a line about a worker until the lock is released.
func (p *Pool) note(level slog.Level, text string, w *worker, args ...slog.Attr) {
	p.events = append(p.events, event{level, text, append([]slog.Attr{slog.String("worker", w.url.Redacted())}, args...)})
}

// unlock releases the lock, and logs what was noted under it.
func (p *Pool) unlock() {
	events := p.events
	p.events = nil
	p.mu.Unlock()
	for _, e := range events {
		p.options.Log.LogAttrs(context.Background(), e.level, e.text, e.args...)
	}
}
