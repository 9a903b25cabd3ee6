package provider

import (
	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// The fields that are read of a request in Ollama's dialect, behind the maxima.
const (
	ollamaModel = iota + maxima
	ollamaStream
	ollamaOptions
	ollamaMessages
	ollamaPrompt
	ollamaSuffix
	ollamaSystem
	ollamaTemplate
	ollamaImages
	ollamaContext
	ollamaTools
	ollamaFormat
	ollamaInput
)

var ollamaFields = withMaxima(
	"model", "stream", "options", "messages", "prompt", "suffix", "system", "template", "images", "context", "tools", "format", "input",
)

var ollamaOptionsFields = jsonpeek.NewFields("num_predict")

const (
	ollamaMessageContent = iota
	ollamaMessageImages
	ollamaMessageRole
	ollamaMessageThinking
	ollamaMessageToolCalls
	ollamaMessageToolName
)

var ollamaMessageFields = jsonpeek.NewFields("content", "images", "role", "thinking", "tool_calls", "tool_name").
	Skip(ollamaMessageRole).Count(ollamaMessageContent)

// ollama reads a body in Ollama's dialect. All kinds have the maxima in common;
// of the input each has the fields that mean something to it.
func (r *reading) ollama(kind traffic.Kind) {
	r.ask.Stream = kind != traffic.OllamaEmbed // unless the body says otherwise
	for top := r.c.Object(ollamaFields); top.Next(); {
		switch top.Field {
		case maxTokensField, maxCompletionTokensField, maxOutputTokensField, numPredictField, nPredictField:
			r.maximum(top.Field)
		case ollamaModel:
			r.model("model")
		case ollamaStream:
			if r.c.Kind() == jsonpeek.Null {
				break
			}
			if stream := r.truth("stream"); kind != traffic.OllamaEmbed {
				r.ask.Stream = stream
			}
		case ollamaOptions:
			r.ollamaOptions()
		default:
			r.ollamaInput(kind, top.Field)
		}
	}
}

func (r *reading) ollamaOptions() {
	switch r.c.Kind() {
	case jsonpeek.Null:
		return
	case jsonpeek.ObjectKind:
	default:
		r.refuse("options", "be an object", r.c.Raw())
		return
	}
	for options := r.c.Object(ollamaOptionsFields); options.Next(); {
		if options.Field != jsonpeek.Unknown {
			r.maximumOf("options.num_predict", -2)
		}
	}
}

// ollamaInput reads a field that holds input for an endpoint of this kind; any
// other one it leaves.
func (r *reading) ollamaInput(kind traffic.Kind, field int) {
	switch kind {
	case traffic.OllamaChat:
		switch field {
		case ollamaMessages:
			r.ollamaMessages()
		case ollamaTools:
			r.schema()
		case ollamaFormat:
			r.ollamaFormat()
		}
	case traffic.OllamaGenerate:
		switch field {
		case ollamaPrompt, ollamaSuffix, ollamaSystem, ollamaTemplate:
			r.prose()
		case ollamaImages:
			r.mediaParts()
		case ollamaContext:
			if r.c.Kind() == jsonpeek.ArrayKind {
				r.idList()
			}
		case ollamaFormat:
			r.ollamaFormat()
		}
	case traffic.OllamaEmbed:
		switch field {
		case ollamaInput, ollamaPrompt:
			r.batch()
		}
	}
}

// ollamaFormat counts the schema that an answer must have; a word is none.
func (r *reading) ollamaFormat() {
	if r.c.Kind() == jsonpeek.ObjectKind {
		r.schema()
	}
}

func (r *reading) ollamaMessages() {
	if r.c.Kind() != jsonpeek.ArrayKind {
		r.prose()
		return
	}
	for a := r.c.Array(); a.Next(); {
		if r.c.Kind() != jsonpeek.ObjectKind {
			r.prose()
			continue
		}
		for message := r.c.Object(ollamaMessageFields); message.Next(); {
			switch message.Field {
			case ollamaMessageContent:
				r.prose()
			case ollamaMessageImages:
				r.mediaParts()
			case ollamaMessageRole:
			default:
				r.anything()
			}
		}
	}
}
