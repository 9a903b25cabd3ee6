package provider

import (
	"bytes"
	"encoding/json"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// What is wanted of answers in OpenAI's dialect: of a body, of an event of chat
// completions and completions, and of an event of responses.
var (
	openAIBody     = newTree(openAIUsage(""), openAIChoices("message"), openAIOutput)
	openAIChunk    = newTree(openAIUsage(""), openAIChoices("delta"), []wanted{{"error", wantError}})
	openAIResponse = newTree(openAIUsage("response."), openAIDelta)
)

// openAITree returns what is wanted of an answer's documents.
func openAITree(k traffic.Kind, f format) tree {
	switch {
	case f != eventStream:
		return openAIBody
	case k == traffic.Responses:
		return openAIResponse
	}
	return openAIChunk
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

// openAIDelta is what is wanted of the events of a response beside its usage.
var openAIDelta = []wanted{
	{"type", wantType},
	{"sequence_number", wantSequence},
	{"delta", wantText},
}

// openAIEvent takes out of what was found in an event what only looks like
// output or usage, and reports whether the event is the last one.
func (f *found) openAIEvent(k traffic.Kind) (last bool) {
	if k != traffic.Responses {
		return f.failed
	}
	name := f.eventType()
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

// ErrorEvent returns the event that tells the client why the stream ends before
// its time. It is for a stream at an event boundary, and the connection is to be
// cut after it, since clients take a clean end for success.
func (m *Meter) ErrorEvent(code, message string) []byte {
	b := bytes.NewBufferString("data: ")
	e := json.NewEncoder(b) // ends with a line feed; a string always encodes
	e.SetEscapeHTML(false)
	if m.kind == traffic.Responses {
		b.Reset()
		b.WriteString("event: error\ndata: ")
		_ = e.Encode(struct {
			Type           string  `json:"type"`
			Code           string  `json:"code"`
			Message        string  `json:"message"`
			Param          *string `json:"param"`
			SequenceNumber int64   `json:"sequence_number"`
		}{"error", code, message, nil, m.sequence + 1})
	} else {
		kind := "server_error"
		if code == "rate_limit_exceeded" || code == "request_too_large_for_limit" {
			kind = "rate_limit_error"
		}
		type body struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    string  `json:"code"`
		}
		_ = e.Encode(map[string]body{"error": {message, kind, nil, code}})
	}
	b.WriteByte('\n')
	return b.Bytes()
}
