package provider

import (
	"net/http"
	"strings"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// Route tells what method and path alone say of a request. The path is cleaned:
// decoded once but for %2F, without dots, double slashes and a slash at its end.
//
// A path that is of a dialect and not metered has the dialect all the same,
// which its errors have to be in. Whatever is in front of a metered path makes
// it no other one, where that cannot be mistaken for something else.
func Route(method, cleanedPath string) traffic.Endpoint {
	e := traffic.Endpoint{Dialect: dialectOf(cleanedPath)}
	switch method {
	case http.MethodGet, http.MethodHead:
		if isModelList(cleanedPath) {
			e.Kind = traffic.ModelList
		}
	case http.MethodPost, http.MethodPut: // SGLang takes either
		post(&e, cleanedPath)
	}
	return e
}

// dialectOf returns whose errors a path has that is not metered.
func dialectOf(path string) traffic.Dialect {
	under := func(prefix string) bool { return strings.HasPrefix(path, prefix) }
	switch {
	case under("/v1/messages/"), under("/anthropic/"):
		return traffic.Anthropic
	case under("/v1beta/"), under("/v1alpha/"), under("/v1/projects/"):
		return traffic.Google
	case under("/v1/"), under("/openai/"):
		return traffic.OpenAI
	case path == "/models":
		return traffic.OpenAI
	case under("/api/"):
		first, _, _ := strings.Cut(path[len("/api/"):], "/")
		switch first {
		case "chat", "generate", "embed", "embeddings", "tags", "show", "ps", "version",
			"create", "delete", "pull", "push", "copy", "blobs":
			return traffic.Ollama
		}
	case under("/"):
		first, _, _ := strings.Cut(path[1:], "/")
		switch first {
		case "prompt", "queue", "interrupt", "free", "history", "ws", "upload", "view", "view_metadata",
			"object_info", "system_stats", "userdata", "users", "settings", "internal":
			return traffic.ComfyUI
		}
	}
	return traffic.Plain
}

// isModelList reports whether a GET of the path tells of models.
func isModelList(path string) bool {
	switch path {
	case "/models", "/v1/models", "/openai/v1/models", "/v1beta/models", "/v1alpha/models", "/api/tags":
		return true
	}
	for _, dir := range [...]string{"/v1/models/", "/openai/v1/models/", "/v1beta/models/", "/v1alpha/models/"} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}

// post tells what a POST to the path is.
func post(e *traffic.Endpoint, path string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return
	}
	dir, last := path[:i], path[i+1:]
	set := func(d traffic.Dialect, k traffic.Kind) { e.Dialect, e.Kind = d, k }
	if colon := strings.LastIndexByte(last, ':'); colon >= 0 {
		if k, stream := googleKind(last[colon+1:]); k != traffic.Other {
			set(traffic.Google, k)
			e.Model, e.Stream = segment(last[:colon]), stream
			return
		}
	}
	if k := openAIKind(dir, last); k != traffic.Other {
		set(traffic.OpenAI, k)
		e.Model = deployment(path)
		e.Form = k == traffic.Transcriptions || k == traffic.Images && last != "generations"
		return
	}
	switch {
	case last == "messages" && strings.HasSuffix(dir, "/v1"):
		set(traffic.Anthropic, traffic.Messages)
	case last == "count_tokens" && strings.HasSuffix(dir, "/v1/messages"):
		set(traffic.Anthropic, traffic.CountTokens)
	case path == "/prompt":
		set(traffic.ComfyUI, traffic.ComfyPrompt)
	case path == "/api/chat":
		set(traffic.Ollama, traffic.OllamaChat)
	case path == "/api/generate":
		set(traffic.Ollama, traffic.OllamaGenerate)
	case path == "/api/embed" || path == "/api/embeddings":
		set(traffic.Ollama, traffic.OllamaEmbed)
	case path == "/api/show":
		set(traffic.Ollama, traffic.ModelList)
	}
}

// googleActions are the words behind the colon of a model.
var googleActions = [...]struct {
	word   string
	kind   traffic.Kind
	stream bool
}{
	{"generateContent", traffic.GenerateContent, false},
	{"streamGenerateContent", traffic.GenerateContent, true},
	{"embedContent", traffic.EmbedContent, false},
	{"batchEmbedContents", traffic.EmbedContent, false},
	{"countTokens", traffic.CountTokens, false},
}

// googleKind tells what the word behind the colon of a model asks of it, in
// whatever case: they are the only words with letters of both.
func googleKind(action string) (kind traffic.Kind, stream bool) {
	for _, a := range &googleActions {
		if strings.EqualFold(action, a.word) {
			return a.kind, a.stream
		}
	}
	return traffic.Other, false
}

// openAIKind tells what the last segment of a path asks for, behind dir.
func openAIKind(dir, last string) traffic.Kind {
	if last == "completions" && strings.HasSuffix(dir, "/chat") || last == "batch" && strings.HasSuffix(dir, "/chat/completions") {
		return traffic.ChatCompletions
	}
	if i := strings.LastIndexByte(dir, '/'); i >= 0 && (dir[i+1:] == "audio" || dir[i+1:] == "images") {
		if !isOpenAIBase(dir[:i]) {
			return traffic.Other
		}
		switch {
		case dir[i+1:] == "images" && (last == "generations" || last == "edits" || last == "variations"):
			return traffic.Images
		case dir[i+1:] == "audio" && last == "speech":
			return traffic.Speech
		case dir[i+1:] == "audio" && (last == "transcriptions" || last == "translations"):
			return traffic.Transcriptions
		}
		return traffic.Other
	}
	if last == "rerank" && strings.HasSuffix(dir, "/v2") {
		return traffic.Rerank
	}
	if !isOpenAIBase(dir) {
		return traffic.Other
	}
	switch last {
	case "completions":
		return traffic.Completions
	case "embeddings":
		return traffic.Embeddings
	case "responses":
		return traffic.Responses
	case "moderations":
		return traffic.Moderations
	case "rerank", "reranking", "score":
		return traffic.Rerank
	}
	return traffic.Other
}

// isOpenAIBase reports whether an API of OpenAI's begins behind dir.
func isOpenAIBase(dir string) bool {
	if dir == "" || strings.HasSuffix(dir, "/v1") || strings.HasSuffix(dir, "/openai") {
		return true
	}
	i := strings.LastIndexByte(dir, '/')
	return i >= 0 && strings.HasSuffix(dir[:i+1], azureDeployments)
}

const azureDeployments = "/openai/deployments/"

// deployment returns the deployment that an Azure path names, which is the model
// that answers whatever the body says; empty where it names none.
func deployment(path string) string {
	i := strings.Index(path, azureDeployments)
	if i < 0 {
		return ""
	}
	name, _, _ := strings.Cut(path[i+len(azureDeployments):], "/")
	return segment(name)
}

// segment returns the name that a segment of a cleaned path is: what is behind
// its last slash, since a worker may decode slashes before it cuts.
func segment(s string) string {
	if i := strings.LastIndex(s, "%2F"); i >= 0 {
		return s[i+len("%2F"):]
	}
	return s
}
