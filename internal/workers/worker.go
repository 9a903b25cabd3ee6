package workers

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/modelname"
)

// State says whether a worker is asked.
type State uint8

// The states.
const (
	// Up: it answers, as far as is known.
	Up State = iota
	// Starting: it has not answered well since it was added. It is asked where
	// no other is up.
	Starting
	// Down: it is not asked until it answers a check.
	Down
	// Draining: it gets no new requests.
	Draining
)

// String returns the state's name: up.
func (s State) String() string { return [...]string{"up", "starting", "down", "draining"}[s] }

// Breaker says what became of a worker's last requests.
type Breaker uint8

// The states of a breaker.
const (
	// Closed: it is asked.
	Closed Breaker = iota
	// Open: it is not, since too many requests in a row have failed.
	Open
	// HalfOpen: it is asked by one request at a time, to see.
	HalfOpen
)

// String returns the state's name: half-open.
func (b Breaker) String() string { return [...]string{"closed", "open", "half-open"}[b] }

// worker is one server. Each has its own transports, so that the connections of
// one can be closed without touching those of another.
type worker struct {
	key   string // keyOf its URL, by which it is found again
	url   *url.URL
	http1 *http1        // for what is plain; nil: for nothing
	poke  chan struct{} // asks for a check now
	added time.Time
	heard atomic.Uint32 // changes whenever something of an answer comes

	// The pool's lock guards what follows. This much is looked at for each
	// request.
	tokens int64 // of the requests that are outstanding
	weight uint64
	serves *modelname.Set[struct{}] // nil: all models
	standing

	outstanding           int
	kept                  int // how many keep it, besides
	sent, failed, retries uint64
	*reach
	models  []string
	removed bool // the pool no longer has it
	forget  bool // it is removed once nothing is outstanding

	why       string // it is not up
	told      bool   // that it is starting
	missed    int    // checks in a row
	refused   int    // connections in a row
	restUntil time.Time

	returns   uint32 // checks answered well after a bad or missing one
	failures  int    // in a row, for the breaker
	openUntil time.Time
	probe     uint32 // the request that sees whether it works again, by its number; 0: none
	probes    uint32 // such so far
}

// reach is how a worker is reached. It does not change: a request has the one that
// there was when it was given to the worker.
type reach struct {
	transport *http.Transport
	ca        *x509.CertPool
	bearer    string
}

// standing is what may keep a worker from being asked; of the zero standing,
// nothing does.
type standing struct {
	state    State
	breaker  Breaker
	draining bool
	resting  bool // until restUntil
}

// keyOf is what all ways to write a worker's URL have in common.
func keyOf(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port) + strings.TrimRight(u.EscapedPath(), "/")
}

// newWorker returns a worker of which nothing is known yet.
func (p *Pool) newWorker(add Worker) *worker {
	return &worker{
		key:      keyOf(add.URL),
		url:      add.URL,
		http1:    newHTTP1(add.URL, p.options),
		poke:     make(chan struct{}, 1),
		added:    time.Now(),
		standing: standing{state: Starting},
	}
}

// configure makes the worker what the configuration says of it. The lock is held.
func (w *worker) configure(c Worker, o *Options) {
	w.weight = uint64(max(c.Weight, 1))
	w.models, w.serves = slices.Clone(c.Models), nil
	if len(c.Models) > 0 && !slices.Contains(c.Models, "*") {
		w.serves = &modelname.Set[struct{}]{}
		for _, m := range c.Models {
			w.serves.Add(m, struct{}{})
		}
	}
	if w.reach != nil && w.ca.Equal(c.CA) {
		w.reach = &reach{w.transport, w.ca, c.Key}
		return
	}
	if w.reach != nil {
		w.transport.CloseIdleConnections() // and those that become idle
	}
	w.reach = &reach{newTransport(*o), c.CA, c.Key}
	if w.url.Scheme == "https" {
		w.transport.IdleConnTimeout = idleTimeTLS
	}
	if c.CA != nil {
		w.transport.TLSClientConfig = &tls.Config{RootCAs: c.CA}
	}
}

// has reports whether the worker serves a model; an empty one is served by all.
func (w *worker) has(model string) bool {
	if w.serves == nil || model == "" {
		return true
	}
	_, ok := w.serves.Of(model)
	return ok
}

// mayBeAsked reports whether a request may be sent to the worker now. The lock
// is held. The clock is read into now where it is needed and zero.
func (w *worker) mayBeAsked(now *time.Time) bool {
	if w.state == Down || w.draining {
		return false
	}
	if w.breaker == Closed && !w.resting {
		return true
	}
	if now.IsZero() {
		*now = time.Now()
	}
	if w.resting && now.Before(w.restUntil) {
		return false
	}
	w.resting = false
	switch w.breaker {
	case Open:
		return !now.Before(w.openUntil)
	case HalfOpen:
		return w.probe == 0
	}
	return true
}

// retire closes the connections of a worker that was removed, now or as they
// become idle.
func (w *worker) retire() {
	if w.http1 != nil {
		w.http1.retire()
	}
	w.transport.CloseIdleConnections()
}

// newTransport is http.DefaultTransport's settings, but for what differs in
// front of inference servers. Buffers of 8 KiB instead of the 4 it has by
// default made nothing measurably faster, and cost 4 KiB each a connection.
func newTransport(o Options) *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // never one that the environment names
		DialContext:            dialTransport(o.dial),
		TLSHandshakeTimeout:    o.DialTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // the client's own Accept-Encoding counts
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTime,
		ExpectContinueTimeout:  time.Second,
		ResponseHeaderTimeout:  0, // a long prompt takes minutes: the gateway's request timeout rules
		MaxResponseHeaderBytes: maxHeaderBytes,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWait},
	}
}
