package standin

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
)

// maxCandidates bounds candidateCount, as Google does.
const maxCandidates = 8

// generateContent serves /v1beta/models/{model}:generateContent.
func (w *Worker) generateContent(a *answer, _ *http.Request) { w.generate(a, "", &content{}) }

// streamGenerateContent serves /v1beta/models/{model}:streamGenerateContent: with
// alt=sse as events, else as one JSON array.
func (w *Worker) streamGenerateContent(a *answer, r *http.Request) {
	s := &content{streamType: "application/json; charset=UTF-8"}
	if r.URL.Query().Get("alt") == "sse" {
		s.streamType = eventStream
	}
	w.generate(a, "", s)
}

// content is the shape of Google's generateContent. Every chunk of a stream is an
// answer of its own, with the usage so far; the last has a finishReason, which is
// all that marks the end.
type content struct {
	streamType string // empty: no stream
	begun      bool   // the array has its first element
}

type contentBody struct {
	Candidates   []candidate     `json:"candidates"`
	Usage        json.RawMessage `json:"usageMetadata,omitempty"`
	ModelVersion string          `json:"modelVersion"`
	ResponseID   string          `json:"responseId"`
}

type candidate struct {
	Content      candidateContent `json:"content"`
	FinishReason string           `json:"finishReason,omitempty"`
	Index        int              `json:"index"`
}

type candidateContent struct {
	Parts []contentPart `json:"parts"`
	Role  string        `json:"role"`
}

type contentPart struct {
	Text string `json:"text"`
}

type modality struct {
	Modality string `json:"modality"`
	Tokens   figure `json:"tokenCount"`
}

// either returns the field by the name that the request uses, which is the JSON
// name or the one in Google's own definitions.
func (f fields) either(name, original string) (string, any) {
	if v, ok := f[name]; ok {
		return name, v
	}
	return original, f[original]
}

// contentInput returns the tokens of contents and systemInstruction in f.
func (w *Worker) contentInput(f fields) (int64, error) {
	contents, ok := f["contents"].([]any)
	if !ok || len(contents) == 0 {
		return 0, badRequest("contents", "* GenerateContentRequest.contents: contents is not specified")
	}
	_, system := f.either("systemInstruction", "system_instruction")
	return w.tokens.count(textBytes(contents) + textBytes(system)), nil
}

func (s *content) ask(c *call) error {
	input, err := c.worker.contentInput(c.fields)
	if err != nil {
		return err
	}
	c.setInput(input)
	name, v := c.fields.either("generationConfig", "generation_config")
	config, ok := v.(map[string]any)
	if !ok && v != nil {
		return badRequest(name, "Invalid value at '%s'", name)
	}
	name, _ = fields(config).either("maxOutputTokens", "max_output_tokens")
	most, err := fields(config).count(name, math.MaxInt64, math.MaxInt64)
	if err != nil {
		return err
	}
	name, _ = fields(config).either("candidateCount", "candidate_count")
	n, err := fields(config).count(name, 1, maxCandidates)
	if err != nil {
		return err
	}
	c.setAnswers(n, most)
	c.stream, c.streamType = s.streamType != "", s.streamType
	return nil
}

// whole returns an answer of these candidates, with the usage so far.
func (s *content) whole(c *call, candidates ...candidate) contentBody {
	type usage struct {
		Prompt  figure     `json:"promptTokenCount"`
		Output  figure     `json:"candidatesTokenCount"`
		Total   figure     `json:"totalTokenCount"`
		Cached  *figure    `json:"cachedContentTokenCount,omitempty"`
		Details []modality `json:"promptTokensDetails"`
	}
	u := usage{
		Prompt: c.figure(c.input), Output: c.figure(c.made()), Total: c.figure(c.input + c.made()),
		Details: []modality{{"TEXT", c.figure(c.input)}},
	}
	if c.cached > 0 {
		u.Cached = new(c.figure(c.cached))
	}
	return contentBody{Candidates: candidates, Usage: c.report(u), ModelVersion: c.model, ResponseID: c.id}
}

func (s *content) candidate(c *call, i int, text string) candidate {
	got := candidate{Content: candidateContent{[]contentPart{{text}}, "model"}, Index: i}
	if ch := &c.choices[i]; ch.made == ch.want && !c.answer.fault.has("no-done") {
		got.FinishReason = "STOP"
		if ch.cut {
			got.FinishReason = "MAX_TOKENS"
		}
	}
	return got
}

func (s *content) body(c *call) any {
	all := make([]candidate, len(c.choices))
	for i := range c.choices {
		all[i] = s.candidate(c, i, c.choices[i].text.String())
	}
	return s.whole(c, all...)
}

func (*content) begin(*call) error { return nil }

func (s *content) token(c *call, i int, text string) error {
	chunk := s.whole(c, s.candidate(c, i, text))
	if s.streamType == eventStream {
		return c.answer.event("", chunk)
	}
	data, err := json.Marshal(chunk)
	if err != nil {
		return fmt.Errorf("standin: encoding an element: %w", err)
	}
	before := "["
	if s.begun {
		before = ",\r\n"
	}
	s.begun = true
	return c.answer.chunk(append([]byte(before), data...))
}

