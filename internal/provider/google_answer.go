package provider

import "net/http"

// googleTree is what is wanted of an answer in Google's dialect, which is a
// chunk of a stream too.
var googleTree = newTree([]wanted{
	{"usageMetadata", wantUsage},
	{"usageMetadata.promptTokenCount", wantInput},
	{"usageMetadata.toolUsePromptTokenCount", wantMoreInput},
	{"usageMetadata.cachedContentTokenCount", wantCached},
	{"usageMetadata.candidatesTokenCount", wantOutput},
	{"usageMetadata.thoughtsTokenCount", wantMoreOutput},
	{"candidates[].content.parts[].text", wantText},
	{"candidates[].content.parts[].functionCall.args{}", wantText},
	{"candidates[].content.parts[].executableCode.code", wantText},
	{"candidates[].finishReason", wantFinish},
	{"promptFeedback.blockReason", wantFinish},
	{"error", wantError},
})

// googleChunk adds up what is counted apart, and reports whether the chunk is
// the last one. A stream of events has no other mark at its end.
func (f *found) googleChunk() (last bool) {
	if f.input >= 0 {
		f.input = together(f.input, f.moreInput)
	}
	f.output = together(f.output, f.moreOutput)
	return f.failed || f.finished
}

// googleError returns an event with an error, or the last element of an array
// that is one, and the end of the array.
func (m *Meter) googleError(code, message string) []byte {
	status, name := http.StatusServiceUnavailable, "UNAVAILABLE"
	switch {
	case isLimit(code):
		status, name = http.StatusTooManyRequests, "RESOURCE_EXHAUSTED"
	case code == "upstream_timeout":
		status, name = http.StatusGatewayTimeout, "DEADLINE_EXCEEDED"
	}
	type body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
	}
	failure := map[string]body{"error": {status, message, name}}
	if m.format != jsonArray {
		return appendEvent(nil, "", failure)
	}
	before := ""
	switch m.array {
	case beforeArray:
		before = "["
	case afterElement:
		before = ",\n"
	}
	return append(appendJSON([]byte(before), failure), "\n]"...)
}
