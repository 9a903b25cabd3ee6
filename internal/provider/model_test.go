package provider

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// modelOutcome is what a meter must tell, from the whole answer and by
// encoding/json; the boundary it leaves alone. It reports whether it is sure: it
// is not of an answer that is not UTF-8, of documents that are not plain, and of
// a body that is no JSON.
func modelOutcome(r *Request, mediaType string, answer []byte) (o outcome, sure bool) {
	m := modelMeter{dialect: r.Ask.Dialect, kind: r.Ask.Kind, input: unreported, output: unreported, sure: utf8.Valid(answer)}
	o.seen = string(answer)
	media, _, _ := strings.Cut(mediaType, ";")
	switch {
	case media == streamType:
		if m.dialect == traffic.Ollama {
			m.dialect, m.kind = traffic.OpenAI, traffic.ChatCompletions
		}
		o.seen = m.stream(answer, r.HideUsage())
	case m.dialect == traffic.Ollama && (media == linesType || media == jsonType && r.Ask.Stream):
		m.lines(answer)
	case media != jsonType:
		m.sure = false
	default:
		if m.sure = m.sure && json.Valid(answer); m.sure {
			m.whole(answer, m.dialect == traffic.Google && r.Ask.Stream)
		}
	}
	if m.kind == traffic.ComfyPrompt {
		o.ended = m.ended
		return o, m.sure
	}
	o.ended = m.ended
	o.usage = traffic.Usage{Input: r.Ask.Input, Output: (m.weight + 3) / 4, CachedInput: m.cached, CacheWrites: m.writes, LongCacheWrites: m.long, Source: traffic.Counted}
	if m.input != unreported {
		o.usage.Input, o.usage.Source = m.input, traffic.Reported
	}
	if m.output != unreported {
		o.usage.Output, o.usage.Source = m.output+(m.since+3)/4, traffic.Reported
	}
	return o, m.sure
}

// modelMeter adds up what is in decoded documents.
type modelMeter struct {
	dialect               traffic.Dialect
	kind                  traffic.Kind
	input, cached, output int64
	writes, long          int64
	weight, since         int64
	ended, sure           bool
	streams               bool // it reads events

	uncached int64 // Anthropic's input, of which the caches are no part; 0 when not said
	said     bool  // it was
	reads    int64
	stores   int64
	hours    int64 // of the stores
}

// stream reads an event stream and returns what the client sees of it.
func (m *modelMeter) stream(answer []byte, hide bool) string {
	m.streams = true
	var seen, event strings.Builder
	var data []string
	rest := string(answer)
	if after, ok := strings.CutPrefix(rest, "\ufeff"); ok {
		event.WriteString("\ufeff")
		rest = after
	}
	for rest != "" {
		i := strings.IndexAny(rest, "\r\n")
		if i < 0 {
			i = len(rest)
		}
		line, end := rest[:i], rest[i:min(i+1, len(rest))]
		if strings.HasPrefix(rest[i:], "\r\n") {
			end = "\r\n"
		}
		rest = rest[len(line)+len(end):]
		event.WriteString(line + end)
		if line != "" {
			if name, value, _ := strings.Cut(line, ":"); name == "data" {
				data = append(data, strings.TrimPrefix(value, " "))
			}
			if rest != "" || end == "" {
				continue
			}
		}
		// A blank line, or the end of the answer.
		usageOnly := len(data) > 0 && m.event(strings.Join(data, "\n"))
		if !(hide && usageOnly && line == "") {
			seen.WriteString(event.String())
		}
		event.Reset()
		data = nil
	}
	if len(data) > 0 {
		m.event(strings.Join(data, "\n"))
	}
	seen.WriteString(event.String())
	return seen.String()
}

// event reads the data of an event and reports whether it holds a usage alone.
func (m *modelMeter) event(data string) (usageOnly bool) {
	if strings.HasPrefix(data, "[DONE]") {
		m.ended = true
		return false
	}
	if !json.Valid([]byte(data)) {
		return false
	}
	doc := m.decode([]byte(data))
	if m.dialect != traffic.OpenAI {
		m.document(doc)
		return false
	}
	switch m.kind {
	case traffic.Speech, traffic.Images, traffic.Transcriptions:
		m.add(choicesWeight(doc, "delta") + modelWeight(at(doc, "delta")))
		m.usage(at(doc, "usage"))
		kind, _ := at(doc, "type").(string)
		m.ended = m.ended || at(doc, "error") != nil || kind == "error" || len(kind) <= captureBytes && (strings.HasSuffix(kind, ".done") || strings.HasSuffix(kind, ".completed"))
		choices, ok := at(doc, "choices").([]any)
		return ok && len(choices) == 0 && at(doc, "usage") != nil
	case traffic.Responses:
		kind, _ := at(doc, "type").(string)
		delta, _ := at(doc, "delta").(string)
		if len(kind) <= captureBytes && strings.HasSuffix(kind, ".delta") && kind != "response.audio.delta" && kind != "response.output_audio.delta" {
			m.add(modelWeight(delta))
		}
		switch kind {
		case "response.completed", "response.incomplete", "response.failed", "error":
			m.ended = true
			m.usage(at(doc, "response", "usage"))
		}
		return false
	}
	m.add(choicesWeight(doc, "delta"))
	m.usage(at(doc, "usage"))
	m.ended = m.ended || at(doc, "error") != nil
	choices, ok := at(doc, "choices").([]any)
	return ok && len(choices) == 0 && at(doc, "usage") != nil
}

