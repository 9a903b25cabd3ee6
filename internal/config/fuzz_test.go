package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// FuzzParse parses anything. Every variable and every file holds a secret,
// which no message may show.
func FuzzParse(f *testing.F) {
	const secret = "hunter2hunter2"
	for _, pattern := range []string{"testdata/*.yaml", examples + "/*.yaml"} {
		for _, path := range glob(f, pattern, 10) {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("a: &a [*a]\n? {b: c}\n: d\n"))
	f.Add([]byte("trusted_proxies: [a\rb, \"c\\nd\", e\n  f]\nadmin: {token: \"file:a\\nnone\"}"))
	f.Add([]byte("listen: ${A}\nadmin: {token: env:A}\nauth: {keys: [{id: a, key: file:b}]}\nlog: {level: ${A}}"))
	getenv := func(name string) (string, bool) { return secret, name != "UNSET" }
	readFile := func(path string, _ int64) ([]byte, error) {
		if strings.HasSuffix(path, "none") {
			return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
		}
		return []byte(secret), nil
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, warnings, err := parse(source{file: true, name: "p.yaml", data: data, getenv: getenv, readFile: readFile}, Flags{})
		var errs Errors
		if err != nil && (!errors.As(err, &errs) || len(errs) == 0 || c != nil) || err == nil && c == nil {
			t.Fatalf("got %v, %v", c, err)
		}
		for _, w := range warnings {
			errs = append(errs, Error(w))
		}
		for _, e := range errs {
			if e.Line < 1 || e.Column < 1 || e.File != "p.yaml" || e.Message == "" || strings.ContainsAny(e.Message, "\n\r") {
				t.Fatalf("bad finding %+v", e)
			}
			if strings.Contains(e.Error(), secret) && !strings.Contains(string(data), secret) {
				t.Fatalf("shows a secret: %s", e)
			}
		}
		if c == nil {
			return
		}
		// What is valid reads the same a second time, and holds what it promises.
		again, _, err := parse(source{file: true, name: "p.yaml", data: data, getenv: getenv, readFile: readFile}, Flags{})
		if err != nil || strings.Join(dump(*c), "\n") != strings.Join(dump(*again), "\n") {
			t.Fatalf("differs a second time: %v", err)
		}
		if fmt.Sprintf("%+v", *c) != "" && strings.Contains(fmt.Sprintf("%v", c.Admin), secret) {
			t.Fatal("printing it shows a secret")
		}
		names := map[string]bool{}
		for _, r := range c.RateLimiting.Rules {
			l := r.Limit
			if l.Unit == "" && l == (RuleLimit{}) && r.Priority != "" && r.Per == nil && !r.Shadow && r.Candidate == 0 {
				continue
			}
			timed := l.Window > 0 && l.Window <= maxDuration && !l.Month || l.Month && l.Window == 0 && l.Algorithm == "fixed_window"
			if names[r.Name] || !ruleName.MatchString(r.Name) || l.Amount < 1 || l.Amount > maxAmount || r.Candidate < 0 || r.Candidate == l.Amount || timed == (l.Unit == "concurrent") {
				t.Fatalf("bad rule %+v", r)
			}
			names[r.Name] = true
		}
		g := c.Gate()
		if g.Slots < 0 || (g.Slots == 0) != (g == Gate{}) || g.Most() < g.Slots || (g.Capacity > 0) != (g.Refill.Amount > 0) || (g.Refill.Per > 0) != (g.Capacity > 0) ||
			(g.QueueTimeout == 0 && g.QueueSize > 0) {
			t.Fatalf("bad gate %+v", g)
		}
		for _, l := range c.RateLimiting.Default {
			if l.Unlimited != (l.Amount == 0) || l.Amount < 0 || l.Amount > maxAmount {
				t.Fatalf("bad limit %+v", l)
			}
		}
	})
}

// TestPlantedSecrets writes files in which secrets stand where they belong
// and where a slip puts them: at a wrong level, as a name, as a list's item,
// in a URL, under a misspelt key.
func TestPlantedSecrets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// One looks like a key of the file.
		secret := rapid.SampledFrom([]string{"S3CR-et9", "key_premium_user"}).Draw(t, "secret")
		forms := rapid.SampledFrom([]string{
			secret, "env:-" + secret, "sha256:" + secret, "${-" + secret + "}", secret + "${UNSET}", "a " + secret, "file:${UNSET}" + secret,
			"env:HOLDS", "${HOLDS}", "file:holds", "file:${HOLDS}", "sha256:${HOLDS}",
		})
		key := func() any {
			s := forms.Draw(t, "form")
			return rapid.SampledFrom([]any{s, s, []any{s}, map[string]any{s: s}, map[string]any{"id": s, "key": s, s: 1}}).Draw(t, "shape")
		}
		named := func(value any) map[string]any {
			return map[string]any{forms.Draw(t, "name"): value, forms.Draw(t, "another"): value}
		}
		limits := map[string]any{"requests_per_minute": 0}
		list := []any{key(), key(), map[string]any{"id": "alice", "key": key()}, map[string]any{"id": "alice", "key": key(), "kye": key(), "role": key(), "tenant": key()}}
		doc := map[string]any{
			"admin": rapid.SampledFrom([]any{key(), map[string]any{"token": key()}, named(1)}).Draw(t, "admin"),
			"auth":  rapid.SampledFrom([]any{key(), list, map[string]any{"keys": list, "kyes": list}, map[string]any{"keys": key()}, named(limits)}).Draw(t, "auth"),
			"workers": rapid.SampledFrom([]any{
				[]any{map[string]any{"url": "u://w", "api_key": key(), "ca_file": forms.Draw(t, "ca"), secret: key()}, named(key())},
				[]any{"http://" + secret + "@w", "http://u:" + secret + "@w", "http://u:" + secret + "@w:x", map[string]any{"url": "u://" + secret}},
				"http://u:" + secret + "@w",
			}).Draw(t, "workers"),
			"rate_limiting": map[string]any{
				"per_key": rapid.SampledFrom([]any{key(), named(limits), map[string]any{"keys": named(limits)}, map[string]any{"keys": named(secret)}, map[string]any{"keys": named(named(limits))}, map[string]any{"keys": key()}}).Draw(t, "per_key"),
				"rules": []any{
					map[string]any{"name": "a", "match": map[string]any{"key": key()}, "limit": map[string]any{"requests": 1, "per": "1m"}},
					map[string]any{"name": key(), "match": map[string]any{"key": []any{key(), key()}, "role": key(), "tenant": key()}},
				},
				"bypass": rapid.SampledFrom([]any{key(), map[string]any{"keys": []any{key(), key(), key()}}, named(1), map[string]any{"keys": key()}}).Draw(t, "bypass"),
			},
		}
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		getenv := func(name string) (string, bool) { return secret, name == "HOLDS" }
		readFile := func(path string, _ int64) ([]byte, error) {
			if path == "holds" {
				return []byte(secret), nil
			}
			return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
		}
		_, warnings, err := parse(source{file: true, name: "p.yaml", data: data, getenv: getenv, readFile: readFile}, Flags{})
		if err == nil {
			t.Fatal("a limit of 0 and a URL with a password passed")
		}
		if shown := fmt.Sprint(err, warnings); strings.Contains(shown, secret) {
			t.Fatalf("%s\nshows the secret:\n%s", data, shown)
		}
	})
}
