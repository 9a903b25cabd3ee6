package provider

import (
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// routes is what method and path say, dialect by dialect.
var routes = []struct {
	methods string // empty: POST
	path    string
	want    traffic.Endpoint
}{
	{"", "/v1/chat/completions", of(traffic.OpenAI, traffic.ChatCompletions)},
	{"", "/chat/completions", of(traffic.OpenAI, traffic.ChatCompletions)},
	{"", "/openai/v1/chat/completions", of(traffic.OpenAI, traffic.ChatCompletions)},
	{"", "/any/where/chat/completions", of(traffic.OpenAI, traffic.ChatCompletions)},
	{"", "/v1beta/openai/chat/completions", of(traffic.OpenAI, traffic.ChatCompletions)},
	{"", "/v1/completions", of(traffic.OpenAI, traffic.Completions)},
	{"", "/completions", of(traffic.OpenAI, traffic.Completions)},
	{"", "/openai/completions", of(traffic.OpenAI, traffic.Completions)},
	{"", "/team/v1/completions", of(traffic.OpenAI, traffic.Completions)},
	{"", "/v1/embeddings", of(traffic.OpenAI, traffic.Embeddings)},
	{"", "/openai/v1/embeddings", of(traffic.OpenAI, traffic.Embeddings)},
	{"", "/embeddings", of(traffic.OpenAI, traffic.Embeddings)},
	{"", "/v1/responses", of(traffic.OpenAI, traffic.Responses)},
	{"", "/responses", of(traffic.OpenAI, traffic.Responses)},
	{"", "/v1/audio/speech", of(traffic.OpenAI, traffic.Speech)},
	{"", "/v1/audio/transcriptions", form(traffic.Transcriptions, "")},
	{"", "/v1/audio/translations", form(traffic.Transcriptions, "")},
	{"", "/v1/images/generations", of(traffic.OpenAI, traffic.Images)},
	{"", "/v1/images/edits", form(traffic.Images, "")},
	{"", "/images/variations", form(traffic.Images, "")},
	{"", "/v1/moderations", of(traffic.OpenAI, traffic.Moderations)},
	{"", "/rerank", of(traffic.OpenAI, traffic.Rerank)},
	{"", "/v2/rerank", of(traffic.OpenAI, traffic.Rerank)},
	{"POST PUT", "/v1/rerank", of(traffic.OpenAI, traffic.Rerank)},
	{"", "/v1/chat/completions/batch", of(traffic.OpenAI, traffic.ChatCompletions)},
	{"", "/v1/completions/batch", of(traffic.OpenAI, traffic.Other)},
	{"", "/reranking", of(traffic.OpenAI, traffic.Rerank)},
	{"", "/v1/reranking", of(traffic.OpenAI, traffic.Rerank)},
	{"", "/score", of(traffic.OpenAI, traffic.Rerank)},
	{"", "/v1/score", of(traffic.OpenAI, traffic.Rerank)},
	{"GET HEAD", "/v1/models", of(traffic.OpenAI, traffic.ModelList)},
	{"GET", "/models", of(traffic.OpenAI, traffic.ModelList)},
	{"GET", "/v1/models/meta-llama/Llama-3", of(traffic.OpenAI, traffic.ModelList)},
	{"GET", "/openai/v1/models", of(traffic.OpenAI, traffic.ModelList)},
	{"GET", "/openai/v1/models/gpt-4o", of(traffic.OpenAI, traffic.ModelList)},

	{"", "/openai/deployments/prod/chat/completions", azure(traffic.ChatCompletions, "prod")},
	{"", "/team/openai/deployments/prod/completions", azure(traffic.Completions, "prod")},
	{"", "/openai/deployments/prod/embeddings", azure(traffic.Embeddings, "prod")},
	{"", "/openai/deployments/prod/audio/speech", azure(traffic.Speech, "prod")},
	{"", "/openai/deployments/prod/audio/translations", form(traffic.Transcriptions, "prod")},
	{"", "/openai/deployments/prod/images/generations", azure(traffic.Images, "prod")},
	{"", "/openai/deployments/prod/images/edits", form(traffic.Images, "prod")},
	{"", "/openai/deployments/a%2Fb/chat/completions", azure(traffic.ChatCompletions, "b")},
	{"", "/openai/deployments/prod/extensions/chat/completions", azure(traffic.ChatCompletions, "prod")},
	{"", "/openai/deployments/prod/extensions/embeddings", of(traffic.OpenAI, traffic.Other)},
	{"GET", "/openai/deployments/prod/embeddings", of(traffic.OpenAI, traffic.Other)},

	{"", "/v1/responses/resp_1", of(traffic.OpenAI, traffic.Other)},
	{"GET", "/v1/responses/resp_1", of(traffic.OpenAI, traffic.Other)},
	{"GET PATCH post OPTIONS", "/v1/chat/completions", of(traffic.OpenAI, traffic.Other)},
	{"", "/v1/models", of(traffic.OpenAI, traffic.Other)},
	{"", "/v1/audio/speech/x", of(traffic.OpenAI, traffic.Other)},
	{"", "/v1/audio/songs", of(traffic.OpenAI, traffic.Other)},
	{"", "/v1/images/speech", of(traffic.OpenAI, traffic.Other)},
	{"", "/v1/audio/images/edits", of(traffic.OpenAI, traffic.Other)},
	{"", "/v1/x/completions", of(traffic.OpenAI, traffic.Other)},
	{"", "/v1/chat/completions/x", of(traffic.OpenAI, traffic.Other)},
	{"", "/v1/Completions", of(traffic.OpenAI, traffic.Other)},
	{"", "/openai/files", of(traffic.OpenAI, traffic.Other)},
	{"GET", "/openai/models", of(traffic.OpenAI, traffic.Other)},

	{"", "/v1/messages", of(traffic.Anthropic, traffic.Messages)},
	{"", "/anthropic/v1/messages", of(traffic.Anthropic, traffic.Messages)},
	{"", "/any/where/v1/messages", of(traffic.Anthropic, traffic.Messages)},
	{"", "/v1/messages/count_tokens", of(traffic.Anthropic, traffic.CountTokens)},
	{"", "/anthropic/v1/messages/count_tokens", of(traffic.Anthropic, traffic.CountTokens)},
	{"", "/v1/messages/batches", of(traffic.Anthropic, traffic.Other)},
	{"GET", "/anthropic/v1/messages", of(traffic.Anthropic, traffic.Other)},
	{"", "/v1/threads/t_1/messages", of(traffic.OpenAI, traffic.Other)},
	{"", "/messages", of(traffic.Plain, traffic.Other)},

	{"", "/v1beta/models/gemini-2.5-flash:generateContent", google(traffic.GenerateContent, "gemini-2.5-flash", false)},
	{"", "/v1/models/gemini-2.5-flash:generateContent", google(traffic.GenerateContent, "gemini-2.5-flash", false)},
	{"", "/v1alpha/models/gemini-2.5-flash:streamGenerateContent", google(traffic.GenerateContent, "gemini-2.5-flash", true)},
	{"", "/v1beta/tunedModels/mine:generateContent", google(traffic.GenerateContent, "mine", false)},
	{"", "/v1beta/models/embedding-001:embedContent", google(traffic.EmbedContent, "embedding-001", false)},
	{"", "/v1beta/models/embedding-001:batchEmbedContents", google(traffic.EmbedContent, "embedding-001", false)},
	{"", "/v1beta/models/gemini:countTokens", google(traffic.CountTokens, "gemini", false)},
	{"", "/v1/projects/p/locations/l/publishers/google/models/gemini:streamGenerateContent", google(traffic.GenerateContent, "gemini", true)},
	{"", "/v1/projects/p/locations/l/endpoints/12:generateContent", google(traffic.GenerateContent, "12", false)},
	{"", "/v1beta/models/qwen:3:generateContent", google(traffic.GenerateContent, "qwen:3", false)},
	{"", "/v1beta/models/a%2Fb:generateContent", google(traffic.GenerateContent, "b", false)},
	{"", "/v1beta/models/a/b:generateContent", google(traffic.GenerateContent, "b", false)},
	{"", "/v1beta/models/:generateContent", google(traffic.GenerateContent, "", false)},
	{"GET", "/v1beta/models", google(traffic.ModelList, "", false)},
	{"GET", "/v1alpha/models/gemini", google(traffic.ModelList, "", false)},
	{"", "/v1beta/models/gemini:GenerateContent", google(traffic.GenerateContent, "gemini", false)},
	{"", "/v1beta/models/gemini:STREAMGENERATECONTENT", google(traffic.GenerateContent, "gemini", true)},
	{"", "/v1beta/models/gemini:generateContent:x", google(traffic.Other, "", false)},
	{"", "/v1/projects/p/models/claude:rawPredict", google(traffic.Other, "", false)},
	{"GET", "/v1beta/models/gemini:generateContent", google(traffic.ModelList, "", false)},
	{"GET", "/v1beta/files/x", google(traffic.Other, "", false)},

	{"", "/api/chat", of(traffic.Ollama, traffic.OllamaChat)},
	{"", "/api/generate", of(traffic.Ollama, traffic.OllamaGenerate)},
	{"", "/api/embed", of(traffic.Ollama, traffic.OllamaEmbed)},
	{"", "/api/embeddings", of(traffic.Ollama, traffic.OllamaEmbed)},
	{"GET", "/api/tags", of(traffic.Ollama, traffic.ModelList)},
	{"", "/api/show", of(traffic.Ollama, traffic.ModelList)},
	{"GET", "/api/show", of(traffic.Ollama, traffic.Other)},
	{"GET", "/api/ps", of(traffic.Ollama, traffic.Other)},
	{"", "/api/blobs/sha256:x", of(traffic.Ollama, traffic.Other)},
	{"", "/api/users", of(traffic.Plain, traffic.Other)},
	{"", "/x/api/chat", of(traffic.Plain, traffic.Other)},

	{"", "/prompt", of(traffic.ComfyUI, traffic.ComfyPrompt)},
	{"GET", "/prompt", of(traffic.ComfyUI, traffic.Other)},
	{"", "/queue", of(traffic.ComfyUI, traffic.Other)},
	{"", "/interrupt", of(traffic.ComfyUI, traffic.Other)},
	{"", "/free", of(traffic.ComfyUI, traffic.Other)},
	{"", "/upload/image", of(traffic.ComfyUI, traffic.Other)},
	{"GET", "/history/f0a1", of(traffic.ComfyUI, traffic.Other)},
	{"GET", "/view", of(traffic.ComfyUI, traffic.Other)},
	{"GET", "/object_info/KSampler", of(traffic.ComfyUI, traffic.Other)},
	{"GET", "/ws", of(traffic.ComfyUI, traffic.Other)},
	{"GET", "/system_stats", of(traffic.ComfyUI, traffic.Other)},
	{"", "/prompts", of(traffic.Plain, traffic.Other)},
	{"", "/x/prompt", of(traffic.Plain, traffic.Other)},

	{"", "/", of(traffic.Plain, traffic.Other)},
	{"", "", of(traffic.Plain, traffic.Other)},
	{"", "completions", of(traffic.Plain, traffic.Other)},
	{"GET", "/models/gpt-4o", of(traffic.Plain, traffic.Other)},
	{"GET", "/chat/completions", of(traffic.Plain, traffic.Other)},
	{"", "/generate", of(traffic.Plain, traffic.Other)},
	{"", "/av1/completions", of(traffic.Plain, traffic.Other)},
	{"", "/xchat/completions", of(traffic.Plain, traffic.Other)},
	{"", "/v1", of(traffic.Plain, traffic.Other)},
	{"", "/v10/completions", of(traffic.Plain, traffic.Other)},
	{"", "/x/audio/speech", of(traffic.Plain, traffic.Other)},
	{"OPTIONS", "/completions", of(traffic.Plain, traffic.Other)},
}

func of(d traffic.Dialect, k traffic.Kind) traffic.Endpoint {
	return traffic.Endpoint{Dialect: d, Kind: k}
}

func azure(k traffic.Kind, model string) traffic.Endpoint {
	return traffic.Endpoint{Dialect: traffic.OpenAI, Kind: k, Model: model}
}

func form(k traffic.Kind, model string) traffic.Endpoint {
	return traffic.Endpoint{Dialect: traffic.OpenAI, Kind: k, Model: model, Form: true}
}

func google(k traffic.Kind, model string, stream bool) traffic.Endpoint {
	return traffic.Endpoint{Dialect: traffic.Google, Kind: k, Model: model, Stream: stream}
}

func TestRoute(t *testing.T) {
	for _, tt := range routes {
		methods := strings.Fields(tt.methods)
		if len(methods) == 0 {
			methods = []string{"POST"}
		}
		for _, method := range methods {
			if got := Route(method, tt.path); got != tt.want {
				t.Errorf("%s %s is %+v, want %+v", method, tt.path, got, tt.want)
			}
			if n := testing.AllocsPerRun(10, func() { Route(method, tt.path) }); n != 0 {
				t.Errorf("%s %s: %v allocations, want none", method, tt.path, n)
			}
		}
	}
}

// FuzzRoute: what is said of a path holds together, and a model that a path
// names is a part of it.
func FuzzRoute(f *testing.F) {
	for _, tt := range routes {
		f.Add(tt.path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		for _, method := range []string{"GET", "POST", "PUT"} {
			e := Route(method, path)
			if e.Metered() && (method == "GET" || e.Dialect == traffic.Plain) || !strings.Contains(path, e.Model) ||
				strings.Contains(e.Model, "/") || strings.Contains(e.Model, "%2F") || e.Stream && e.Dialect != traffic.Google || e.Form && !e.Metered() {
				t.Errorf("%s %q is %+v", method, path, e)
			}
		}
	})
}
