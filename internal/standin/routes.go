package standin

import (
	"net/http"
	"strings"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// route is one endpoint: the dialect of its errors, and whether it is one that
// generates.
type route struct {
	dialect   traffic.Dialect
	generates bool
	serve     func(*answer, *http.Request)
}

// methods are the endpoints of one path, by method; GET is for HEAD too.
type methods map[string]route

// pattern is a path with a name within: a model, or an id.
type pattern struct {
	before, after string
	model         bool
	methods       methods
}

// addRoutes lists what the worker serves. A path may have one {model} or {id}
// within, which holds no slash.
func (w *Worker) addRoutes() {
	const reads, generates = false, true
	w.routes = map[string]methods{}
	for _, r := range []struct {
		method, path string
		route
	}{
		{"POST", "/v1/chat/completions", route{traffic.OpenAI, generates, w.chatCompletions}},
		{"POST", "/v1/completions", route{traffic.OpenAI, generates, w.completions}},
		{"POST", "/v1/responses", route{traffic.OpenAI, generates, w.responses}},
		{"POST", "/v1/embeddings", route{traffic.OpenAI, generates, w.embeddings}},
		{"POST", "/v1/audio/speech", route{traffic.OpenAI, generates, w.speech}},
		{"POST", "/v1/audio/transcriptions", route{traffic.OpenAI, generates, w.transcriptions}},
		{"POST", "/v1/images/generations", route{traffic.OpenAI, generates, w.images}},
		{"POST", "/v1/moderations", route{traffic.OpenAI, generates, w.moderations}},
		{"POST", "/v1/rerank", route{traffic.OpenAI, generates, w.rerank}},
		{"POST", "/openai/deployments/{model}/chat/completions", route{traffic.OpenAI, generates, w.chatCompletions}},
		{"POST", "/openai/deployments/{model}/embeddings", route{traffic.OpenAI, generates, w.embeddings}},
		{"GET", "/v1/models", route{traffic.OpenAI, reads, w.modelList}},

		{"POST", "/v1/messages", route{traffic.Anthropic, generates, w.messages}},
		{"POST", "/v1/messages/count_tokens", route{traffic.Anthropic, reads, w.messageTokens}},

		{"POST", "/v1beta/models/{model}:generateContent", route{traffic.Google, generates, w.generateContent}},
		{"POST", "/v1beta/models/{model}:streamGenerateContent", route{traffic.Google, generates, w.streamGenerateContent}},
		{"POST", "/v1beta/models/{model}:embedContent", route{traffic.Google, generates, w.embedContent}},
		{"POST", "/v1beta/models/{model}:batchEmbedContents", route{traffic.Google, generates, w.batchEmbedContents}},
		{"POST", "/v1beta/models/{model}:countTokens", route{traffic.Google, reads, w.contentTokens}},
		{"GET", "/v1beta/models", route{traffic.Google, reads, w.googleModels}},

		{"POST", "/api/chat", route{traffic.Ollama, generates, w.ollamaChat}},
		{"POST", "/api/generate", route{traffic.Ollama, generates, w.ollamaGenerate}},
		{"POST", "/api/embed", route{traffic.Ollama, generates, w.ollamaEmbed}},
		{"POST", "/api/embeddings", route{traffic.Ollama, generates, w.ollamaEmbedding}},
		{"GET", "/api/tags", route{traffic.Ollama, reads, w.ollamaTags}},
		{"POST", "/api/show", route{traffic.Ollama, reads, w.ollamaShow}},

		{"POST", "/prompt", route{traffic.ComfyUI, generates, w.comfyPrompt}},
		{"GET", "/prompt", route{traffic.ComfyUI, reads, w.comfyRemaining}},
		{"GET", "/queue", route{traffic.ComfyUI, reads, w.comfyQueue}},
		{"POST", "/queue", route{traffic.ComfyUI, reads, w.comfyDelete}},
		{"GET", "/history", route{traffic.ComfyUI, reads, w.comfyHistory}},
		{"GET", "/history/{id}", route{traffic.ComfyUI, reads, w.comfyHistory}},
		{"POST", "/interrupt", route{traffic.ComfyUI, reads, w.comfyInterrupt}},
		{"GET", "/view", route{traffic.ComfyUI, reads, comfyView}},
		{"GET", "/ws", route{traffic.ComfyUI, reads, w.socket}},

		{"GET", "/health", route{traffic.Plain, reads, health}},
		{"GET", "/metrics", route{traffic.Plain, reads, w.metrics}},
		{"GET", "/bytes", route{traffic.Plain, reads, bytesOut}},
		{"GET", "/chunks", route{traffic.Plain, reads, chunksOut}},
		{"GET", "/gzip", route{traffic.Plain, reads, gzipOut}},
	} {
		w.add(r.method, r.path, r.route)
		if r.dialect == traffic.ComfyUI {
			w.add(r.method, "/api"+r.path, r.route) // it has everything twice
		}
	}
}

func (w *Worker) add(method, path string, r route) {
	before, rest, named := strings.Cut(path, "{")
	if !named {
		if w.routes[path] == nil {
			w.routes[path] = methods{}
		}
		w.routes[path][method] = r
		return
	}
	name, after, _ := strings.Cut(rest, "}")
	w.named = append(w.named, pattern{before, after, name == "model", methods{method: r}})
}

// find returns the endpoints at the request's path, nil where there is none, and
// the one of its method, whose serve is nil where there is none. It sets what the
// path says in a. /echo and /status also own what lies below them and take every
// method.
func (w *Worker) find(a *answer, r *http.Request) (methods, route) {
	path := r.URL.Path
	switch {
	case path == "/echo" || strings.HasPrefix(path, "/echo/"):
		return methods{}, route{serve: echo}
	case strings.HasPrefix(path, "/status/"):
		return methods{}, route{serve: status}
	case strings.HasPrefix(path, "/v1beta/"):
		a.dialect = traffic.Google
	case strings.HasPrefix(path, "/api/"):
		a.dialect = traffic.Ollama
	}
	all := w.routes[path]
	for i := 0; all == nil && i < len(w.named); i++ {
		all = w.named[i].match(a, path)
	}
	for _, to := range all {
		a.dialect = to.dialect // the same for all of a path
	}
	to, ok := all[r.Method]
	if !ok && r.Method == http.MethodHead {
		to = all[http.MethodGet]
	}
	return all, to
}

// match returns the endpoints where path is of the pattern, with its name noted
// in a; else nil.
func (p *pattern) match(a *answer, path string) methods {
	name, ok := strings.CutPrefix(path, p.before)
	name, has := strings.CutSuffix(name, p.after)
	if !ok || !has || name == "" || strings.Contains(name, "/") {
		return nil
	}
	if p.model {
		a.model = name
	} else {
		a.id = name
	}
	return p.methods
}
