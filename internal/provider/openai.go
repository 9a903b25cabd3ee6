package provider

import (
	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// The fields that are read of any request in OpenAI's dialect, behind the maxima.
const (
	topModel = iota + maxima
	topStream
	topStreamOptions
	topN
	topBestOf
	topBackground
	topMessages
	topPrompt
	topSuffix
	topInput
	topInstructions
	topTools
	topFunctions
	topResponseFormat
	topText
	topImage
	topImages
	topMask
	topQuery
	topQueries
	topDocuments
	topTexts
	topText1
	topText2
)

var topFields = withMaxima(
	"model", "stream", "stream_options", "n", "best_of", "background",
	"messages", "prompt", "suffix", "input", "instructions", "tools", "functions", "response_format", "text",
	"image", "images", "mask", "query", "queries", "documents", "texts", "text_1", "text_2",
)

var (
	streamOptionsFields = jsonpeek.NewFields("include_usage")
	textFields          = jsonpeek.NewFields("format")
)

// openAI reads a body in OpenAI's dialect. All kinds have the maxima in common,
// as a worker may honour any of them anywhere; each has its own input.
func (r *reading) openAI(kind traffic.Kind) {
	c := &r.c
	top := c.Object(topFields)
	// Where a wish for usage is put when there is none. It is the first field,
	// and another one follows, or there is no stream.
	wish := edit{at: c.Offset(), end: c.Offset(), insert: `"stream_options":{"include_usage":true},`}
	for top.Next() {
		switch top.Field {
		case topModel:
			r.model("model")
		case topStream:
			r.ask.Stream = r.truth("stream")
		case topStreamOptions:
			wish = r.streamOptions()
		case maxTokensField, maxCompletionTokensField, maxOutputTokensField, numPredictField, nPredictField:
			r.maximum(top.Field)
		case topN:
			r.answers("n")
		case topBestOf:
			r.answers("best_of")
		case topBackground:
			r.background = r.truth("background")
		default:
			r.openAIInput(kind, top.Field)
		}
	}
	if r.ask.Stream && (kind == traffic.ChatCompletions || kind == traffic.Completions) {
		r.edit = wish
	}
}

// streamOptions returns what to change in the options so that they ask for
// usage.
func (r *reading) streamOptions() (wish edit) {
	c := &r.c
	switch c.Kind() {
	case jsonpeek.Null:
		wish = edit{at: c.Offset(), insert: `{"include_usage":true}`, was: "null"}
		c.Skip()
		wish.end = c.Offset()
		return wish
	case jsonpeek.ObjectKind:
	default:
		r.refuse("stream_options", "be an object", c.Raw())
		return edit{}
	}
	options := c.Object(streamOptionsFields)
	inside, others := c.Offset(), false
	said, usage := edit{}, false
	for options.Next() {
		if options.Field == jsonpeek.Unknown {
			others = true
			continue
		}
		said = edit{at: c.Offset(), insert: "true", was: "false"}
		if c.Kind() == jsonpeek.Null {
			said.was = "null"
		}
		usage = r.truth("stream_options.include_usage")
		said.end = c.Offset()
	}
	switch {
	case usage:
		return edit{}
	case said.end > 0:
		return said
	case others:
		return edit{at: inside, end: inside, insert: `"include_usage":true,`}
	}
	return edit{at: inside, end: inside, insert: `"include_usage":true`}
}
