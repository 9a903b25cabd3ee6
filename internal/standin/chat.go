package standin

import (
	"math"
	"net/http"
)

// chatCompletions serves /v1/chat/completions.
func (w *Worker) chatCompletions(a *answer, _ *http.Request) { w.generate(a, "chatcmpl-", chat{}) }

// chat is the shape of chat completions.
type chat struct{}

type chatMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type chatDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

type chatChoice struct {
	Index        int          `json:"index"`
	Message      *chatMessage `json:"message,omitempty"`
	Delta        *chatDelta   `json:"delta,omitempty"`
	Logprobs     *string      `json:"logprobs"`
	FinishReason *string      `json:"finish_reason"`
}

func (chat) ask(c *call) error {
	messages, ok := c.fields["messages"].([]any)
	if !ok || len(messages) == 0 {
		return badRequest("messages", "messages must be a list of at least one message.")
	}
	for i, m := range messages {
		m, ok := m.(map[string]any)
		if _, isText := m["role"].(string); !ok || !isText {
			return badRequest("messages", "messages[%d] must be an object with a role.", i)
		}
	}
	c.setInput(c.worker.tokens.count(textBytes(messages)))
	n, err := c.fields.count("n", 1, maxAnswers)
	if err != nil {
		return err
	}
	most, err := c.fields.count("max_tokens", math.MaxInt64, math.MaxInt64)
	if err != nil {
		return err
	}
	// Where both are given the newer name counts, as in vLLM.
	most, err = c.fields.count("max_completion_tokens", most, math.MaxInt64)
	if err != nil {
		return err
	}
	c.setAnswers(n, most)
	return c.askIncludeUsage()
}

func (chat) body(c *call) any {
	choices := make([]any, len(c.choices))
	for i := range c.choices {
		ch := &c.choices[i]
		reason := ch.finishReason()
		choices[i] = chatChoice{
			Index: i, Message: &chatMessage{Role: "assistant", Content: ch.text.String()}, FinishReason: &reason,
		}
	}
	return chunk{ID: c.id, Object: "chat.completion", Created: c.created.Unix(), Model: c.model, Choices: choices, Usage: c.usageBody()}
}

func (chat) send(c *call, choice chatChoice) error {
	return c.answer.event("", chunk{
		ID: c.id, Object: "chat.completion.chunk", Created: c.created.Unix(), Model: c.model,
		Choices: []any{choice}, Usage: c.chunkUsage(),
	})
}

func (s chat) begin(c *call) error {
	for i := range c.choices {
		if err := s.send(c, chatChoice{Index: i, Delta: &chatDelta{Role: "assistant", Content: new(string)}}); err != nil {
			return err
		}
	}
	return nil
}

func (s chat) token(c *call, i int, text string) error {
	return s.send(c, chatChoice{Index: i, Delta: &chatDelta{Content: &text}})
}

func (s chat) stop(c *call, i int) error {
	reason := c.choices[i].finishReason()
	return s.send(c, chatChoice{Index: i, Delta: &chatDelta{}, FinishReason: &reason})
}

func (chat) end(c *call) error { return c.endChunks("chat.completion.chunk") }
