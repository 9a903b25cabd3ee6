package gateway

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/identity"
	"github.com/penstock-dev/penstock/internal/jobs"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/provider"
	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/reply"
	"github.com/penstock-dev/penstock/internal/telemetry"
	"github.com/penstock-dev/penstock/internal/traffic"
	"github.com/penstock-dev/penstock/internal/workers"
)

func TestMain(m *testing.M) {
	// The server lingers for half a second on connections that it cuts.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// patience is how long a test waits for an event before it fails.
const patience = 20 * time.Second

// rig is a gateway behind a server as package server builds it, with a real
// store. Whatever a test does, in the end nothing may be held any more: that
// is the epilogue of all of them.
type rig struct {
	*Gateway
	t       testing.TB
	store   *penstock.MemoryStore
	learned identity.Learned
	answers *policy.Learned
	log     logBuffer
	config  *config.Config
	server  *http.Server
	addr    string // of the gateway
	url     string
	client  *http.Client // of HTTP/1.1
	client2 *http.Client // of HTTP/2 without TLS
	pipes   *pipes       // nil: it listens on a socket

	mu      sync.Mutex
	begun   int // requests that came
	running int // of them, those that are not over
	gone    int // those whose clients left before they were over
	conns   int // that are open
	changed chan struct{}
	callers map[string]traffic.Caller
}

// newRig starts a gateway with this configuration in front of the worker. A
// nil worker is one that cannot be connected to.
func newRig(t testing.TB, yaml string, worker http.Handler) *rig {
	t.Helper()
	if worker == nil {
		return newRigFor(t, yaml, "http://"+closedAddr(t))
	}
	s := httptest.NewUnstartedServer(worker)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return newRigFor(t, yaml, s.URL)
}

// newRigFor starts a gateway in front of the workers at these URLs.
func newRigFor(t testing.TB, yaml string, workerURLs ...string) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newRigOn(t, l, yaml, workerURLs...)
}

// newRigOn starts a gateway that listens on l.
func newRigOn(t testing.TB, l net.Listener, yaml string, workerURLs ...string) *rig {
	t.Helper()
	r := &rig{t: t, answers: policy.NewLearned(), changed: make(chan struct{}), callers: map[string]traffic.Caller{}}
	q, err := queue.New(queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.store = penstock.NewMemoryStore(penstock.MemoryOptions{})
	logger := slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	pool := workers.New(workers.Options{})
	r.Gateway = New(Options{
		Limiter: penstock.New(r.store),
		Queue:   q,
		Workers: pool,
		Jobs:    jobs.New(pool.Own()),
		Peeker:  provider.NewPeeker(),
		Metrics: telemetry.NewMetrics("penstock_", telemetry.Gauges{}),
		Log:     logger,
	})
	r.serveWorkers(workerURLs...)
	r.SetRules(r.rulesOf(yaml))

	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	r.server = &http.Server{
		Handler:           http.HandlerFunc(r.track),
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				r.note(func() { r.conns++ })
			case http.StateClosed, http.StateHijacked:
				r.note(func() { r.conns-- })
			}
		},
	}
	r.pipes, _ = l.(*pipes)
	r.addr = l.Addr().String()
	r.url = "http://" + r.addr
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = r.server.Serve(l) // until it is closed
	}()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer(l)(ctx) }
	one := &http.Transport{DialContext: dial, DisableCompression: true, MaxIdleConnsPerHost: 256}
	two := &http.Transport{DialContext: dial, DisableCompression: true, Protocols: new(http.Protocols)}
	two.Protocols.SetUnencryptedHTTP2(true)
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r.client = &http.Client{Transport: one, CheckRedirect: noRedirect}
	r.client2 = &http.Client{Transport: two, CheckRedirect: noRedirect}
	t.Cleanup(func() {
		r.epilogue()
		one.CloseIdleConnections()
		two.CloseIdleConnections()
		_ = r.server.Close()
		<-served
		r.Jobs.Stop()
		r.Workers.Update(nil, workers.Policy{})
	})
	return r
}

// dialer connects to l.
func dialer(l net.Listener) func(context.Context) (net.Conn, error) {
	if p, ok := l.(*pipes); ok {
		return func(context.Context) (net.Conn, error) { return p.dial(pipeClient) }
	}
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}
}

