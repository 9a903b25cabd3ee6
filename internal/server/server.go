// Package server makes a configuration into everything running, keeps it
// running through reloads, and stops it gracefully.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/gateway"
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

// Server is a running gateway with its admin port.
type Server struct {
	load func() (*config.Config, []config.Warning, error)
	log  *slog.Logger

	gateway *gateway.Gateway
	store   *penstock.MemoryStore
	limiter *penstock.Limiter
	queue   *queue.Queue
	pool    *workers.Pool
	jobs    *jobs.Watcher
	line    line
	metrics *telemetry.Metrics
	decided *telemetry.Log
	learned *identity.Learned
	answers *policy.Learned
	peeker  *provider.Peeker
	state   *keeper // nil without rate_limiting.state_file
	nameKey [32]byte
	level   *slog.LevelVar

	front       *connections // the gateway's port
	back        *connections // the admin port
	frontServer *http.Server
	backServer  *http.Server

	reloading sync.Mutex    // one at a time
	applied   chan struct{} // tells sweep that the configuration is another

	started   *config.Config // what it began with
	gcPercent int            // of Options

	mu       sync.Mutex // guards what follows
	config   *config.Config
	policy   *policy.Policy
	callers  []traffic.Caller // listed ones
	stopping bool
}

// Options are what a server is made of.
type Options struct {
	// Load returns the configuration, at the start and at each reload.
	Load func() (*config.Config, []config.Warning, error)
	// Log is where the lines of the log go.
	Log io.Writer
	// Wrap returns the store that decisions are made by, given the one that
	// keeps the counters; nil is that one itself.
	Wrap func(penstock.Store) penstock.Store
	// GCPercent is how much garbage the collector may let pile up, in percent of what
	// lives beside the counters; 0 leaves the collector alone.
	GCPercent int
}

// New loads the configuration, takes up the counters of a state file, and
// listens; Run serves. What is wrong with the configuration comes as
// config.Errors.
func New(o Options) (_ *Server, err error) {
	c, warnings, err := o.Load()
	if err != nil {
		return nil, err
	}
	if len(c.Workers) == 0 {
		return nil, config.Errors{{File: "--worker-urls", Message: "no worker to send requests to: say --worker-urls http://HOST:PORT, or add workers to the configuration"}}
	}
	s := &Server{
		load: o.Load, started: c, gcPercent: o.GCPercent, level: new(slog.LevelVar),
		applied: make(chan struct{}, 1),
		learned: new(identity.Learned), answers: policy.NewLearned(), peeker: provider.NewPeeker(),
	}
	_, _ = rand.Read(s.nameKey[:]) // never fails
	s.log = newLogger(c, o.Log, s.level)
	s.decided = telemetry.NewLog(s.log, telemetry.Denied)
	if s.queue, err = queue.New(lineOf(c)); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s.line.queue = s.queue
	s.store = penstock.NewMemoryStore(penstock.MemoryOptions{MaxBytes: counters(c, debug.SetMemoryLimit(-1))})
	if path := c.RateLimiting.StateFile; path != "" {
		if err := s.openState(path); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				_ = s.state.file.Close()
			}
		}()
	}
	var store penstock.Store = s.store
	if o.Wrap != nil {
		store = o.Wrap(store)
	}
	s.limiter = penstock.New(store)
	s.pool = workers.New(workers.Options{MostConnections: halfOf(openFiles()), Log: s.log})
	s.jobs = jobs.New(s.pool.Own())
	s.metrics = telemetry.NewMetrics(c.Metrics.Prefix, telemetry.Gauges{
		Queue:    s.seenLine,
		Workers:  s.workers,
		Retries:  s.pool.Retries,
		Counters: func() int64 { return s.store.Stats().Keys },
		Debt:     s.debt,
		Usage:    s.usage,
	})
	s.gateway = gateway.New(gateway.Options{
		Limiter: s.limiter,
		Queue:   s.queue,
		Workers: s.pool,
		Jobs:    s.jobs,
		Began:   s.line.firstToken,
		Peeker:  s.peeker,
		Metrics: s.metrics,
		Log:     s.log,
	})
	if err := s.apply(c); err != nil {
		return nil, err
	}
	s.warn(c, warnings)
	front, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	most := mostConnections(openFiles(), debug.SetMemoryLimit(-1))
	s.front = limit(front.(*net.TCPListener), most, func() {
		s.log.Warn("no more clients may be connected than there are files and memory for: each new one takes the place of one whose client sends nothing; give more memory, or raise the limit of open files", "connections", most)
	})
	back, err := net.Listen("tcp", c.AdminListen)
	if err != nil {
		_ = s.front.Close()
		return nil, fmt.Errorf("admin_listen: %w", err)
	}
	s.back = limit(back.(*net.TCPListener), adminConnections, func() {
		s.log.Warn("no more may be connected to the admin port: each new connection takes the place of another", "connections", adminConnections)
	})
	return s, nil
}

// Addr is the address that the gateway listens on, AdminAddr that of the admin
// port.
func (s *Server) Addr() net.Addr      { return s.front.Addr() }
func (s *Server) AdminAddr() net.Addr { return s.back.Addr() }

