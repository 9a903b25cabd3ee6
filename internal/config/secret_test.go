package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const clear = "hunter2"
	s := Secret(clear)
	in := Config{Admin: Admin{Token: s}}
	var printed []string
	for _, verb := range "vsqxXdboOcUteEfFgGT" {
		for _, flag := range []string{"", "+", "#", "-20", "020", ".3"} {
			format := "%" + flag + string(verb)
			printed = append(printed, fmt.Sprintf(format, s), fmt.Sprintf(format, in), fmt.Sprintf(format, []Secret{s}))
		}
	}
	printed = append(printed, s.String(), s.GoString(), fmt.Sprint(s), fmt.Sprintln(s), s.LogValue().String())
	asJSON, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Dump(in.Admin)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("a", "token", s, "config", in)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("a", "token", s, "config", in)
	printed = append(printed, string(asJSON), string(asYAML), logged.String())
	for _, p := range printed {
		// As it is, and in the base that some verbs print strings in.
		if strings.Contains(p, clear) || strings.Contains(strings.ToLower(p), "68756e") || strings.Contains(p, "hun") {
			t.Errorf("shown: %s", p)
		}
	}
	if !strings.Contains(string(asJSON), `"Token":"[redacted]"`) || s.String() != "[redacted]" || s.GoString() != `"[redacted]"` {
		t.Errorf("not marked as redacted: %s, %v, %#v", asJSON, s, s)
	}
	if s.Reveal() != clear {
		t.Errorf("Reveal: %q", s.Reveal())
	}
	if empty := Secret(""); fmt.Sprint(empty) != "" || fmt.Sprintf("%#v", empty) != `""` {
		t.Errorf("the empty secret: %v %#v", empty, empty)
	}
}
