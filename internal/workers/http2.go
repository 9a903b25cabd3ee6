package workers

import (
	"errors"
	"net/textproto"
	"strings"
	"sync/atomic"
	"time"
)

// http.Transport speaks HTTP/2 with workers that offer it over TLS. This is what
// it would not do by itself.

// A connection of HTTP/2 serves all requests at a time, checks among them: where
// what is sent by it vanishes, nothing would reach its worker any more until the
// system gives it up, which takes a quarter of an hour. So one on which nothing has
// come for pingAfter is asked for a sign of life, and closed when there is none
// for pingWait. Both are long: there are workers that do nothing else while they
// compute.
const (
	pingAfter = 30 * time.Second
	pingWait  = 30 * time.Second
)

// mostSends is how often one worker is sent a request that it refuses. The transport
// has no bound of its own for a stream that ends with PROTOCOL_ERROR, and dials
// anew each time; for REFUSED_STREAM it goes on for a minute.
const mostSends = 2

// errRefused is of a request that the worker has refused so often, in a way that
// says that it may be sent again.
var errRefused = errors.New("workers: the worker has refused the request twice, or ended the connection that it came by")

// ErrHeaders is what Send returns when the request's headers are larger than the
// worker has said it takes, as one can that speaks HTTP/2. It is no failure of the
// worker's.
var ErrHeaders = errors.New("workers: the request's headers are larger than the worker takes; send fewer, or raise its limit")

// isTooLarge reports whether that is what err says, which is a value that
// net/http keeps to itself.
func isTooLarge(err error) bool {
	return strings.Contains(err.Error(), "header list larger than peer's advertised limit")
}

// bounded is interim, which ends the request when it was told of more headers than
// an answer may have, counted as RFC 9113, section 6.5.2, does. The transport has
// no bound for all of them together.
func bounded(interim func(code int, header textproto.MIMEHeader) error) func(code int, header textproto.MIMEHeader) error {
	if interim == nil {
		return nil
	}
	var told atomic.Int64 // the transport's goroutines tell
	return func(code int, header textproto.MIMEHeader) error {
		const field = 32
		n := field // its status
		for name, lines := range header {
			for _, line := range lines {
				n += len(name) + len(line) + field
			}
		}
		if told.Add(int64(n)) > maxHeaderBytes {
			return errHeaders
		}
		return interim(code, header)
	}
}