func newLogger(c *config.Config, to io.Writer, level *slog.LevelVar) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "text" {
		return slog.New(slog.NewTextHandler(to, o))
	}
	return slog.New(slog.NewJSONHandler(to, o))
}

// apply makes the configuration that of everything running. On an error
// nothing has changed.
func (s *Server) apply(c *config.Config) error {
	p, err := policy.New(c, s.answers)
	if err != nil {
		return err
	}
	trusted := c.TrustedProxies
	if !c.Says("trusted_proxies") {
		trusted = config.TrustedBy(s.started.Listen) // where it listens still
	}
	keys := listed(c)
	id, err := identity.New(identity.Options{
		Keys:        keys,
		UnknownKeys: unknownKeys[c.Auth.UnknownKeys],
		Trusted:     trusted,
		NameKey:     s.nameKey,
		Learned:     s.learned,
	})
	if err != nil {
		return err
	}
	r := &c.RateLimiting
	headers, err := reply.NewHeaders(reply.HeaderOptions{
		Off:       !r.Headers.Enabled,
		Limit:     r.Headers.Limit,
		Remaining: r.Headers.Remaining,
		Reset:     r.Headers.Reset,
		Sets:      sets(r.Headers.Sets),
	})
	if err != nil {
		return err
	}
	body, buffered := bodies(c, debug.SetMemoryLimit(-1))
	rules := gateway.Rules{
		Identifier:     id,
		Policy:         p,
		Headers:        headers,
		TrustedProxies: trusted,
		AllowRoutes:    c.Routes.Allow,
		MaxBody:        body,
		MaxBuffered:    buffered,
		RequestTimeout: c.RequestTimeout,
		MediaPart:      c.Estimate.MediaPart,
		Progress:       c.Admission.Progress,
		StopOnOverrun:  c.Estimate.OnOverrun == "stop",
		Decisions:      s.decided.Only(decisions[c.Log.Decisions]),
		Errors: &reply.Errors{
			Status:             r.ErrorResponse.StatusCode,
			Message:            r.ErrorResponse.Message,
			NoRetryAfter:       !r.ErrorResponse.IncludeRetryAfter,
			NoRetryAfterHeader: !r.Headers.RetryAfter,
			NoBody:             r.ErrorResponse.Body == "none",
			GlobalDialect:      r.ErrorResponse.Global == "dialect",
		},
	}
	pool, policy, err := workersOf(c)
	if err != nil {
		return err
	}
	if c.Auth.UnknownKeys == "learn" {
		rules.Learned = s.learned
	}
	if err := s.configureLine(c); err != nil {
		return err
	}
	s.level.Set(c.Log.Level)
	s.store.Configure(penstock.MemoryOptions{
		MaxKeys:  int(r.MaxKeys),
		MaxBytes: counters(c, debug.SetMemoryLimit(-1)),
		Reserve:  min(p.Kept(len(keys)), int(r.MaxKeys)/2),
	})
	s.pool.Update(pool, policy)
	callers := id.Listed()
	var names []string
	for _, c := range callers {
		names = append(names, c.Name)
	}
	s.metrics.Known(p.ModelNames(), names, pathsOf(c))
	s.metrics.Rules(countedRules(p))
	s.gateway.SetRules(rules)
	s.mu.Lock()
	s.config, s.policy, s.callers = c, p, callers
	s.mu.Unlock()
	select {
	case s.applied <- struct{}{}:
	default: // it has not looked since the one before
	}
	return nil
}

// pathsOf returns the paths that the configuration names; globs are none.
func pathsOf(c *config.Config) []string {
	paths := append(slices.Clone(c.Routes.Allow), c.RateLimiting.Bypass.Paths...)
	for i := range c.RateLimiting.PerEndpoint {
		paths = append(paths, c.RateLimiting.PerEndpoint[i].Path)
	}
	for i := range c.RateLimiting.Rules {
		paths = append(paths, c.RateLimiting.Rules[i].Match.Paths...)
	}
	return slices.DeleteFunc(paths, func(path string) bool { return strings.Contains(path, "*") })
}

var unknownKeys = map[string]identity.UnknownKeys{
	"by_address": identity.ByAddress,
	"trust":      identity.Trust,
	"learn":      identity.Learn,
}

var decisions = map[string]telemetry.Decisions{
	"denied":  telemetry.Denied,
	"all":     telemetry.All,
	"sampled": telemetry.Sampled,
}

func sets(names []string) []reply.Set {
	if names == nil {
		return nil
	}
	sets := []reply.Set{}
	for _, n := range names {
		sets = append(sets, map[string]reply.Set{"ietf": reply.IETF, "openai": reply.OpenAI, "anthropic": reply.Anthropic}[n])
	}
	return sets
}

