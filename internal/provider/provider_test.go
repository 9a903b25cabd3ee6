package provider

import (
	"math"
	"testing"

	"github.com/penstock-dev/penstock/internal/traffic"
)

func TestRoute(t *testing.T) {
	endpoint := func(d traffic.Dialect, k traffic.Kind) traffic.Endpoint { return traffic.Endpoint{Dialect: d, Kind: k} }
	var (
		chat   = endpoint(traffic.OpenAI, traffic.ChatCompletions)
		text   = endpoint(traffic.OpenAI, traffic.Completions)
		vector = endpoint(traffic.OpenAI, traffic.Embeddings)
		resp   = endpoint(traffic.OpenAI, traffic.Responses)
		list   = endpoint(traffic.OpenAI, traffic.ModelList)
		other  = endpoint(traffic.OpenAI, traffic.Other)
		plain  = endpoint(traffic.Plain, traffic.Other)
	)
	for _, tt := range []struct {
		method, path string
		want         traffic.Endpoint
	}{
		{"POST", "/v1/chat/completions", chat},
		{"POST", "/chat/completions", chat},
		{"POST", "/openai/v1/chat/completions", chat},
		{"POST", "/openai/deployments/gpt-4o/chat/completions", chat},
		{"POST", "/any/where/chat/completions", chat},
		{"POST", "/v1/completions", text},
		{"POST", "/completions", text},
		{"POST", "/openai/completions", text},
		{"POST", "/team/v1/completions", text},
		{"POST", "/v1/embeddings", vector},
		{"POST", "/openai/v1/embeddings", vector},
		{"POST", "/embeddings", vector},
		{"POST", "/v1/responses", resp},
		{"POST", "/responses", resp},
		{"GET", "/v1/models", list},
		{"HEAD", "/v1/models", list},
		{"GET", "/models", list},
		{"GET", "/v1/models/meta-llama/Llama-3", list},
		{"GET", "/openai/v1/models", list},
		{"GET", "/openai/v1/models/gpt-4o", list},

		{"POST", "/v1/responses/resp_1", other},
		{"GET", "/v1/responses/resp_1", other},
		{"GET", "/v1/chat/completions", other},
		{"PUT", "/v1/completions", other},
		{"post", "/v1/completions", other},
		{"POST", "/v1/models", other},
		{"POST", "/v1/audio/speech", other},
		{"POST", "/v1/x/completions", other},
		{"POST", "/v1/chat/completions/x", other},
		{"POST", "/v1/Completions", other},
		{"POST", "/openai/files", other},
		{"GET", "/openai/models", other},

		{"POST", "/", plain},
		{"POST", "", plain},
		{"POST", "completions", plain},
		{"GET", "/models/gpt-4o", plain},
		{"GET", "/chat/completions", plain},
		{"POST", "/generate", plain},
		{"POST", "/av1/completions", plain},
		{"POST", "/xchat/completions", plain},
		{"POST", "/v1", plain},
		{"POST", "/v10/completions", plain},
		{"OPTIONS", "/completions", plain},
	} {
		if got := Route(tt.method, tt.path); got != tt.want {
			t.Errorf("%s %s is %v, want %v", tt.method, tt.path, got, tt.want)
		}
	}
}

func TestSaturation(t *testing.T) {
	const most = math.MaxInt64
	for _, tt := range []struct{ a, b, product, sum int64 }{
		{0, 0, 0, 0},
		{3, 4, 12, 7},
		{most, 1, most, most},
		{most, 0, 0, most},
		{most, most, most, most},
		{1 << 32, 1 << 32, most, 1 << 33},
		{1 << 32, 1 << 30, 1 << 62, 1<<32 + 1<<30},
		{1 << 32, 1 << 31, most, 1<<32 + 1<<31},
		{most - 1, 1, most - 1, most},
		{most - 1, 2, most, most},
	} {
		if times(tt.a, tt.b) != tt.product || times(tt.b, tt.a) != tt.product {
			t.Errorf("%d times %d is %d, want %d", tt.a, tt.b, times(tt.a, tt.b), tt.product)
		}
		if plus(tt.a, tt.b) != tt.sum || plus(tt.b, tt.a) != tt.sum {
			t.Errorf("%d plus %d is %d, want %d", tt.a, tt.b, plus(tt.a, tt.b), tt.sum)
		}
	}
}
