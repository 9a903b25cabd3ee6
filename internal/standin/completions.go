package standin

import (
	"encoding/json"
	"math"
	"net/http"
)

// completions serves /v1/completions.
func (w *Worker) completions(a *answer, _ *http.Request) { w.generate(a, "cmpl-", completion{}) }

// completion is the shape of completions: n answers to each of its prompts.
type completion struct{}

type completionChoice struct {
	Text         string  `json:"text"`
	Index        int     `json:"index"`
	Logprobs     *string `json:"logprobs"`
	FinishReason *string `json:"finish_reason"`
}

func (completion) ask(c *call) error {
	n, err := c.askPrompts("prompt")
	if err != nil {
		return err
	}
	each, err := c.fields.count("n", 1, maxAnswers)
	if err != nil {
		return err
	}
	if n*each > maxPrompts {
		return badRequest("n", "n answers to each prompt are %d; ask for at most %d.", n*each, maxPrompts)
	}
	most, err := c.fields.count("max_tokens", math.MaxInt64, math.MaxInt64)
	if err != nil {
		return err
	}
	c.setAnswers(n*each, most)
	return c.askIncludeUsage()
}

func (completion) whole(c *call, choices []any, usage json.RawMessage) chunk {
	return chunk{ID: c.id, Object: "text_completion", Created: c.created.Unix(), Model: c.model, Choices: choices, Usage: usage}
}

func (s completion) body(c *call) any {
	choices := make([]any, len(c.choices))
	for i := range c.choices {
		reason := c.choices[i].finishReason()
		choices[i] = completionChoice{Text: c.choices[i].text.String(), Index: i, FinishReason: &reason}
	}
	return s.whole(c, choices, c.usageBody())
}

func (completion) begin(*call) error { return nil }

func (s completion) token(c *call, i int, text string) error {
	return c.answer.event("", s.whole(c, []any{completionChoice{Text: text, Index: i}}, c.chunkUsage()))
}

func (s completion) stop(c *call, i int) error {
	reason := c.choices[i].finishReason()
	return c.answer.event("", s.whole(c, []any{completionChoice{Index: i, FinishReason: &reason}}, c.chunkUsage()))
}

func (completion) end(c *call) error { return c.endChunks("text_completion") }
