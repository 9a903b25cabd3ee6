package standin

import (
	"encoding/json"
	"math"
	"net/http"
	"time"
)

// ollamaStream is the type of a stream: lines of JSON.
const ollamaStream = "application/x-ndjson"

// ollamaChat serves /api/chat.
func (w *Worker) ollamaChat(a *answer, _ *http.Request) { w.generate(a, "", ollama{chat: true}) }

// ollamaGenerate serves /api/generate.
func (w *Worker) ollamaGenerate(a *answer, _ *http.Request) { w.generate(a, "", ollama{}) }

// ollama is the shape of Ollama's chat and generate, which differ in where the
// text stands. They stream unless they are told not to.
type ollama struct{ chat bool }

type ollamaMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// ollamaBody is a line of a stream, or the whole answer. Durations are
// nanoseconds.
type ollamaBody struct {
	Model      string         `json:"model"`
	CreatedAt  time.Time      `json:"created_at"`
	Message    *ollamaMessage `json:"message,omitempty"`
	Response   *string        `json:"response,omitempty"`
	Done       bool           `json:"done"`
	DoneReason string         `json:"done_reason,omitempty"`

	TotalDuration      int64           `json:"total_duration,omitempty"`
	LoadDuration       int64           `json:"load_duration,omitempty"`
	PromptEvalCount    json.RawMessage `json:"prompt_eval_count,omitempty"`
	PromptEvalDuration int64           `json:"prompt_eval_duration,omitempty"`
	EvalCount          json.RawMessage `json:"eval_count,omitempty"`
	EvalDuration       int64           `json:"eval_duration,omitempty"`
}

func (s ollama) ask(c *call) error {
	if s.chat {
		messages, ok := c.fields["messages"].([]any)
		if !ok || len(messages) == 0 {
			return badRequest("messages", "messages must be a list of at least one message")
		}
		c.setInput(c.worker.tokens.count(textBytes(messages)))
	} else {
		var bytes int64
		for _, name := range []string{"system", "prompt", "suffix"} {
			text, err := c.fields.text(name)
			if err != nil {
				return err
			}
			bytes += int64(len(text))
		}
		ids, isList := c.fields["context"].([]any) // of an earlier answer
		n, ok := tokenIDs(ids)
		if !isList && c.fields["context"] != nil || !ok && len(ids) > 0 {
			return badRequest("context", "context must be a list of token ids")
		}
		c.setInput(c.worker.tokens.count(bytes) + n)
	}
	options, ok := c.fields["options"].(map[string]any)
	if !ok && c.fields["options"] != nil {
		return badRequest("options", "options must be an object")
	}
	most, err := fields(options).whole("num_predict", -1)
	if err != nil {
		return err
	}
	if most <= 0 { // as much as it likes
		most = math.MaxInt64
	}
	c.setAnswers(1, most)
	return c.askStream(true, ollamaStream)
}

// piece returns a line with this text.
func (s ollama) piece(c *call, text string) ollamaBody {
	b := ollamaBody{Model: c.model, CreatedAt: time.Now().UTC()}
	if s.chat {
		b.Message = &ollamaMessage{"assistant", text}
	} else {
		b.Response = &text
	}
	return b
}

// last returns the line that ends the answer, with this text.
func (s ollama) last(c *call, text string) ollamaBody {
	b := s.piece(c, text)
	b.Done, b.DoneReason = true, c.choices[0].finishReason()
	b.TotalDuration, b.LoadDuration = c.elapsed(), 1
	b.PromptEvalCount, b.PromptEvalDuration = c.report(c.figure(c.input)), 1
	b.EvalCount, b.EvalDuration = c.report(c.figure(c.made())), c.elapsed()
	return b
}

func (s ollama) body(c *call) any { return s.last(c, c.choices[0].text.String()) }

func (ollama) begin(*call) error { return nil }

func (s ollama) token(c *call, _ int, text string) error { return c.answer.line(s.piece(c, text)) }

func (ollama) stop(*call, int) error { return nil }

func (s ollama) end(c *call) error {
	if c.answer.fault.has("no-done") {
		return nil
	}
	return c.answer.line(s.last(c, ""))
}

// elapsed returns the time since the call began, at least a nanosecond.
func (c *call) elapsed() int64 { return max(int64(time.Since(c.created)), 1) }

// ollamaEmbed serves /api/embed.
func (w *Worker) ollamaEmbed(a *answer, _ *http.Request) {
	c, err := w.newCall(a, "")
	var n, dimensions int64
	if err == nil {
		n, err = c.askPrompts("input")
	}
	if err == nil {
		dimensions, err = c.fields.count("dimensions", defaultDimensions, maxDimensions)
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	c.run(func(*run) error {
		vectors := make([][]float32, n)
		for i := range vectors {
			vectors[i] = c.vector(dimensions)
		}
		return a.json(http.StatusOK, struct {
			Model           string          `json:"model"`
			Embeddings      [][]float32     `json:"embeddings"`
			TotalDuration   int64           `json:"total_duration"`
			LoadDuration    int64           `json:"load_duration"`
			PromptEvalCount json.RawMessage `json:"prompt_eval_count,omitempty"`
		}{c.model, vectors, c.elapsed(), 1, c.report(c.figure(c.input))})
	})
}

// ollamaEmbedding serves /api/embeddings, the older form of /api/embed, which
// reports no usage.
func (w *Worker) ollamaEmbedding(a *answer, _ *http.Request) {
	c, err := w.newCall(a, "")
	var prompt string
	if err == nil {
		prompt, err = c.fields.text("prompt")
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	c.setInput(w.tokens.count(int64(len(prompt))))
	c.run(func(*run) error {
		return a.json(http.StatusOK, map[string][]float32{"embedding": c.vector(defaultDimensions)})
	})
}

type ollamaDetails struct {
	Format        string   `json:"format"`
	Family        string   `json:"family"`
	Families      []string `json:"families"`
	ParameterSize string   `json:"parameter_size"`
	Quantization  string   `json:"quantization_level"`
}

func standinDetails() ollamaDetails {
	return ollamaDetails{"gguf", "standin", []string{"standin"}, "0B", "F16"}
}

// ollamaTags serves GET /api/tags.
func (w *Worker) ollamaTags(a *answer, _ *http.Request) {
	type model struct {
		Name       string        `json:"name"`
		Model      string        `json:"model"`
		ModifiedAt time.Time     `json:"modified_at"`
		Size       int64         `json:"size"`
		Digest     string        `json:"digest"`
		Details    ollamaDetails `json:"details"`
	}
	list := []model{}
	for _, name := range w.modelNames() {
		list = append(list, model{name, name, time.Unix(1700000000, 0).UTC(), 1, "0000000000000000", standinDetails()})
	}
	_ = a.json(http.StatusOK, map[string][]model{"models": list})
}

// ollamaShow serves POST /api/show.
func (w *Worker) ollamaShow(a *answer, _ *http.Request) {
	c, err := w.newCall(a, "")
	if err != nil {
		a.refuseFor(err)
		return
	}
	_ = a.json(http.StatusOK, struct {
		Modelfile    string         `json:"modelfile"`
		Template     string         `json:"template"`
		Details      ollamaDetails  `json:"details"`
		ModelInfo    map[string]any `json:"model_info"`
		Capabilities []string       `json:"capabilities"`
	}{
		"FROM " + c.model + "\n", "{{ .Prompt }}", standinDetails(),
		map[string]any{"general.architecture": "standin", "standin.context_length": 1 << 20},
		[]string{"completion", "embedding"},
	})
}
