package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/standin"
)

// reload changes the file and reads it again.
func (r *rig) reload(text string) {
	r.t.Helper()
	r.configure(text)
	if err := r.Reload(); err != nil {
		r.t.Fatal(err)
	}
}

// TestCountersOutliveConfiguration: whatever changes of a limit, what was used
// of it stays used. Three of six a minute were.
func TestCountersOutliveConfiguration(t *testing.T) {
	const head = "rate_limiting:\n  default: {requests_per_minute: %d}\n"
	before := fmt.Sprintf(head, 6)
	tests := []struct {
		what, text string
		limit      int
	}{
		{"nothing", before, 6},
		{"a larger amount", fmt.Sprintf(head, 60), 60},
		{"a smaller amount", fmt.Sprintf(head, 4), 4},
		{"a coarser precision", before + "  window: {precision: 20s}", 6},
		{"a finer precision", before + "  window: {precision: 500ms}", 6},
		{"a longer window", before + "  window: {size: 2m}", 12},
		{"a shorter window", before + "  window: {size: 40s}", 4},
		{"a fixed window", before + "  algorithm: fixed_window", 6},
		{"a token bucket", before + "  algorithm: token_bucket", 6},
		{"a plan of its own", "auth: {keys: [{id: alice, key: alice-s3cret}]}\n" + before + "  per_key: {keys: {alice: {requests_per_minute: 5}}}", 5},
		{"more beside it", before + "  global: {requests_per_hour: 1000}\n  limits: {tokens_per_minute: 100000, requests_per_day: 500}", 6},
	}
	alice := "Authorization: Bearer alice-s3cret"
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			r := start(t, "auth: {keys: [{id: alice, key: alice-s3cret}]}\n"+before)
			r.set(noon().Add(30 * time.Second))
			for i := range 3 {
				r.want("before", r.chat("m", 1, 1, alice), 200, fmt.Sprint("X-RateLimit-Remaining: ", 5-i))
				r.settled()
			}
			text := tt.text
			if !strings.Contains(text, "alice") {
				text = "auth: {keys: [{id: alice, key: alice-s3cret}]}\n" + text
			}
			r.reload(text)
			r.want("after", r.chat("m", 1, 1, alice), 200, fmt.Sprint("X-RateLimit-Limit: ", tt.limit), fmt.Sprint("X-RateLimit-Remaining: ", tt.limit-4))
		})
	}
}

// TestReloadChangesEverything: what a reload says holds from the next request
// on.
func TestReloadChangesEverything(t *testing.T) {
	r := start(t, "rate_limiting: {default: {requests_per_minute: 1}}")
	r.set(noon())
	r.want("one passes", r.chat("m", 1, 1), 200)
	r.want("and no more", r.chat("m", 1, 1), 429)
	r.reload("rate_limiting: {enabled: false}")
	r.want("off", r.chat("m", 1, 1), 200, "X-RateLimit-Limit")
	r.reload("max_body_bytes: 10\nrate_limiting: {default: {requests_per_minute: 5}}")
	r.want("a smaller body", r.chat("m", 1, 1), 413)
	r.reload("rate_limiting: {default: {requests_per_minute: 5}}\ntrusted_proxies: []\n")
	r.want("nobody trusted", r.chat("m", 1, 1, "X-Forwarded-For: 192.0.2.1"), 200, "X-RateLimit-Remaining: 3") // the caller that had one
	r.reload("log: {level: debug, decisions: all}\nrate_limiting: {default: {requests_per_minute: 50}}")
	r.want("logged", r.chat("m", 1, 1, "X-Request-Id: the-logged-one"), 200, "X-Request-Id: the-logged-one")
	r.log.line(t, `"msg":"request allowed","caller":"127.0.0.1","path":"/v1/chat/completions","model":"m","request_id":"the-logged-one"`)
	r.reload("log: {level: error}\nrate_limiting: {default: {requests_per_minute: 1}}")
	n := len(r.log.String())
	r.want("not logged", r.chat("m", 1, 1), 429)
	if got := r.log.String()[n:]; got != "" {
		t.Errorf("logged below its level: %s", got)
	}
	r.reload("rate_limiting:\n  default: {requests_per_minute: 50}\n  concurrent: {max_concurrent: 1, queue_timeout: 1ms}")
	r.settled()
	r.hang()
	r.want("slots", r.chat("m", 1, 1), 408)
	r.reload("rate_limiting:\n  default: {requests_per_minute: 50}")
	r.want("no slots", r.chat("m", 1, 1), 200)
}