// rulesOf are the rules of a configuration, made as package server makes them.
func (r *rig) rulesOf(yaml string) Rules {
	r.t.Helper()
	text := yaml
	if !strings.Contains(yaml, "trusted_proxies") {
		text = "trusted_proxies: []\n" + text
	}
	c, _, err := config.Parse("test.yaml", []byte(text), config.Flags{}, func(string) (string, bool) { return "", false })
	if err != nil {
		r.t.Fatal(err)
	}
	rules, err := r.compile(c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.config = c
	return rules
}

func (r *rig) compile(c *config.Config) (Rules, error) {
	p, err := policy.New(c, r.answers)
	if err != nil {
		return Rules{}, err
	}
	l := &c.RateLimiting
	var keys []identity.Key
	for _, k := range c.Auth.Keys {
		keys = append(keys, identity.Key{ID: k.ID, Digest: k.Digest})
	}
	for _, k := range l.PerKey.Keys {
		keys = append(keys, identity.Key{ID: k.Key.ID, Digest: k.Key.Digest})
	}
	for _, k := range l.Bypass.Keys {
		keys = append(keys, identity.Key{ID: k.ID, Digest: k.Digest, Bypass: true})
	}
	id, err := identity.New(identity.Options{
		Keys:        keys,
		UnknownKeys: map[string]identity.UnknownKeys{"trust": identity.Trust, "learn": identity.Learn}[c.Auth.UnknownKeys],
		Trusted:     c.TrustedProxies,
		NameKey:     [32]byte{1},
		Learned:     &r.learned,
	})
	if err != nil {
		return Rules{}, err
	}
	headers, err := reply.NewHeaders(reply.HeaderOptions{
		Off: !l.Headers.Enabled, Limit: l.Headers.Limit, Remaining: l.Headers.Remaining, Reset: l.Headers.Reset,
	})
	if err != nil {
		return Rules{}, err
	}
	rules := Rules{
		Identifier:     id,
		Policy:         p,
		Headers:        headers,
		TrustedProxies: c.TrustedProxies,
		AllowRoutes:    c.Routes.Allow,
		MaxBody:        c.MaxBodyBytes,
		MaxBuffered:    c.MaxBufferedBytes,
		RequestTimeout: c.RequestTimeout,
		MediaPart:      c.Estimate.MediaPart,
		Progress:       c.Admission.Progress,
		StopOnOverrun:  c.Estimate.OnOverrun == "stop",
		Decisions:      telemetry.NewLog(r.Log, telemetry.Denied),
		Errors: &reply.Errors{
			Status:             l.ErrorResponse.StatusCode,
			Message:            l.ErrorResponse.Message,
			NoRetryAfter:       !l.ErrorResponse.IncludeRetryAfter,
			NoRetryAfterHeader: !l.Headers.RetryAfter,
			NoBody:             l.ErrorResponse.Body == "none",
			GlobalDialect:      l.ErrorResponse.Global == "dialect",
		},
	}
	if c.Auth.UnknownKeys == "learn" {
		rules.Learned = &r.learned
	}
	return rules, nil
}

// serveWorkers makes the workers those at these URLs.
func (r *rig) serveWorkers(urls ...string) {
	r.t.Helper()
	var pool []workers.Worker
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil {
			r.t.Fatal(err)
		}
		pool = append(pool, workers.Worker{URL: u})
	}
	r.Workers.Update(pool, workers.Policy{})
}

// slots gives the gateway n slots and a line of so many in front of them.
func (r *rig) slots(n, line int, timeout time.Duration) {
	r.t.Helper()
	if err := r.Queue.Configure(queue.Options{Slots: n, Size: line, Timeout: timeout}); err != nil {
		r.t.Fatal(err)
	}
}

// track is the gateway, with a count of what it has to do.
func (r *rig) track(w http.ResponseWriter, req *http.Request) {
	c, _ := r.rules.Load().Identifier.Identify(req)
	r.note(func() {
		r.begun++
		r.running++
		r.callers[c.ID] = c
	})
	defer r.note(func() { r.running-- })
	defer context.AfterFunc(req.Context(), func() { r.note(func() { r.gone++ }) })()
	r.ServeHTTP(w, req)
}

func (r *rig) note(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	close(r.changed)
	r.changed = make(chan struct{})
}

// until waits until what only requests that come and go can bring about.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		is, changed := is(), r.changed
		r.mu.Unlock()
		if is {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("waited in vain: %s\n%s", what, r.log.String())
		}
	}
}

// idle waits until all requests that came are over, so that what they cost is
// settled.
func (r *rig) idle() {
	r.t.Helper()
	r.until("requests end", func() bool { return r.running == 0 })
	if r.Jobs.Open() > 0 {
		eventually(r.t, "jobs end", func() bool { return r.Jobs.Open() == 0 })
	}
}

// alone waits until nobody is connected any more, so that no request can come.
func (r *rig) alone() {
	r.t.Helper()
	r.client.CloseIdleConnections()
	r.client2.CloseIdleConnections()
	r.until("connections end", func() bool { return r.conns == 0 })
	r.idle()
}

// came waits until so many requests have come since the start.
func (r *rig) came(n int) {
	r.t.Helper()
	r.until(strconv.Itoa(n)+" requests come", func() bool { return r.begun >= n })
}

