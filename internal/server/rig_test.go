package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/standin"
)

func TestMain(m *testing.M) {
	// The server lingers for half a second on connections that it cuts.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// patience is how long a test waits for an event before it fails.
const patience = 20 * time.Second

// eventually waits until what is so; it fails the test when that does not come.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
}

// journal is a log that can be waited for.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// line waits for a line that holds text.
func (j *journal) line(t *testing.T, text string) (found string) {
	t.Helper()
	eventually(t, "a line with "+text, func() bool {
		for line := range strings.Lines(j.String()) {
			if strings.Contains(line, text) {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// clock is the store's time where a test sets it.
type clock struct {
	penstock.Store
	mu   sync.Mutex
	now  time.Time // zero: the store's own
	away error     // why the store cannot be asked
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away
}

func (c *clock) Take(ctx context.Context, _ time.Time, charges []penstock.Charge) (time.Time, error) {
	if err := c.failure(); err != nil {
		return time.Time{}, err
	}
	return c.Store.Take(ctx, c.read(), charges)
}

func (c *clock) Look(ctx context.Context, _ time.Time, charges []penstock.Charge) (time.Time, error) {
	if err := c.failure(); err != nil {
		return time.Time{}, err
	}
	return c.Store.Look(ctx, c.read(), charges)
}

func (c *clock) Adjust(ctx context.Context, _ time.Time, a []penstock.Adjustment) (time.Time, error) {
	return c.Store.Adjust(ctx, c.read(), a)
}

// set makes the store's time stand at now, and advance moves it on.
func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func (c *clock) advance(d time.Duration) { c.set(c.read().Add(d)) }

// noon is a whole minute, hour and half a day.
func noon() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

// rig is a server that runs, with a stand-in worker behind it unless the test
// brings its own.
type rig struct {
	*Server
	*clock
	t      *testing.T
	log    journal
	worker *standin.Worker
	client *http.Client

	mu     sync.Mutex
	text   string // of the configuration
	flags  config.Flags
	broken error // why the file cannot be read

	spoiled *config.Config // in place of the file

	hanging atomic.Int64

	stop  context.CancelFunc
	ended chan error
	seen  journal // everything that a client has read
}

// start starts a server with this configuration in front of workers, or of a
// stand-in when there are none.
func start(t *testing.T, text string, workers ...http.Handler) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{}, text: text, ended: make(chan error, 1)}
	if len(workers) == 0 {
		r.worker = standin.New(standin.Options{Seed: 1})
		workers = []http.Handler{r.worker}
	}
	for _, w := range workers {
		s := httptest.NewServer(w)
		t.Cleanup(s.Close)
		r.flags.WorkerURLs = append(r.flags.WorkerURLs, s.URL)
	}
	anyPort := "127.0.0.1:0"
	if !strings.Contains(text, "admin_listen:") {
		r.flags.AdminListen = &anyPort
	}
	if !strings.HasPrefix(text, "listen:") && !strings.Contains(text, "\nlisten:") {
		r.flags.Listen = &anyPort
	}
	var err error
	r.Server, err = New(Options{Load: r.load, Log: &r.log, Wrap: func(s penstock.Store) penstock.Store {
		r.Store = s
		return r.clock
	}})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	r.client = &http.Client{Transport: transport}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.ended <- r.Run(ctx) }()
	r.log.line(t, `"serving"`) // from here on it takes signals
	t.Cleanup(func() {
		r.noSecrets()
		transport.CloseIdleConnections()
		stop()
		select {
		case err := <-r.ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	return r
}

func (r *rig) load() (*config.Config, []config.Warning, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil || r.spoiled != nil {
		return r.spoiled, nil, r.broken
	}
	return config.Parse("penstock.yaml", []byte(r.text), r.flags, func(string) (string, bool) { return "", false })
}

// configure changes the file.
func (r *rig) configure(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = text
}

// over waits for the end of Run.
func (r *rig) over() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err // for the cleanup
		return err
	case <-time.After(patience):
		r.t.Fatalf("Run does not end\n%s", r.log.String())
		return nil
	}
}

// secret is part of every key that the tests use.
const secret = "s3cret"

// noSecrets looks for keys wherever they must not be.
func (r *rig) noSecrets() {
	for name, text := range map[string]string{"the log": r.log.String(), "an answer": r.seen.String()} {
		if strings.Contains(text, secret) {
			r.t.Errorf("%s shows a key:\n%s", name, text)
		}
	}
}

// answer is what a client has read.
type answer struct {
	status int
	header http.Header
	body   string
}

// try sends a request; headers are "Name: value".
func (r *rig) try(ctx context.Context, method, url, body string, headers ...string) (*answer, error) {
	q, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		q.Header.Add(name, value)
	}
	resp, err := r.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	fmt.Fprintln(&r.seen, resp.Header, string(text))
	return &answer{resp.StatusCode, resp.Header, string(text)}, err
}

// ask asks the gateway.
func (r *rig) ask(method, path, body string, headers ...string) *answer {
	r.t.Helper()
	a, err := r.try(r.t.Context(), method, "http://"+r.Addr().String()+path, body, headers...)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// admin asks the admin port.
func (r *rig) admin(method, path string, headers ...string) *answer {
	r.t.Helper()
	a, err := r.try(r.t.Context(), method, "http://"+r.AdminAddr().String()+path, "", headers...)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// metric returns the value of a series, such as penstock_debt{unit="tokens"};
// empty when there is none.
func (r *rig) metric(series string) string {
	r.t.Helper()
	for line := range strings.Lines(r.admin("GET", "/metrics").body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// chat asks for so many tokens of a chat with so many tokens of input, and
// gets exactly these: the stand-in counts four bytes for a token, as penstock
// does.
func (r *rig) chat(model string, input, output int, headers ...string) *answer {
	r.t.Helper()
	return r.ask("POST", "/v1/chat/completions", chatBody(model, input, output), headers...)
}

func chatBody(model string, input, output int) string {
	return fmt.Sprintf(`{"model":%q,"max_tokens":%d,"messages":[{"role":"user","content":"%s"}]}`, model, output, strings.Repeat("word", input))
}

// advance moves the store's time on, once what was asked before is over: an
// answer is read a moment before it is settled.
func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	r.settled()
	r.clock.advance(d)
}

// settled waits until nothing is in flight but what hangs.
func (r *rig) settled() {
	r.t.Helper()
	eventually(r.t, "what was asked is over", func() bool {
		return r.metric("penstock_inflight_requests") == strconv.FormatInt(r.hanging.Load(), 10)
	})
}

// hang sends a request that no worker answers, and waits until it has arrived
// there. The function that it returns makes its client leave.
func (r *rig) hang(headers ...string) (leave func()) {
	r.t.Helper()
	before := r.worker.Stats().Running
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, err := r.try(ctx, "POST", "http://"+r.Addr().String()+"/v1/chat/completions", chatBody("m", 1, 1), append(headers, "X-Standin-Fault: hang")...)
		if !errors.Is(err, context.Canceled) {
			r.t.Errorf("a request that hangs: %v", err)
		}
	}()
	eventually(r.t, "a request that hangs", func() bool { return r.worker.Stats().Running > before })
	r.hanging.Add(1)
	leave = sync.OnceFunc(func() {
		cancel()
		<-gone
		r.hanging.Add(-1)
	})
	r.t.Cleanup(leave)
	return leave
}

// example is one of the documents' configurations, with some of its numbers
// lowered: what stands before each arrow is in it once, and becomes what stands
// behind.
func example(t *testing.T, name string, changes ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../examples/configs", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, c := range changes {
		was, is, ok := strings.Cut(c, " -> ")
		if n := strings.Count(text, was); !ok || n != 1 {
			t.Fatalf("%q stands in %s %d times", was, name, n)
		}
		text = strings.Replace(text, was, is, 1)
	}
	return text
}

// want holds an answer to its status and to parts of its headers, each
// "Name: value", or "Name" where it must not be there.
func (r *rig) want(what string, a *answer, status int, headers ...string) {
	r.t.Helper()
	if a.status != status {
		r.t.Errorf("%s: %d %s, want %d", what, a.status, a.body, status)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if got := a.header.Get(name); got != value {
			r.t.Errorf("%s: %s is %q, want %q", what, name, got, value)
		}
	}
}
