package telemetry

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/internal/traffic"
)

var update = flag.Bool("update", false, "write the golden texts anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape returns what a scraper reads that speaks the given format, as far as it
// is penstock's own.
func scrape(t *testing.T, m *Metrics, prefix, accept string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	var own strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE ")
		if strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			own.WriteString(strings.ReplaceAll(line, Version(), "VERSION"))
		}
	}
	return own.String()
}

func samples(t *testing.T, m *Metrics, name string) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(scrape(t, m, name, "text/plain")) {
		if strings.HasPrefix(line, name) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out, "\n")
}

func alice() *traffic.Caller {
	return &traffic.Caller{ID: "key:alice", Name: "alice", Verified: true, Listed: true}
}

// play is a little of everything.
func play(m *Metrics) {
	m.Known([]string{"gpt-4"}, []string{"alice", "all"}, []string{"/v1/special"})
	m.Began()
	m.Began()
	m.Decided(&traffic.Verdict{Allowed: true, Caller: alice(), Rule: "default.requests_per_minute"})
	m.Ended(30 * time.Millisecond)
	for range 3 {
		m.Decided(&traffic.Verdict{Code: "rate_limit_exceeded", Rule: "default.tokens_per_minute", Caller: alice()})
	}
	m.Decided(&traffic.Verdict{Code: "rate_limit_exceeded", Rule: "default.tokens_per_minute", Caller: &traffic.Caller{ID: "addr:192.0.2.1", Name: "192.0.2.1"}})
	m.Decided(&traffic.Verdict{Code: "queue_full"})
	m.Rejected(traffic.ClassBulk, Full)
	m.Waited(traffic.ClassInteractive, 20*time.Millisecond)
	m.Left(traffic.ClassBulk)
	m.Used("gpt-4", true, traffic.Usage{Input: 10, Output: 20, CachedInput: 4, CacheWrites: 3})
	m.Cost("gpt-4", 1_500_000, true)
	m.Cost("gpt-4", 0, true) // adds nothing
	m.Used("answered-by-a-worker", true, traffic.Usage{Input: 1})
	m.Cost("answered-by-a-worker", 75_000, false)
	m.Cost("not-known", 1_000_000_000, false)
	m.Codes("upstream_timeout", "no_worker")
	m.Own("upstream_timeout")
	m.Shadow("heavy-models.candidate")
	m.Near("default.cost_per_day")
	m.Used("refused-by-a-worker", false, traffic.Usage{Input: 2})
	m.Estimated(150, 100)
	m.Estimated(100, 0) // says nothing
	m.Unmetered("/v1/special")
	m.Unmetered("/v1/audio/speech")
	m.Unmetered("/whatever/somebody/asks")
	m.StoreFailed()
	m.StateWriteFailed()
}

func gauges() Gauges {
	return Gauges{
		Queue: func() Queue {
			return Queue{
				Slots: 40, InUse: 39, Capacity: 100, Depth: 7,
				ByClass: map[traffic.Class]ClassInQueue{traffic.ClassInteractive: {InUse: 30}, traffic.ClassDefault: {InUse: 9, Depth: 7}},
			}
		},
		Workers: func() []Worker {
			return []Worker{
				{Name: "http://w1:8000", Healthy: true, Outstanding: 30, Requests: 1000, Failures: 2},
				{Name: "http://w2:8000", BreakerOpen: true, Outstanding: 9, Requests: 500, Failures: 100},
			}
		},
		Retries:  func() uint64 { return 17 },
		Counters: func() int64 { return 42 },
		Debt:     func() map[string]int64 { return map[string]int64{"tokens": 1234} },
		Usage: func() []Usage {
			return []Usage{{"default.requests_per_minute", "alice", 0.5}, {"global.requests_per_second", "all", 1.25}}
		},
	}
}