// eventually waits for what has no event of its own.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// epilogue stops the gateway and checks that nothing is held any more.
func (r *rig) epilogue() {
	r.t.Helper()
	r.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Wait(ctx); err != nil {
		r.t.Errorf("requests do not end: %v\n%s", err, r.log.String())
		return
	}
	r.idle()
	for _, w := range r.Workers.Stats() {
		eventually(r.t, "no request is outstanding at "+w.URL, func() bool {
			return slices.ContainsFunc(r.Workers.Stats(), func(now workers.Stats) bool { return now.URL == w.URL && now.Outstanding == 0 })
		})
	}
	if s := r.Queue.Stats(); s.InFlight != 0 || s.Waiting != 0 {
		r.t.Errorf("%d slots are held and %d requests wait, want none", s.InFlight, s.Waiting)
	}
	if n := r.buffered.Load(); n != 0 {
		r.t.Errorf("%d bytes are buffered, want 0", n)
	}
	// Of a stream of HTTP/2 that was reset the handler may begin late, and is
	// turned away.
	eventually(r.t, "no request is active", func() bool { return r.active.Load() == 0 })
	eventually(r.t, "inflight_requests is 0", func() bool { return r.metric("inflight_requests") == 0 })
	r.mu.Lock()
	callers := maps.Clone(r.callers)
	r.mu.Unlock()
	for _, c := range callers {
		for rule, n := range r.usedBy(&c, "") {
			if strings.HasSuffix(rule, "concurrent_requests") && n != 0 {
				r.t.Errorf("%s of %s is %d, want 0", rule, c.Name, n)
			}
		}
	}
}

// caller is who shows this key from this machine; without a key its address.
func (r *rig) caller(key string) *traffic.Caller {
	req := httptest.NewRequest("GET", "/", nil)
	req.RemoteAddr = "127.0.0.1:1"
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	c, _ := r.rules.Load().Identifier.Identify(req)
	return &c
}

// used is what is charged to the caller without a key, by the name that
// clients see, once all requests are over.
func (r *rig) used() map[string]int64 {
	r.t.Helper()
	r.idle()
	return r.usedBy(r.caller(""), "")
}

// usedBy is what is charged now to the caller's plan, to its limits of the
// model, and to what all share.
func (r *rig) usedBy(c *traffic.Caller, model string) map[string]int64 {
	r.t.Helper()
	p := r.rules.Load().Policy
	var n policy.Need
	for u := range n.Amounts {
		n.Amounts[u] = 1
	}
	charges, _ := p.Charges(nil, c, policy.Target{}, &traffic.Ask{Model: model}, &n)
	for i := range charges {
		charges[i].Amount = 0
	}
	d, err := r.Limiter.Look(context.Background(), charges...)
	if err != nil {
		r.t.Fatal(err)
	}
	used := map[string]int64{}
	for i := range d.Charges {
		used[p.Rule(&d.Charges[i]).Shown] = d.Charges[i].Used
	}
	return used
}

// wantUsed checks what is charged to the caller without a key, given as
// "requests_per_hour 1, tokens_per_hour 20".
func (r *rig) wantUsed(want string) {
	r.t.Helper()
	if got := usedText(r.used()); got != want {
		r.t.Errorf("charged: %s\n   want: %s", got, want)
	}
}

func usedText(used map[string]int64) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(used)) {
		all = append(all, name+" "+strconv.FormatInt(used[name], 10))
	}
	return strings.Join(all, ", ")
}

// metric is the value of a metric, named without its prefix but with its
// labels; 0 where there is none.
func (r *rig) metric(name string) float64 {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if value, ok := strings.CutPrefix(line, "penstock_"+name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				r.t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// answered is an answer as a client has it.
type answered struct {
	status  int
	header  http.Header
	body    string
	trailer http.Header
	err     error // of reading the body
}

// send sends a request over HTTP/1.1 and reads the answer. Headers are given
// as names and values in turn.
func (r *rig) send(method, path, body string, headers ...string) answered {
	r.t.Helper()
	return r.sendOn(r.client, method, path, body, headers...)
}

func (r *rig) sendOn(c *http.Client, method, path, body string, headers ...string) answered {
	r.t.Helper()
	req := r.request(method, path, body, headers...)
	resp, err := c.Do(req)
	if err != nil {
		r.t.Errorf("%s %s: %v\n%s", method, path, err, r.log.String())
		return answered{err: err}
	}
	return readAll(resp)
}

// request makes a request; the test's end is its end.
func (r *rig) request(method, path, body string, headers ...string) *http.Request {
	r.t.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, from)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return req
}

func readAll(resp *http.Response) answered {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answered{resp.StatusCode, resp.Header, string(body), resp.Trailer, err}
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
