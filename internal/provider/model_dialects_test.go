package provider

import (
	"encoding/json"
	"strings"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// lines reads a document a line. A line that is no document says nothing.
func (m *modelMeter) lines(answer []byte) {
	for line := range strings.SplitSeq(string(answer), "\n") {
		if json.Valid([]byte(line)) {
			m.document(m.decode([]byte(line)))
		}
	}
}

// whole reads a body, or where it may be one an array of documents.
func (m *modelMeter) whole(answer []byte, maybeArray bool) {
	doc := m.decode(answer)
	m.ended = true
	elements, ok := doc.([]any)
	if !maybeArray || !ok {
		if m.dialect == traffic.OpenAI {
			m.body(doc)
		} else {
			m.document(doc)
			m.ended = true
		}
		return
	}
	for _, element := range elements {
		if _, ok := element.(map[string]any); !ok {
			m.sure = false // what follows is not read
		}
		m.document(element)
	}
	m.ended = true
}

// document reads an event, a line, an element or a body that is not OpenAI's.
func (m *modelMeter) document(doc any) {
	switch m.dialect {
	case traffic.Anthropic:
		m.anthropic(doc)
	case traffic.Google:
		m.google(doc)
	case traffic.Ollama:
		m.ollama(doc)
	}
}

// report takes in a usage of which either number may be unreported.
func (m *modelMeter) report(input, cached, writes, output int64) {
	if input > 0 {
		m.input, m.cached = input, min(max(cached, 0), input)
		m.writes = min(max(writes, 0), input-m.cached)
		m.long = min(m.hours, m.writes)
	}
	if output > 0 || output == 0 && m.weight == 0 {
		m.output, m.since = output, 0
	}
}

// has reports whether a document has a field, whatever its value.
func has(doc any, field string) bool {
	fields, _ := doc.(map[string]any)
	_, ok := fields[field]
	return ok
}

// deepWeight returns the weight of all strings in a value.
func deepWeight(v any) (weight int64) {
	switch v := v.(type) {
	case string:
		return modelWeight(v)
	case []any:
		for _, element := range v {
			weight += deepWeight(element)
		}
	case map[string]any:
		for _, field := range v {
			weight += deepWeight(field)
		}
	}
	return weight
}

func (m *modelMeter) anthropic(doc any) {
	kind, _ := at(doc, "type").(string)
	if len(kind) > captureBytes {
		kind = ""
	}
	// Of two usages in one event the later counts, which a map does not tell.
	m.sure = m.sure && !(has(doc, "usage") && has(at(doc, "message"), "usage"))
	u := at(doc, "usage")
	if m.streams {
		if u == nil {
			u = at(doc, "message", "usage")
		}
		for _, name := range []string{"text", "thinking", "partial_json"} {
			m.add(modelWeight(at(doc, "delta", name)))
		}
		m.add(modelWeight(at(doc, "content_block", "text")) + modelWeight(at(doc, "content_block", "thinking")))
	} else {
		kind = ""
		for _, block := range list(at(doc, "content")) {
			m.add(modelWeight(at(block, "text")) + modelWeight(at(block, "thinking")) + deepWeight(at(block, "input")))
		}
	}
	input, output := modelTokens(at(u, "input_tokens")), modelTokens(at(u, "output_tokens"))
	reads, writes := modelTokens(at(u, "cache_read_input_tokens")), modelTokens(at(u, "cache_creation_input_tokens"))
	var all [5]int64 // of iterations
	for _, iteration := range list(at(u, "iterations")) {
		for i, v := range []any{
			at(iteration, "input_tokens"), at(iteration, "cache_read_input_tokens"), at(iteration, "cache_creation_input_tokens"),
			at(iteration, "output_tokens"), at(iteration, "cache_creation", "ephemeral_1h_input_tokens"),
		} {
			all[i] = min(all[i]+max(modelTokens(v), 0), maxTokens)
		}
	}
	long := modelTokens(at(u, "cache_creation", "ephemeral_1h_input_tokens"))
	if all != [5]int64{} {
		input, reads, writes, output, long = max(input, all[0]), max(reads, all[1]), max(writes, all[2]), max(output, all[3]), max(long, all[4])
	}
	if max(input, reads, writes) == 0 {
		input, reads, writes = unreported, unreported, unreported
	}
	if kind == "message_start" {
		output = unreported
	}
	if long != unreported && max(input, reads, writes) != unreported {
		m.hours = long
	}
	if input != unreported {
		m.uncached, m.said = input, true
	}
	if reads != unreported {
		m.reads = reads
	}
	if writes != unreported {
		m.stores = writes
	}
	sum := int64(unreported)
	if m.said && (input != unreported || reads != unreported || writes != unreported) {
		sum = m.uncached + m.reads + m.stores
	}
	m.report(sum, m.reads, m.stores, output)
	m.ended = m.ended || kind == "message_stop" || kind == "error"
}

func (m *modelMeter) google(doc any) {
	finished := false
	for _, candidate := range list(at(doc, "candidates")) {
		for _, part := range list(at(candidate, "content", "parts")) {
			m.add(modelWeight(at(part, "text")) + deepWeight(at(part, "functionCall", "args")) + modelWeight(at(part, "executableCode", "code")))
		}
		reason := at(candidate, "finishReason")
		finished = finished || reason != nil && reason != false
	}
	reason := at(doc, "promptFeedback", "blockReason")
	m.ended = m.ended || finished || reason != nil && reason != false || at(doc, "error") != nil
	u := at(doc, "usageMetadata")
	input, output := modelTokens(at(u, "promptTokenCount")), modelTokens(at(u, "candidatesTokenCount"))
	if tools := modelTokens(at(u, "toolUsePromptTokenCount")); input != unreported {
		input += max(tools, 0)
	}
	if thoughts := modelTokens(at(u, "thoughtsTokenCount")); thoughts != unreported {
		output = max(output, 0) + thoughts
	}
	m.report(input, modelTokens(at(u, "cachedContentTokenCount")), 0, output)
}

func (m *modelMeter) ollama(doc any) {
	// Two reports in one line: which is the later a map does not tell.
	m.sure = m.sure && !(has(doc, "usage") && (has(doc, "eval_count") || has(doc, "prompt_eval_count") || has(doc, "prompt_eval_cached_count")))
	m.add(choicesWeight(doc, "message"))
	m.add(modelWeight(at(doc, "message", "content")) + modelWeight(at(doc, "message", "thinking")))
	m.add(modelWeight(at(doc, "response")) + modelWeight(at(doc, "thinking")))
	for _, call := range list(at(doc, "message", "tool_calls")) {
		m.add(deepWeight(at(call, "function", "arguments")))
	}
	done := at(doc, "done") != nil && at(doc, "done") != false
	m.ended = m.ended || done || at(doc, "error") != nil
	if u := at(doc, "usage"); u != nil {
		m.usage(u)
	} else if done || m.kind == traffic.OllamaEmbed {
		m.report(modelTokens(at(doc, "prompt_eval_count")), modelTokens(at(doc, "prompt_eval_cached_count")), 0, modelTokens(at(doc, "eval_count")))
	}
}

// scores reads what ranks, embeds or judges.
func (m *modelMeter) scores(doc any) {
	u := at(doc, "usage")
	m.sure = m.sure && !(has(doc, "usage") && has(doc, "meta"))
	input := max(modelTokens(at(u, "prompt_tokens")), modelTokens(at(u, "input_tokens")), modelTokens(at(u, "total_tokens")),
		modelTokens(at(doc, "meta", "tokens", "input_tokens")),
		modelTokens(at(doc, "meta", "billed_units", "input_tokens")), modelTokens(at(doc, "meta", "billed_units", "total_tokens")))
	output := max(modelTokens(at(u, "completion_tokens")), modelTokens(at(u, "output_tokens")), modelTokens(at(doc, "meta", "tokens", "output_tokens")))
	m.report(input, modelCached(u), modelWritten(u), output)
}
