package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
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

// TestAdminTokenVar: the environment is the admin token where the file says
// none, and no other secret.
func TestAdminTokenVar(t *testing.T) {
	env := func(value string) func(string) (string, bool) {
		return func(name string) (string, bool) { return value, name == "PENSTOCK_ADMIN_TOKEN" && value != "" }
	}
	for _, tt := range []struct{ file, env, want, wrong string }{
		{"{}", "from-the-environment", "from-the-environment", ""},
		{"{}", "", "", ""},
		{"admin: {token: from-the-file}", "from-the-environment", "from-the-file", ""},
		{"admin_listen: 0.0.0.0:3001", "from-the-environment", "from-the-environment", ""},
		{"admin_listen: 0.0.0.0:3001", "", "", "admin.token must say who may use it"},
		{"{}", "from-the-environment\n", "", "PENSTOCK_ADMIN_TOKEN: a secret with a space or a control character in it: no request can carry it"},
		{"admin: {token: from-the-file}", "unused and odd", "from-the-file", ""},
		{"{}", "short", "short", ""},
	} {
		c, warnings, err := Parse("p.yaml", []byte(tt.file), Flags{}, env(tt.env))
		switch {
		case tt.wrong != "":
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%+v: %v", tt, err)
			}
		case err != nil || c.Admin.Token.Reveal() != tt.want:
			t.Errorf("%+v: %v", tt, err)
		}
		const guessed = "PENSTOCK_ADMIN_TOKEN: a secret of fewer than 8 bytes is easy to guess"
		if warned := slices.ContainsFunc(warnings, func(w Warning) bool { return w.String() == guessed }); warned != (tt.env == "short") {
			t.Errorf("%+v: warnings %v", tt, warnings)
		}
	}
}
