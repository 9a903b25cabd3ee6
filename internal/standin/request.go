package standin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 64 << 20

// fields is the JSON object of a request. Names are matched as vLLM does it:
// exactly, and of two equal ones the last counts.
type fields map[string]any

// readBody reads a request's body; the error is a refusal unless the client has
// gone.
func readBody(a *answer) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(a.ResponseWriter, a.request.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, &refusal{
			status: http.StatusRequestEntityTooLarge, kind: "invalid_request_error",
			message: "The request body is larger than 64 MiB.",
		}
	}
	return body, err
}

// parseFields reads the one JSON object that a body is.
func parseFields(body []byte) (fields, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var f fields
	if err := dec.Decode(&f); err != nil {
		return nil, badRequest("", "The request body is not a JSON object: %v.", err)
	}
	if f == nil {
		return nil, badRequest("", "The request body is null; it must be a JSON object.")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, badRequest("", "The request body goes on behind its JSON object.")
	}
	return f, nil
}

// text returns a string field; empty where it is absent or null.
func (f fields) text(name string) (string, error) {
	switch v := f[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	}
	return "", badRequest(name, "%s must be a string.", name)
}

// flag returns a boolean field; false where it is absent or null.
func (f fields) flag(name string) (bool, error) {
	switch v := f[name].(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	}
	return false, badRequest(name, "%s must be a boolean.", name)
}

// whole returns a field that is a whole number, or otherwise where it is absent or
// null. Digits in a string and 16.0 count as well, as vLLM reads them.
func (f fields) whole(name string, otherwise int64) (int64, error) {
	var digits string
	switch v := f[name].(type) {
	case nil:
		return otherwise, nil
	case json.Number:
		digits = v.String()
	case string:
		digits = v
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return n, nil
	}
	x, err := strconv.ParseFloat(digits, 64)
	if err != nil || x != math.Trunc(x) || math.Abs(x) > 1<<53 {
		return 0, badRequest(name, "%s must be a whole number.", name)
	}
	return int64(x), nil
}

// count returns a field that is a whole number from 1 to most, as whole reads it.
func (f fields) count(name string, otherwise, most int64) (int64, error) {
	n, err := f.whole(name, otherwise)
	if err == nil && (n < 1 || n > most) {
		err = badRequest(name, "%s must be from 1 to %d.", name, most)
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// textBytes returns the bytes of text in the content of a message, a list of
// messages, or anything else in which text is nested the way messages nest it.
func textBytes(v any) int64 {
	switch v := v.(type) {
	case string:
		return int64(len(v))
	case []any:
		var sum int64
		for _, element := range v {
			sum += textBytes(element)
		}
		return sum
	case map[string]any:
		return textBytes(v["text"]) + textBytes(v["content"]) + textBytes(v["parts"])
	}
	return 0
}

// prompts returns the input tokens of each prompt in a field that is a string, a
// list of strings, a list of token ids or a list of such lists.
func (f fields) prompts(name string, t tokenizer) ([]int64, error) {
	invalid := badRequest(name, "%s must be a string, a list of strings, token ids, or lists of token ids.", name)
	switch v := f[name].(type) {
	case string:
		return []int64{t.count(int64(len(v)))}, nil
	case []any:
		if n, ok := tokenIDs(v); ok {
			return []int64{n}, nil
		}
		var all []int64
		for _, element := range v {
			switch prompt := element.(type) {
			case string:
				all = append(all, t.count(int64(len(prompt))))
			case []any:
				n, ok := tokenIDs(prompt)
				if !ok {
					return nil, invalid
				}
				all = append(all, n)
			default:
				return nil, invalid
			}
		}
		if len(all) > 0 {
			return all, nil
		}
	}
	return nil, invalid
}

// tokenIDs returns the length of a list of token ids, and whether it is one.
func tokenIDs(list []any) (int64, bool) {
	for _, element := range list {
		id, ok := element.(json.Number)
		if !ok {
			return 0, false
		}
		if _, err := strconv.ParseUint(id.String(), 10, 32); err != nil {
			return 0, false
		}
	}
	return int64(len(list)), len(list) > 0
}