// TestExposition pins every name, label and help text.
func TestExposition(t *testing.T) {
	m := NewMetrics("penstock_", gauges())
	play(m)
	got := scrape(t, m, "penstock_", "text/plain")
	const path = "testdata/metrics.txt"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPrefix: a prefix changes every name, and nothing else.
func TestPrefix(t *testing.T) {
	own := func(prefix string) string {
		m := NewMetrics(prefix, gauges())
		play(m)
		return scrape(t, m, prefix, "text/plain")
	}
	standard := own("penstock_")
	for _, prefix := range []string{"inferxgate_", ""} {
		if diff := cmp.Diff(strings.ReplaceAll(standard, "penstock_", prefix), own(prefix)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", prefix, diff)
		}
	}
}

// TestNamesInOpenMetrics: what a scraper calls a figure does not depend on what
// it speaks.
func TestNamesInOpenMetrics(t *testing.T) {
	m := NewMetrics("penstock_", gauges())
	play(m)
	names := func(accept string) map[string]bool {
		set := map[string]bool{}
		for line := range strings.Lines(scrape(t, m, "penstock_", accept)) {
			if !strings.HasPrefix(line, "#") {
				name, _, _ := strings.Cut(line, " ")
				name, _, _ = strings.Cut(name, "{")
				set[name] = true
			}
		}
		return set
	}
	text, open := names("text/plain"), names("application/openmetrics-text;version=1.0.0")
	for name := range open {
		if strings.HasSuffix(name, "_created") {
			delete(open, name) // when counting began, which only OpenMetrics has
		}
	}
	if diff := cmp.Diff(text, open); diff != "" {
		t.Errorf("(-text +OpenMetrics):\n%s", diff)
	}
}

func TestLint(t *testing.T) {
	m := NewMetrics("penstock_", gauges())
	play(m)
	problems, err := promlint.New(strings.NewReader(scrape(t, m, "penstock_", "text/plain"))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestGaugesMayBeMissing: those that nobody can tell are not shown.
func TestGaugesMayBeMissing(t *testing.T) {
	m := NewMetrics("penstock_", Gauges{})
	got := scrape(t, m, "penstock_", "text/plain")
	for _, name := range []string{"slots", "queue_depth", "queue_capacity", "class_queue_depth", "worker_", "counters", "debt", "rate_limit_usage_ratio"} {
		if strings.Contains(got, "penstock_"+name) {
			t.Errorf("%s is there, and nobody tells it", name)
		}
	}
}

// TestModelLabels: a model's name is shown once a worker has answered for it,
// up to a hundred; what a client made up is other.
func TestModelLabels(t *testing.T) {
	m := NewMetrics("penstock_", Gauges{})
	used := traffic.Usage{Input: 1}
	for _, name := range []string{"", strings.Repeat("x", 129), "bad\xff", "\xed\xa0\x80", "a\x1b[2Jb", "a\u009bb", "\u202eb", "a\n"} {
		m.Used(name, true, used)
	}
	m.Used("made-up", false, used)
	if got, want := samples(t, m, "penstock_tokens_total"), `penstock_tokens_total{kind="input",model="other"} 9`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	m.Used(strings.Repeat("y", 128), true, used)
	for i := range 150 {
		m.Used(fmt.Sprint("model-", i), true, used)
	}
	got := samples(t, m, "penstock_tokens_total")
	if n := strings.Count(got, "\n") + 1; n != 101 {
		t.Errorf("%d labels, want 100 and other", n)
	}
	for _, line := range []string{
		`{kind="input",model="` + strings.Repeat("y", 128) + `"} 1`,
		`{kind="input",model="model-0"} 1`,
		`{kind="input",model="model-98"} 1`,
		`{kind="input",model="other"} 60`, // 9, and 51 that there was no room for
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %s in\n%s", line, got)
		}
	}
}

// TestKeyLabels: only listed callers are shown, up to a hundred.
func TestKeyLabels(t *testing.T) {
	m := NewMetrics("penstock_", Gauges{})
	deny := func(c *traffic.Caller) {
		m.Decided(&traffic.Verdict{Code: "rate_limit_exceeded", Rule: "r", Caller: c})
	}
	deny(nil)
	deny(&traffic.Caller{Name: "alice"}) // so it calls itself
	deny(alice())                        // listed, but Known does not know it
	if got, want := samples(t, m, "penstock_rate_limit_hits_total"), `penstock_rate_limit_hits_total{key="other",rule="r"} 3`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	var names []string
	for i := range 150 {
		names = append(names, fmt.Sprint("key-", i))
	}
	m.Known(nil, names, nil)
	m.Known(nil, names, nil) // as a reload does
	for _, name := range names {
		deny(&traffic.Caller{Name: name, Listed: true})
	}
	got := samples(t, m, "penstock_rate_limit_hits_total")
	if n := strings.Count(got, "\n") + 1; n != 101 {
		t.Errorf("%d labels, want 100 and other", n)
	}
	if !strings.Contains(got, `{key="key-99",rule="r"} 1`) || !strings.Contains(got, `{key="other",rule="r"} 53`) {
		t.Errorf("got\n%s", got)
	}
}

// TestPathLabels: paths are configured, or ones that inference servers have.
func TestPathLabels(t *testing.T) {
	m := NewMetrics("penstock_", Gauges{})
	var paths []string
	for i := range 150 {
		paths = append(paths, fmt.Sprint("/p/", i))
	}
	m.Known(nil, nil, paths)
	for _, p := range append(paths, "/prompt", "/x\xff", "/?") {
		m.Unmetered(p)
	}
	got := samples(t, m, "penstock_unmetered_total")
	if n := strings.Count(got, "\n") + 1; n != 102 {
		t.Errorf("%d labels, want 100, /prompt and other", n)
	}
	if !strings.Contains(got, `{path="/prompt"} 1`) || !strings.Contains(got, `{path="other"} 52`) {
		t.Errorf("got\n%s", got)
	}
}

// TestOneWrongFigure: a figure that cannot be shown hides no other.
func TestOneWrongFigure(t *testing.T) {
	m := NewMetrics("penstock_", Gauges{
		Counters: func() int64 { return 42 },
		Usage:    func() []Usage { return []Usage{{"r", "k", 1}, {"r", "k", 2}} }, // the same one twice
	})
	if got := samples(t, m, "penstock_counters"); got != "penstock_counters 42" {
		t.Errorf("got %s", got)
	}
}

func TestHits(t *testing.T) {
	m := NewMetrics("penstock_", Gauges{})
	if hits := m.Hits(); len(hits) != 0 {
		t.Errorf("%v before anything was denied", hits)
	}
	play(m)
	got := map[Hit]bool{}
	for _, h := range m.Hits() {
		got[h] = true
	}
	want := map[Hit]bool{
		{"default.tokens_per_minute", "alice", 3}: true,
		{"default.tokens_per_minute", "other", 1}: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestScrapeThatBreaksOff: a scraper that goes away leaves nothing behind.
func TestScrapeThatBreaksOff(t *testing.T) {
	m := NewMetrics("penstock_", gauges())
	m.Handler().ServeHTTP(&deaf{header: http.Header{}}, httptest.NewRequest(http.MethodGet, "/metrics", nil))
}

// deaf is a client that has gone.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header       { return d.header }
func (d *deaf) WriteHeader(int)           {}
func (d *deaf) Write([]byte) (int, error) { return 0, errors.Join(io.ErrClosedPipe) }

// TestRequests: who asks while a request is in flight sees that one is.
func TestRequests(t *testing.T) {
	m := NewMetrics("", Gauges{})
	for i, step := range []struct {
		do           func()
		began, ended int64
	}{
		{func() {}, 0, 0},
		{m.Began, 1, 0},
		{m.Began, 2, 0},
		{func() { m.Ended(0) }, 2, 1},
		{func() { m.Ended(0) }, 2, 2},
	} {
		step.do()
		if began, ended := m.Requests(); began != step.began || ended != step.ended {
			t.Errorf("step %d: %d began, %d ended", i, began, ended)
		}
	}
}
