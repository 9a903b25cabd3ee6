package standin

import (
	"fmt"
	"net/http"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// refusal is an error of the worker. It is answered in the shape of the
// request's dialect, which leaves out what it has no place for.
type refusal struct {
	status                     int
	message, kind, param, code string
	// details and nodes are ComfyUI's.
	details string
	nodes   map[string]comfyNodeErrors
}

func (e *refusal) Error() string { return e.message }

// badRequest returns a 400 about the named field; param is empty for the whole
// request.
func badRequest(param, format string, args ...any) *refusal {
	return &refusal{
		status: http.StatusBadRequest, kind: "invalid_request_error", param: param,
		message: fmt.Sprintf(format, args...),
	}
}

// refuse answers with the error.
func (a *answer) refuse(e *refusal) {
	var body any
	switch a.dialect {
	case traffic.Anthropic:
		body = anthropicErrorBody(e)
	case traffic.Google:
		body = googleErrorBody(e)
	case traffic.Ollama:
		body = map[string]string{"error": e.message}
	case traffic.ComfyUI:
		body = comfyErrorBody(e)
	default:
		body = openAIErrorBody(e)
	}
	// The error of a client that has gone is kept in a and dealt with by finish.
	_ = a.json(e.status, body)
}

// openAIErrorBody returns OpenAI's shape of an error. Empty fields are null.
func openAIErrorBody(e *refusal) any {
	orNull := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	type body struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	return map[string]body{"error": {e.message, e.kind, orNull(e.param), orNull(e.code)}}
}
