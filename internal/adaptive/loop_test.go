package adaptive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// house is workers, each a handler by the host of its URL, and what was asked of
// them.
type house struct {
	workers map[string]http.HandlerFunc
	asked   chan string
}

func (h *house) RoundTrip(r *http.Request) (*http.Response, error) {
	h.asked <- r.URL.String()
	serve := h.workers[r.URL.Host]
	if serve == nil {
		return nil, errors.New("nobody there")
	}
	rec := httptest.NewRecorder()
	serve(rec, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// log returns what was asked since the last log, sorted.
func (h *house) log() (all []string) {
	for len(h.asked) > 0 {
		all = append(all, <-h.asked)
	}
	slices.Sort(all)
	return all
}

func newHouse() *house {
	return &house{workers: map[string]http.HandlerFunc{}, asked: make(chan string, 1000)}
}

// tells answers one page and no other.
func tells(page, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != page {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, body)
	}
}

func metrics(running, waiting int) string {
	return fmt.Sprintf("vllm:num_requests_running %d\nvllm:num_requests_waiting %d\n", running, waiting)
}

func target(raw string) Target {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err)
	}
	return Target{URL: u}
}

// TestAsk follows which pages are asked for in some ticks, and what comes of it.
func TestAsk(t *testing.T) {
	refuses := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	broken := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "vllm:num_requests_running x\n")
	}
	page := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }
	type step struct {
		worker http.HandlerFunc
		signal Signal
		asked  string // paths
		want   Signals
	}
	told := func(running, waiting int) Signals { return Signals{State: Told, Running: running, Waiting: waiting} }
	vllm := tells("/base/metrics", metrics(3, 1))
	comfy := tells("/base/queue", `{"queue_running":[1],"queue_pending":[1,2]}`)
	tests := []struct {
		name  string
		steps []step
	}{
		{"metrics", []step{{vllm, Auto, "/metrics", told(3, 1)}, {vllm, Auto, "/metrics", told(3, 1)}}},
		{"a queue is remembered", []step{{comfy, Auto, "/metrics /queue", told(1, 2)}, {comfy, Auto, "/queue", told(1, 2)}}},
		{"only what is to be asked is", []step{
			{comfy, Metrics, "/metrics", Signals{State: Silent}},
			{comfy, Metrics, "", Signals{State: Silent}},
			{comfy, Queue, "/queue", told(1, 2)}, // another signal: at once
			{vllm, Queue, "/queue", Signals{}},
			{vllm, Metrics, "/metrics", told(3, 1)},
		}},
		{"who is not there is unread", []step{{nil, Auto, "/metrics", Signals{}}, {vllm, Auto, "/metrics", told(3, 1)}, {nil, Auto, "/metrics", Signals{}}, {vllm, Auto, "/metrics", told(3, 1)}}},
		{"who fails is", []step{{refuses(503), Auto, "/metrics", Signals{}}, {refuses(429), Auto, "/metrics", Signals{}}, {broken, Auto, "/metrics", Signals{}}}},
		{"who refuses is silent", []step{{refuses(401), Auto, "/metrics /queue", Signals{State: Silent}}, {vllm, Auto, "", Signals{State: Silent}}}},
		{"who shows one page for all is", []step{{page, Auto, "/metrics /queue", Signals{State: Silent}}}},
		{"a page in the place of a queue is for a while", []step{{comfy, Auto, "/metrics /queue", told(1, 2)}, {page, Auto, "/queue", Signals{}}, {comfy, Auto, "/metrics /queue", told(1, 2)}}},
		{"who redirects is", []step{{refuses(307), Auto, "/metrics /queue", Signals{State: Silent}}}},
		{"another worker at the same address", []step{
			{vllm, Auto, "/metrics", told(3, 1)},
			{comfy, Auto, "/metrics", Signals{}},
			{comfy, Auto, "/metrics /queue", told(1, 2)},
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			h := newHouse()
			l := New(Config{Transport: h, Targets: func() []Target { return []Target{target("http://w/base")} }})
			for i, s := range tc.steps {
				h.workers["w"] = s.worker
				s.want.Worker = "http://w/base"
				if got := l.ask(t.Context(), s.signal); len(got) != 1 || got[0] != s.want {
					t.Errorf("tick %d: %+v, want %+v", i, got, s.want)
				}
				if got := strings.ReplaceAll(strings.Join(h.log(), " "), "http://w/base", ""); got != s.asked {
					t.Errorf("tick %d: asked for %q, want %q", i, got, s.asked)
				}
			}
		})
	}
}