// TestBadReload: a file that is wrong changes nothing and says why, by whatever
// way it came.
func TestBadReload(t *testing.T) {
	const good = "rate_limiting: {default: {requests_per_minute: 3}}"
	r := start(t, good)
	r.set(noon())
	const wrong = `penstock.yaml:1:17: rate_limiting.defalt: unknown key; did you mean "default"?`
	r.configure("rate_limiting: {defalt: {requests_per_minute: 9}}")
	for i, ways := range []func(){
		func() {
			a := r.admin("POST", "/-/reload", "X-Penstock: 1")
			r.want("by POST", a, 400)
			if !strings.Contains(a.body, "rate_limiting.defalt: unknown key") {
				t.Errorf("it does not say why: %s, want %s", a.body, wrong)
			}
		},
		func() {
			n := strings.Count(r.log.String(), "was not reloaded")
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the log says why", func() bool { return strings.Count(r.log.String(), "was not reloaded") > n })
		},
		func() {
			r.mu.Lock()
			flags := r.flags.WorkerURLs
			r.flags.WorkerURLs = nil
			r.text = good
			r.mu.Unlock()
			if err := r.Reload(); err == nil || err.Error() != "no workers: name one under workers, or nothing changes" {
				t.Errorf("without workers: %v", err)
			}
			r.mu.Lock()
			r.flags.WorkerURLs = flags
			r.mu.Unlock()
		},
	} {
		ways()
		r.want("still", r.chat("m", 1, 1), 200, "X-RateLimit-Limit: 3", fmt.Sprint("X-RateLimit-Remaining: ", 2-i))
	}
	if line := r.log.line(t, "was not reloaded"); !strings.Contains(line, "rate_limiting.defalt: unknown key") {
		t.Errorf("the log does not say why: %s", line)
	}
	// And mended it is read again.
	r.configure("rate_limiting: {default: {requests_per_minute: 9}}")
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.log.line(t, `"the configuration was reloaded"`)
	r.want("after SIGHUP", r.chat("m", 1, 1), 200, "X-RateLimit-Limit: 9", "X-RateLimit-Remaining: 5")
	r.configure("rate_limiting: {default: {requests_per_minute: 10}}")
	a := r.admin("POST", "/-/reload", "X-Penstock: 1")
	r.want("by POST", a, 200)
	r.wantBody("by POST", a, `{"status":"reloaded"}`)
	r.want("after POST", r.chat("m", 1, 1), 200, "X-RateLimit-Limit: 10", "X-RateLimit-Remaining: 5")
}

