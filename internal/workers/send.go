package workers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
)

// ErrNoWorker is what RoundTrip returns when the pool is empty. Nothing was
// sent.
var ErrNoWorker = errors.New("workers: none is configured; add one to workers")

// ConnectError is what RoundTrip returns when there was no connection to any
// worker. Nothing was sent.
type ConnectError struct {
	// Err says why for the worker tried last: a failed dial, a failed TLS
	// handshake, or the end of the request's context before either was through.
	Err error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("workers: no connection to any: %v", e.Err)
}

// Unwrap returns Err.
func (e *ConnectError) Unwrap() error { return e.Err }

// RoundTrip sends req to the least busy worker and, while none can be reached,
// to each of the others once. The client's target is req.RequestURI or, where
// that is empty, req.URL's; see SetTarget. The worker counts as busy until the
// body of the answer has ended or was closed; after a 101 until the connection
// was closed or req's context has ended.
//
// The client's Host reaches an http worker as it is; an https worker is called
// by its own.
//
// Only after ErrNoWorker and a *ConnectError it is certain that nothing was
// sent. Any other error is the transport's own; the request may have been
// sent then, in part or whole, and is not sent again.
//
// Of the hooks of an httptrace.ClientTrace, Got1xxResponse alone is sure to be
// called.
//
// A body that was given to one worker is given to no other, unless req.GetBody
// can make it anew. As http.RoundTripper demands, req is not changed and its
// body is closed.
func (p *Pool) RoundTrip(req *http.Request) (*http.Response, error) {
	return p.Send(req, nil)
}

// Send is RoundTrip of a request whose body is held in memory: it is sent in the
// place of req's, which must be nil, and let go of once a worker has it. A nil
// held is RoundTrip.
func (p *Pool) Send(req *http.Request, held *Held) (*http.Response, error) {
	if held != nil {
		held.use()
		defer held.done()
	}
	target := req.RequestURI
	if target == "" {
		target = req.URL.RequestURI()
	}
	body := req.Body
	once := body != nil && body != http.NoBody && req.GetBody == nil
	var tried []*worker
	var last error
	connected := false
	for {
		w := p.pick(tried)
		if w == nil {
			break
		}
		x := &exchange{pool: p, worker: w, ctx: req.Context()}
		if last != nil && req.GetBody != nil {
			var err error
			if body, err = req.GetBody(); err != nil {
				x.end(false)
				last = fmt.Errorf("body for another worker: %w", err)
				break
			}
		}
		resp, err := x.send(req, body, held, once, target)
		if err == nil {
			return resp, nil
		}
		if x.connected.Load() {
			// The transport dials again when a kept connection turns out to be
			// dead and the request may be sent anew. When that fails, too, the
			// request may as well go to another worker.
			connected = true
			if once || !isDialError(err) {
				return nil, err
			}
		}
		last = err
		tried = append(tried, w)
	}
	if body != nil && (once || last == nil) { // else the transport has closed it
		_ = body.Close()
	}
	switch {
	case last == nil:
		return nil, ErrNoWorker
	case !connected:
		return nil, &ConnectError{Err: last}
	}
	return nil, last
}

func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// exchange is one request's stay with one worker. It is the body of the
// worker's answer.
type exchange struct {
	pool   *Pool
	worker *worker
	ctx    context.Context // the caller's
	url    url.URL
	trace  httptrace.ClientTrace

	connected atomic.Bool
	broken    atomic.Bool  // the client's body broke off
	sending   bytes.Reader // of a body that is held
	again     []byte       // the same, while it may have to be sent again
	ended     atomic.Bool
	body      io.ReadCloser // the worker's
}

// send is one attempt. After it the worker counts as busy only if err is nil.
// once says that body exists once; held is sent in its place where it is not nil.
func (x *exchange) send(req *http.Request, body io.ReadCloser, held *Held, once bool, target string) (*http.Response, error) {
	resp, err := x.roundTrip(req, body, held, once, target)
	if err != nil {
		x.end(!x.clientGone())
		return nil, err
	}
	resp.Request = req
	conn, upgraded := resp.Body.(io.ReadWriteCloser)
	switch {
	case upgraded:
		resp.Body = x.upgrade(conn)
	case resp.Body == http.NoBody:
		x.end(false)
	default:
		x.body, resp.Body = resp.Body, x
	}
	return resp, nil
}

// roundTrip sends the request by the worker's own http1 where that takes it,
// else by its http.Transport.
func (x *exchange) roundTrip(req *http.Request, body io.ReadCloser, held *Held, once bool, target string) (*http.Response, error) {
	if h := x.worker.http1; h != nil && (body == nil || body == http.NoBody) {
		setTarget(&x.url, x.worker.url, target)
		r := request{Request: req, target: x.url.RequestURI(), host: x.url.Host, held: held}
		resp, err := h.send(&r, x.gotConn)
		if err != errNotPlain {
			return resp, err
		}
	}
	x.trace.GotConn = func(httptrace.GotConnInfo) { x.gotConn() }
	out := req.WithContext(httptrace.WithClientTrace(x.ctx, &x.trace))
	out.URL = &x.url
	SetTarget(out, x.worker.url, target)
	if x.worker.url.Scheme == "https" {
		out.Host = x.worker.url.Host // which its certificate and its virtual host go by
	}
	out.Body = body
	switch {
	case held != nil:
		x.hold(out, held)
		defer func() { x.again = nil }()
	case once:
		length := req.ContentLength
		if length == 0 {
			length = -1 // as the transport takes it
		}
		out.Body = &clientBody{ReadCloser: body, exchange: x, left: length}
	}

	return x.worker.transport.RoundTrip(out)
}

// hold makes held the body of out. The transport knows this kind of reader, and
// writes headers and body at once.
func (x *exchange) hold(out *http.Request, held *Held) {
	held.use() // for ever: the transport does not say when the last of its writes has ended
	x.sending.Reset(held.bytes)
	x.again = held.bytes
	x.trace.WroteRequest = func(httptrace.WroteRequestInfo) { x.sending.Reset(nil) }
	out.Body = io.NopCloser(&x.sending)
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.again)), nil }
	out.ContentLength = int64(len(held.bytes))
}

// gotConn is called by the transport when it has a connection for the request,
// and again when it takes another one after a stale one.
func (x *exchange) gotConn() {
	if x.connected.Swap(true) {
		return
	}
	x.pool.mu.Lock()
	x.worker.sent++
	x.pool.mu.Unlock()
}

// end counts the request as no longer outstanding, the first time it is
// called.
func (x *exchange) end(failed bool) {
	if x.ended.Swap(true) {
		return
	}
	w := x.worker
	x.pool.mu.Lock()
	w.outstanding--
	if failed {
		w.failed++
	}
	drained := w.removed && w.outstanding == 0
	x.pool.mu.Unlock()
	if drained {
		w.retire()
	}
}
