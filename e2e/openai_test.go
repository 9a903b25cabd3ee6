package e2e

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// newOpenAI returns OpenAI's client as its users make it, for the gateway, with a
// key that must appear in no log, and the record of what it sends.
func newOpenAI(t *testing.T, g *gateway, key string, opts ...option.RequestOption) (*openai.Client, *record) {
	t.Helper()
	r := newRecord(t)
	if strings.HasPrefix(key, "sk-") { // else it only looks like one
		g.shown(key)
	}
	client := openai.NewClient(append([]option.RequestOption{
		option.WithBaseURL(g.url + "/v1/"),
		option.WithAPIKey(key),
		option.WithHTTPClient(&http.Client{Transport: r}),
	}, opts...)...)
	return &client, r
}

// openAIAsk is what a test asks for, by whichever endpoint.
type openAIAsk struct {
	model, prompt string
	most          int64 // output tokens; 0 says nothing of them
	usage         *bool // stream_options.include_usage, where there is one; nil says nothing
	// each, unless nil, is called with the text so far after each event.
	each func(text string)
	opts []option.RequestOption
}

func (a *openAIAsk) saw(text string) {
	if a.each != nil {
		a.each(text)
	}
}

// withFault has the stand-in worker break in one of its ways.
func withFault(f string) option.RequestOption { return option.WithHeader("X-Standin-Fault", f) }

// openAIAnswer is what the SDK made of an answer.
type openAIAnswer struct {
	text string
	// input, output and total are the usage, -1 where the SDK saw none; usages
	// is how often it did.
	input, output, total int64
	usages               int
	empty                int    // events of a stream without a choice
	items                int    // vectors or models
	failed               string // the code of a response's error event
}

func (a *openAIAnswer) used(input, output, total int64) {
	a.input, a.output, a.total = input, output, total
	a.usages++
}

// openAICall is one way to ask.
type openAICall struct {
	name   string
	stream bool
	tokens bool // it counts as tokens, and takes a slot
	output bool // it has output
	do     func(context.Context, *openai.Client, openAIAsk) (openAIAnswer, error)
}

// openAICalls are all that are metered, and the list of models. They are never
// changed.
var openAICalls = []openAICall{
	{name: "chat completions", tokens: true, output: true, do: openAIChat},
	{name: "chat completions streamed", stream: true, tokens: true, output: true, do: openAIChatStream},
	{name: "completions", tokens: true, output: true, do: openAICompletion},
	{name: "completions streamed", stream: true, tokens: true, output: true, do: openAICompletionStream},
	{name: "responses", tokens: true, output: true, do: openAIResponse},
	{name: "responses streamed", stream: true, tokens: true, output: true, do: openAIResponseStream},
	{name: "embeddings", tokens: true, do: openAIEmbedding},
	{name: "models", do: openAIModels},
}

func chatParams(a openAIAsk) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:    a.model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(a.prompt)},
	}
	if a.most > 0 {
		p.MaxCompletionTokens = openai.Int(a.most)
	}
	if a.usage != nil {
		p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(*a.usage)}
	}
	return p
}

func openAIChat(ctx context.Context, c *openai.Client, ask openAIAsk) (openAIAnswer, error) {
	a := openAIAnswer{input: -1, output: -1, total: -1}
	r, err := c.Chat.Completions.New(ctx, chatParams(ask), ask.opts...)
	if err != nil {
		return a, err
	}
	for _, choice := range r.Choices {
		a.text += choice.Message.Content
	}
	if r.JSON.Usage.Valid() {
		a.used(r.Usage.PromptTokens, r.Usage.CompletionTokens, r.Usage.TotalTokens)
	}
	return a, nil
}

func openAIChatStream(ctx context.Context, c *openai.Client, ask openAIAsk) (openAIAnswer, error) {
	a := openAIAnswer{input: -1, output: -1, total: -1}
	s := c.Chat.Completions.NewStreaming(ctx, chatParams(ask), ask.opts...)
	defer s.Close()
	for s.Next() {
		chunk := s.Current()
		if len(chunk.Choices) == 0 {
			a.empty++
		}
		for _, choice := range chunk.Choices {
			a.text += choice.Delta.Content
		}
		if chunk.JSON.Usage.Valid() {
			a.used(chunk.Usage.PromptTokens, chunk.Usage.CompletionTokens, chunk.Usage.TotalTokens)
		}
		ask.saw(a.text)
	}
	return a, s.Err()
}

func completionParams(a openAIAsk) openai.CompletionNewParams {
	p := openai.CompletionNewParams{
		Model:  openai.CompletionNewParamsModel(a.model),
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(a.prompt)},
	}
	if a.most > 0 {
		p.MaxTokens = openai.Int(a.most)
	}
	if a.usage != nil {
		p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(*a.usage)}
	}
	return p
}