// TestReloadNeedsARestart: what cannot change while it runs is said, each time,
// until it is as it was.
func TestReloadNeedsARestart(t *testing.T) {
	const before = "listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nadmin: {token: admin-s3cret}\nmetrics: {prefix: before_}\nlog: {format: json}\n"
	r := start(t, before)
	const message = `"msg":"these keys have changed and take effect at the next start: restart penstock"`
	last := func() string {
		var line string
		for l := range strings.Lines(r.log.String()) {
			if strings.Contains(l, message) || strings.Contains(l, "was reloaded") && line == "" {
				line = l
			}
		}
		return line
	}
	for _, tt := range []struct{ was, is, keys string }{
		{"listen: 127.0.0.1:0\nadmin", "listen: 127.0.0.1:1\nadmin", `["listen"]`},
		{"admin_listen: 127.0.0.1:0", "admin_listen: 127.0.0.1:2", `["admin_listen"]`},
		{"admin-s3cret", "other-s3cret", `["admin.token"]`},
		{"before_", "after_", `["metrics.prefix"]`},
		{"format: json", "format: text", `["log.format"]`},
		{"metrics:", "rate_limiting: {state_file: state}\nmetrics:", `["rate_limiting.state_file"]`},
		{before, "shutdown_grace: 10s\n", `["admin.token","metrics.prefix"]`}, // the flags' addresses and the usual format
	} {
		for _, again := range []string{"", "\nrequest_timeout: 5m"} {
			if tt.was == before {
				r.mu.Lock()
				any := "127.0.0.1:0"
				r.flags.Listen, r.flags.AdminListen = &any, &any
				r.mu.Unlock()
			}
			r.reload(strings.Replace(before, tt.was, tt.is, 1) + again)
			if line := last(); !strings.Contains(line, message+`,"keys":`+tt.keys) {
				t.Errorf("%s: the log says %s", tt.keys, line)
			}
		}
	}
	n := len(r.log.String())
	r.reload(before)
	if got := r.log.String()[n:]; strings.Contains(got, message) {
		t.Errorf("as it was at the start, and the log says %s", got)
	}
	r.want("the token is what it was", r.admin("POST", "/-/reload", "Authorization: Bearer admin-s3cret"), 200)
	r.want("no other is", r.admin("POST", "/-/reload", "Authorization: Bearer other-s3cret"), 401)
	if got := r.metric("before_inflight_requests"); got != "0" {
		t.Errorf("the metrics are not called as they were: %q", got)
	}
}

// TestReloadTrusts: whom penstock trusts where nobody says goes by where it listens,
// which needs a restart.
func TestReloadTrusts(t *testing.T) {
	const one = "rate_limiting: {default: {requests_per_minute: 1}}\n"
	r := start(t, one)
	r.set(noon())
	from := func(address string) *answer { return r.chat("m", 1, 1, "X-Forwarded-For: "+address) }
	r.want("before", from("192.0.2.1"), 200)
	everywhere := "0.0.0.0:3000"
	r.mu.Lock()
	r.flags.Listen = &everywhere
	r.mu.Unlock()
	r.reload(one)
	r.want("another client", from("192.0.2.2"), 200)
	r.want("the first", from("192.0.2.1"), 429)
	r.reload(one + "trusted_proxies: []")
	r.want("nobody is trusted", from("192.0.2.3"), 200)
	r.want("nobody is trusted", from("192.0.2.4"), 429)
}

