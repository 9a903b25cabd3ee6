// Package workers sends requests to the inference servers behind the gateway:
// each to the one with the fewest requests outstanding, and on to the next one
// when it cannot be reached.
package workers

import (
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
}

// Options says how workers are reached.
type Options struct {
	// DialTimeout bounds the connecting, and after it the TLS handshake. Zero
	// means 5 s.
	DialTimeout time.Duration
}

// Stats is one worker at one moment. The counters count since the worker was
// added and only grow.
type Stats struct {
	URL string
	// Outstanding counts the requests that it has not answered to the end.
	Outstanding int
	// Sent counts the requests for which there was a connection.
	Sent uint64
	// Failed counts the requests that it could not be reached for or did not
	// answer to the end, those not among them whose client went away.
	Failed uint64
}

// Pool is the workers. It is an http.RoundTripper, made to be the Transport of
// an httputil.ReverseProxy. All methods may be called from any goroutine.
type Pool struct {
	options Options

	mu      sync.Mutex
	workers []*worker
	next    int // where the search for the least busy worker begins
}

// worker is one server. Each has its own transports, so that the connections of
// one can be closed without touching those of another.
type worker struct {
	key       string // the URL, by which Update finds it again
	url       *url.URL
	http1     *http1 // for what is plain; nil: for nothing
	transport *http.Transport

	// The pool's lock guards these.
	outstanding  int
	sent, failed uint64
	removed      bool
}

// New returns a pool of the workers. It connects to none of them yet.
func New(workers []Worker, o Options) *Pool {
	if o.DialTimeout == 0 {
		o.DialTimeout = 5 * time.Second
	}
	p := &Pool{options: o}
	p.Update(workers)
	return p
}

// Update replaces the workers. Those that stay, by their URL, keep their
// connections and counts. Those that go finish the requests that they have;
// their connections are closed as they become idle. A pool that is no longer
// used is updated to no workers.
func (p *Pool) Update(workers []Worker) {
	p.mu.Lock()
	before := make(map[string]*worker, len(p.workers))
	for _, w := range p.workers {
		before[w.key] = w
		w.removed = true
	}
	after := make([]*worker, 0, len(workers))
	for _, add := range workers {
		key := add.URL.String()
		w := before[key]
		if w == nil {
			w = &worker{key: key, url: add.URL, http1: newHTTP1(add.URL, p.options), transport: newTransport(p.options)}
			before[key] = w
		} else if !w.removed {
			continue // the same URL twice
		}
		w.removed = false
		after = append(after, w)
	}
	gone := slices.DeleteFunc(p.workers, func(w *worker) bool { return !w.removed })
	p.workers = after
	p.mu.Unlock()

	for _, w := range gone {
		w.retire()
	}
}

// retire closes the connections of a worker that was removed, now or as they
// become idle.
func (w *worker) retire() {
	if w.http1 != nil {
		w.http1.retire()
	}
	w.transport.CloseIdleConnections()
}

// Stats returns the workers in the order in which they were given.
func (p *Pool) Stats() []Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := make([]Stats, len(p.workers))
	for i, w := range p.workers {
		stats[i] = Stats{URL: w.url.Redacted(), Outstanding: w.outstanding, Sent: w.sent, Failed: w.failed}
	}
	return stats
}

// pick returns the worker with the fewest requests outstanding, of several the
// next in turn, and counts one more on it. It returns
// nil if all have been tried.
func (p *Pool) pick(tried []*worker) *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	var best *worker
	n := len(p.workers)
	first := p.next
	for i := range n {
		at := (first + i) % n
		w := p.workers[at]
		if slices.Contains(tried, w) {
			continue
		}
		if best == nil || w.outstanding < best.outstanding {
			best = w
			p.next = at + 1
		}
	}
	if best != nil {
		best.outstanding++
	}
	return best
}

// newTransport is http.DefaultTransport's settings, but for what differs in
// front of inference servers. Buffers of 8 KiB instead of the 4 it has by
// default made nothing measurably faster, and cost 4 KiB each a connection.
func newTransport(o Options) *http.Transport {
	dialer := &net.Dialer{Timeout: o.DialTimeout}
	return &http.Transport{
		Proxy:                  nil, // never one that the environment names
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    o.DialTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // the client's own Accept-Encoding counts
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTime,
		ExpectContinueTimeout:  time.Second,
		ResponseHeaderTimeout:  0, // a long prompt takes minutes: the gateway's request timeout rules
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

var _ http.RoundTripper = (*Pool)(nil)