func (*content) stop(*call, int) error { return nil }

func (s *content) end(c *call) error {
	if s.streamType == eventStream || c.answer.fault.has("no-done") {
		return nil
	}
	return c.answer.chunk([]byte("]\n"))
}

// contentTokens serves /v1beta/models/{model}:countTokens.
func (w *Worker) contentTokens(a *answer, _ *http.Request) {
	c, err := w.newCall(a, "")
	var input int64
	if err == nil {
		asked := c.fields
		if _, v := c.fields.either("generateContentRequest", "generate_content_request"); v != nil {
			asked, _ = v.(map[string]any)
		}
		input, err = w.contentInput(asked)
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	_ = a.json(http.StatusOK, struct {
		Total   int64      `json:"totalTokens"`
		Details []modality `json:"promptTokensDetails"`
	}{input, []modality{{"TEXT", figure{input, UsageTrue}}}})
}

type contentEmbedding struct {
	Values []float32 `json:"values"`
}

// embedContent serves /v1beta/models/{model}:embedContent.
func (w *Worker) embedContent(a *answer, _ *http.Request) {
	c, err := w.newCall(a, "")
	var dimensions []int64
	if err == nil {
		dimensions, err = c.askEmbed([]any{map[string]any(c.fields)})
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	c.run(func(*run) error {
		return a.json(http.StatusOK, map[string]contentEmbedding{"embedding": {c.vector(dimensions[0])}})
	})
}

// batchEmbedContents serves /v1beta/models/{model}:batchEmbedContents.
func (w *Worker) batchEmbedContents(a *answer, _ *http.Request) {
	c, err := w.newCall(a, "")
	var dimensions []int64
	if err == nil {
		requests, _ := c.fields["requests"].([]any)
		dimensions, err = c.askEmbed(requests)
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	c.run(func(*run) error {
		all := make([]contentEmbedding, len(dimensions))
		for i, n := range dimensions {
			all[i].Values = c.vector(n)
		}
		return a.json(http.StatusOK, map[string][]contentEmbedding{"embeddings": all})
	})
}

// askEmbed sets the input from requests to embed one content each, and returns
// how many dimensions each wants. Google reports no usage of these.
func (c *call) askEmbed(requests []any) ([]int64, error) {
	if len(requests) == 0 || len(requests) > maxPrompts {
		return nil, badRequest("requests", "* BatchEmbedContentsRequest.requests: from 1 to %d requests must be in one batch", maxPrompts)
	}
	var input int64
	dimensions := make([]int64, len(requests))
	for i, v := range requests {
		request, _ := v.(map[string]any)
		content, ok := request["content"].(map[string]any)
		if !ok {
			return nil, badRequest("content", "* EmbedContentRequest.content: content is not specified")
		}
		input += c.worker.tokens.count(textBytes(content))
		name, _ := fields(request).either("outputDimensionality", "output_dimensionality")
		n, err := fields(request).count(name, defaultDimensions, maxDimensions)
		if err != nil {
			return nil, err
		}
		dimensions[i] = n
	}
	c.setInput(input)
	return dimensions, nil
}

// googleModels serves GET /v1beta/models.
func (w *Worker) googleModels(a *answer, _ *http.Request) {
	type model struct {
		Name        string   `json:"name"`
		Version     string   `json:"version"`
		DisplayName string   `json:"displayName"`
		Input       int64    `json:"inputTokenLimit"`
		Output      int64    `json:"outputTokenLimit"`
		Methods     []string `json:"supportedGenerationMethods"`
	}
	list := []model{}
	for _, name := range w.modelNames() {
		list = append(list, model{
			"models/" + name, "001", name, 1 << 20, 1 << 16,
			[]string{"generateContent", "countTokens", "embedContent", "batchEmbedContents"},
		})
	}
	_ = a.json(http.StatusOK, map[string][]model{"models": list})
}

// googleErrorBody returns Google's shape of an error.
func googleErrorBody(e *refusal) any {
	status, ok := map[int]string{
		http.StatusUnauthorized:       "UNAUTHENTICATED",
		http.StatusForbidden:          "PERMISSION_DENIED",
		http.StatusNotFound:           "NOT_FOUND",
		http.StatusMethodNotAllowed:   "UNIMPLEMENTED",
		http.StatusConflict:           "ABORTED",
		http.StatusTooManyRequests:    "RESOURCE_EXHAUSTED",
		http.StatusNotImplemented:     "UNIMPLEMENTED",
		http.StatusServiceUnavailable: "UNAVAILABLE",
		http.StatusGatewayTimeout:     "DEADLINE_EXCEEDED",
	}[e.status]
	switch {
	case ok:
	case e.status < 500:
		status = "INVALID_ARGUMENT"
	default:
		status = "INTERNAL"
	}
	type body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
	}
	return map[string]body{"error": {e.status, e.message, status}}
}
