package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// startWorker runs a stand-in worker and returns its URL. It answers at once
// unless args say otherwise.
func startWorker(t *testing.T, args ...string) (url string, p *process) {
	t.Helper()
	if !hasFlag(args, "--listen") {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	for _, quick := range [][2]string{
		{"--first-token", "0s"}, {"--per-input-token", "0s"}, {"--per-token", "0s"}, {"--capacity", "256"},
	} {
		if !hasFlag(args, quick[0]) {
			args = append(args, quick[0], quick[1])
		}
	}
	p = start(t, append([]string{"worker"}, args...)...)
	const before = "stand-in worker on "
	line := p.line(t, &p.out, 0, before)
	url, _, _ = strings.Cut(strings.TrimPrefix(line, before), ",")
	return url, p
}

func hasFlag(args []string, name string) bool {
	for _, a := range args {
		if a == name || strings.HasPrefix(a, name+"=") {
			return true
		}
	}
	return false
}

// gateway is a running penstock serve.
type gateway struct {
	*process
	url, admin string // of its two ports, without a slash at the end
	file       string // its configuration

	mu      sync.Mutex
	secrets []string // keys that were shown to it
}

// startGateway runs penstock serve with this configuration, to which the
// addresses are added, in front of these workers, and waits until it is ready.
// When the test ends it is stopped: it must exit with 0, and its log must be
// lines of JSON with no key in clear.
func startGateway(t *testing.T, config string, workers ...string) *gateway {
	t.Helper()
	g := &gateway{file: filepath.Join(t.TempDir(), "penstock.yaml")}
	t.Cleanup(func() { g.checkLog(t) })
	g.write(t, config)
	args := []string{"serve", "--config", g.file, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--worker-urls"}
	g.process = start(t, append(args, workers...)...)
	line := g.line(t, &g.log, 0, `"msg":"serving"`)
	var serving struct {
		Listen      string `json:"listen"`
		AdminListen string `json:"admin_listen"`
	}
	if err := json.Unmarshal([]byte(line), &serving); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	g.url, g.admin = "http://"+serving.Listen, "http://"+serving.AdminListen
	g.awaitReady(t, http.StatusOK)
	return g
}

// serveWith runs a gateway in front of one stand-in worker that answers at once.
func serveWith(t *testing.T, config string) *gateway {
	t.Helper()
	url, _ := startWorker(t)
	return startGateway(t, config, url)
}

func (g *gateway) write(t *testing.T, config string) {
	t.Helper()
	if err := os.WriteFile(g.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload writes the configuration anew and has it read. It returns the line that
// the log has about it.
func (g *gateway) reload(t *testing.T, config string) string {
	t.Helper()
	g.write(t, config)
	from := len(g.log.all())
	g.signal(t, syscall.SIGHUP)
	line := g.line(t, &g.log, from, "reloaded")
	return line
}

// awaitReady returns when /readyz answers with this status.
func (g *gateway) awaitReady(t *testing.T, status int) {
	t.Helper()
	poll(t, fmt.Sprintf("/readyz to answer %d", status), func() (any, bool) {
		resp, err := http.Get(g.admin + "/readyz")
		if err != nil {
			return err, false
		}
		_ = resp.Body.Close()
		return resp.Status, resp.StatusCode == status
	})
}

// shown notes a key that is shown to the gateway, which may never write it.
func (g *gateway) shown(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.secrets = append(g.secrets, key)
}

// checkLog checks what was written from the begin to the end.
func (g *gateway) checkLog(t *testing.T) {
	t.Helper()
	if g.process == nil {
		return
	}
	for _, line := range g.log.all() {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is not JSON: %s", line)
		}
	}
	written := g.log.text() + g.out.text()
	for _, s := range g.secrets {
		if strings.Contains(written, s) {
			t.Errorf("the log holds the key %q", s)
		}
	}
	if last := g.log.all(); len(last) == 0 || !strings.Contains(last[len(last)-1], `"msg":"stopped"`) {
		t.Errorf("the log does not end with the stop: %s", g.log.text())
	}
}

// awaitRunning returns when the worker works on so many requests.
func awaitRunning(t *testing.T, worker string, requests int) {
	t.Helper()
	want := fmt.Sprintf("vllm:num_requests_running{engine=\"0\",model_name=\"standin\"} %d\n", requests)
	poll(t, want, func() (any, bool) {
		got := get(t, worker+"/metrics")
		return got, strings.Contains(got, want)
	})
}