func openAICompletion(ctx context.Context, c *openai.Client, ask openAIAsk) (openAIAnswer, error) {
	a := openAIAnswer{input: -1, output: -1, total: -1}
	r, err := c.Completions.New(ctx, completionParams(ask), ask.opts...)
	if err != nil {
		return a, err
	}
	for _, choice := range r.Choices {
		a.text += choice.Text
	}
	if r.JSON.Usage.Valid() {
		a.used(r.Usage.PromptTokens, r.Usage.CompletionTokens, r.Usage.TotalTokens)
	}
	return a, nil
}

func openAICompletionStream(ctx context.Context, c *openai.Client, ask openAIAsk) (openAIAnswer, error) {
	a := openAIAnswer{input: -1, output: -1, total: -1}
	s := c.Completions.NewStreaming(ctx, completionParams(ask), ask.opts...)
	defer s.Close()
	for s.Next() {
		chunk := s.Current()
		if len(chunk.Choices) == 0 {
			a.empty++
		}
		for _, choice := range chunk.Choices {
			a.text += choice.Text
		}
		if chunk.JSON.Usage.Valid() {
			a.used(chunk.Usage.PromptTokens, chunk.Usage.CompletionTokens, chunk.Usage.TotalTokens)
		}
		ask.saw(a.text)
	}
	return a, s.Err()
}

func responseParams(a openAIAsk) responses.ResponseNewParams {
	p := responses.ResponseNewParams{
		Model: a.model,
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(a.prompt)},
	}
	if a.most > 0 {
		p.MaxOutputTokens = openai.Int(a.most)
	}
	return p
}

func openAIResponse(ctx context.Context, c *openai.Client, ask openAIAsk) (openAIAnswer, error) {
	a := openAIAnswer{input: -1, output: -1, total: -1}
	r, err := c.Responses.New(ctx, responseParams(ask), ask.opts...)
	if err != nil {
		return a, err
	}
	a.text = r.OutputText()
	if r.JSON.Usage.Valid() {
		a.used(r.Usage.InputTokens, r.Usage.OutputTokens, r.Usage.TotalTokens)
	}
	return a, nil
}

func openAIResponseStream(ctx context.Context, c *openai.Client, ask openAIAsk) (openAIAnswer, error) {
	a := openAIAnswer{input: -1, output: -1, total: -1}
	s := c.Responses.NewStreaming(ctx, responseParams(ask), ask.opts...)
	defer s.Close()
	for s.Next() {
		e := s.Current()
		if e.Type == "response.output_text.delta" {
			a.text += e.Delta
		}
		if e.Type == "error" {
			a.failed = e.Code
		}
		if e.Response.JSON.Usage.Valid() {
			a.used(e.Response.Usage.InputTokens, e.Response.Usage.OutputTokens, e.Response.Usage.TotalTokens)
		}
		ask.saw(a.text)
	}
	return a, s.Err()
}

func openAIEmbedding(ctx context.Context, c *openai.Client, ask openAIAsk) (openAIAnswer, error) {
	a := openAIAnswer{input: -1, output: -1, total: -1}
	r, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{
		Model: ask.model,
		Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String(ask.prompt)},
	}, ask.opts...)
	if err != nil {
		return a, err
	}
	a.items = len(r.Data)
	if r.JSON.Usage.Valid() {
		a.used(r.Usage.PromptTokens, 0, r.Usage.TotalTokens)
	}
	return a, nil
}

func openAIModels(ctx context.Context, c *openai.Client, ask openAIAsk) (openAIAnswer, error) {
	a := openAIAnswer{input: -1, output: -1, total: -1}
	models := c.Models.ListAutoPaging(ctx, ask.opts...)
	for models.Next() {
		a.items++
	}
	return a, models.Err()
}

// openAIError is what the SDK tells of an error.
type openAIError struct {
	Status              int
	Code, Type, Message string
}

// seconds is the wait in a message, which is different each time.
var seconds = regexp.MustCompile(`[0-9]+ seconds`)

// wantOpenAI checks that err is the SDK's own error and tells this. In the
// message N seconds stands for a number of them, which must be the one that the
// answer's Retry-After has.
func wantOpenAI(t *testing.T, err error, a attempt, want openAIError) {
	t.Helper()
	var e *openai.Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %T (%v), want an *openai.Error", err, err)
	}
	got := openAIError{e.StatusCode, e.Code, e.Type, e.Message}
	if told := a.header.Get("Retry-After"); strings.Contains(want.Message, "N seconds") && seconds.FindString(got.Message) == told+" seconds" {
		got.Message = seconds.ReplaceAllString(got.Message, "N seconds")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the SDK's error (-want +got):\n%s", diff)
	}
}
