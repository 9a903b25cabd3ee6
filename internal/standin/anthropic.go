package standin

import (
	"encoding/json"
	"math"
	"net/http"
)

// messages serves /v1/messages.
func (w *Worker) messages(a *answer, _ *http.Request) { w.generate(a, "msg_", &message{}) }

// message is the shape of Anthropic's messages: one block of text, told in named
// events.
type message struct{ input messageTexts }

// messageTexts is the input of a request, in tokens.
type messageTexts struct {
	all int64
	// marked come before the end of the last part with cache_control, and long
	// before that of the last one whose ttl is 1h. Where the request itself has
	// it, that is all.
	marked, long int64
}

type messageBody struct {
	ID           string          `json:"id"`
	Type         string          `json:"type"`
	Role         string          `json:"role"`
	Model        string          `json:"model"`
	Content      []messageBlock  `json:"content"`
	StopReason   *string         `json:"stop_reason"`
	StopSequence *string         `json:"stop_sequence"`
	Usage        json.RawMessage `json:"usage,omitempty"`
}

type messageBlock struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// messageEvent is any event of the stream; the fields that one has not are left
// out.
type messageEvent struct {
	Type         string          `json:"type"`
	Message      *messageBody    `json:"message,omitempty"`
	Index        *int            `json:"index,omitempty"`
	ContentBlock *messageBlock   `json:"content_block,omitempty"`
	Delta        any             `json:"delta,omitempty"`
	Usage        json.RawMessage `json:"usage,omitempty"`
}

type messageStop struct {
	StopReason   string  `json:"stop_reason"`
	StopSequence *string `json:"stop_sequence"`
}

// messageInput returns the tokens of the input.
func (c *call) messageInput() (in messageTexts, err error) {
	messages, ok := c.fields["messages"].([]any)
	if !ok || len(messages) == 0 {
		return in, badRequest("messages", "messages: at least one message is required")
	}
	for i, m := range messages {
		m, ok := m.(map[string]any)
		if role, _ := m["role"].(string); !ok || role != "user" && role != "assistant" {
			return in, badRequest("messages", "messages.%d: the role must be 'user' or 'assistant'", i)
		}
	}
	var bytes int64
	mark := func(v any) {
		control, ok := v.(map[string]any)
		if !ok {
			return
		}
		in.marked = c.worker.tokens.count(bytes)
		if control["ttl"] == "1h" {
			in.long = in.marked
		}
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, element := range v {
				walk(element)
			}
		case map[string]any:
			walk(v["text"])
			walk(v["content"])
			mark(v["cache_control"])
		case string:
			bytes += int64(len(v))
		}
	}
	walk(c.fields["system"])
	walk(messages)
	mark(c.fields["cache_control"])
	in.all = c.worker.tokens.count(bytes)
	return in, nil
}

func (s *message) ask(c *call) (err error) {
	if s.input, err = c.messageInput(); err != nil {
		return err
	}
	c.setInput(s.input.all)
	c.cached = c.share(s.input.marked)
	if c.fields["max_tokens"] == nil {
		return badRequest("max_tokens", "max_tokens: Field required")
	}
	most, err := c.fields.count("max_tokens", 1, math.MaxInt64)
	if err != nil {
		return err
	}
	c.setAnswers(1, most)
	return c.askStream(false, openAIStream)
}

// usage returns the usage with so much output. Its input_tokens are those beside
// the cache.
func (s *message) usage(c *call, output int64) json.RawMessage {
	type writes struct {
		Short figure `json:"ephemeral_5m_input_tokens"`
		Long  figure `json:"ephemeral_1h_input_tokens"`
	}
	written, long := s.input.marked-c.cached, max(s.input.long-c.cached, 0)
	return c.report(struct {
		Input       figure `json:"input_tokens"`
		CacheWrites figure `json:"cache_creation_input_tokens"`
		CacheReads  figure `json:"cache_read_input_tokens"`
		Creation    writes `json:"cache_creation"`
		Output      figure `json:"output_tokens"`
	}{
		c.figure(s.input.all - s.input.marked), c.figure(written), c.figure(c.cached),
		writes{c.figure(written - long), c.figure(long)},
		c.figure(output),
	})
}

func (s *message) stopReason(c *call) string {
	if c.choices[0].cut {
		return "max_tokens"
	}
	return "end_turn"
}

func (s *message) body(c *call) any {
	reason := s.stopReason(c)
	return messageBody{
		ID: c.id, Type: "message", Role: "assistant", Model: c.model,
		Content:    []messageBlock{{"text", c.choices[0].text.String()}},
		StopReason: &reason, Usage: s.usage(c, c.made()),
	}
}

func (*message) send(c *call, e messageEvent) error { return c.answer.event(e.Type, e) }

// begin tells of the input, and of the one token of output that is due by now.
func (s *message) begin(c *call) error {
	err := s.send(c, messageEvent{Type: "message_start", Message: &messageBody{
		ID: c.id, Type: "message", Role: "assistant", Model: c.model, Content: []messageBlock{}, Usage: s.usage(c, 1),
	}})
	if err == nil {
		err = s.send(c, messageEvent{Type: "content_block_start", Index: new(int), ContentBlock: &messageBlock{Type: "text"}})
	}
	if err == nil {
		err = s.send(c, messageEvent{Type: "ping"})
	}
	return err
}

func (s *message) token(c *call, _ int, text string) error {
	return s.send(c, messageEvent{Type: "content_block_delta", Index: new(int), Delta: messageBlock{"text_delta", text}})
}

func (s *message) stop(c *call, _ int) error {
	return s.send(c, messageEvent{Type: "content_block_stop", Index: new(int)})
}

// end sends the usage of the whole, message_start's counted in, and the end.
func (s *message) end(c *call) error {
	err := s.send(c, messageEvent{
		Type: "message_delta", Delta: messageStop{StopReason: s.stopReason(c)}, Usage: s.usage(c, c.made()),
	})
	if err != nil || c.answer.fault.has("no-done") {
		return err
	}
	return s.send(c, messageEvent{Type: "message_stop"})
}

// messageTokens serves /v1/messages/count_tokens.
func (w *Worker) messageTokens(a *answer, _ *http.Request) {
	c, err := w.newCall(a, "")
	var in messageTexts
	if err == nil {
		in, err = c.messageInput()
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	_ = a.json(http.StatusOK, map[string]int64{"input_tokens": in.all})
}

// anthropicErrorBody returns Anthropic's shape of an error.
func anthropicErrorBody(e *refusal) any {
	kind := "api_error"
	switch e.status {
	case http.StatusUnauthorized:
		kind = "authentication_error"
	case http.StatusForbidden:
		kind = "permission_error"
	case http.StatusNotFound:
		kind = "not_found_error"
	case http.StatusRequestEntityTooLarge:
		kind = "request_too_large"
	case http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case 529:
		kind = "overloaded_error"
	default:
		if e.status < 500 {
			kind = "invalid_request_error"
		}
	}
	type body struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	return struct {
		Type  string `json:"type"`
		Error body   `json:"error"`
	}{"error", body{kind, e.message}}
}
