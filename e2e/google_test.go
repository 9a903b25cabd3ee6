package e2e

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"google.golang.org/genai"
)

// googleCalls are those of Google's Gemini API.
func googleCalls() []sdkCall {
	all := []sdkCall{
		{name: "content", tokens: true, output: true, do: googleContent},
		{name: "content streamed", stream: true, tokens: true, output: true, do: googleStream},
		{name: "embed content", tokens: true, do: googleEmbedding},
		{name: "count content tokens", do: googleCount},
		{name: "google models", do: googleModels},
	}
	for i := range all {
		all[i].limited, all[i].tells = "RESOURCE_EXHAUSTED", googleError
	}
	return all
}

// googleError is what the SDK tells of an error.
func googleError(err error) sdkError {
	var e genai.APIError
	if !errors.As(err, &e) {
		return sdkError{}
	}
	return sdkError{Status: e.Code, Type: e.Status, Message: e.Message}
}

// newGoogle returns Google's client as its users make it who want it to retry. It
// does so on its own clock, which is set behind that of a window of a second.
func newGoogle(t *testing.T, g *gateway, r *record, key string, ask sdkAsk) *genai.Client {
	t.Helper()
	g.shown(key)
	o := genai.HTTPOptions{BaseURL: g.url}
	if ask.fault != "" {
		o.Headers = http.Header{"X-Standin-Fault": {ask.fault}}
	}
	if !ask.once {
		o.RetryOptions = &genai.HTTPRetryOptions{Attempts: new(int32(2)), InitialDelay: new(1.5), Jitter: new(0.0)}
	}
	c, err := genai.NewClient(t.Context(), &genai.ClientConfig{
		APIKey: key, Backend: genai.BackendGeminiAPI, HTTPClient: &http.Client{Transport: r}, HTTPOptions: o,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a *sdkAnswer) take(r *genai.GenerateContentResponse) {
	a.text += r.Text()
	if u := r.UsageMetadata; u != nil {
		a.input, a.output = int64(u.PromptTokenCount), int64(u.CandidatesTokenCount)
	}
}

func googleConfig(ask sdkAsk) *genai.GenerateContentConfig {
	return &genai.GenerateContentConfig{MaxOutputTokens: int32(ask.most)}
}

func googleContent(ctx context.Context, t *testing.T, g *gateway, r *record, key string, ask sdkAsk) (a sdkAnswer, err error) {
	got, err := newGoogle(t, g, r, key, ask).Models.GenerateContent(ctx, ask.model, genai.Text(ask.prompt), googleConfig(ask))
	if err == nil {
		a.take(got)
	}
	return a, err
}

func googleStream(ctx context.Context, t *testing.T, g *gateway, r *record, key string, ask sdkAsk) (a sdkAnswer, err error) {
	for got, err := range newGoogle(t, g, r, key, ask).Models.GenerateContentStream(ctx, ask.model, genai.Text(ask.prompt), googleConfig(ask)) {
		if err != nil {
			return a, err
		}
		a.take(got)
		ask.saw(a.text)
	}
	return a, nil
}

func googleEmbedding(ctx context.Context, t *testing.T, g *gateway, r *record, key string, ask sdkAsk) (a sdkAnswer, err error) {
	got, err := newGoogle(t, g, r, key, ask).Models.EmbedContent(ctx, ask.model, genai.Text(ask.prompt), nil)
	if err == nil {
		a.items = len(got.Embeddings)
	}
	return a, err
}

func googleCount(ctx context.Context, t *testing.T, g *gateway, r *record, key string, ask sdkAsk) (a sdkAnswer, err error) {
	got, err := newGoogle(t, g, r, key, ask).Models.CountTokens(ctx, ask.model, genai.Text(ask.prompt), nil)
	if err == nil {
		a.input = int64(got.TotalTokens)
	}
	return a, err
}

func googleModels(ctx context.Context, t *testing.T, g *gateway, r *record, key string, ask sdkAsk) (a sdkAnswer, err error) {
	for _, err := range newGoogle(t, g, r, key, ask).Models.All(ctx) {
		if err != nil {
			return a, err
		}
		a.items++
	}
	return a, nil
}
