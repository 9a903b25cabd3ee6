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
// from a cache and written to one is not part of input_tokens. Where a request took
// several iterations, the compaction of its context is in none of these numbers, and
// all there was is what the iterations add up to.
func anthropicUsage(usage string) []wanted {
	iteration := usage + ".iterations[]"
	return []wanted{
		{usage, wantUsage},
		{iteration + ".input_tokens", wantAllInput},
		{iteration + ".cache_read_input_tokens", wantAllCached},
		{iteration + ".cache_creation_input_tokens", wantAllWrites},
		{iteration + ".cache_creation.ephemeral_1h_input_tokens", wantAllLongWrites},
		{iteration + ".output_tokens", wantAllOutput},
		{usage + ".input_tokens", wantInput},
		{usage + ".cache_read_input_tokens", wantCached},
		{usage + ".cache_creation_input_tokens", wantWrites},
		{usage + ".cache_creation.ephemeral_1h_input_tokens", wantLongWrites},
		{usage + ".output_tokens", wantOutput},
	}
}

// anthropicEvent takes out of what was found in an event what is no usage yet, and
// adds to it what is said of its iterations, and reports whether the event is the last one.
func (f *found) anthropicEvent() (last bool) {
	if all := &f.all; *all != (iterations{}) {
		f.input, f.output = max(f.input, int64(all.input)), max(f.output, int64(all.output))
		f.cached, f.writes = max(f.cached, int64(all.cached)), max(f.writes, int64(all.writes))
		f.longWrites = max(f.longWrites, int64(all.longWrites))
	}
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
