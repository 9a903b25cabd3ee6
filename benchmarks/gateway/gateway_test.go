//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the worker, the bare proxy and the load
// generator that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestEveryLineIsThere runs everything for a moment. What penstock answers is
// held to what the worker sent, to the byte of its length; without it, as it
// takes long to build, in -short.
func TestEveryLineIsThere(t *testing.T) {
	proxies := slices.DeleteFunc(slices.Clone(variants), func(v variant) bool {
		return v.settings != nil || v.config != "" && testing.Short()
	})
	var out bytes.Buffer
	o := options{out: &out, rounds: 2, turn: 20 * time.Millisecond, streams: 20, workloads: workloads, proxies: proxies}
	if err := compare(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, v := range proxies {
		for _, w := range workloads {
			line := fmt.Sprintf(`(?m)^BenchmarkGateway/%s/%s [1-9]\d* \d+ cpu-ns/op \d+ req/s [1-9]\d* p50-us [1-9]\d* p99-us \d+\.\d allocs/op \d+ B/op \d+ cut$`, regexp.QuoteMeta(w.name), v.name)
			if n := len(regexp.MustCompile(line).FindAllString(out.String(), -1)); n != 2 {
				t.Errorf("%d lines of %s through %s, want 2", n, w.name, v.name)
			}
		}
		if line := fmt.Sprintf(`(?m)^BenchmarkStreams/20/%s 1 -?\d+ rss-B/stream$`, v.name); !regexp.MustCompile(line).MatchString(out.String()) {
			t.Errorf("no stream through %s was weighed", v.name)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestUnknownNames(t *testing.T) {
	for _, args := range [][]string{{"-workloads", "json"}, {"-proxies", "bear"}, {"-rounds", "0"}, {"bare"}, {"load", "-workload", "x"}, {"what"}} {
		if err := Run(t.Context(), args, t.Output()); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestLoadTellsAWrongAnswer(t *testing.T) {
	w := workloads[0]
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"denied":    {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "slow down", http.StatusTooManyRequests) }, "429 Too Many Requests: slow down"},
		"too short": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, "an answer of 2 bytes"},
		"always cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "{")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(test.answer)
			defer s.Close()
			_, err := load(t.Context(), s.Listener.Addr().String(), w, 20*time.Millisecond)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestLoadWithoutAProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := load(t.Context(), l.Addr().String(), workloads[0], time.Second); err == nil {
		t.Error("no error")
	}
}

func TestStartTellsWhatAProcessSaidLast(t *testing.T) {
	_, err := start(t.Context(), nil, "sh", "-c", "echo no such flag >&2; exit 2")
	if err == nil || !strings.Contains(err.Error(), "no such flag") {
		t.Errorf("error %v", err)
	}
	if _, err := start(t.Context(), nil, "/does/not/exist"); err == nil {
		t.Error("no error")
	}
}

func TestMallocsMustBeThere(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, mallocsMetric, 1) }))
	defer s.Close()
	p := process{announcement: announcement{Admin: s.Listener.Addr().String()}}
	if _, _, err := p.mallocs(context.Background()); err == nil || !strings.Contains(err.Error(), mallocBytesMetric) {
		t.Errorf("error %v", err)
	}
}

func TestWorkerTellsAWrongHeader(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, chatPath, strings.NewReader("{}"))
	r.Header.Set(chunksHeader, "many")
	w := httptest.NewRecorder()
	work(w, r)
	if w.Code != http.StatusBadRequest {
		t.Errorf("status %d", w.Code)
	}
}
