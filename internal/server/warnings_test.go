package server

import (
	"errors"
	"math"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/traffic"
	"pgregory.net/rapid"
)

// warned is all that is said of a configuration.
func warned(t *testing.T, text string) (lines []string) {
	t.Helper()
	c, warnings, err := config.Parse("p.yaml", []byte(text), config.Flags{}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range Warnings(warnings, c, p) {
		lines = append(lines, w.String())
	}
	return lines
}

// TestWarningsHavePlaces: all rooms' are one list in the order of the file.
func TestWarningsHavePlaces(t *testing.T) {
	want := []string{
		"p.yaml:2:18: routes.allow[0]: opens nothing: no such route is closed",
		"p.yaml:4:34: rate_limiting.default.requests_per_minute: 60 is above default.requests_per_hour of 50, which denies first",
		"p.yaml:7:7: rate_limiting.rules[0].match: rule a: never matches: nobody has the role guest; auth.keys says who does",
		`p.yaml:9:31: rate_limiting.rules[1].match.path: rule b: never matches: this route of the workers' is closed; routes.allow opens it`,
		"p.yaml:10:32: rate_limiting.rules[2].limit: rule c: 70 is above default.requests_per_minute of 60, which denies first",
		"p.yaml:11:19: rate_limiting.rules[2].candidate: rule c: 90 is above rules.c of 70, which denies first",
		"p.yaml:12:25: rate_limiting.per_endpoint[0].path: never matches: penstock answers this path itself",
		"p.yaml:13:29: rate_limiting.global.tokens_per_hour: unlimited lifts nothing here: it is said where a limit is overridden",
		"p.yaml:14:20: rate_limiting.bypass.paths[0]: does nothing: penstock answers this path itself, which takes nothing from any limit",
	}
	if diff := cmp.Diff(want, warned(t, `
routes: {allow: [/v1/files]}
rate_limiting:
  default: {requests_per_minute: 60, requests_per_hour: 50}
  rules:
    - name: a
      match: {role: guest}
      limit: {requests: 1, per: 1m}
    - {name: b, match: {path: /metrics}, limit: {requests: 1, per: 1h}}
    - {name: c, per: [caller], limit: {requests: 70, per: 1m},
       candidate: 90}
  per_endpoint: [{path: /health, limits: {requests_per_minute: 1}}]
  global: {tokens_per_hour: unlimited}
  bypass: {paths: [/health]}
`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWarnedRoutes: what is said of rules that count tokens or models, by the
// routes as they are read.
func TestWarnedRoutes(t *testing.T) {
	const unread = "counts nothing: no body of these requests is read, so that they are charged as requests alone"
	for path, want := range map[string]string{
		"/v1/chat/completions":             "",
		"/V1/chat/Completions":             "",
		"/v1/files":                        unread,
		"/v1/models":                       unread,
		"/generate":                        unread,
		"/v1/messages/count_tokens":        unread,
		"/*/count_tokens":                  unread,
		"/*:countTokens":                   unread,
		"/v1beta/models/*:generateContent": "",
		"/v1/*":                            "",
		"/*/completions":                   "",
		"/*/completions/batch":             "",
		"/*/batch":                         "",
		"/*/reranking":                     "counts nothing: no answer to these requests is made of output tokens",
		"/*/embeddings":                    "counts nothing: no answer to these requests is made of output tokens",
		"/v1/embeddings":                   "counts nothing: no answer to these requests is made of output tokens",
		"/api/embed":                       "counts nothing: no answer to these requests is made of output tokens",
		"/v1/rerank":                       "counts nothing: no answer to these requests is made of output tokens",
		"/prompt":                          "counts nothing: a job of ComfyUI's is a request, without tokens",
		"/api/prompt":                      "counts nothing: a job of ComfyUI's is a request, without tokens",
		"/api/history":                     unread,
		"/v1/audio/speech":                 "",
	} {
		var lines []string
		if want != "" {
			lines = []string{"p.yaml:2:26: rate_limiting.rules[0].limit: rule r: " + want}
		}
		got := warned(t, "\nrate_limiting: {rules: [{limit: {output_tokens: 2000, per: 1m}, name: r, match: {path: '"+path+"'}}]}\n")
		if diff := cmp.Diff(lines, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	// Either is limited as the other is; what skips the limits is the one as it
	// is written.
	for bypass, want := range map[string][]string{
		"/prompt":     nil,
		"/api/prompt": {"p.yaml:1:49: rate_limiting.rules[0].match.path: rule r: matches this path in another spelling alone: as it stands, bypass.paths lets it skip every limit"},
	} {
		got := warned(t, "rate_limiting: {rules: [{name: r, match: {path: /api/prompt}, limit: {requests: 1, per: 1m}}], bypass: {paths: ["+bypass+"]}}")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("a bypass of %s (-want +got):\n%s", bypass, diff)
		}
	}
	// Wherever there is a body there may be a model: a job has that which its
	// first loader loads.
	for _, path := range []string{"/prompt", "/api/prompt"} {
		if got := warned(t, "rate_limiting: {rules: [{name: r, match: {path: "+path+", model: flux}, limit: {requests: 1, per: 1m}}]}"); got != nil {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// TestUnmetered: the routes that are said to pass unread do.
func TestUnmetered(t *testing.T) {
	for _, path := range Unmetered() {
		one := strings.ReplaceAll(strings.ReplaceAll(path, "*:", "/v1beta/models/m:"), "*", "m")
		if e := endpoint(one); e.Metered() || !strings.HasPrefix(one, "/") {
			t.Errorf("%s is read: %+v", path, e)
		}
	}
}

// TestEndpoints: what a path is read as is among what is said of a pattern that
// matches it, whatever a * in it stands for.
func TestEndpoints(t *testing.T) {
	read := []string{
		"/v1/chat/completions", "/v1/completions", "/embeddings", "/openai/deployments/d/embeddings", "/v1/responses", "/v1/moderations",
		"/v1/rerank", "/v2/rerank", "/score", "/v1/audio/speech", "/audio/transcriptions", "/openai/v1/audio/translations", "/v1/images/generations",
		"/images/edits", "/anthropic/v1/messages", "/v1beta/models/m:generateContent", "/v1/projects/p/models/m:streamGenerateContent",
		"/v1alpha/models/m:batchEmbedContents", "/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/prompt", "/api/prompt", "/V1/MESSAGES",
	}
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.SampledFrom(read).Draw(t, "path")
		first := rapid.IntRange(1, len(path)).Draw(t, "first")
		last := rapid.IntRange(first, len(path)).Draw(t, "last")
		pattern := path[:first] + "*" + path[last:]
		e := endpoint(path)
		if !e.Metered() {
			t.Fatalf("%s is not read", path)
		}
		if kinds := endpoints(pattern); kinds != nil && !slices.ContainsFunc(kinds, func(k traffic.Endpoint) bool { return k.Kind == e.Kind }) {
			t.Fatalf("%s: %s is %+v, not one of %+v", pattern, path, e, kinds)
		}
	})
}

// TestPrices: what is easily overlooked of prices is in the log from the first
// line on, where somebody counts money.
func TestPrices(t *testing.T) {
	const said = `"level":"INFO","msg":"models that neither pricing.models nor the built-in table (`
	r := start(t, "log: {level: info}\nrate_limiting: {default: {cost_per_day: 5}}")
	r.log.line(t, said)
	r.reload("log: {level: info}\npricing: {models: {\"*\": {input: 1}}}\nrate_limiting: {default: {cost_per_day: 5}}")
	r.log.line(t, `"level":"INFO","msg":"every model is listed in pricing.models; what that leaves out is as in the built-in table (`)
	r.reload("log: {level: info}\nrate_limiting: {default: {requests_per_day: 5}}")
	if n := strings.Count(r.log.String(), "built-in table"); n != 2 {
		t.Errorf("%d lines of prices, want 2:\n%s", n, r.log.String())
	}
}

// TestBodies: bodies take no more than half of the memory.
func TestBodies(t *testing.T) {
	const mib = 1 << 20
	c := config.Default()
	for _, tt := range []struct{ memory, one, all int64 }{
		{math.MaxInt64, 64 * mib, 1024 * mib},
		{2048 * mib, 64 * mib, 1024 * mib},
		{460 * mib, 64 * mib, 230 * mib},
		{64 * mib, 32 * mib, 32 * mib},
	} {
		if one, all := bodies(&c, tt.memory); one != tt.one || all != tt.all {
			t.Errorf("%d bytes: %d and %d, want %d and %d", tt.memory, one, all, tt.one, tt.all)
		}
	}
}

// TestCounters: counters take no more than a quarter of the memory.
func TestCounters(t *testing.T) {
	const mib = 1 << 20
	c := config.Default()
	for _, tt := range []struct{ memory, want int64 }{
		{math.MaxInt64, 256 * mib},
		{1024 * mib, 256 * mib},
		{460 * mib, 115 * mib},
		{mib, mib},
	} {
		if got := counters(&c, tt.memory); got != tt.want {
			t.Errorf("%d bytes: %d, want %d", tt.memory, got, tt.want)
		}
	}
}

// TestLittleMemoryForCounters: callers beyond that are no longer counted apart, and
// the log says why at the start.
func TestLittleMemoryForCounters(t *testing.T) {
	const mib = 1 << 20
	before := debug.SetMemoryLimit(16 * mib)
	defer debug.SetMemoryLimit(before)
	r := start(t, "log: {level: info}\n")
	if line := r.log.line(t, "counters are given a quarter of the memory"); !strings.Contains(line, `"bytes":4194304`) {
		t.Error(line)
	}
	limits := penstock.MustLimits(penstock.PerDay(penstock.Requests, 5))
	for i := range 100_000 {
		if _, err := r.store.Take(t.Context(), time.Time{}, limits.Charges(strconv.Itoa(i), penstock.Amounts{penstock.Requests: 1})); err != nil {
			if errors.Is(err, penstock.ErrStoreUnavailable) {
				break // it is full
			}
			t.Fatal(err)
		}
	}
	if got := r.store.Stats(); got.Bytes > 4*mib || got.Keys < 1000 {
		t.Errorf("%+v", got)
	}
}

// TestLittleMemory: bodies beyond half of the memory are refused, and the log says
// why at the start.
func TestLittleMemory(t *testing.T) {
	const mib = 1 << 20
	before := debug.SetMemoryLimit(64 * mib)
	defer debug.SetMemoryLimit(before)
	r := start(t, "log: {level: info}\n")
	r.log.line(t, `"bytes":33554432`)
	for size, want := range map[int]int{mib: http.StatusOK, 33 * mib: http.StatusRequestEntityTooLarge} {
		body := `{"model":"m","max_tokens":1,"input":"` + strings.Repeat("x", size) + `"}`
		if a := r.ask("POST", "/v1/embeddings", body); a.status != want {
			t.Errorf("%d bytes: %d, want %d", size, a.status, want)
		}
	}
}
