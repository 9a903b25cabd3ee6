package gateway

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/workers"
)

func TestRawPath(t *testing.T) {
	for target, want := range map[string]string{
		"/a/b?c/d?e":             "/a/b",
		"/?":                     "/",
		"*":                      "*",
		"http://host/a%2fb?c":    "/a%2fb",
		"http://host?/a":         "/",
		"http://host":            "/",
		"HTTP://u:p@host:1//a/":  "//a/",
		"http:/metrics":          "/metrics",
		"http:///metrics":        "/metrics",
		"http:metrics":           "/",
		"x:/v1/chat/completions": "/v1/chat/completions",
		"//host/a":               "//host/a",
		"/a:b//c":                "/a:b//c",
	} {
		if got := rawPath(target); got != want {
			t.Errorf("rawPath(%q) = %q, want %q", target, got, want)
		}
	}
}

func TestCleanPath(t *testing.T) {
	for raw, want := range map[string]string{
		"/":                          "/",
		"":                           "/",
		"*":                          "/*",
		"/v1/chat/completions":       "/v1/chat/completions",
		"/V1/Chat":                   "/V1/Chat",
		"//v1///chat/":               "/v1/chat",
		"/./v1/../v1/chat/.":         "/v1/chat",
		"/../../a":                   "/a",
		"/v1/ch%61t":                 "/v1/chat",
		"/v1%2Fchat":                 "/v1%2Fchat",
		"/v1%2fchat":                 "/v1%2Fchat",
		"/a%252Fb":                   "/a%2Fb",
		"/%2e%2E/a":                  "/a",
		"/a;x=1/b;y":                 "/a/b",
		"/a%3Bx/b":                   "/a/b",
		"/..;/a":                     "/a",
		"/a/%zz%":                    "/a/%zz%",
		"/a b/\xff":                  "/a b/\xff",
		"/.well-known/x":             "/.well-known/x",
		"/api/prompt":                "/prompt",
		"/api/history/1":             "/history/1",
		"/api//prompt":               "/prompt",
		"/api/chat":                  "/api/chat",
		"/api/generate":              "/api/generate",
		"/api/embed":                 "/api/embed",
		"/api/embeddings":            "/api/embeddings",
		"/api/tags":                  "/api/tags",
		"/api/show":                  "/api/show",
		"/api/v1/chat/completions":   "/api/v1/chat/completions",
		"/api/object_info/KSampler":  "/object_info/KSampler",
		"/api/ws":                    "/ws",
		"/api":                       "/api",
		"/apiprompt":                 "/apiprompt",
		"/api/prompts":               "/api/prompts",
		"/v1/models/a%2Fb":           "/v1/models/a%2Fb",
		"/api/api/prompt":            "/api/api/prompt",
		"/a/b/../../../c/./d/..;x/e": "/c/e",
	} {
		if got := cleanPath(raw); got != want {
			t.Errorf("cleanPath(%q) = %q, want %q", raw, got, want)
		}
	}
}

// TestWhatTakesNoSlot checks that what takes no slot can be read as nothing that
// does.
func TestWhatTakesNoSlot(t *testing.T) {
	for target, takes := range map[string]bool{
		"GET /v1/models":                         false,
		"GET /v1/models/meta%2Fllama":            false,
		"GET /v1/models/":                        false,
		"GET /v1/models/..%2F..%2Fview":          true,
		`GET /v1/models/..\..\view`:              true,
		"GET /v1/models/x#/../../../view":        true,
		"GET /v1/models/a%2F..%2F..%2F..%2Fview": true,
		"POST /v1/messages/count_tokens":         false,
		"POST /v1/messages/count_tokens%2F..":    true,
		"POST /v1/messages#/count_tokens":        true,
	} {
		method, raw, _ := strings.Cut(target, " ")
		x := exchange{r: &http.Request{Method: method}, path: cleanPath(raw), others: otherReadings(raw)}
		if got := x.route().TakesSlot(); got != takes {
			t.Errorf("%s takes a slot: %t, want %t", target, got, takes)
		}
	}
}

// readings is how a worker may read a raw path: as it is, decoded, or with
// slashes and dots resolved after it was decoded, as nginx does, or after what
// follows a ; was cut, as Java's servers do; without the fragment, as uvicorn
// does, in any case, as Express does, or with \ for a slash.
func readings(raw string) []string {
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return []string{raw, path.Clean(raw)}
	}
	cut := strings.Split(raw, "/")
	for i, s := range cut {
		cut[i], _, _ = strings.Cut(s, ";")
	}
	tomcat, _ := url.PathUnescape(strings.Join(cut, "/"))
	uvicorn, _, _ := strings.Cut(raw, "#")
	uvicorn, _ = url.PathUnescape(uvicorn)
	express := strings.ToLower(strings.TrimRight(uvicorn, "/"))
	windows := path.Clean(strings.ReplaceAll(decoded, `\`, "/"))
	return []string{raw, decoded, path.Clean(decoded), path.Clean(tomcat), uvicorn, express, windows}
}

// FuzzPath holds what the gateway makes of a request's target against what the
// worker is sent and how it may read that.
func FuzzPath(f *testing.F) {
	for _, target := range []string{
		"/v1/chat/completions", "/v1/chat%2Fcompletions", "/v1%2f%2fchat/completions%2F?x", "//metrics", "/%6detrics", "/metrics;x",
		"/a%2F..%2Fmetrics", "/metrics/y%2Fz/..", "/load/y%2Fz/../..", "/load/;/..", "/x;y%2F..%2Fmetrics", "/v1/completions/a%2Fb/../..",
		"http:/metrics", "http://h/metrics", "http:///metrics", "http://h?/metrics", "x:y", "*", "/api/internal/logs", "/api%2Finternal/logs",
		"/v1/completions#x", "/x#/../metrics", "/V1/Completions/", `/v1\completions`, "/metrics%5c",
		"/a b", "//a^b", "/%", "/..;/metrics", "/v1beta/models/a%2F..%2Fb:generateContent", "/openai/deployments/a/..%2Fb/chat/completions", "/%2e%2e/slots/1", "/.%2e/slots/",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if _, err := url.ParseRequestURI(target); err != nil {
			return // no server lets it in
		}
		raw := rawPath(target)
		out := &http.Request{}
		workers.SetTarget(out, &url.URL{Scheme: "http", Host: "w"}, target)
		sent, _, _ := strings.Cut(out.URL.RequestURI(), "?")
		want := strings.ReplaceAll(raw, " ", "%20")
		if sent != want {
			// Behind // what belongs in no path is encoded.
			a, _ := url.PathUnescape(sent)
			b, err := url.PathUnescape(want)
			if !strings.HasPrefix(want, "//") || err != nil || a != b {
				t.Fatalf("target %q: judged by %q, and the worker is sent %q", target, want, sent)
			}
		}

		x := exchange{r: &http.Request{Method: "POST"}, rules: &generation{open: routes()}, path: cleanPath(raw)}
		if again := cleanPath(x.path); !strings.ContainsAny(x.path, "%;*") && again != x.path && !strings.HasPrefix(x.path, "/api/") {
			t.Errorf("path %q is cleaned to %q and again to %q", raw, x.path, again)
		}
		x.others = otherReadings(raw)
		for _, p := range readings(raw) {
			if closed.has(p) && !x.isClosed() {
				t.Errorf("path %q is open, and a worker may read it as %q", raw, p)
			}
			worker, ours := (&exchange{r: x.r, path: p}).route(), x.route()
			if worker.Metered() && !ours.Metered() {
				t.Errorf("path %q is not metered, and a worker may read it as %q", raw, p)
			}
		}
	})
}
