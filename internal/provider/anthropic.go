package provider

import "github.com/penstock-dev/penstock/internal/provider/jsonpeek"

// The fields that are read of a request in Anthropic's dialect, behind the
// maxima.
const (
	anthropicModel = iota + maxima
	anthropicStream
	anthropicSystem
	anthropicMessages
	anthropicTools
	anthropicOutputFormat
)

var anthropicFields = withMaxima("model", "stream", "system", "messages", "tools", "output_format")

// The fields of messages and content blocks that mean something.
const (
	blockContent = iota
	blockSource
	blockText
	blockThinking
	blockName
	blockInput
	blockTitle
	blockContext
	blockType // no text from here
	blockRole
	blockID
	blockToolUseID
	blockSignature
	blockData
	blockCacheControl
	blockCitations
	blockEncryptedContent
)

var blockFields = jsonpeek.NewFields(
	"content", "source", "text", "thinking", "name", "input", "title", "context",
	"type", "role", "id", "tool_use_id", "signature", "data", "cache_control", "citations", "encrypted_content",
).Skip(
	blockType, blockRole, blockID, blockToolUseID, blockSignature, blockData,
	blockCacheControl, blockCitations, blockEncryptedContent,
).Count(
	blockContent, blockText,
)

const (
	sourceType = iota
	sourceData
	sourceContent
)

var sourceFields = jsonpeek.NewFields("type", "data", "content")

// anthropic reads a body in Anthropic's dialect.
func (r *reading) anthropic() {
	for top := r.c.Object(anthropicFields); top.Next(); {
		switch top.Field {
		case maxTokensField, maxCompletionTokensField, maxOutputTokensField, numPredictField, nPredictField:
			r.maximum(top.Field)
		case anthropicModel:
			r.model("model")
		case anthropicStream:
			r.ask.Stream = r.truth("stream")
		case anthropicSystem, anthropicMessages:
			r.blocks()
		case anthropicTools, anthropicOutputFormat:
			r.schema()
		}
	}
}

// blocks counts a message or a content block, or an array of them, or the text
// that stands in the place of one.
func (r *reading) blocks() {
	switch r.c.Kind() {
	case jsonpeek.String:
		r.text.Add(r.c.Text())
	case jsonpeek.ArrayKind:
		for a := r.c.Array(); a.Next(); {
			if r.c.Kind() != jsonpeek.ObjectKind {
				r.blocks()
				continue
			}
			before := r.amounts
			a.Example()
			r.block()
			r.repeat(&a, before)
		}
	case jsonpeek.ObjectKind:
		r.block()
	default:
		r.c.Skip()
	}
}

// block counts an object. What it is follows from its fields, whatever it says
// its type is: one with a source is an image or a document.
func (r *reading) block() {
	for o := r.c.Object(blockFields); o.Next(); {
		switch {
		case o.Field == blockText && r.c.Kind() == jsonpeek.String: // nearly always
			r.text.Add(r.c.Text())
		case o.Field == blockContent:
			r.blocks()
		case o.Field == blockSource:
			r.source()
		case o.Field >= blockType:
			r.c.Skip()
		default:
			r.anything()
		}
	}
}

// source counts where a block comes from: a media part, unless it is text or
// blocks itself.
func (r *reading) source() {
	if r.c.Kind() != jsonpeek.ObjectKind {
		r.anything() // of a search result: an address
		return
	}
	var data jsonpeek.Text
	textual, holder := false, false
	for o := r.c.Object(sourceFields); o.Next(); {
		switch {
		case o.Field == sourceType:
			textual = r.says("text")
		case o.Field == sourceData && r.c.Kind() == jsonpeek.String:
			data = r.c.Text()
		case o.Field == sourceContent && r.c.Kind() != jsonpeek.Null:
			r.blocks()
			holder = true
		}
	}
	switch {
	case textual:
		r.text.Add(data)
	case !holder:
		r.media++
	}
}