// listed are the keys that the configuration names, wherever it does.
func listed(c *config.Config) (keys []identity.Key) {
	for _, k := range c.Auth.Keys {
		keys = append(keys, identity.Key{ID: k.ID, Digest: k.Digest, Role: k.Role, Tenant: k.Tenant})
	}
	if c.RateLimiting.PerKey.Enabled {
		for _, k := range c.RateLimiting.PerKey.Keys {
			keys = append(keys, identity.Key{ID: k.Key.ID, Digest: k.Key.Digest})
		}
	}
	for _, k := range c.RateLimiting.Bypass.Keys {
		keys = append(keys, identity.Key{ID: k.ID, Digest: k.Digest, Bypass: true})
	}
	return keys
}

// Reload reads the configuration again and makes it that of all requests that
// come from now on. Counters stay, and no request is dropped. On an error,
// config.Errors or that of a file, nothing changes.
func (s *Server) Reload() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	c, warnings, err := s.load()
	if err == nil && len(c.Workers) == 0 {
		err = errors.New("no workers: name one under workers, or nothing changes")
	}
	if err == nil {
		err = s.apply(c)
	}
	if err != nil {
		s.log.Error("the configuration was not reloaded", "error", err)
		return err
	}
	s.warn(c, warnings)
	if keys := s.needRestart(c); len(keys) > 0 {
		s.log.Warn("these keys have changed and take effect at the next start: restart penstock", "keys", keys)
	}
	s.log.Info("the configuration was reloaded")
	return nil
}

// Run serves until ctx ends or SIGTERM or SIGINT comes, then stops: readiness
// goes 503, who waits for a slot is turned away, and what is in flight may end
// within shutdown_grace. A second signal stops at once. SIGHUP reloads. The
// error is that of a listener.
func (s *Server) Run(ctx context.Context) error {
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(stop)
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)

	var watching sync.WaitGroup
	defer watching.Wait()
	base, cut := context.WithCancel(context.Background())
	defer cut()
	errorLog := slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.frontServer = &http.Server{
		Handler:           s.gateway,
		BaseContext:       func(net.Listener) context.Context { return base },
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          errorLog,
		ConnState:         s.front.state,
		// "OPTIONS *" is the gateway's to answer, like all else.
		DisableGeneralOptionsHandler: true,
	}
	s.backServer = &http.Server{
		Handler:           s.adminHandler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          errorLog,
		ConnState:         s.back.state,
	}
	failed := make(chan error, 2)
	go func() { failed <- s.frontServer.Serve(s.front) }()
	go func() { failed <- s.backServer.Serve(s.back) }()
	if s.gcPercent > 0 {
		p := pace{percent: s.gcPercent, counters: func() int64 { return s.store.Stats().Bytes }}
		p.keep(base)
	}
	go s.sweep(base)
	go s.front.watch(base.Done())
	go s.reloadOn(hangUp, base.Done())
	watching.Go(func() { s.pool.Watch(base) })
	watching.Go(func() { s.line.move(base) })
	s.state.start()
	s.log.Info("serving", "listen", s.Addr().String(), "admin_listen", s.AdminAddr().String(), "workers", len(s.pool.Stats()), "version", telemetry.Version())

	for {
		select {
		case err := <-failed:
			_ = s.frontServer.Close()
			_ = s.backServer.Close()
			s.state.stop()
			return fmt.Errorf("server: %w", err)
		case <-stop:
			s.shutDown(stop, cut)
			return nil
		case <-ctx.Done():
			s.shutDown(stop, cut)
			return nil
		}
	}
}

// reloadOn reloads whenever a signal comes, until it ends. Nobody waits for it: a
// file may be on a disk that does not answer.
func (s *Server) reloadOn(signals <-chan os.Signal, end <-chan struct{}) {
	for {
		select {
		case <-signals:
			_ = s.Reload() // it is logged
		case <-end:
			return
		}
	}
}

// shutDown ends what is in flight within the grace.
func (s *Server) shutDown(again <-chan os.Signal, cut func()) {
	s.mu.Lock()
	s.stopping = true
	grace := s.config.ShutdownGrace
	s.mu.Unlock()
	s.log.Info("stopping", "grace", grace.String())
	s.gateway.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	go func() {
		select {
		case <-again:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := s.frontServer.Shutdown(ctx)
	if err == nil {
		err = s.gateway.Wait(ctx) // connections that were upgraded
	}
	cut()
	if err != nil {
		s.log.Warn("requests were cut off at the end of the grace", "error", err)
		_ = s.frontServer.Close()
		// What was cut is settled: its handlers see the end of their contexts.
		last, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		_ = s.gateway.Wait(last)
	}
	s.jobs.Stop() // what their places were reserved for is settled
	s.pool.Update(nil, workers.Policy{})
	_ = s.backServer.Close()
	s.state.stop()
	s.log.Info("stopped")
}

// sweep drops idle counters every cleanup_interval, which a reload may change while
// it waits.
func (s *Server) sweep(ctx context.Context) {
	last := time.Now()
	for {
		s.mu.Lock()
		every := s.config.RateLimiting.CleanupInterval
		s.mu.Unlock()
		timer := time.NewTimer(time.Until(last.Add(every)))
		select {
		case <-timer.C:
			s.store.Sweep(time.Time{})
			last = time.Now()
		case <-s.applied:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
