package reply

import "net/http"

// Code is why penstock answers a request itself. The zero Code is
// InternalError.
type Code uint8

// The codes.
const (
	InternalError           Code = iota // a fault of penstock's own
	RateLimitExceeded                   // a limit denies
	RequestTooLargeForLimit             // it can never pass
	QueueFull                           // no place to wait, or the wait would exceed the timeout
	QueueTimeout                        // it waited as long as it may
	InvalidRequest                      // the body is not what the path reads
	NotFound                            // no such route
	BodyTooLarge                        // more bytes than are taken
	BodyTooSlow                         // the body did not arrive in time
	UnsupportedEncoding                 // Content-Encoding, or a charset, on a metered path
	NoWorker                            // no live worker
	StoreUnavailable                    // the store is needed and away
	Overloaded                          // the buffers are full
	ShuttingDown                        // stopping
	UpstreamError                       // the worker could not be reached or broke off
	UpstreamTimeout                     // the worker took longer than the request may
)

// row is what a code means on the wire.
type row struct {
	name      string // the code in bodies
	status    int
	openAI    string // the type in OpenAI's bodies
	anthropic string // the type in Anthropic's
	google    string // the status in Google's
	// wait says that the answer tells how long to wait, and permanent that it
	// tells not to try again.
	wait, permanent bool
	// limiter says that a limit or the queue refused, which is what
	// Errors speaks of.
	limiter bool
	// message is the standard text, before the sentence about the wait. It
	// uses none of the words that clients take for the end of their credit.
	message string
}

// rows is the table of codes. It is never changed.
var rows = [...]row{
	InternalError: {
		name: "internal_error", status: http.StatusInternalServerError,
		openAI: "server_error", anthropic: "api_error", google: "INTERNAL",
		message: "The gateway could not answer this request.",
	},
	RateLimitExceeded: {
		name: "rate_limit_exceeded", status: http.StatusTooManyRequests,
		openAI: "rate_limit_error", anthropic: "rate_limit_error", google: "RESOURCE_EXHAUSTED",
		wait: true, limiter: true,
		message: "Rate limit exceeded.",
	},
	RequestTooLargeForLimit: {
		name: "request_too_large_for_limit", status: http.StatusTooManyRequests,
		openAI: "rate_limit_error", anthropic: "rate_limit_error", google: "RESOURCE_EXHAUSTED",
		permanent: true, limiter: true,
		message: "This request is larger than its rate limit and can never pass. Please make it smaller.",
	},
	QueueFull: {
		name: "queue_full", status: http.StatusTooManyRequests,
		openAI: "rate_limit_error", anthropic: "rate_limit_error", google: "RESOURCE_EXHAUSTED",
		wait: true, limiter: true,
		message: "The workers are busy, and this request cannot wait for its turn.",
	},
	QueueTimeout: {
		name: "queue_timeout", status: http.StatusRequestTimeout,
		openAI: "overloaded_error", anthropic: "overloaded_error", google: "DEADLINE_EXCEEDED",
		wait: true, limiter: true,
		message: "This request waited in the queue for as long as it may.",
	},
	InvalidRequest: {
		name: "invalid_request", status: http.StatusBadRequest,
		openAI: "invalid_request_error", anthropic: "invalid_request_error", google: "INVALID_ARGUMENT",
		message: "This request is not valid.",
	},
	NotFound: {
		name: "not_found", status: http.StatusNotFound,
		openAI: "not_found_error", anthropic: "not_found_error", google: "NOT_FOUND",
		message: "There is nothing at this path.",
	},
	BodyTooLarge: {
		name: "body_too_large", status: http.StatusRequestEntityTooLarge,
		openAI: "invalid_request_error", anthropic: "request_too_large", google: "INVALID_ARGUMENT",
		message: "The body of this request is too large.",
	},
	BodyTooSlow: {
		name: "body_too_slow", status: http.StatusRequestTimeout,
		openAI: "invalid_request_error", anthropic: "invalid_request_error", google: "DEADLINE_EXCEEDED",
		message: "The body of this request took too long to arrive.",
	},
	UnsupportedEncoding: {
		name: "unsupported_encoding", status: http.StatusUnsupportedMediaType,
		openAI: "invalid_request_error", anthropic: "invalid_request_error", google: "INVALID_ARGUMENT",
		message: "The body of this request is encoded. Please send it without a Content-Encoding.",
	},
	NoWorker: {
		name: "no_worker", status: http.StatusServiceUnavailable,
		openAI: "server_error", anthropic: "overloaded_error", google: "UNAVAILABLE",
		wait:    true,
		message: "No worker is available.",
	},
	StoreUnavailable: {
		name: "store_unavailable", status: http.StatusServiceUnavailable,
		openAI: "server_error", anthropic: "api_error", google: "UNAVAILABLE",
		wait:    true,
		message: "Rate limits cannot be checked at the moment.",
	},
	Overloaded: {
		name: "overloaded", status: http.StatusServiceUnavailable,
		openAI: "overloaded_error", anthropic: "overloaded_error", google: "UNAVAILABLE",
		wait:    true,
		message: "The gateway is overloaded.",
	},
	ShuttingDown: {
		name: "shutting_down", status: http.StatusServiceUnavailable,
		openAI: "server_error", anthropic: "api_error", google: "UNAVAILABLE",
		wait:    true,
		message: "The gateway is shutting down.",
	},
	UpstreamError: {
		name: "upstream_error", status: http.StatusBadGateway,
		openAI: "server_error", anthropic: "api_error", google: "UNAVAILABLE",
		message: "The worker could not be reached or broke off.",
	},
	UpstreamTimeout: {
		name: "upstream_timeout", status: http.StatusGatewayTimeout,
		openAI: "server_error", anthropic: "api_error", google: "DEADLINE_EXCEEDED",
		message: "The worker took too long to answer.",
	},
}

// Codes returns all of them.
func Codes() []Code {
	codes := make([]Code, len(rows))
	for i := range codes {
		codes[i] = Code(i)
	}
	return codes
}

// row returns the code's row; that of InternalError for a code there is not.
func (c Code) row() *row {
	if int(c) >= len(rows) {
		c = InternalError
	}
	return &rows[c]
}

// String returns the code as it is in bodies: rate_limit_exceeded.
func (c Code) String() string { return c.row().name }

// Status returns the HTTP status that the code has by itself. Errors may write
// another for RateLimitExceeded.
func (c Code) Status() int { return c.row().status }
