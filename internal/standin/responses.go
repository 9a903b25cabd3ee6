package standin

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"
)

// responses serves /v1/responses.
func (w *Worker) responses(a *answer, _ *http.Request) {
	w.generate(a, "resp_", &response{})
}

// response is the shape of responses: one message, told in named events that are
// numbered from 0.
type response struct {
	sequence int64
}

type responseBody struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	CreatedAt         int64             `json:"created_at"`
	Status            string            `json:"status"`
	Error             *string           `json:"error"`
	IncompleteDetails map[string]string `json:"incomplete_details"`
	Instructions      any               `json:"instructions"`
	MaxOutputTokens   any               `json:"max_output_tokens"`
	Model             string            `json:"model"`
	Output            []responseItem    `json:"output"`
	ParallelToolCalls bool              `json:"parallel_tool_calls"`
	Temperature       float64           `json:"temperature"`
	ToolChoice        string            `json:"tool_choice"`
	Tools             []string          `json:"tools"`
	TopP              float64           `json:"top_p"`
	Metadata          map[string]string `json:"metadata"`
	Usage             json.RawMessage   `json:"usage,omitempty"`
}

type responseItem struct {
	ID      string         `json:"id"`
	Type    string         `json:"type"`
	Status  string         `json:"status"`
	Role    string         `json:"role"`
	Content []responsePart `json:"content"`
}

type responsePart struct {
	Type        string   `json:"type"`
	Text        string   `json:"text"`
	Annotations []string `json:"annotations"`
}

// responseEvent is any event of the stream; the fields that one has not are left
// out.
type responseEvent struct {
	Type           string        `json:"type"`
	SequenceNumber int64         `json:"sequence_number"`
	Response       *responseBody `json:"response,omitempty"`
	ItemID         string        `json:"item_id,omitempty"`
	OutputIndex    *int          `json:"output_index,omitempty"`
	ContentIndex   *int          `json:"content_index,omitempty"`
	Item           *responseItem `json:"item,omitempty"`
	Part           *responsePart `json:"part,omitempty"`
	Delta          *string       `json:"delta,omitempty"`
	Text           *string       `json:"text,omitempty"`
	Logprobs       []string      `json:"logprobs,omitzero"`
}

func (*response) ask(c *call) error {
	input := c.fields["input"]
	switch input.(type) {
	case string, []any:
	default:
		return badRequest("input", "input must be a string or a list of items.")
	}
	instructions, err := c.fields.text("instructions")
	if err != nil {
		return err
	}
	c.setInput(c.worker.tokens.count(textBytes(input) + int64(len(instructions))))
	most, err := c.fields.count("max_output_tokens", math.MaxInt64, math.MaxInt64)
	if err != nil {
		return err
	}
	c.setAnswers(1, most)
	return c.askStream(false, openAIStream)
}

// snapshot returns the response as it stands, in this status. Its usage is null
// until the end.
func (*response) snapshot(c *call, status string) *responseBody {
	b := &responseBody{
		ID: c.id, Object: "response", CreatedAt: c.created.Unix(), Status: status, Model: c.model,
		Instructions: c.fields["instructions"], MaxOutputTokens: c.fields["max_output_tokens"],
		Output: []responseItem{}, ParallelToolCalls: true, Temperature: 1, ToolChoice: "auto", Tools: []string{}, TopP: 1,
		Metadata: map[string]string{}, Usage: json.RawMessage("null"),
	}
	if status == "in_progress" {
		return b
	}
	if status == "incomplete" {
		b.IncompleteDetails = map[string]string{"reason": "max_output_tokens"}
	}
	b.Output = []responseItem{messageItem(c, status)}
	b.Usage = c.responseUsage()
	return b
}

func (c *call) responseUsage() json.RawMessage {
	var u struct {
		InputTokens  figure `json:"input_tokens"`
		InputDetails struct {
			CachedTokens figure `json:"cached_tokens"`
		} `json:"input_tokens_details"`
		OutputTokens  figure `json:"output_tokens"`
		OutputDetails struct {
			ReasoningTokens figure `json:"reasoning_tokens"`
		} `json:"output_tokens_details"`
		TotalTokens figure `json:"total_tokens"`
	}
	u.InputTokens, u.InputDetails.CachedTokens = c.figure(c.input), c.figure(c.cached)
	u.OutputTokens, u.OutputDetails.ReasoningTokens = c.figure(c.made()), c.figure(0)
	u.TotalTokens = c.figure(c.input + c.made())
	return c.report(u)
}

func messageID(c *call) string { return "msg_" + strings.TrimPrefix(c.id, "resp_") }

// messageItem returns the message; its content is empty until its end.
func messageItem(c *call, status string) responseItem {
	item := responseItem{ID: messageID(c), Type: "message", Status: status, Role: "assistant", Content: []responsePart{}}
	if status != "in_progress" {
		item.Content = append(item.Content, *textPart(c.choices[0].text.String()))
	}
	return item
}

func textPart(text string) *responsePart {
	return &responsePart{Type: "output_text", Text: text, Annotations: []string{}}
}

// status returns the response's status at its end.
func (*response) status(c *call) string {
	if c.choices[0].cut {
		return "incomplete"
	}
	return "completed"
}

func (s *response) body(c *call) any { return s.snapshot(c, s.status(c)) }

// send numbers and sends an event.
func (s *response) send(c *call, e responseEvent) error {
	e.SequenceNumber = s.sequence
	s.sequence++
	return c.answer.event(e.Type, e)
}

// sendPart sends an event about the one part of the one message.
func (s *response) sendPart(c *call, e responseEvent) error {
	e.ItemID, e.OutputIndex, e.ContentIndex = messageID(c), new(int), new(int)
	return s.send(c, e)
}

func (s *response) begin(c *call) error {
	for _, kind := range []string{"response.created", "response.in_progress"} {
		if err := s.send(c, responseEvent{Type: kind, Response: s.snapshot(c, "in_progress")}); err != nil {
			return err
		}
	}
	item := messageItem(c, "in_progress")
	if err := s.send(c, responseEvent{Type: "response.output_item.added", OutputIndex: new(int), Item: &item}); err != nil {
		return err
	}
	return s.sendPart(c, responseEvent{Type: "response.content_part.added", Part: textPart("")})
}

func (s *response) token(c *call, _ int, text string) error {
	return s.sendPart(c, responseEvent{Type: "response.output_text.delta", Delta: &text, Logprobs: []string{}})
}

func (s *response) stop(c *call, i int) error {
	text := c.choices[i].text.String()
	if err := s.sendPart(c, responseEvent{Type: "response.output_text.done", Text: &text, Logprobs: []string{}}); err != nil {
		return err
	}
	if err := s.sendPart(c, responseEvent{Type: "response.content_part.done", Part: textPart(text)}); err != nil {
		return err
	}
	item := messageItem(c, s.status(c))
	return s.send(c, responseEvent{Type: "response.output_item.done", OutputIndex: new(int), Item: &item})
}

// end sends the last event, which marks the end: there is no [DONE].
func (s *response) end(c *call) error {
	if c.answer.fault.has("no-done") {
		return nil
	}
	status := s.status(c)
	return s.send(c, responseEvent{Type: "response." + status, Response: s.snapshot(c, status)})
}
