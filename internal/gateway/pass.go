package gateway

import (
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"slices"
	"strings"
	"sync"

	"github.com/penstock-dev/penstock/internal/workers"
)

// interim passes an answer on that comes before the answer. It may be told of
// one when that is over: then nobody may touch the client's header any more.
func (x *exchange) interim(code int, header textproto.MIMEHeader) error {
	switch {
	case x.begun:
		return nil // it is too late
	case code == http.StatusContinue && x.upload != nil && x.r.Header.Get("Expect") != "":
		return nil // the server tells the client to go on, when the body is read
	}
	x.hear(func() {
		h := x.w.Header()
		addHeader(h, "", http.Header(header))
		dropNamed(h, header["Connection"])
		// An interim answer has no length. But of a header that names one HTTP/2
		// writes a copy, while it may read any other when WriteHeader has returned,
		// since the client has gone.
		h["Content-Length"] = nil
		x.w.WriteHeader(code)
		clear(h)
	})
	return nil
}

// hear does what an interim answer asks for, unless the answer is there, of
// which it is told by nil.
func (x *exchange) hear(interim func()) {
	x.hearing.Lock()
	defer x.hearing.Unlock()
	switch {
	case interim == nil:
		x.heard = true
	case !x.heard:
		interim()
	}
}

// addHeader adds the lines of another header, but for those that are for one hop
// alone; its names get a prefix. It does not copy them.
func addHeader(h http.Header, prefix string, other http.Header) {
	for name, lines := range other {
		if len(lines) == 0 || isHopByHop(name) {
			continue
		}
		name = prefix + name
		if before := h[name]; len(before) > 0 {
			lines = append(before[:len(before):len(before)], lines...)
		}
		h[name] = lines
	}
}

// pass passes the worker's answer on to the client, as httputil.ReverseProxy
// does: without what is for one hop alone, each part as it comes, and cut where
// it breaks off.
func (x *exchange) pass(resp *http.Response) {
	defer func() { _ = resp.Body.Close() }() // after a fault of ours, too: the worker would count as busy
	if resp.StatusCode < 100 {
		x.failed(errStatus) // net/http would panic
		return
	}
	here := workers.Begun(resp) && !x.asked.HideUsage() // else what has come may be held back
	h := x.w.Header()
	addHeader(h, "", resp.Header)
	dropNamed(h, resp.Header["Connection"])
	x.close()
	x.modify(resp, h)
	announced := len(resp.Trailer)
	if announced > 0 {
		h["Trailer"] = []string{strings.Join(slices.Collect(maps.Keys(resp.Trailer)), ", ")}
	}
	if !x.begun {
		x.w.WriteHeader(resp.StatusCode)
	}
	if err := x.copy(resp, here); err != nil {
		panic(http.ErrAbortHandler) // an end would be taken for that of the answer
	}
	if len(resp.Trailer) == 0 {
		return
	}
	// Without this net/http would give a short body a length, and no trailer.
	_ = http.NewResponseController(x.w).Flush()
	prefix := ""
	if len(resp.Trailer) != announced {
		prefix = http.TrailerPrefix
	}
	x.dropTrailers(resp.Trailer)
	addHeader(x.w.Header(), prefix, resp.Trailer)
}

// copy copies the body of an answer, of which here says that some has come. What
// has come is not kept for what has not. But the last of it is net/http's to send,
// with the end of the answer, unless it would take it for all there is: it gives
// a length to an answer that it has whole.
func (x *exchange) copy(resp *http.Response, here bool) error {
	flush := http.NewResponseController(x.w).Flush
	flushed := x.begun || resp.ContentLength >= 0
	if !here {
		_ = flush() // whether the client still reads shows in writing
		flushed = true
	}
	buf := x.g.buffers.get()
	defer x.g.buffers.put(buf)
	defer x.writes.Store(0)
	for {
		n, err := resp.Body.Read(buf[:])
		x.writes.Add(1)
		if n > 0 {
			if _, err := x.w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF && flushed {
			return nil
		}
		_ = flush()
		flushed = true
		x.writes.Add(1)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// copyBuffers lends the buffers that answers are copied with.
type copyBuffers struct{ pool sync.Pool }

const copyBytes = 16 << 10

func (p *copyBuffers) get() *[copyBytes]byte {
	if b, ok := p.pool.Get().(*[copyBytes]byte); ok {
		return b
	}
	return new([copyBytes]byte)
}

func (p *copyBuffers) put(b *[copyBytes]byte) { p.pool.Put(b) }

// Why an answer is not passed on.
var (
	errStatus       = errors.New("the worker answers with no status of HTTP's")
	errSwitched     = errors.New("the worker switches protocols though nobody asked for that")
	errEarlyUpgrade = errors.New("the worker switches protocols before it has read the request's body")
)

// handOver joins the client's connection with the worker's, which has answered
// that it is a websocket now.
func (x *exchange) handOver(r *http.Request, resp *http.Response) {
	var err error
	switch {
	case r.Header["Upgrade"] == nil:
		err = errSwitched
	case x.upload != nil && !x.upload.whole():
		err = errEarlyUpgrade // half of a body would be in the way
	}
	if err != nil {
		_ = resp.Body.Close()
		x.failed(err)
		return
	}
	x.modify(resp, resp.Header)
	proxy := httputil.ReverseProxy{
		Rewrite:      func(p *httputil.ProxyRequest) { p.Out = r },
		Transport:    given{resp},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { x.failed(err) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	proxy.ServeHTTP(x.w, x.r)
}

// given is an http.RoundTripper that has the answer.
type given struct{ resp *http.Response }

// RoundTrip implements http.RoundTripper.
func (g given) RoundTrip(*http.Request) (*http.Response, error) { return g.resp, nil }
