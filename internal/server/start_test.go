package server

import (
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/identity"
	"github.com/penstock-dev/penstock/internal/policy"
)

// made is what New says of a configuration in front of these workers.
func made(t *testing.T, text string, workers ...string) error {
	t.Helper()
	s, err := New(Options{Log: io.Discard, Load: func() (*config.Config, []config.Warning, error) {
		return config.Parse("penstock.yaml", []byte(text), config.Flags{WorkerURLs: workers}, func(string) (string, bool) { return "", false })
	}})
	if err == nil {
		_ = s.front.Close()
		_ = s.back.Close()
	}
	return err
}

func TestNoWorkers(t *testing.T) {
	err := made(t, "listen: 127.0.0.1:0")
	var wrong config.Errors
	const want = "--worker-urls: no worker to send requests to: say --worker-urls http://HOST:PORT, or add workers to the configuration"
	if !errors.As(err, &wrong) || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestWrongConfiguration(t *testing.T) {
	err := made(t, "listne: 127.0.0.1:0")
	var wrong config.Errors
	if !errors.As(err, &wrong) || len(wrong) != 1 {
		t.Errorf("got %v", err)
	}
}

// TestListenInUse: the error names the key, and the other port is free again.
func TestListenInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	spare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := spare.Addr().String()
	_ = spare.Close()
	for _, tt := range []struct{ key, text string }{
		{"listen", "listen: " + taken.Addr().String() + "\nadmin_listen: " + free},
		{"admin_listen", "listen: " + free + "\nadmin_listen: " + taken.Addr().String()},
	} {
		err := made(t, tt.text, "http://127.0.0.1:1")
		if err == nil || !strings.HasPrefix(err.Error(), tt.key+": listen tcp "+taken.Addr().String()) || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s: %v", tt.key, err)
		}
		l, err := net.Listen("tcp", free)
		if err != nil {
			t.Errorf("%s: the other port is not free: %v", tt.key, err)
			continue
		}
		_ = l.Close()
	}
}

// TestNotReady: without a worker that can be reached it is not ready, and says
// so to requests.
func TestNotReady(t *testing.T) {
	r := start(t, "log: {level: info}")
	r.want("ready", r.admin("GET", "/readyz"), 200)
	gone := httptest.NewServer(nil)
	gone.Close()
	r.mu.Lock()
	r.flags.WorkerURLs = []string{gone.URL}
	r.mu.Unlock()
	r.reload("log: {level: info}")
	a := r.admin("GET", "/readyz")
	r.want("no worker", a, 503)
	r.wantBody("no worker", a, `{"error":"no worker can be reached"}`)
	r.want("no worker", r.chat("m", 1, 1), 503, "Retry-After: 1")
	r.want("penstock is well", r.ask("GET", "/health", ""), 200)
}

// TestStoreAway: what the store cannot tell is not shown, and the rest is.
func TestStoreAway(t *testing.T) {
	r := start(t, "rate_limiting: {default: {requests_per_minute: 5}, global: {requests_per_minute: 9}}")
	r.clock.mu.Lock()
	r.away = errors.New("the store is away")
	r.clock.mu.Unlock()
	r.want("a request", r.chat("m", 1, 1), 503, "Retry-After: 1")
	if got := r.metric(`penstock_rate_limit_usage_ratio{key="all",rule="global.requests_per_minute"}`); got != "" {
		t.Errorf("%s of the global limit is used, says nobody", got)
	}
	if got := r.metric("penstock_store_errors_total"); got != "1" {
		t.Errorf("%s errors of the store", got)
	}
	r.log.line(t, `"the store failed","error":"the store is away"`)
}

// TestCallersAreTheSame: identity and policy know the caller of a listed key
// by the same ID, with a name and without, or its plan would be nobody's.
func TestCallersAreTheSame(t *testing.T) {
	c, _, err := config.Parse("penstock.yaml", []byte(`
auth: {keys: [{id: alice, key: alice-s3cret}]}
rate_limiting:
  per_key: {keys: {alice: {requests_per_minute: 1}, nameless-s3cret: {requests_per_minute: 1}}}
  bypass: {keys: [nameless-s3cret]}
`), config.Flags{}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(identity.Options{Keys: listed(c), NameKey: [32]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	bypasses := map[string]bool{}
	for _, caller := range id.Listed() {
		bypasses[caller.ID] = caller.Bypass
	}
	keys := c.RateLimiting.PerKey.Keys
	alice, nameless := policy.CallerID(keys[0].Key), policy.CallerID(keys[1].Key)
	if diff := cmp.Diff(map[string]bool{alice: false, nameless: true}, bypasses); diff != "" {
		t.Errorf("who bypasses (-policy +identity):\n%s", diff)
	}
}

// TestWarnings: what does nothing is said at the start, as check says it.
func TestWarnings(t *testing.T) {
	const text = `
routes: {allow: [/metrics, /v1/files, /internal/*, /v2/*, /slots, /internal/x, /api/*]}
rate_limiting:
  default: {requests_per_minute: 60}
  global: {requests_per_second: 1}
  bypass: {paths: [/health, /metrics, /slots/3, /load, /v1/files]}
`
	r := start(t, text)
	for _, want := range []string{
		"routes.allow[1]: opens nothing: no such route is closed",
		"routes.allow[3]: opens nothing: no such route is closed",
		"rate_limiting.bypass.paths[0]: does nothing: penstock answers this path itself, which takes nothing from any limit",
		"rate_limiting.bypass.paths[2]: does nothing: this route of the workers' is closed; routes.allow opens it, a bypass does not",
		"rate_limiting.bypass.paths[3]: does nothing: this route of the workers' is closed; routes.allow opens it, a bypass does not",
		"rate_limiting.default.requests_per_minute: never denies: global.requests_per_second lets at most 60 pass in the same time",
	} {
		r.log.line(t, want)
	}
	if n := strings.Count(r.log.String(), `"level":"WARN"`); n != 6 {
		t.Errorf("%d warnings, want 6:\n%s", n, r.log.String())
	}
	r.reload(text)
	if n := strings.Count(r.log.String(), `"level":"WARN"`); n != 12 {
		t.Errorf("%d warnings after a reload, want each once more", n)
	}
	off := strings.Replace(text, "rate_limiting:", "rate_limiting:\n  enabled: false", 1)
	c, _, err := config.Parse("penstock.yaml", []byte(off), config.Flags{}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := Warnings(nil, c, p); len(got) != 2 {
		t.Errorf("switched off there are only those of the routes: %v", got)
	}
}

// TestLogFormats: the log is JSON or text, at its level from the first line on.
func TestLogFormats(t *testing.T) {
	for _, tt := range []struct{ log, want string }{
		{"log: {format: text}", ` level=WARN msg="penstock.yaml:5:1: rate_limiting: there is no limit, so everything passes"` + "\n"},
		{"log: {format: json}", `,"level":"WARN","msg":"penstock.yaml:5:1: rate_limiting: there is no limit, so everything passes"}` + "\n"},
		{"log: {level: error}", ""},
	} {
		var b strings.Builder
		s, err := New(Options{Log: &b, Load: func() (*config.Config, []config.Warning, error) {
			return config.Parse("penstock.yaml", []byte("listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nworkers: [http://127.0.0.1:1]\n"+tt.log+"\nrate_limiting: {}"),
				config.Flags{}, func(string) (string, bool) { return "", false })
		}})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.front.Close()
		_ = s.back.Close()
		if !strings.HasSuffix(b.String(), tt.want) || tt.want == "" && b.Len() > 0 {
			t.Errorf("%s: %q", tt.log, b.String())
		}
	}
}
