package provider

import "github.com/penstock-dev/penstock/internal/provider/jsonpeek"

// The fields that are read of a request in Google's dialect. The maxima of other
// dialects are among them, as everywhere.
const (
	googleContents = iota + maxima
	googleContent
	googleRequests
	googleSystemInstruction
	googleTools
	googleGenerationConfig
	googleTitle
)

var googleFields = jsonpeek.NewCamelFields(append(maximaNames[:],
	"contents", "content", "requests", "systemInstruction", "tools", "generationConfig", "title")...)

const (
	configMaxOutputTokens = iota
	configCandidateCount
	configResponseSchema
	configResponseJSONSchema
)

var configFields = jsonpeek.NewCamelFields("maxOutputTokens", "candidateCount", "responseSchema", "responseJsonSchema")

// The fields of contents and their parts that mean something.
const (
	partText = iota
	partName
	partArgs
	partResponse
	partCode
	partOutput
	partParts // holders of others
	partFunctionCall
	partFunctionResponse
	partInlineData // media
	partFileData
	partRole // no text from here
	partThoughtSignature
	partMediaResolution
	partVideoMetadata
	partID
)

var partFields = jsonpeek.NewCamelFields(
	"text", "name", "args", "response", "code", "output", "parts", "functionCall", "functionResponse", "inlineData", "fileData",
	"role", "thoughtSignature", "mediaResolution", "videoMetadata", "id",
).Skip(
	partRole, partThoughtSignature, partMediaResolution, partVideoMetadata, partID,
).Count(
	partText, partParts, partFunctionCall, partFunctionResponse,
)

// google reads a body in Google's dialect. The model and whether a stream is
// wanted are in the path.
func (r *reading) google() {
	for top := r.c.Object(googleFields); top.Next(); {
		switch top.Field {
		case maxTokensField, maxCompletionTokensField, maxOutputTokensField, numPredictField, nPredictField:
			r.maximum(top.Field)
		case googleContents, googleContent, googleSystemInstruction:
			r.parts()
		case googleRequests:
			r.googleBatch()
		case googleTools:
			r.schema()
		case googleGenerationConfig:
			r.generationConfig()
		case googleTitle:
			r.anything()
		}
	}
}

// googleBatch adds up what is to be embedded.
func (r *reading) googleBatch() {
	if r.c.Kind() != jsonpeek.ArrayKind {
		r.c.Skip()
		return
	}
	for a := r.c.Array(); a.Next(); {
		if r.c.Kind() != jsonpeek.ObjectKind {
			continue
		}
		for item := r.c.Object(googleFields); item.Next(); {
			switch item.Field {
			case googleContent:
				r.parts()
			case googleTitle:
				r.anything()
			}
		}
	}
}

func (r *reading) generationConfig() {
	switch r.c.Kind() {
	case jsonpeek.Null:
		return
	case jsonpeek.ObjectKind:
	default:
		r.refuse("generationConfig", "be an object", r.c.Raw())
		return
	}
	for config := r.c.Object(configFields); config.Next(); {
		switch config.Field {
		case configMaxOutputTokens:
			r.maximumOf("generationConfig.maxOutputTokens", 0)
		case configCandidateCount:
			r.answers("generationConfig.candidateCount")
		case configResponseSchema, configResponseJSONSchema:
			r.schema()
		}
	}
}

// parts counts a content or a part, or an array of them, or the text that stands
// in the place of one.
func (r *reading) parts() {
	switch r.c.Kind() {
	case jsonpeek.String:
		r.text.Add(r.c.Text())
	case jsonpeek.ArrayKind:
		for a := r.c.Array(); a.Next(); {
			if r.c.Kind() != jsonpeek.ObjectKind {
				r.parts()
				continue
			}
			before := r.amounts
			a.Example()
			r.part()
			r.repeat(&a, before)
		}
	case jsonpeek.ObjectKind:
		r.part()
	default:
		r.c.Skip()
	}
}

// part counts an object.
func (r *reading) part() {
	for o := r.c.Object(partFields); o.Next(); {
		switch {
		case o.Field == partText && r.c.Kind() == jsonpeek.String: // nearly always
			r.text.Add(r.c.Text())
		case o.Field >= partParts && o.Field <= partFunctionResponse:
			r.parts()
		case o.Field == partInlineData || o.Field == partFileData:
			if r.c.Kind() != jsonpeek.Null {
				r.media++
			}
			r.c.Skip()
		case o.Field >= partRole:
			r.c.Skip()
		default:
			r.anything()
		}
	}
}
