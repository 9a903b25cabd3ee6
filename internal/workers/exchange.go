package workers

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync/atomic"
)

// exchange is one request's stay with one worker. It is the body of the
// worker's answer.
type exchange struct {
	claim
	pool   *Pool
	ctx    context.Context // the caller's
	before *http.Response  // another worker's answer, of no use once this one has the request

	// As Want has it.
	interim func(code int, header textproto.MIMEHeader) error

	connected atomic.Bool
	lent      bool           // http.Transport has had the request, for this worker or one before
	conn      *transportConn // that the transport has it by; nil: none, or it is HTTP/2's
	broken    atomic.Bool    // the client's body broke off
	ended     atomic.Bool
	verdict   verdict
	body      io.ReadCloser // the worker's
}

// send is one attempt. After it the worker counts as busy only if err is nil.
// once says that body exists once; held is sent in its place where it is not nil.
func (x *exchange) send(req *http.Request, body io.ReadCloser, held *Held, once bool, target string) (*http.Response, error) {
	out := req
	if x.bearer != "" {
		out, target = withBearer(req, x.bearer), withoutKey(target)
	}
	resp, err := x.roundTrip(out, body, held, once, target)
	if err != nil {
		x.conn.wait()
		how := broken
		switch {
		case x.clientGone(), err == ErrHeaders:
			how = left
		case !x.connected.Load() || isDialError(err):
			how = unreached
		}
		x.end(how, err)
		return nil, err
	}
	resp.Request = req
	x.judge(resp)
	conn, upgraded := resp.Body.(io.ReadWriteCloser)
	switch {
	case upgraded:
		resp.Body = x.upgrade(conn)
	case resp.Body == http.NoBody:
		x.conn.free(x)
		x.end(whole, nil)
	default:
		x.body, resp.Body = resp.Body, x
	}
	return resp, nil
}

// roundTrip sends the request by the worker's own http1 where that takes it,
// else by its http.Transport.
func (x *exchange) roundTrip(req *http.Request, body io.ReadCloser, held *Held, once bool, target string) (*http.Response, error) {
	if h := x.worker.http1; h != nil && (body == nil || body == http.NoBody) {
		var u url.URL
		setTarget(&u, x.worker.url, target)
		r := request{Request: req, target: u.RequestURI(), host: u.Host, held: held, interim: x.interim}
		resp, err := h.send(&r, x.gotConn)
		if err != errNotPlain {
			return resp, err
		}
	}
	x.lent = true
	sends := 0 // by HTTP/2
	ctx, giveUp := context.WithCancelCause(x.ctx)
	trace := &httptrace.ClientTrace{
		Got1xxResponse: bounded(x.interim),
		GotConn: func(got httptrace.GotConnInfo) {
			if x.connected.Load() {
				// The request goes again, by another kept connection. The rest of
				// them would be asked, too.
				x.transport.CloseIdleConnections()
			}
			if x.conn = transportConnOf(got.Conn); x.conn != nil {
				x.conn.by.Store(x)
			} else if sends++; sends > mostSends {
				giveUp(errRefused)
			}
			x.gotConn()
		},
	}
	out := req.WithContext(httptrace.WithClientTrace(ctx, trace))
	out.URL = new(url.URL)
	SetTarget(out, x.worker.url, target)
	if x.worker.url.Scheme == "https" {
		out.Host = x.worker.url.Host // which its certificate and its virtual host go by
	}
	out.Body = body
	switch {
	case held != nil:
		again := held // while it may have to be sent again
		defer func() { again = nil }()
		hold(out, trace, &again)
	case once:
		length := req.ContentLength
		if length == 0 {
			length = -1 // as the transport takes it
		}
		out.Body = &clientBody{ReadCloser: body, exchange: x, left: length}
	}
	resp, err := x.transport.RoundTrip(out)
	switch {
	case err == nil && x.late():
		_ = resp.Body.Close()
		return nil, context.Cause(x.ctx)
	case err == nil || x.ctx.Err() != nil:
	case sends > mostSends:
		err = errRefused
	case sends > 0 && isTooLarge(err):
		err = ErrHeaders
	}
	return resp, err
}

// late reports whether what has just come may be how the worker ended a request
// that was given up: TLS says that it is at an end before the connection is closed,
// and until then the answer to that is read.
func (x *exchange) late() bool { return x.conn != nil && x.ctx.Err() != nil }

// hold makes what is held the body of out, which trace is of. The transport knows
// this kind of reader, and writes headers and body at once.
func hold(out *http.Request, trace *httptrace.ClientTrace, held **Held) {
	(*held).lost = true // the transport does not say when the last of its writes has ended
	sending := bytes.NewReader((*held).bytes)
	trace.WroteRequest = func(httptrace.WroteRequestInfo) { sending.Reset(nil) }
	out.Body = io.NopCloser(sending)
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader((*held).bytes)), nil }
	out.ContentLength = int64(len((*held).bytes))
}

// gotConn is called by the transport when it has a connection for the request,
// and again when it takes another one after a stale one.
func (x *exchange) gotConn() {
	if x.connected.Swap(true) {
		return
	}
	if x.before != nil {
		discard(x.before)
		x.before = nil
	}
	x.pool.mu.Lock()
	x.worker.sent++
	x.worker.refused = 0
	x.pool.mu.Unlock()
}