func (m *modelMeter) body(doc any) {
	switch m.kind {
	case traffic.Speech, traffic.Images, traffic.Transcriptions:
		m.add(modelWeight(at(doc, "text")))
		m.usage(at(doc, "usage"))
		return
	case traffic.Embeddings, traffic.Moderations, traffic.Rerank:
		m.scores(doc)
		return
	}
	m.add(choicesWeight(doc, "message"))
	for _, item := range list(at(doc, "output")) {
		m.add(modelWeight(at(item, "arguments")) + modelWeight(at(item, "input")))
		for _, part := range list(at(item, "content")) {
			m.add(modelWeight(at(part, "text")) + modelWeight(at(part, "refusal")))
		}
		for _, part := range list(at(item, "summary")) {
			m.add(modelWeight(at(part, "text")))
		}
	}
	m.usage(at(doc, "usage"))
}

func (m *modelMeter) add(weight int64) {
	m.weight += weight
	m.since += weight
}

func (m *modelMeter) usage(u any) {
	input := max(modelTokens(at(u, "prompt_tokens")), modelTokens(at(u, "input_tokens")))
	output := max(modelTokens(at(u, "completion_tokens")), modelTokens(at(u, "output_tokens")))
	m.report(input, modelCached(u), modelWritten(u), output)
}

// modelWritten returns how much of the input of a usage was written to a cache, or
// unreported.
func modelWritten(u any) int64 {
	return max(modelTokens(at(u, "prompt_tokens_details", "cache_write_tokens")), modelTokens(at(u, "input_tokens_details", "cache_write_tokens")))
}

// modelCached returns how much of the input of a usage was read from a cache, or
// unreported.
func modelCached(u any) int64 {
	return max(modelTokens(at(u, "prompt_tokens_details", "cached_tokens")), modelTokens(at(u, "input_tokens_details", "cached_tokens")),
		modelTokens(at(u, "cached_tokens")), modelTokens(at(u, "prompt_cache_hit_tokens")))
}

// choicesWeight returns the weight of the text in choices.
func choicesWeight(doc any, field string) (weight int64) {
	var reasoning, thought int64
	for _, choice := range list(at(doc, "choices")) {
		message := at(choice, field)
		weight += modelWeight(at(choice, "text")) + modelWeight(at(message, "content")) + modelWeight(at(message, "refusal"))
		for _, part := range list(at(message, "content")) {
			weight += modelWeight(at(part, "text"))
			for _, thought := range list(at(part, "thinking")) {
				weight += modelWeight(at(thought, "text"))
			}
		}
		weight += modelWeight(at(message, "function_call", "arguments"))
		for _, call := range list(at(message, "tool_calls")) {
			weight += modelWeight(at(call, "function", "arguments"))
		}
		reasoning += modelWeight(at(message, "reasoning"))
		thought += modelWeight(at(message, "reasoning_content"))
	}
	return weight + max(reasoning, thought)
}

func (m *modelMeter) decode(raw []byte) (doc any) {
	m.sure = m.sure && plainly(raw)
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		panic(err)
	}
	return doc
}

// at returns the value at a path of fields; nil where there is none.
func at(doc any, path ...string) any {
	for _, name := range path {
		fields, _ := doc.(map[string]any)
		doc = fields[name]
	}
	return doc
}

func list(doc any) []any {
	elements, _ := doc.([]any)
	return elements
}

// modelWeight returns the weight of a string; 0 for anything else.
func modelWeight(v any) (weight int64) {
	s, _ := v.(string)
	for _, b := range []byte(s) {
		weight++
		if b >= 0x80 {
			weight++
		}
	}
	return weight
}

// modelTokens returns a number of tokens that can be believed, or unreported.
func modelTokens(v any) int64 {
	number, ok := v.(json.Number)
	if !ok || len(number) > captureBytes {
		return unreported
	}
	// A rational of an exponent of millions would take all the memory there is.
	if i := strings.IndexAny(string(number), "eE"); i >= 0 && len(number)-i > 5 {
		return unreported
	}
	n, ok := new(big.Rat).SetString(string(number))
	if !ok || !n.IsInt() || n.Sign() < 0 || n.Cmp(big.NewRat(maxTokens, 1)) > 0 {
		return unreported
	}
	return n.Num().Int64()
}

// plainly reports whether a document is one that decoding does not lose part of:
// every key is once in its object, and none is deeper than a meter looks.
func plainly(raw []byte) bool {
	type level struct {
		keys  map[string]bool // nil in an array
		value bool            // what comes is a value, not a key
	}
	var levels []level
	for d := json.NewDecoder(bytes.NewReader(raw)); ; {
		token, err := d.Token()
		if err != nil {
			return true
		}
		if n := len(levels); n > 0 && levels[n-1].keys != nil && !levels[n-1].value {
			if key, ok := token.(string); ok {
				if levels[n-1].keys[key] {
					return false
				}
				levels[n-1].keys[key], levels[n-1].value = true, true
				continue
			}
		} else if n > 0 {
			levels[n-1].value = false
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{keys: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:len(levels)-1]
		}
		if len(levels) > documentDepth {
			return false
		}
	}
}
