package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// anthropicCalls are those of Anthropic's API.
func anthropicCalls() []sdkCall {
	all := []sdkCall{
		{name: "messages", tokens: true, output: true, do: anthropicMessage},
		{name: "messages streamed", stream: true, tokens: true, output: true, begin: 3, do: anthropicStream},
		{name: "count tokens", do: anthropicCount},
	}
	for i := range all {
		all[i].told, all[i].limited, all[i].tells = true, "rate_limit_error", anthropicError
	}
	return all
}

// anthropicError is what the SDK tells of an error.
func anthropicError(err error) sdkError {
	var e *anthropic.Error
	if !errors.As(err, &e) {
		return sdkError{}
	}
	var body struct{ Error struct{ Message string } }
	_ = json.Unmarshal([]byte(e.RawJSON()), &body) // what it is not has no message
	return sdkError{Status: e.StatusCode, Type: string(e.Type()), Message: body.Error.Message}
}

// newAnthropic returns Anthropic's client as its users make it.
func newAnthropic(g *gateway, r *record, key string, ask sdkAsk) anthropic.Client {
	g.shown(key)
	opts := []option.RequestOption{
		option.WithBaseURL(g.url),
		option.WithAPIKey(key),
		option.WithHTTPClient(&http.Client{Transport: r}),
	}
	if ask.fault != "" {
		opts = append(opts, option.WithHeader("X-Standin-Fault", ask.fault))
	}
	if ask.once {
		opts = append(opts, option.WithMaxRetries(0))
	}
	return anthropic.NewClient(opts...)
}

func messageParams(ask sdkAsk) anthropic.MessageNewParams {
	text := anthropic.NewTextBlock(ask.prompt)
	if ask.cache {
		text.OfText.CacheControl = anthropic.NewCacheControlEphemeralParam()
	}
	return anthropic.MessageNewParams{
		Model: anthropic.Model(ask.model), MaxTokens: ask.most,
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(text)},
	}
}

// anthropicAnswer reads a message, whole or as far as it came.
func anthropicAnswer(m *anthropic.Message) sdkAnswer {
	a := sdkAnswer{
		input:  m.Usage.InputTokens + m.Usage.CacheCreationInputTokens + m.Usage.CacheReadInputTokens,
		output: m.Usage.OutputTokens,
	}
	for _, block := range m.Content {
		a.text += block.Text
	}
	return a
}

func anthropicMessage(ctx context.Context, _ *testing.T, g *gateway, r *record, key string, ask sdkAsk) (sdkAnswer, error) {
	c := newAnthropic(g, r, key, ask)
	m, err := c.Messages.New(ctx, messageParams(ask))
	if err != nil {
		return sdkAnswer{}, err
	}
	return anthropicAnswer(m), nil
}

func anthropicStream(ctx context.Context, _ *testing.T, g *gateway, r *record, key string, ask sdkAsk) (sdkAnswer, error) {
	c := newAnthropic(g, r, key, ask)
	s := c.Messages.NewStreaming(ctx, messageParams(ask))
	defer s.Close()
	var m anthropic.Message
	text := ""
	for s.Next() {
		if err := m.Accumulate(s.Current()); err != nil {
			return sdkAnswer{}, err
		}
		text += s.Current().Delta.Text
		ask.saw(text)
	}
	a := anthropicAnswer(&m)
	a.text = text // also when it was cut
	return a, s.Err()
}

func anthropicCount(ctx context.Context, _ *testing.T, g *gateway, r *record, key string, ask sdkAsk) (sdkAnswer, error) {
	c := newAnthropic(g, r, key, ask)
	n, err := c.Messages.CountTokens(ctx, anthropic.MessageCountTokensParams{
		Model: anthropic.Model(ask.model), Messages: messageParams(ask).Messages,
	})
	if err != nil {
		return sdkAnswer{}, err
	}
	return sdkAnswer{input: n.InputTokens}, nil
}
