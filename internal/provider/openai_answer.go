package provider

import (
	"bytes"
	"encoding/json"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// What is wanted of answers in OpenAI's dialect: of a body, of an event of chat
// completions and completions, of an event of responses; and of what has no
// choices.
var (
	openAIBody     = newTree(openAIUsage(""), openAIChoices("message"), openAIOutput)
	openAIChunk    = newTree(openAIUsage(""), openAIChoices("delta"), openAIEnd)
	openAIResponse = newTree(openAIUsage("response."), openAIDelta)
	openAIScores   = newTree(openAIUsage(""), openAIBilled)
	openAIHeard    = newTree(openAIUsage(""), []wanted{{"text", wantText}})
	openAIMedia    = newTree(openAIUsage(""), openAIChoices("delta"), openAIEnd, openAIDelta)
)

// openAITree returns what is wanted of an answer's documents.
func openAITree(k traffic.Kind, f format) tree {
	media := k == traffic.Speech || k == traffic.Images || k == traffic.Transcriptions
	switch stream := f == eventStream; {
	case stream && media:
		return openAIMedia
	case stream && k == traffic.Responses:
		return openAIResponse
	case stream:
		return openAIChunk
	case media:
		return openAIHeard
	case k == traffic.Embeddings || k == traffic.Moderations || k == traffic.Rerank:
		return openAIScores
	}
	return openAIBody
}

// openAIUsage returns what is wanted of a usage, whose path has this prefix.
func openAIUsage(prefix string) []wanted {
	usage := prefix + "usage"
	return []wanted{
		{usage, wantUsage},
		{usage + ".prompt_tokens", wantInput},
		{usage + ".input_tokens", wantInput},
		{usage + ".completion_tokens", wantOutput},
		{usage + ".output_tokens", wantOutput},
		{usage + ".prompt_tokens_details.cached_tokens", wantCached},
		{usage + ".input_tokens_details.cached_tokens", wantCached},
		{usage + ".prompt_tokens_details.cache_write_tokens", wantWrites},
		{usage + ".input_tokens_details.cache_write_tokens", wantWrites},
		{usage + ".cached_tokens", wantCached},           // Moonshot's
		{usage + ".prompt_cache_hit_tokens", wantCached}, // DeepSeek's
	}
}

// openAIChoices returns what is wanted of choices that have their text in this
// field.
func openAIChoices(field string) []wanted {
	message := "choices[]." + field
	return []wanted{
		{"choices", wantChoices},
		{"choices[].text", wantText},
		{message + ".content", wantText},
		{message + ".content[].text", wantText}, // Mistral's, of models that think
		{message + ".content[].thinking[].text", wantText},
		{message + ".refusal", wantText},
		{message + ".reasoning", wantReasoning},
		{message + ".reasoning_content", wantThought},
		{message + ".tool_calls[].function.arguments", wantText},
		{message + ".function_call.arguments", wantText},
	}
}

// openAIOutput is what is wanted of a whole response.
var openAIOutput = []wanted{
	{"output[].content[].text", wantText},
	{"output[].content[].refusal", wantText},
	{"output[].summary[].text", wantText},
	{"output[].arguments", wantText},
	{"output[].input", wantText},
}

// openAIBilled is where else those who rank and embed say what they used. They
// have no output of their own.
var openAIBilled = []wanted{
	{"usage.total_tokens", wantTotal},
	{"meta.tokens.input_tokens", wantInput},
	{"meta.tokens.output_tokens", wantOutput},
	{"meta.billed_units.input_tokens", wantInput},
	{"meta.billed_units.total_tokens", wantInput},
}

// openAIEnd is what is wanted of an event that tells of a failure, or of an end.
var openAIEnd = []wanted{{"error", wantError}, {"choices[].finish_reason", wantFinish}}

// openAIDelta is what is wanted of the events of a response beside its usage.
var openAIDelta = []wanted{
	{"type", wantType},
	{"sequence_number", wantSequence},
	{"delta", wantText},
}

// openAIEvent takes out of what was found in an event what only looks like
// output or usage, and reports whether the event is the last one.
func (f *found) openAIEvent(k traffic.Kind) (last bool) {
	name := f.eventType()
	switch k {
	case traffic.Speech, traffic.Images, traffic.Transcriptions:
		return f.failed || string(name) == "error" || bytes.HasSuffix(name, []byte(".done")) || bytes.HasSuffix(name, []byte(".completed"))
	case traffic.Responses:
	default:
		return f.failed
	}
	if !bytes.HasSuffix(name, []byte(".delta")) || string(name) == "response.audio.delta" || string(name) == "response.output_audio.delta" {
		f.text = jsonpeek.Text{}
	}
	switch string(name) {
	case "response.completed", "response.incomplete", "response.failed", "error":
		return true
	}
	f.input, f.output = unreported, unreported // of a response that goes on
	return false
}

// openAIError returns an event with an error.
func (m *Meter) openAIError(code, message string) []byte {
	if m.kind == traffic.Responses {
		return appendEvent(nil, "error", struct {
			Type           string  `json:"type"`
			Code           string  `json:"code"`
			Message        string  `json:"message"`
			Param          *string `json:"param"`
			SequenceNumber int64   `json:"sequence_number"`
		}{"error", code, message, nil, m.sequence + 1})
	}
	kind := "server_error"
	if isLimit(code) {
		kind = "rate_limit_error"
	}
	type body struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	return appendEvent(nil, "", map[string]body{"error": {message, kind, nil, code}})
}

// isLimit reports whether the code of an error says that a limit was reached.
func isLimit(code string) bool {
	return code == "rate_limit_exceeded" || code == "request_too_large_for_limit"
}

// appendEvent appends to dst an event of this name, if it has one, with data as
// JSON.
func appendEvent(dst []byte, name string, data any) []byte {
	if name != "" {
		dst = append(append(append(dst, "event: "...), name...), '\n')
	}
	return append(appendJSON(append(dst, "data: "...), data), "\n\n"...)
}

// appendJSON appends to dst what v, of strings and numbers, is in JSON.
func appendJSON(dst []byte, v any) []byte {
	b := bytes.NewBuffer(dst)
	e := json.NewEncoder(b) // ends with a line feed
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // never fails
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
