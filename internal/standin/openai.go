package standin

import (
	"encoding/json"
	"net/http"
)

// openAIStream is the type of a stream.
const openAIStream = eventStream + "; charset=utf-8"

// The bounds of what one request may ask for.
const (
	maxAnswers    = 128  // n
	maxPrompts    = 2048 // of completions and embeddings
	maxDimensions = 4096 // of embeddings
)

// defaultDimensions is the length of a vector where the request names none.
const defaultDimensions = 16

// usageBody is the usage object of every endpoint but responses.
type usageBody struct {
	PromptTokens     figure `json:"prompt_tokens"`
	CompletionTokens figure `json:"completion_tokens"`
	TotalTokens      figure `json:"total_tokens"`

	PromptDetails struct {
		CachedTokens figure `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails struct {
		ReasoningTokens figure `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
}

// report returns what stands where a usage object belongs: body as it was made of
// c.figure, null, or nothing.
func (c *call) report(body any) json.RawMessage {
	switch c.usage {
	case UsageWithheld:
		return nil
	case UsageNull:
		return json.RawMessage("null")
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil // figures always marshal
	}
	return raw
}

// figure returns a number of tokens as this call reports it.
func (c *call) figure(tokens int64) figure { return figure{tokens, c.usage} }

func (c *call) usageBody() json.RawMessage {
	u := usageBody{
		PromptTokens:     c.figure(c.input),
		CompletionTokens: c.figure(c.made()),
		TotalTokens:      c.figure(c.input + c.made()),
	}
	u.PromptDetails.CachedTokens = c.figure(c.cached)
	u.CompletionDetails.ReasoningTokens = c.figure(0)
	return c.report(u)
}

// chunkUsage returns the usage of a chunk that has none: null where the stream
// will end with usage, unless the options leave that away.
func (c *call) chunkUsage() json.RawMessage {
	if c.includeUsage && c.usage != UsageWithheld && !c.worker.opts.OmitNullUsage {
		return json.RawMessage("null")
	}
	return nil
}

// endChunks ends a stream of chunks: usage, where it was asked for, in a chunk
// without choices, and the mark of the end.
func (c *call) endChunks(object string) error {
	if c.includeUsage && c.usage != UsageWithheld {
		last := chunk{ID: c.id, Object: object, Created: c.created.Unix(), Model: c.model, Choices: []any{}, Usage: c.usageBody()}
		if err := c.answer.event("", last); err != nil {
			return err
		}
	}
	if c.answer.fault.has("no-done") {
		return nil
	}
	return c.answer.chunk([]byte("data: [DONE]\n\n"))
}

// askIncludeUsage reads stream and stream_options.
func (c *call) askIncludeUsage() error {
	if err := c.askStream(false, openAIStream); err != nil {
		return err
	}
	options, ok := c.fields["stream_options"].(map[string]any)
	if !ok {
		if c.fields["stream_options"] != nil {
			return badRequest("stream_options", "stream_options must be an object.")
		}
		return nil
	}
	if !c.stream {
		return badRequest("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	var err error
	c.includeUsage, err = fields(options).flag("include_usage")
	return err
}

// chunk is one event of a stream, or the whole answer, of chat completions and
// completions.
type chunk struct {
	ID      string          `json:"id"`
	Object  string          `json:"object"`
	Created int64           `json:"created"`
	Model   string          `json:"model"`
	Choices []any           `json:"choices"`
	Usage   json.RawMessage `json:"usage,omitempty"`
}

// askPrompts sets the input from the named field and returns the number of
// prompts in it.
func (c *call) askPrompts(name string) (int64, error) {
	prompts, err := c.fields.prompts(name, c.worker.tokens)
	if err != nil {
		return 0, err
	}
	if len(prompts) > maxPrompts {
		return 0, badRequest(name, "%s has %d prompts; send at most %d.", name, len(prompts), maxPrompts)
	}
	var input int64
	for _, tokens := range prompts {
		input += tokens
	}
	c.setInput(input)
	return int64(len(prompts)), nil
}

// modelList serves GET /v1/models.
func (w *Worker) modelList(a *answer, _ *http.Request) {
	type model struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
	}
	list := struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{Object: "list", Data: []model{}}
	for _, name := range w.modelNames() {
		list.Data = append(list.Data, model{name, "model", 1700000000, "standin"})
	}
	_ = a.json(http.StatusOK, list)
}

func (w *Worker) modelNames() []string {
	if len(w.opts.Models) == 0 {
		return []string{"standin"}
	}
	return w.opts.Models
}