// TestReloadUnderTraffic: no request is dropped, whichever of the rules and
// workers it meets.
func TestReloadUnderTraffic(t *testing.T) {
	var served [2]atomic.Int64
	worker := func(i int) http.Handler {
		w := standin.New(standin.Options{Seed: uint64(i)})
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			served[i].Add(1)
			w.ServeHTTP(rw, r)
		})
	}
	r := start(t, "rate_limiting: {default: {requests_per_minute: 1000000}}", worker(0), worker(1))
	all := r.flags.WorkerURLs
	done := make(chan struct{})
	var asked atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				a, err := r.try(t.Context(), "POST", "http://"+r.Addr().String()+"/v1/chat/completions", chatBody("m", 5, 5))
				if err != nil || a.status != http.StatusOK {
					t.Errorf("dropped: %+v, %v", a, err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range 60 {
		was := asked.Load()
		r.mu.Lock()
		r.flags.WorkerURLs = [][]string{all, all[:1], all[1:]}[i%3]
		r.mu.Unlock()
		r.reload(fmt.Sprintf("rate_limiting:\n  algorithm: %s\n  default: {requests_per_minute: %d, tokens_per_hour: 100000000}\n  concurrent: {max_concurrent: %d}",
			[]string{"sliding_window", "fixed_window", "token_bucket"}[i%3], 1_000_000+i, 1+i%5))
		eventually(t, "some requests pass", func() bool { return asked.Load() > was+3 || t.Failed() })
	}
	close(done)
	wg.Wait()
	if served[0].Load() == 0 || served[1].Load() == 0 {
		t.Errorf("the workers served %d and %d", served[0].Load(), served[1].Load())
	}
}

// TestReloadWhenTheFileIsAway: what the file's reader says is what the operator
// reads.
func TestReloadWhenTheFileIsAway(t *testing.T) {
	r := start(t, "rate_limiting: {default: {requests_per_minute: 3}}")
	away := errors.New("config: open penstock.yaml: no such file or directory")
	r.configure("rate_limiting: [")
	if err := r.Reload(); err == nil || !strings.Contains(err.Error(), "penstock.yaml:2:1: not valid YAML") {
		t.Errorf("no YAML: %v", err)
	}
	r.mu.Lock()
	r.broken = away
	r.mu.Unlock()
	if err := r.Reload(); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
}

// TestReloadThatCannotBeApplied: what only a room finds wrong changes nothing
// of any other.
func TestReloadThatCannotBeApplied(t *testing.T) {
	const good = "rate_limiting: {default: {requests_per_minute: 3}}"
	for _, tt := range []struct {
		what   string
		spoil  func(c *config.Config)
		reason string
	}{
		{"a limit that cannot be counted", func(c *config.Config) {
			c.RateLimiting.Window.Size = 24 * time.Hour
			c.RateLimiting.Default[0].Amount = penstock.MaxAmount
		}, "policy: default.requests_per_minute: "},
		{"a key with two names", func(c *config.Config) {
			c.Auth.Keys = []config.Key{{ID: "a", Digest: [32]byte{1}}, {ID: "b", Digest: [32]byte{1}}}
		}, `identity: "a" and "b" are the same key`},
		{"a header with two meanings", func(c *config.Config) {
			c.RateLimiting.Headers.Remaining = c.RateLimiting.Headers.Limit
		}, "reply: the name of the remaining header"},
		{"a queue in which nobody may wait", func(c *config.Config) {
			c.RateLimiting.Concurrent = config.Concurrent{Enabled: true, MaxConcurrent: 1}
		}, "queue: a timeout of 0"},
	} {
		r := start(t, good)
		r.set(noon())
		r.want(tt.what, r.chat("m", 1, 1), 200, "X-RateLimit-Remaining: 2")
		r.configure(good + "\nmax_body_bytes: 1\nlog: {level: error}")
		spoiled, _, err := r.load()
		if err != nil {
			t.Fatal(err)
		}
		tt.spoil(spoiled)
		r.mu.Lock()
		r.spoiled = spoiled
		r.mu.Unlock()
		if err := r.Reload(); err == nil || !strings.HasPrefix(err.Error(), tt.reason) {
			t.Errorf("%s: %v", tt.what, err)
		}
		r.log.line(t, tt.reason[:5])
		r.want(tt.what, r.chat("m", 1, 1), 200, "X-RateLimit-Limit: 3", "X-RateLimit-Remaining: 1")
		_, err = New(Options{Load: r.load, Log: io.Discard})
		if err == nil || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s, at the start: %v", tt.what, err)
		}
	}
}

// TestReloadKeepsCountOfLines: of a flood of denials, the lines of the log and what
// they say was left out are all that there were, whatever is reloaded meanwhile.
func TestReloadKeepsCountOfLines(t *testing.T) {
	const text = "log: {decisions: denied}\nrate_limiting: {default: {requests_per_hour: 1}}"
	r := start(t, text)
	r.want("the first", r.chat("m", 1, 1), 200)
	denied, lines, dropped := 0, 0, 0
	deny := func() {
		r.want("one more", r.chat("m", 1, 1), 429)
		denied++
		lines, dropped = 0, 0
		for line := range strings.Lines(r.log.String()) {
			if !strings.Contains(line, `"request denied"`) {
				continue
			}
			lines++
			if _, more, ok := strings.Cut(line, `"dropped":`); ok {
				n, err := strconv.Atoi(strings.TrimSuffix(more, "}\n"))
				if err != nil {
					t.Fatal(err)
				}
				dropped += n
			}
		}
	}
	for lines == denied { // till the first is left out
		deny()
	}
	r.reload(text)
	for before := lines; lines == before; {
		deny()
	}
	if lines+dropped != denied {
		t.Errorf("%d lines say that %d more were left out, of %d denials", lines, dropped, denied)
	}
}
