package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const fixture = "testdata/package"

// TestTable: the table of a small package that has one of everything.
func TestTable(t *testing.T) {
	want, err := os.ReadFile("testdata/prices.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := run([]string{"-date", "2026-01-31", fixture}, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestRunErrors(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(fixture, "dist/index.js"))
	if err != nil {
		t.Fatal(err)
	}
	unpacked := func(about, index string) string {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "dist"), 0o700); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"package.json": about, "dist/index.js": index} {
			if text == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	tests := []struct {
		args []string
		want string
	}{
		{nil, usage},
		{[]string{fixture}, usage},
		{[]string{"-date", "today", fixture}, usage},
		{[]string{"-date", "2026-01-31"}, usage},
		{[]string{"-date", "2026-01-31", fixture, fixture}, usage},
		{[]string{"-what", fixture}, usage},
		{[]string{"-date", "2026-01-31", unpacked("", "")}, "package.json: no such file"},
		{[]string{"-date", "2026-01-31", unpacked("[", "")}, "package.json: unexpected end"},
		{[]string{"-date", "2026-01-31", unpacked("{}", "")}, "index.js: no such file"},
		{[]string{"-date", "2026-01-31", unpacked("{}", "import x")}, "index.js: does not begin with the list of providers"},
		{[]string{"-date", "2026-01-31", unpacked("{}", "const E = x; [")}, "index.js: does not begin with the list of providers"},
		{[]string{"-date", "2026-01-31", unpacked("{}", "const E = [f(1)];")}, "index.js: at byte 2: '(' is not plain data"},
		{[]string{"-date", "2026-01-31", unpacked("{}", "const E = [];")}, "there is no provider openai"},
		{[]string{"-date", "2025-01-31", unpacked("{}", strings.Replace(string(good), "{ prices: { input_mtok: 9 } },", "", 1))}, "mistral: dated: no price holds on 2025-01-31"},
	}
	for _, tt := range tests {
		if err := run(tt.args, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.args, err, tt.want)
		}
	}
	if err := run([]string{"-date", "2026-01-31", fixture}, broken{}); err == nil || err.Error() != "full" {
		t.Errorf("%v, want full", err)
	}
}

// TestModelErrors: what the table cannot say is not left out in silence.
func TestModelErrors(t *testing.T) {
	tests := []struct{ model, want string }{
		{`match: {equals: "a*b"}, prices: {input_mtok: 1}`, `openai: m: "a*b" cannot stand in the table`},
		{`match: {contains: "a\tb"}, prices: {input_mtok: 1}`, `openai: m: "a\tb" cannot stand in the table`},
		{`match: {or: [{equals: "a"}, {sounds_like: "b"}]}, prices: {input_mtok: 1}`, "openai: m: a match of no known kind"},
		{`match: {equals: "a"}, prices: {input_mtok: -1}`, `"-1" is no price`},
		{`match: {equals: "a"}, prices: {input_mtok: "1"}`, `"\"1\"" is no price`},
		{`match: {equals: "a"}, prices: {input_mtok: null}`, `"null" is no price`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 1}}`, `has 0 tiers, not one: teach this program and the table what they mean`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 1, tiers: [{start: 1, price: 2}, {start: 2, price: 3}]}}`, `has 2 tiers, not one`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 1, tiers: 2}}`, `cannot unmarshal`},
		{`match: {equals: "a"}, prices: {input_mtok: {tiers: [{start: 1, price: 1}]}}`, `"" is no price`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 1, tiers: [{start: 1}]}}`, `"" is no price`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 1, tiers: [{start: 1, price: -2}]}}`, `"-2" is no price`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 1, tiers: [{price: 2}]}}`, `has a tier that starts at no number of tokens`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 1, tiers: [{start: 0, price: 2}]}}`, `has a tier that starts at no number of tokens`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 1, tiers: [{start: 1.5, price: 2}]}}`, `has a tier that starts at no number of tokens`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 1, tiers: [{start: 1e19, price: 2}]}}`, `has a tier that starts at no number of tokens`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 2, tiers: [{start: 1, price: 1}]}}`, `has a tier that is cheaper than its base`},
		{`match: {equals: "a"}, prices: {input_mtok: {base: 1, tiers: [{start: 1, price: 1}]}, output_mtok: {base: 1, tiers: [{start: 2, price: 1}]}}`, `openai: m: tiers from 1 and from 2 tokens on: teach this program and the table what they mean`},
		{`match: {equals: "a"}, prices: [{constraint: {type: "moon"}, prices: {input_mtok: 1}}]`, `a constraint of type "moon": teach this program what it means`},
		{`match: {equals: "a"}, prices: [{constraint: {type: "start_date", start_date: "x"}, prices: {input_mtok: 1}}]`, `cannot parse "x"`},
	}
	for _, tt := range tests {
		providers, err := read(`const E = [{id: "openai", models: [{id: "m", ` + tt.model + `}]}];`)
		if err == nil {
			_, err = choose(providers, time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC))
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.model, err, tt.want)
		}
	}
}

func TestToJSON(t *testing.T) {
	for text, want := range map[string]string{
		`[1, 2.5, -3e-4, .5, 1e6]; more`:                 `[1,2.5,-3e-4,0.5,1e6]`,
		`{a: !0, $b_1: !1, "c d": null, 'e': true}`:      `{"a":true,"$b_1":false,"c d":null,"e":true}`,
		"[`a\"b\n\\`\\${c}\\u0041`, 'it\\'s', \"\\\\\"]": `["a\"b\n` + "`${c}A\",\"it's\",\"\\\\\"]",
		`"alone"`: `"alone"`,
		`{}}`:     `{}`,
	} {
		if got, err := toJSON(text); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                 "the data does not end",
		"[1, ":             "the data does not end",
		`["a`:              "at byte 1: a string does not end",
		"[`${x}`]":         "at byte 1: a template is not plain data",
		`["\q"]`:           `escape "\\q" in a string: invalid syntax`,
		`[x]`:              "not plain data",
		`[void 0]`:         "not plain data",
		`[1.]`:             "not plain data",
		`[a / b]`:          `at byte 3: '/' is not plain data`,
		`[1,]`:             "not plain data",
		`{a: 1, ...b}`:     "not plain data",
		`]`:                "not plain data",
		`[/* a comment */`: `at byte 1: '/' is not plain data`,
	} {
		if got, err := toJSON(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
}

// FuzzToJSON: what comes out is JSON, and JSON comes out as what it was.
func FuzzToJSON(f *testing.F) {
	for _, s := range []string{`[1,{"a":"b"}]`, "{a: `b`, c: !0}", `["\u00e9\ud83d\ude00\/"]`, `'x\x41'`, `[[]]]`, `{"a":.5}`, `6E666`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := toJSON(text)
		if err != nil {
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%q becomes %q", text, out)
		}
		var got, want any
		if json.Unmarshal([]byte(text), &want) == nil {
			err := json.Unmarshal(out, &got)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Fatalf("%q becomes %q: %v (-want +got):\n%s", text, out, err, diff)
			}
		}
	})
}
