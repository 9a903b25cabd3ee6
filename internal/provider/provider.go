// Package provider knows the dialects: it tells an endpoint by its path, reads
// what a request asks for from its body, and reads what it used from the answer
// while that passes.
//
// A [Peeker] reads bodies. A [Meter] is an answer's body, which also takes out of
// a stream what only penstock asked for. Each dialect is one file for the bodies
// and one for the answers.
package provider

import (
	"math"
	"math/bits"
	"net/http"
	"strings"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// RequestError says what is wrong with a request's body, for the developer who
// wrote it. It is always theirs to mend: a 400 invalid_request.
type RequestError struct {
	Message string // holds at most 128 bytes of the body as they came
	Param   string // the field at fault; empty when it is the body as a whole
}

// Error returns the message.
func (e *RequestError) Error() string { return e.Message }

// Route tells what method and path alone say of a request. The path is cleaned:
// decoded once, without dots, double slashes and a slash at its end.
//
// What is under /v1/ or /openai/ and not metered is of the dialect OpenAI all
// the same, which its errors have to be in.
func Route(method, cleanedPath string) traffic.Endpoint {
	kind := openAIKind(method, cleanedPath)
	if kind == traffic.Other && !strings.HasPrefix(cleanedPath, "/v1/") && !strings.HasPrefix(cleanedPath, "/openai/") {
		return traffic.Endpoint{Dialect: traffic.Plain, Kind: traffic.Other}
	}
	return traffic.Endpoint{Dialect: traffic.OpenAI, Kind: kind}
}

func openAIKind(method, path string) traffic.Kind {
	switch method {
	case http.MethodGet, http.MethodHead:
		if path == "/models" || path == "/v1/models" || path == "/openai/v1/models" ||
			strings.HasPrefix(path, "/v1/models/") || strings.HasPrefix(path, "/openai/v1/models/") {
			return traffic.ModelList
		}
	case http.MethodPost:
		if strings.HasSuffix(path, "/chat/completions") {
			return traffic.ChatCompletions
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return traffic.Other
		}
		if prefix := path[:i]; prefix != "" && !strings.HasSuffix(prefix, "/v1") && !strings.HasSuffix(prefix, "/openai") {
			return traffic.Other
		}
		switch path[i+1:] {
		case "completions":
			return traffic.Completions
		case "embeddings":
			return traffic.Embeddings
		case "responses":
			return traffic.Responses
		}
	}
	return traffic.Other
}

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
