package provider

import (
	"bytes"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// openAIInput reads a field that holds input for an endpoint of this kind; any
// other one it leaves.
func (r *reading) openAIInput(kind traffic.Kind, field int) {
	switch kind {
	case traffic.ChatCompletions:
		switch field {
		case topMessages:
			r.prompts = max(r.prose(), 1) // vLLM takes several conversations at a time
		case topTools, topFunctions, topResponseFormat:
			r.schema()
		}
	case traffic.Completions:
		switch field {
		case topPrompt:
			r.prompts = r.batch()
		case topSuffix:
			r.prose()
		}
	case traffic.Embeddings:
		switch field {
		case topInput:
			r.batch()
		case topMessages: // as vLLM takes them
			r.prose()
		}
	case traffic.Responses:
		switch field {
		case topInput, topInstructions:
			r.prose()
		case topPrompt: // a stored prompt's variables
			r.anything()
		case topTools:
			r.schema()
		case topText:
			r.textFormat()
		}
	case traffic.Speech, traffic.Moderations:
		switch field {
		case topInput, topInstructions:
			r.prose()
		}
	case traffic.Images:
		switch field {
		case topPrompt:
			r.prose()
		case topImage, topImages, topMask:
			r.mediaParts()
		}
	case traffic.Rerank:
		switch field {
		case topQuery, topQueries, topDocuments, topTexts, topText1, topText2:
			r.prose()
		}
	}
}

// mediaParts counts a value, or each element of an array, as a media part.
func (r *reading) mediaParts() {
	switch r.c.Kind() {
	case jsonpeek.Null:
	case jsonpeek.ArrayKind:
		for a := r.c.Array(); a.Next(); {
			if r.c.Kind() != jsonpeek.Null {
				r.media++
			}
		}
		return
	default:
		r.media++
	}
	r.c.Skip()
}

// schema counts a value as the text that it is written as.
func (r *reading) schema() {
	if raw := r.c.Raw(); !bytes.Equal(raw, []byte("null")) {
		r.text.Add(jsonpeek.CountText(raw))
	}
}

func (r *reading) textFormat() {
	if r.c.Kind() != jsonpeek.ObjectKind {
		return
	}
	for text := r.c.Object(textFields); text.Next(); {
		if text.Field != jsonpeek.Unknown {
			r.schema()
		}
	}
}

// batch reads a string, an array of token ids, or an array of either, and
// returns how many prompts they are: at least 1. An array that has ids beside
// other elements is one prompt, as llama.cpp takes it.
func (r *reading) batch() int64 {
	if r.c.Kind() != jsonpeek.ArrayKind {
		r.prose()
		return 1
	}
	ids, prompts := false, int64(0)
	for a := r.c.Array(); a.Next(); {
		switch r.c.Kind() {
		case jsonpeek.Number:
			r.id()
			ids = true
		case jsonpeek.ArrayKind:
			r.idList()
			prompts++
		default:
			r.prose()
			prompts++
		}
	}
	if ids {
		return 1
	}
	return max(prompts, 1)
}

func (r *reading) id() {
	r.c.Skip()
	r.ids++
}

func (r *reading) idList() {
	for a := r.c.Array(); a.Next(); {
		if r.c.Kind() == jsonpeek.Number {
			r.id()
		} else {
			r.prose()
		}
	}
}
