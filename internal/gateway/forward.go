package gateway

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/clientaddr"
	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/traffic"
	"github.com/penstock-dev/penstock/internal/workers"
)

// forward sends the request to a worker and copies the answer.
func (x *exchange) forward() {
	if x.endpoint.Kind == traffic.Other && x.r.Method == http.MethodPost || x.endpoint.Metered() && !x.counted {
		x.g.Metrics.Unmetered(x.path)
	}
	x.ctx, x.cancel = x.untilAnswered()
	x.timer = time.AfterFunc(x.rules.RequestTimeout, x.timeOut)
	proxy := httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x,
		FlushInterval:  -1, // as it comes
		ModifyResponse: x.modify,
		ErrorHandler:   x.failed,
		BufferPool:     &x.g.buffers,
		ErrorLog:       x.g.errorLog,
	}
	r := x.r.WithContext(x.ctx)
	if !x.read && r.ContentLength != 0 {
		x.upload = &upload{from: x.r, control: http.NewResponseController(x.w), most: x.rules.MaxBody}
		r.Body = x.upload
	}
	w := x.w
	if x.upload != nil && r.Header.Get("Expect") != "" {
		w = oneContinue{w}
	}
	if x.begun {
		w = continued{w}
	}
	x.asking = time.Now()
	x.sent = true // until the pool says that nothing was
	proxy.ServeHTTP(w, r)
	x.trail()
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
	if x.timer == nil {
		return
	}
	x.timer.Stop()
	x.timing.Lock()
	defer x.timing.Unlock()
	x.over = true
}

// oneContinue leaves it to the server to tell the client to go on, which it
// does when the body is read: what the worker says would be the second time.
type oneContinue struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w oneContinue) WriteHeader(code int) {
	if code != http.StatusContinue {
		w.ResponseWriter.WriteHeader(code)
	}
}

// Unwrap is for http.ResponseController.
func (w oneContinue) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// rewrite makes the request that a worker gets: what the client sent, with the
// key that counts and no other, and the client's address.
func (x *exchange) rewrite(p *httputil.ProxyRequest) {
	out := p.Out
	x.cred.Strip(out.Header)
	x.setForwarded(p)
	out.Header.Set("X-Request-Id", x.id)
	if x.upload != nil && p.In.ContentLength < 0 {
		if out.Trailer == nil {
			out.Trailer = http.Header{}
		}
		maps.DeleteFunc(out.Trailer, notInTrailer)
		x.upload.trailer = out.Trailer
	}
	if !x.upgrades() {
		out.Header.Del("Upgrade")
		out.Header.Del("Connection")
		out.Header.Del("Http2-Settings")
	}
	if x.counted {
		out.Header.Del("Accept-Encoding") // the answer is read
	}
	if !x.read {
		return
	}
	out.Header.Del("Expect") // the body is here
	out.TransferEncoding = nil
	out.Body = nil // what was read of it is sent
}

// upgrades reports whether the request asks for a websocket. It is the only
// protocol that a connection is handed over to: by h2c a client could send
// requests through it that nobody counts.
func (x *exchange) upgrades() bool {
	lines := x.r.Header["Upgrade"]
	return x.r.Method == http.MethodGet && len(lines) == 1 && strings.EqualFold(lines[0], "websocket")
}

// notInTrailer reports whether a header does not pass behind a body. There are
// workers that take trailers for headers, so nothing passes there that says who
// asks, or where a message ends.
func notInTrailer(name string, _ []string) bool {
	switch name {
	case "Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie", "Set-Cookie", "Forwarded", "X-Real-Ip", "X-Request-Id",
		"Host", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect",
		"Content-Length", "Content-Encoding", "Content-Type", "Content-Range", "X-Queue-Position":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "Proxy-")
}

// RoundTrip implements http.RoundTripper, for the proxy.
func (x *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	want := workers.Want{Model: x.asked.Ask.Model, Tokens: x.need.Amounts[penstock.Tokens], Repeat: x.counted}
	switch x.method() {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		want.Repeat = true
	}
	if x.read {
		return x.g.Workers.Send(r, &x.body, want)
	}
	return x.g.Workers.Send(r, nil, want)
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

// setForwarded tells the worker who asks: what a trusted proxy said of it, and
// the peer. What anyone else says is dropped.
func (x *exchange) setForwarded(p *httputil.ProxyRequest) {
	h := p.In.Header
	if clientaddr.Trusted(x.rules.TrustedProxies).Peer(p.In) {
		p.Out.Header["X-Forwarded-For"] = h["X-Forwarded-For"]
		p.SetXForwarded()
		for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
			if said := h[name]; len(said) > 0 {
				p.Out.Header[name] = said
			}
		}
		return
	}
	maps.DeleteFunc(p.Out.Header, func(name string, _ []string) bool {
		return strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip"
	})
	p.SetXForwarded()
}

// failed answers a request that no worker answered.
func (x *exchange) failed(_ http.ResponseWriter, r *http.Request, err error) {
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
