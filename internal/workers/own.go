package workers

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Own returns a transport for requests of penstock's own to the worker that
// their URL is of: they go with the worker's key, and count nowhere. A URL of no
// worker, nor of one that is kept, is an error.
func (p *Pool) Own() http.RoundTripper { return own{p} }

type own struct{ pool *Pool }

// RoundTrip implements http.RoundTripper.
func (o own) RoundTrip(req *http.Request) (*http.Response, error) {
	transport, bearer := o.pool.transportTo(keyOf(req.URL))
	if transport == nil {
		return nil, fmt.Errorf("workers: %s is of none; add it to workers", req.URL.Redacted())
	}
	if bearer != "" {
		req = withBearer(req, bearer)
	}
	return transport.RoundTrip(req)
}

// transportTo returns how the worker is reached that the keyOf a URL is of; nil where
// there is none.
func (p *Pool) transportTo(target string) (transport *http.Transport, bearer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := -1 // of several behind one host
	for _, w := range slices.Concat(p.workers, p.kept) {
		if rest, ok := strings.CutPrefix(target, w.key); ok && strings.HasPrefix(rest, "/") && len(w.key) > longest {
			longest, transport, bearer = len(w.key), w.transport, w.bearer
		}
	}
	return transport, bearer
}

// URLs returns those of the workers that get new requests when they are well: none
// that is drained, nor one that its breaker keeps most of them away from. They must
// not be changed.
func (p *Pool) URLs() (urls []*url.URL) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		if !w.draining && w.breaker == Closed {
			urls = append(urls, w.url)
		}
	}
	return urls
}
