// Package provider knows the dialects: it tells an endpoint by its path, reads
// what a request asks for from its body, and reads what it used from the answer
// while that passes.
//
// A [Peeker] reads bodies. A [Meter] is an answer's body, which also takes out of
// a stream what only penstock asked for. Each dialect is one file for the bodies
// and one for the answers, of which openai.go and openai_answer.go are the first.
//
// A body that is a form (recordings, images to edit) is not read: no tokens are
// estimated of it and no model is known but the path's, and what was used is
// what the answer says.
package provider

import (
	"math"
	"math/bits"
)

// RequestError says what is wrong with a request's body, for the developer who
// wrote it. It is always theirs to mend: a 400 invalid_request.
type RequestError struct {
	Message string // holds at most 128 bytes of the body as they came
	Param   string // the field at fault; empty when it is the body as a whole
}

// Error returns the message.
func (e *RequestError) Error() string { return e.Message }

// times returns a times b, cut at math.MaxInt64; both are not negative.
func times(a, b int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi > 0 || lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(lo)
}

// plus returns a plus b, cut at math.MaxInt64; both are not negative.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
