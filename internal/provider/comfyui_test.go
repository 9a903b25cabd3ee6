package provider

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/traffic"
)

var comfyPrompt = traffic.Endpoint{Dialect: traffic.ComfyUI, Kind: traffic.ComfyPrompt}

func TestJobIDs(t *testing.T) {
	long := strings.Repeat("x", mostID)
	for body, want := range map[string]string{
		`{"prompt": {}}`:                               "",
		`{"prompt": {}, "prompt_id": null}`:            "",
		`{"prompt": {}, "prompt_id": "mine"}`:          "",
		`{"prompt": {}, "prompt_id": "` + long + `"}`:  "",
		`{"prompt": {}, "prompt_id": "` + long + `y"}`: `prompt_id must be a string of at most 64 bytes without escapes, got "` + long + `y"`,
		`{"prompt": {}, "prompt_id": "a\u0041"}`:       `prompt_id must be a string of at most 64 bytes without escapes, got "a\u0041"`,
		`{"prompt": {}, "prompt_id": 7}`:               `prompt_id must be a string of at most 64 bytes without escapes, got 7`,
		`{"prompt_id": }`:                              `the body must be a JSON object: want a value, got "}" (at byte 14)`,
		`{"prompt_id": "a", "prompt_id": "b"}`:         `the field "prompt_id" is there twice (at byte 19)`,
	} {
		_, err := NewPeeker().Peek(comfyPrompt, []byte(body))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

func TestJobsOfAnswers(t *testing.T) {
	for _, c := range []struct {
		kind       traffic.Kind
		media      string
		body, want string
	}{
		{traffic.ComfyPrompt, "application/json", `{"prompt_id": "b1c2", "number": 7, "node_errors": {}}`, "b1c2"},
		{traffic.ComfyPrompt, "application/json; charset=utf-8", `{"number": 7, "prompt_id": "b1c2"}`, "b1c2"},
		{traffic.ComfyPrompt, "application/json", `{"prompt_id": "b1c2"`, ""},
		{traffic.ComfyPrompt, "application/json", `{"prompt_id": 7}`, ""},
		{traffic.ComfyPrompt, "application/json", `{"other": {"prompt_id": "b1c2"}}`, ""},
		{traffic.ComfyPrompt, "application/json", `{"prompt_id": "` + strings.Repeat("x", mostID+1) + `"}`, ""},
		{traffic.ComfyPrompt, "text/html", `{"prompt_id": "b1c2"}`, ""},
		{traffic.Messages, "application/json", `{"type": "message"}`, ""},
	} {
		r := Unread(traffic.Endpoint{Dialect: traffic.ComfyUI, Kind: c.kind})
		var m Meter
		m.Start(&r, http.Header{"Content-Type": {c.media}}, io.NopCloser(strings.NewReader(c.body)))
		if _, err := io.Copy(io.Discard, &m); err != nil {
			t.Fatal(err)
		}
		if got := m.Job(); got != c.want {
			t.Errorf("%s: %q, want %q", c.body, got, c.want)
		}
	}
}
