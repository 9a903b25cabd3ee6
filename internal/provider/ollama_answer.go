package provider

import "github.com/penstock-dev/penstock/internal/traffic"

// ollamaTree is what is wanted of an answer in Ollama's dialect, which is a line
// of a stream too; and of one in OpenAI's, which some workers have at the same
// path.
var ollamaTree = newTree([]wanted{
	{"message.content", wantText},
	{"message.thinking", wantText},
	{"message.tool_calls[].function.arguments{}", wantText},
	{"response", wantText},
	{"thinking", wantText},
	{"done", wantFinish},
	{"prompt_eval_count", wantInput},
	{"prompt_eval_cached_count", wantCached},
	{"eval_count", wantOutput},
	{"error", wantError},
}, openAIUsage(""), openAIChoices("message"))

// ollamaLine takes out of what was found in a line the numbers that are not the
// answer's, and reports whether the line is the last one. A line that does not
// say that it is done has none, but a vector is never said to be done.
func (f *found) ollamaLine(k traffic.Kind) (last bool) {
	if !f.finished && !f.usage && k != traffic.OllamaEmbed {
		f.numbers = noNumbers
	}
	return f.finished || f.failed
}

// ollamaError returns a line with an error.
func ollamaError(message string) []byte {
	return append(appendJSON(nil, map[string]string{"error": message}), '\n')
}