// TestAskMixture: workers of every kind at once.
func TestAskMixture(t *testing.T) {
	h := newHouse()
	h.workers["vllm"] = tells("/metrics", metrics(3, 1))
	h.workers["comfyui"] = tells("/queue", `{"queue_running":[1],"queue_pending":[]}`)
	h.workers["ollama"] = http.NotFound
	l := New(Config{Transport: h, Targets: func() []Target {
		return []Target{target("http://vllm"), target("http://comfyui"), target("http://ollama"), target("http://gone")}
	}})
	want := []Signals{
		{Worker: "http://vllm", State: Told, Running: 3, Waiting: 1},
		{Worker: "http://comfyui", State: Told, Running: 1},
		{Worker: "http://ollama", State: Silent},
		{Worker: "http://gone"},
	}
	if got := l.ask(t.Context(), Auto); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestAskAgain: a silent worker is asked again after half a minute, and nothing is
// kept of those that have left.
func TestAskAgain(t *testing.T) {
	h := newHouse()
	h.workers["w"] = http.NotFound
	targets := []Target{target("http://w?key=1")}
	l := New(Config{Transport: h, Targets: func() []Target { return targets }})
	for range 2*askAgain + 3 {
		l.ask(t.Context(), Auto)
	}
	if got := h.log(); len(got) != 6 || got[0] != "http://w/metrics" || got[3] != "http://w/queue" {
		t.Errorf("asked for %v", got)
	}
	targets = nil
	if l.ask(t.Context(), Auto); len(l.ways) != 0 {
		t.Errorf("%v", l.ways)
	}
}

// TestBlind: of a worker whose load cannot be seen the log says so, why, and what to
// do, once until it can be seen.
func TestBlind(t *testing.T) {
	const (
		none    = "it has no vLLM's or SGLang's metrics at /metrics"
		auto    = none + " and no ComfyUI's queue at /queue: slots follow the time to the first token of its streams, and stay as they are where nothing is streamed"
		metric  = none + ": turn them on there, or set admission.adaptive.signal to auto; until then slots stay as they are"
		noQueue = "it has no ComfyUI's queue at /queue: set admission.adaptive.signal to auto; until then slots stay as they are"
		noSense = "adaptive: metrics: vllm:num_requests_running is NaN"
	)
	vllm := tells("/metrics", metrics(3, 1))
	odd := tells("/metrics", "vllm:num_requests_running NaN\n")
	busy := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }
	h := newHouse()
	var told strings.Builder
	l := New(Config{Transport: h, Targets: func() []Target { return []Target{target("http://w")} }, Log: slog.New(slog.NewTextHandler(&told, nil))})
	for i, s := range []struct {
		worker http.HandlerFunc
		signal Signal
		ticks  int
		want   string
	}{
		{http.NotFound, Auto, 2*askAgain + 3, auto},
		{http.NotFound, Metrics, 2, metric},
		{http.NotFound, Queue, 2, noQueue},
		{vllm, Auto, 1, ""},
		{odd, Auto, 3, noSense},
		{vllm, Auto, 1, ""},
		{odd, Auto, 1, noSense},
		{vllm, Metrics, 1, ""},
		{nil, Metrics, 3, ""}, // the pool says that
		{busy, Metrics, 3, ""},
		{vllm, Metrics, 1, ""},
	} {
		told.Reset()
		h.workers["w"] = s.worker
		for range s.ticks {
			l.ask(t.Context(), s.signal)
		}
		want := ""
		if s.want != "" {
			level := "WARN"
			if s.want == auto {
				level = "INFO"
			}
			want = fmt.Sprintf("level="+level+" msg=\"adaptive slots cannot see the load of the worker\" worker=http://w why=%q\n", s.want)
		}
		if _, got, _ := strings.Cut(told.String(), " "); got != want {
			t.Errorf("step %d: the log says %s, want %s", i, got, want)
		}
	}
}

func TestAskSendsTheKey(t *testing.T) {
	h := newHouse()
	var got http.Header
	h.workers["w"] = func(_ http.ResponseWriter, r *http.Request) { got = r.Header }
	w := target("http://w")
	w.Header = http.Header{"Authorization": {"Bearer key"}}
	l := New(Config{Transport: h, Targets: func() []Target { return []Target{w} }})
	l.ask(t.Context(), Metrics)
	if got.Get("Authorization") != "Bearer key" || len(got) != 1 {
		t.Errorf("sent %v", got)
	}
	got.Set("Authorization", "another")
	if w.Header.Get("Authorization") != "Bearer key" {
		t.Error("the target's header was handed out")
	}
}

// TestAskWhatIsNoAddress: what no request can be made of is unread.
func TestAskWhatIsNoAddress(t *testing.T) {
	l := New(Config{Targets: func() []Target { return []Target{{URL: &url.URL{Scheme: "http", Host: "a b"}}} }})
	if got := l.ask(t.Context(), Auto); got[0].State != Unread {
		t.Errorf("%+v", got)
	}
}

// TestRun: all workers are asked at once, every second; one that hangs is given up
// before the next, and the others are heard. The slots are told at the start and
// when they change, and at the end nobody is left.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHouse(), time.Now()
		var hung atomic.Int64
		h.workers["a"] = tells("/metrics", metrics(1, 0))
		h.workers["b"] = func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			hung.Add(1)
		}
		var set []string
		slots := 0
		l := New(Config{
			Options: Options{Min: 2, Max: 9}, Transport: h,
			Targets: func() []Target { return []Target{target("http://a"), target("http://b")} },
			Load:    func() (int, int) { return slots, 1 },
			Set: func(n int) {
				slots = n
				set = append(set, fmt.Sprintf("%v: %d", time.Since(start), n))
			},
		})
		if l.Slots() != 2 {
			t.Errorf("%d slots", l.Slots())
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.Run(ctx)
		}()
		time.Sleep(12*time.Second + 100*ms)
		synctest.Wait()
		if n := len(h.log()); n != 24 || hung.Load() != 11 {
			t.Errorf("%d questions, %d given up", n, hung.Load())
		}
		time.Sleep(800 * ms) // past the answer of the 12th
		synctest.Wait()
		l.Configure(Options{Min: 1, Max: 3})
		time.Sleep(500 * ms)
		l.Configure(Options{Min: 5, Max: 5, Signal: FirstToken})
		synctest.Wait()
		h.log()
		time.Sleep(5 * time.Second)
		if n := h.log(); len(n) != 0 {
			t.Errorf("asked for %v", n)
		}
		l.Configure(Options{Min: 5, Max: 9})
		time.Sleep(time.Second)
		cancel() // while b is being asked
		<-done
		want := []string{"0s: 2", "10.8s: 4", "11.8s: 8", "12.8s: 9", "12.9s: 3", "13.4s: 5"}
		if !slices.Equal(set, want) {
			t.Errorf("set %v, want %v", set, want)
		}
		if l.Slots() != 5 {
			t.Errorf("%d slots", l.Slots())
		}
	})
}
