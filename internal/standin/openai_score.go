package standin

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
)

// moderations serves /v1/moderations: nothing is ever flagged, and no usage is
// reported, as at OpenAI.
func (w *Worker) moderations(a *answer, _ *http.Request) {
	body, err := readBody(a)
	var f fields
	if err == nil {
		f, err = parseFields(body)
	}
	var c *call
	if err == nil {
		if f["model"] == nil {
			f["model"] = "omni-moderation-latest"
		}
		c, err = w.newCallOf(a, "modr-", body, f)
	}
	var n int
	if err == nil {
		n, err = c.askModeration()
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	type result struct {
		Flagged    bool               `json:"flagged"`
		Categories map[string]bool    `json:"categories"`
		Scores     map[string]float64 `json:"category_scores"`
	}
	results := make([]result, n)
	for i := range results {
		results[i] = result{Categories: map[string]bool{"violence": false}, Scores: map[string]float64{"violence": c.rng.Float64() / 1000}}
	}
	c.run(func(*run) error {
		return a.json(http.StatusOK, struct {
			ID      string   `json:"id"`
			Model   string   `json:"model"`
			Results []result `json:"results"`
		}{c.id, c.model, results})
	})
}

// askModeration sets the input and returns the number of results: one for each
// text, and one for all parts of a message.
func (c *call) askModeration() (int, error) {
	input := c.fields["input"]
	list, ok := input.([]any)
	if !ok {
		_, ok = input.(string)
		list = []any{input}
	}
	if !ok || len(list) == 0 || len(list) > maxPrompts {
		return 0, badRequest("input", "input must be a string, or a list of 1 to %d strings or parts.", maxPrompts)
	}
	c.setInput(c.worker.tokens.count(textBytes(input)))
	if _, parts := list[0].(map[string]any); parts {
		return 1, nil
	}
	return len(list), nil
}

// rerank serves /v1/rerank as vLLM has it: every document is read behind the
// query, so the query counts once for each.
func (w *Worker) rerank(a *answer, _ *http.Request) {
	c, err := w.newCall(a, "rerank-")
	var documents []string
	var most int64
	if err == nil {
		documents, err = c.askRerank()
	}
	if err == nil {
		most, err = c.fields.count("top_n", int64(len(documents)), maxPrompts)
	}
	if err != nil {
		a.refuseFor(err)
		return
	}
	c.run(func(*run) error { return a.json(http.StatusOK, c.ranking(documents, most)) })
}

// askRerank sets the input and returns the documents.
func (c *call) askRerank() ([]string, error) {
	query, ok := c.fields["query"].(string)
	if !ok {
		return nil, badRequest("query", "query must be a string.")
	}
	list, _ := c.fields["documents"].([]any)
	if len(list) == 0 || len(list) > maxPrompts {
		return nil, badRequest("documents", "documents must be a list of 1 to %d documents.", maxPrompts)
	}
	var input int64
	documents := make([]string, len(list))
	for i, v := range list {
		if object, ok := v.(map[string]any); ok {
			v = object["text"]
		}
		if documents[i], ok = v.(string); !ok {
			return nil, badRequest("documents", "documents[%d] must be a string or an object with a text.", i)
		}
		input += c.worker.tokens.count(int64(len(query) + len(documents[i])))
	}
	c.setInput(input)
	return documents, nil
}

type rankedText struct {
	Text string `json:"text"`
}

type ranked struct {
	Index    int        `json:"index"`
	Document rankedText `json:"document"`
	Score    float64    `json:"relevance_score"`
}

// ranking returns the answer: scores that mean nothing, the highest first.
func (c *call) ranking(documents []string, most int64) any {
	all := make([]ranked, len(documents))
	for i, text := range documents {
		all[i] = ranked{i, rankedText{text}, c.rng.Float64()}
	}
	slices.SortStableFunc(all, func(x, y ranked) int { return cmp.Compare(y.Score, x.Score) })
	return struct {
		ID      string          `json:"id"`
		Model   string          `json:"model"`
		Results []ranked        `json:"results"`
		Usage   json.RawMessage `json:"usage,omitempty"`
	}{c.id, c.model, all[:min(most, int64(len(all)))], c.report(struct {
		Prompt figure `json:"prompt_tokens"`
		Total  figure `json:"total_tokens"`
	}{c.figure(c.input), c.figure(c.input)})}
}
