//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type options struct {
	out       io.Writer
	rounds    int
	turn      time.Duration
	streams   int
	binary    string
	workloads []workload
	proxies   []variant
}

// A variant is a proxy under test.
type variant struct {
	name string
	// config is what penstock is told beside the addresses; "" is the bare
	// proxy.
	config string
	// settings are the collector's.
	settings []string
}

var gogc400 = []string{"GOGC=400"}

// variants are the bare proxy and penstock, as they come and with a collector
// that runs less: penstock with every limit on, with limits lifted for all,
// and as a request that bypasses them goes.
var variants = []variant{
	{name: "bare"},
	{name: "bare-gogc400", settings: gogc400},
	{name: "penstock", config: limitsOn},
	{name: "penstock-gogc400", config: limitsOn, settings: gogc400},
	{name: "penstock-nolimits", config: limitsOff},
	{name: "penstock-nolimits-gogc400", config: limitsOff, settings: gogc400},
	{name: "penstock-bypass", config: limitsBypassed},
	{name: "penstock-bypass-gogc400", config: limitsBypassed, settings: gogc400},
}

// limitsOn charges each request to six limits, over the caller, its model and
// all, in requests and tokens, and makes it take a slot. None is ever reached.
const limitsOn = limitsOff + `
rate_limiting:
  default: {requests_per_minute: 1000000000, tokens_per_minute: 1000000000000, requests_per_day: 1000000000000}
  per_model:
    enabled: true
    models: {"bench-model": {requests_per_minute: 1000000000, tokens_per_minute: 1000000000000}}
  global: {requests_per_second: 1000000000}
  concurrent: {enabled: true, max_concurrent: 100000}
`

// limitsOff peeks, meters and counts, and limits nothing.
const limitsOff = `
auth: {unknown_keys: trust}
`

const limitsBypassed = limitsOn + `
  bypass: {ips: [127.0.0.0/8]}
`

// compare starts everything, and lets the proxies take turns.
func compare(ctx context.Context, o options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "penstock-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	worker, err := start(ctx, nil, self, "worker")
	if err != nil {
		return err
	}
	defer worker.stop()
	launch := launcher{self: self, penstock: o.binary, dir: dir, worker: worker.Listen}
	if o.binary == "" && slices.ContainsFunc(o.proxies, func(v variant) bool { return v.config != "" }) {
		launch.penstock = filepath.Join(dir, "penstock")
		if err := build(ctx, launch.penstock); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.out, "goos: linux\npkg: github.com/penstock-dev/penstock/benchmarks/gateway\n")
	for _, v := range o.proxies {
		if o.streams > 0 {
			if err := weighStreams(ctx, o, launch, v); err != nil {
				return fmt.Errorf("streams by %s: %w", v.name, err)
			}
		}
	}
	proxies := make([]*process, len(o.proxies))
	for i, v := range o.proxies {
		if proxies[i], err = launch.start(ctx, v); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
		defer proxies[i].stop()
	}
	for _, w := range o.workloads {
		for round := range o.rounds + 1 {
			for i, v := range o.proxies {
				m, err := takeTurn(ctx, self, proxies[i], w, o.turn)
				if err != nil {
					return fmt.Errorf("%s: %w\n%s", v.name, err, proxies[i].said.tail())
				}
				if round > 0 { // the first one is to warm up
					fmt.Fprintf(o.out, "BenchmarkGateway/%s/%s %s\n", w.name, v.name, m)
				}
			}
		}
	}
	return nil
}

// build builds penstock from the module that this one replaces its dependency
// with.
func build(ctx context.Context, to string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/penstock-dev/penstock").Output()
	if err != nil {
		return fmt.Errorf("where penstock's source is, for which this must run in benchmarks/: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", to, "./cmd/penstock")
	cmd.Dir = strings.TrimSpace(string(root))
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build penstock: %w\n%s", err, text)
	}
	return nil
}

// A launcher starts proxies in front of one worker.
type launcher struct {
	self, penstock string // binaries
	dir            string // for configurations
	worker         string // host:port
}

func (l launcher) start(ctx context.Context, v variant) (*process, error) {
	if v.config == "" {
		return start(ctx, v.settings, l.self, "bare", "http://"+l.worker)
	}
	file := filepath.Join(l.dir, v.name+".yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nworkers: [{url: \"http://%s\"}]\n%s", l.worker, v.config)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return start(ctx, v.settings, l.penstock, "serve", "--config", file)
}

// A measurement is one turn of one proxy.
type measurement struct {
	tally
	cpu            time.Duration
	objects, bytes float64
}

// String is the measurement in Go's benchmark format.
func (m measurement) String() string {
	n := float64(m.Requests)
	return fmt.Sprintf("%d %.0f cpu-ns/op %.0f req/s %.0f p50-us %.0f p99-us %.1f allocs/op %.0f B/op %d cut", m.Requests,
		float64(m.cpu)/n, n/m.Elapsed.Seconds(), float64(m.P50.Nanoseconds())/1e3, float64(m.P99.Nanoseconds())/1e3, m.objects/n, m.bytes/n, m.Cut)
}

// takeTurn loads one proxy for a while, and says what it cost. Its counting of
// allocations is left out of the processor time.
func takeTurn(ctx context.Context, self string, p *process, w workload, turn time.Duration) (m measurement, err error) {
	objects, size, err := p.mallocs(ctx)
	if err != nil {
		return m, err
	}
	cpu, err := p.cpu()
	if err != nil {
		return m, err
	}
	text, err := exec.CommandContext(ctx, self, "load", "-address", p.Listen, "-workload", w.name, "-time", turn.String()).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		return m, err
	}
	if err := json.Unmarshal(text, &m.tally); err != nil {
		return m, err
	}
	if m.cpu, err = p.cpu(); err != nil {
		return m, err
	}
	m.cpu -= cpu
	m.objects, m.bytes, err = p.mallocs(ctx)
	m.objects, m.bytes = m.objects-objects, m.bytes-size
	return m, err
}
