package reply

import (
	"io"
	"net/http"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// Denial is one answer that penstock gives itself.
type Denial struct {
	Code Code
	// Message is for the client; empty is the code's standard text. It may
	// hold the client's own words, but nothing about the inside.
	Message string
	// RetryAfter is how long to wait, for the codes that tell it; 0 and less
	// is not known, and told as a second.
	RetryAfter time.Duration
	// Permanent says that the request can never pass: no wait is told. It is
	// always so for RequestTooLargeForLimit.
	Permanent bool
	// Global has the numbers of the global limit when that is what denies,
	// else nil.
	Global *Global
}

// Global is what an answer tells of the global limit: what was used of it with
// this request counted in, and its size.
type Global struct{ Current, Limit int64 }

// Errors writes answers as error_response and headers.retry_after say, which
// speak of what a limit or the queue refuses; all other answers are always the
// standard ones. The zero Errors writes those only. It is safe for concurrent
// use.
type Errors struct {
	// Status replaces the status of RateLimitExceeded; 0 leaves 429.
	Status int
	// Message replaces the text of RateLimitExceeded; empty leaves it.
	Message string
	// NoRetryAfter leaves the wait out of bodies.
	NoRetryAfter bool
	// NoRetryAfterHeader leaves the wait out of the headers of refusals whose
	// own status is 429.
	NoRetryAfterHeader bool
	// NoBody writes the status and the headers alone.
	NoBody bool
	// GlobalDialect gives the global limit's answer in the shape of the
	// path's dialect, with its two numbers added, instead of the documents'.
	GlobalDialect bool
}

// longestWait is the longest that the headers tell: SDKs that wait in 32 bits of
// milliseconds come back at once when it is more than 24.8 days.
const longestWait = 20 * 24 * time.Hour

// Write answers r, on a path of dialect d, with den. It sets Content-Type,
// Content-Length and what clients obey when they try again: Retry-After in
// whole seconds and retry-after-ms, both rounded up and at least 1, and
// x-should-retry: false when the wait is over a minute or there is none that
// helps. Other headers of w stay. An answer to HEAD has no body.
func (e *Errors) Write(w http.ResponseWriter, r *http.Request, d traffic.Dialect, den Denial) {
	row := den.Code.row()
	a, wait := e.answer(&den)

	var room [1024]byte
	b := room[:0]
	var f fields
	if !row.limiter || !e.NoBody {
		b = a.appendBody(b, d, e.GlobalDialect)
		f.from = len(b)
		b = f.text(b, "Content-Type", "application/json")
	}
	b = f.integer(b, "Content-Length", int64(f.from))
	if wait > 0 && !(e.NoRetryAfterHeader && row.limiter && row.status == http.StatusTooManyRequests) {
		told := min(wait, longestWait)
		b = f.integer(b, "Retry-After", ceil(told, time.Second))
		b = f.integer(b, "Retry-After-Ms", ceil(told, time.Millisecond))
	}
	if den.Permanent || row.permanent || wait > time.Minute {
		b = f.text(b, "X-Should-Retry", "false")
	}
	body := f.set(w.Header(), b)
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		// An error means that the client has gone; nobody is left to be told.
		_, _ = io.WriteString(w, body)
	}
}

// Event returns den as an event of a stream of dialect d that has begun: the body
// that it would have. The connection is to be cut after it, since clients take a
// clean end for success.
func (e *Errors) Event(d traffic.Dialect, den Denial) []byte {
	a, _ := e.answer(&den)
	var b []byte
	if d == traffic.Anthropic {
		b = append(b, "event: error\n"...)
	}
	b = a.appendBody(append(b, "data: "...), d, e.GlobalDialect)
	return append(b, "\n\n"...)
}

// answer is what den says, and the wait that is told; 0 is none.
func (e *Errors) answer(den *Denial) (a answer, wait time.Duration) {
	row := den.Code.row()
	a = answer{row: row, status: row.status, message: row.message}
	if den.Message != "" {
		a.message = den.Message
	}
	if den.Code == RateLimitExceeded {
		a.global = den.Global
		if e.Status != 0 {
			a.status = e.Status
		}
		if e.Message != "" {
			a.message = e.Message
		}
	}
	if row.wait && !row.permanent && !den.Permanent {
		wait = den.RetryAfter
		if wait <= 0 {
			wait = time.Second
		}
	}
	if !row.limiter || !e.NoRetryAfter {
		a.seconds = ceil(wait, time.Second)
	}
	return a, wait
}
