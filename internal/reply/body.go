package reply

import (
	"strconv"
	"unicode/utf8"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// answer is what a body is made of.
type answer struct {
	row     *row
	status  int
	message string  // without the sentence about the wait
	seconds int64   // how long to wait; 0 is not told
	global  *Global // nil: not the global limit
}

// appendBody appends the body in the dialect's shape, or in the documents' for
// the global limit unless that is wanted in the dialect's too.
func (a *answer) appendBody(b []byte, d traffic.Dialect, globalDialect bool) []byte {
	if a.global != nil && !globalDialect {
		b = append(b, `{"error":"Rate limit exceeded"`...)
		b = a.appendGlobal(b)
		return append(b, '}')
	}
	switch d {
	case traffic.Anthropic:
		return a.appendAnthropic(b)
	case traffic.Google:
		return a.appendGoogle(b)
	case traffic.Ollama:
		return a.appendOllama(b)
	case traffic.ComfyUI:
		return a.appendComfyUI(b)
	default:
		return a.appendOpenAI(b)
	}
}

func (a *answer) appendOpenAI(b []byte) []byte {
	b = append(b, `{"error":{"message":`...)
	b = a.appendMessage(b)
	b = append(b, `,"type":"`...)
	b = append(b, a.row.openAI...)
	b = append(b, `","code":"`...)
	b = append(b, a.row.name...)
	b = append(b, '"')
	if a.seconds > 0 {
		b = append(b, `,"retry_after":`...)
		b = strconv.AppendInt(b, a.seconds, 10)
	}
	b = a.appendGlobal(b)
	return append(b, "}}"...)
}

func (a *answer) appendAnthropic(b []byte) []byte {
	b = append(b, `{"type":"error","error":{"type":"`...)
	b = append(b, a.row.anthropic...)
	b = append(b, `","message":`...)
	b = a.appendMessage(b)
	b = a.appendGlobal(b)
	return append(b, "}}"...)
}

func (a *answer) appendGoogle(b []byte) []byte {
	b = append(b, `{"error":{"code":`...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, `,"message":`...)
	b = a.appendMessage(b)
	b = append(b, `,"status":"`...)
	b = append(b, a.row.google...)
	b = append(b, '"')
	b = a.appendGlobal(b)
	return append(b, "}}"...)
}

// appendOllama has the global limit's numbers beside the error, which is a
// string there.
func (a *answer) appendOllama(b []byte) []byte {
	b = append(b, `{"error":`...)
	b = a.appendMessage(b)
	b = a.appendGlobal(b)
	return append(b, '}')
}

func (a *answer) appendComfyUI(b []byte) []byte {
	b = append(b, `{"error":{"type":"`...)
	b = append(b, a.row.name...)
	b = append(b, `","message":`...)
	b = a.appendMessage(b)
	b = append(b, `,"details":"","extra_info":{`...)
	if a.seconds > 0 {
		b = append(b, `"retry_after":`...)
		b = strconv.AppendInt(b, a.seconds, 10)
	}
	b = append(b, '}')
	b = a.appendGlobal(b)
	return append(b, `},"node_errors":{}}`...)
}

// appendGlobal appends the global limit's numbers, if it is the one, as
// further members of an object.
func (a *answer) appendGlobal(b []byte) []byte {
	if a.global == nil {
		return b
	}
	b = append(b, `,"current_count":`...)
	b = strconv.AppendInt(b, a.global.Current, 10)
	b = append(b, `,"limit":`...)
	return strconv.AppendInt(b, a.global.Limit, 10)
}

// appendMessage appends the message as a JSON string, with the sentence about
// the wait, which clients parse, behind it.
func (a *answer) appendMessage(b []byte) []byte {
	b = append(b, '"')
	b = appendEscaped(b, a.message)
	if a.seconds > 0 {
		b = append(b, " Please retry after "...)
		b = strconv.AppendInt(b, a.seconds, 10)
		b = append(b, " seconds."...)
	}
	return append(b, '"')
}

// appendEscaped appends s as it stands inside a JSON string. Bytes that are no
// UTF-8 become U+FFFD, as encoding/json has it.
func appendEscaped(b []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			const digits = "0123456789abcdef"
			b = append(b, `\u00`...)
			b = append(b, digits[r>>4], digits[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
