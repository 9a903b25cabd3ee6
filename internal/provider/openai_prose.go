package provider

import (
	"bytes"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
)

// The fields of messages, items, parts and tool calls that mean something. They
// are one set, as what is in one of them is not text in another.
const (
	pieceType = iota
	pieceRole
	pieceContent
	pieceToolCalls
	pieceFunction
	pieceFunctionCall
	pieceOutput
	pieceSummary
	pieceText
	pieceRefusal
	pieceName
	pieceArguments
	pieceImageURL // media from here
	pieceAudioURL
	pieceVideoURL
	pieceInputAudio
	pieceImage
	pieceAudio
	pieceVideo
	pieceFile
	pieceID // no text from here
	pieceCallID
	pieceToolCallID
	pieceStatus
	pieceDetail
	pieceAnnotations
	pieceLogprobs
	pieceCacheControl
	pieceEncryptedContent
)

var pieceFields = jsonpeek.NewFields(
	"type", "role", "content", "tool_calls", "function", "function_call", "output", "summary",
	"text", "refusal", "name", "arguments",
	"image_url", "audio_url", "video_url", "input_audio", "image", "audio", "video", "file",
	"id", "call_id", "tool_call_id", "status", "detail", "annotations", "logprobs", "cache_control", "encrypted_content",
).Skip(
	pieceRole, pieceID, pieceCallID, pieceToolCallID, pieceStatus, pieceDetail,
	pieceAnnotations, pieceLogprobs, pieceCacheControl, pieceEncryptedContent,
).Count(
	pieceContent, pieceToolCalls, pieceFunction, pieceFunctionCall, pieceSummary,
	pieceText, pieceRefusal, pieceName, pieceArguments,
)

// prose counts what a message, an item of input, a part of a content or a tool
// call holds, or an array of them, or the text that stands in the place of one.
// It returns how many elements of such an array are arrays themselves.
func (r *reading) prose() (lists int64) {
	switch r.c.Kind() {
	case jsonpeek.String:
		r.text.Add(r.c.Text())
	case jsonpeek.ArrayKind:
		for a := r.c.Array(); a.Next(); {
			if kind := r.c.Kind(); kind != jsonpeek.ObjectKind {
				if kind == jsonpeek.ArrayKind {
					lists++
				}
				r.prose()
				continue
			}
			before := r.amounts
			a.Example()
			r.piece()
			r.repeat(&a, before)
		}
	case jsonpeek.ObjectKind:
		r.piece()
	default:
		r.c.Skip()
	}
	return lists
}

// piece counts an object. One whose type is not textual is a media part, and
// nothing in it counts, unless it holds others, as a message does, whatever it
// says its type is.
func (r *reading) piece() {
	text, counted, media := r.text, r.c.Counted, r.media
	textual := true
	o := r.c.Object(pieceFields)
	for o.Next() {
		switch f := o.Field; {
		case f == pieceType:
			textual = r.textualType()
		case f == pieceRole || f >= pieceID:
			r.c.Skip()
		case f == pieceContent || f == pieceToolCalls || f == pieceFunction || f == pieceFunctionCall:
			r.prose()
		case f == pieceSummary || f == pieceOutput && r.c.Kind() == jsonpeek.ArrayKind:
			r.prose()
		case f >= pieceImageURL:
			if r.c.Kind() != jsonpeek.Null {
				r.media++
			}
			r.c.Skip()
		case f == pieceText || f == pieceRefusal || f == pieceName || f == pieceArguments:
			if r.c.Kind() == jsonpeek.String {
				r.text.Add(r.c.Text())
				break
			}
			r.anything()
		default:
			r.anything()
		}
	}
	holder := o.Has(pieceRole) || o.Has(pieceContent) || o.Has(pieceToolCalls) || o.Has(pieceFunction) || o.Has(pieceFunctionCall)
	if !textual && !holder {
		r.text, r.media = text, media+1
		r.c.Uncount(counted)
	}
}

// textualType reports whether a part or item of this type is text, or none of
// its own: a type that is no string is none.
func (r *reading) textualType() bool {
	if r.c.Kind() != jsonpeek.String {
		r.c.Skip()
		return true
	}
	raw := r.c.Raw()
	if len(raw) < 2 {
		return true
	}
	var buf [64]byte
	name, _ := jsonpeek.Unquote(buf[:0], raw)
	switch string(name) {
	case "text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal",
		"message", "reasoning", "function", "function_call", "function_call_output",
		"custom", "custom_tool_call", "custom_tool_call_output", "item_reference":
		return true
	}
	return false
}

// anything counts a value of no known shape: all its strings but those that hold
// media.
func (r *reading) anything() {
	switch r.c.Kind() {
	case jsonpeek.String:
		at := r.c.Offset()
		if t := r.c.Text(); isMedia(r.c.Since(at)) {
			r.media++
		} else {
			r.text.Add(t)
		}
	case jsonpeek.ArrayKind:
		for a := r.c.Array(); a.Next(); {
			r.anything()
		}
	case jsonpeek.ObjectKind:
		for o := r.c.Object(nil); o.Next(); {
			r.anything()
		}
	default:
		r.c.Skip()
	}
}

// isMedia reports whether a string is a data: URL, as media are.
func isMedia(raw []byte) bool {
	return bytes.HasPrefix(raw, []byte(`"data:`)) && bytes.Contains(raw[:min(len(raw), quoteBytes)], []byte(";base64,"))
}
