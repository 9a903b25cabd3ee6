package provider

// What is wanted of answers in Anthropic's dialect: of a body and of an event.
// The first event of a stream has a usage within its message, later ones have
// one beside.
var (
	anthropicBody = newTree(anthropicUsage("usage"), []wanted{
		{"content[].text", wantText},
		{"content[].thinking", wantText},
		{"content[].input{}", wantText},
	})
	anthropicStreamed = newTree(anthropicUsage("message.usage"), anthropicUsage("usage"), []wanted{
		{"type", wantType},
		{"delta.text", wantText},
		{"delta.partial_json", wantText},
		{"delta.thinking", wantText},
		{"content_block.text", wantText},
		{"content_block.thinking", wantText},
	})
)

func anthropicTree(f format) tree {
	if f == eventStream {
		return anthropicStreamed
	}
	return anthropicBody
}

// anthropicUsage returns what is wanted of the usage at this path. What was read
// from a cache and written to one is not part of input_tokens.
func anthropicUsage(usage string) []wanted {
	return []wanted{
		{usage, wantUsage},
		{usage + ".input_tokens", wantInput},
		{usage + ".cache_read_input_tokens", wantCached},
		{usage + ".cache_creation_input_tokens", wantWrites},
		{usage + ".cache_creation.ephemeral_1h_input_tokens", wantLongWrites},
		{usage + ".output_tokens", wantOutput},
	}
}

// anthropicEvent takes out of what was found in an event what is no usage yet,
// and reports whether the event is the last one.
func (f *found) anthropicEvent() (last bool) {
	switch string(f.eventType()) {
	case "message_start":
		f.output = unreported // it comes as text, too, of which this would be the first
	case "message_delta": // of the message itself, when it is complete
		f.finished = true
	case "message_stop", "error":
		return true
	}
	return false
}

// anthropicError returns an event with an error.
func anthropicError(code, message string) []byte {
	kind := "api_error"
	if isLimit(code) {
		kind = "rate_limit_error"
	}
	type body struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	return appendEvent(nil, "error", struct {
		Type  string `json:"type"`
		Error body   `json:"error"`
	}{"error", body{kind, message}})
}
