package server

import (
	"net/http"
	"strings"

	"github.com/penstock-dev/penstock/internal/provider"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// Unmetered returns routes that workers commonly generate on and that pass
// unread: what is sent there is charged as a request, without its tokens. A *
// stands for any letters.
func Unmetered() []string {
	return []string{
		// In shapes of their own: TGI, SGLang and vLLM, llama.cpp, SageMaker, Triton,
		// Cohere's and Voyage's clients, and classifiers.
		"/generate", "/generate_stream", "/invocations", "/completion", "/infill", "/embedding",
		"/v2/models/*/infer", "/v2/models/*/generate", "/v1/chat", "/v2/chat", "/pooling", "/classify",
		"/encode", "/v2/embed", "/inference/v1/generate",
		// Of the dialects that are read.
		"/v1/batches", "/v1/responses/compact", "/v1/threads/*/runs",
		"/v1/complete", "/v1/messages/batches",
		"*:batchGenerateContent", "*:predict", "*:rawPredict", "*:streamRawPredict",
	}
}

// endpoints returns what a POST to a cleaned path may be, in which a * stands for
// any letters; nil when it may be anything.
func endpoints(path string) (kinds []traffic.Endpoint) {
	if !strings.Contains(path, "*") {
		return []traffic.Endpoint{endpoint(path)}
	}
	end := strings.LastIndexAny(path, "*/:")
	switch last := path[end:]; path[end] {
	case ':':
		kinds = append(kinds, endpoint("/v1beta/models/m"+last))
	case '/':
		// What is before it matters as far as it is one of these.
		for _, dir := range []string{"", "/api", "/v1", "/v1/chat", "/v1/chat/completions", "/v1/audio", "/v1/images"} {
			kinds = append(kinds, endpoint(dir+last))
		}
	}
	return kinds
}

// endpoint is what the gateway takes a POST to a path for that is in a rule: one
// that is read in another case is read, and ComfyUI has each of its paths under
// /api, too.
func endpoint(path string) traffic.Endpoint {
	e := provider.Route(http.MethodPost, path)
	for _, other := range []string{strings.ToLower(path), strings.TrimPrefix(path, "/api")} {
		if o := provider.Route(http.MethodPost, other); !e.Metered() && o.Metered() && (len(other) == len(path) || o.Dialect == traffic.ComfyUI) {
			e = o
		}
	}
	return e
}
