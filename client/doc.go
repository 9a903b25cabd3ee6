// Package client gives Go programs the client's side of rate limits, as
// [http.RoundTripper]s: [Retry] sends again what was refused, when the refusal
// says so, and [Adaptive] finds the rate at which little is refused. It works
// with penstock and with any server that answers 429.
//
// Used together, Retry is the outer one:
//
//	c := &http.Client{Transport: client.Retry{Base: &client.Adaptive{}}}
//
// so that every try waits for its turn and every refusal slows the rate. The
// other way round, tries would pass the rate by, and it would learn only of the
// refusals that Retry gives up on.
//
// The Timeout of an [http.Client] and the deadline of a request's context are
// for all of it: waits, turns, and every try.
package client

import "net/http"

// sender is what sends requests for base.
func sender(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		return http.DefaultTransport
	}
	return base
}

// closeIdle is CloseIdleConnections of base, where it has that: http.Client
// asks the outermost.
func closeIdle(base http.RoundTripper) {
	if c, ok := sender(base).(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
