package server

import (
	"net/http"

	"github.com/penstock-dev/penstock/internal/provider"
)

// workerRoutes are routes on which workers of the common kinds generate in a
// shape of their own: TGI, SGLang and vLLM, llama.cpp, SageMaker, Triton,
// Cohere's and Voyage's clients, and classifiers.
var workerRoutes = [...]string{
	"/generate", "/generate_stream", "/invocations", "/completion", "/infill", "/embedding",
	"/v2/models/m/infer", "/v2/models/m/generate", "/v1/chat", "/v2/chat", "/pooling", "/classify",
}

// Unmetered returns the routes, of those that workers commonly generate on, that
// pass unread: what is sent there is charged as a request, without its tokens.
func Unmetered() (routes []string) {
	for _, path := range workerRoutes {
		if !provider.Route(http.MethodPost, path).Metered() {
			routes = append(routes, path)
		}
	}
	return routes
}
