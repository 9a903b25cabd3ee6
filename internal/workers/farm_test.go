package workers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// farm is workers within a bubble of synctest, reached through pipes. Half of
// every jitter is what it is, so that an interval is what was configured.
type farm struct {
	*Pool
	t     testing.TB
	log   bytes.Buffer
	watch func() // begins to

	mu    sync.Mutex
	hosts map[string]*host
}

// host is one of them.
type host struct {
	farm    *farm
	server  http.Server
	conns   chan net.Conn
	closed  chan struct{}
	checks  []time.Duration // when, since the farm began
	began   time.Time
	asked   int
	dialled int

	// What it does from now on.
	refuses bool             // connections
	dead    error            // of every dial; nil: it is not
	silent  time.Duration    // how long that takes to show
	health  http.HandlerFunc // nil: 200
	answers http.HandlerFunc // nil: 200 and its name
}

// newFarm starts workers with these names. They are in the pool, with the
// policy; it watches them where the policy has an interval.
func newFarm(t testing.TB, policy Policy, names ...string) *farm {
	t.Helper()
	f := unwatchedFarm(t, names...)
	f.Update(f.list(names...), policy)
	f.watch()
	return f
}

// unwatchedFarm has the hosts of newFarm and nobody in the pool yet.
func unwatchedFarm(t testing.TB, names ...string) *farm {
	t.Helper()
	f := &farm{t: t, hosts: map[string]*host{}}
	f.Pool = New(Options{
		Log: slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
		dial:   f.dial,
		jitter: func(most time.Duration) time.Duration { return most / 2 },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	f.watch = func() { watching.Go(func() { f.Watch(ctx) }) }
	t.Cleanup(func() {
		cancel()
		watching.Wait()
		f.Update(nil, Policy{})
		for _, h := range f.hosts {
			_ = h.server.Close()
		}
	})
	for _, name := range names {
		f.start(name)
	}
	return f
}

// start makes a host, which is not in the pool yet.
func (f *farm) start(name string) *host {
	h := &host{farm: f, conns: make(chan net.Conn), closed: make(chan struct{}), began: time.Now()}
	h.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			f.mu.Lock()
			h.checks = append(h.checks, time.Since(h.began))
			health := h.health
			f.mu.Unlock()
			if health != nil {
				health(w, r)
			}
			return
		}
		f.mu.Lock()
		h.asked++
		answers := h.answers
		f.mu.Unlock()
		if answers == nil {
			_, _ = io.WriteString(w, name)
			return
		}
		answers(w, r)
	})
	f.hosts[name] = h
	go func() { _ = h.server.Serve(h) }()
	return h
}

// list are these workers as the pool takes them.
func (f *farm) list(names ...string) (workers []Worker) {
	for _, name := range names {
		workers = append(workers, Worker{URL: mustParse(f.t, "http://"+name+".test")})
	}
	return workers
}

// dial is how the pool connects.
func (f *farm) dial(ctx context.Context, _, address string) (net.Conn, error) {
	name, _, _ := strings.Cut(address, ".test")
	f.mu.Lock()
	h := f.hosts[name]
	h.dialled++
	refuses, dead, silent := h.refuses, h.dead, h.silent
	f.mu.Unlock()
	if refuses {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if dead != nil {
		time.Sleep(silent)
		return nil, dead
	}
	near, far := net.Pipe()
	select {
	case h.conns <- far:
		return near, nil
	case <-h.closed: // the transport may go on dialling when the check has ended that it was for
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept, Close and Addr make a host the listener of its server.
func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *host) Close() error {
	close(h.closed)
	return nil
}

func (h *host) Addr() net.Addr { return &net.TCPAddr{} }

// set changes what a host does from now on.
func (f *farm) set(name string, change func(*host)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f.hosts[name])
}

// read is set for looking.
func (f *farm) read(name string) (checks []time.Duration, asked, dialled int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.hosts[name]
	return h.checks, h.asked, h.dialled
}

// ask sends a request and returns "status body", or the error's text.
func (f *farm) ask(want Want) string {
	f.t.Helper()
	resp, err := f.Send(newRequest(f.t, http.MethodPost, nil), holding([]byte("prompt")), want)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.Status + " " + string(body) + " cut: " + err.Error()
	}
	return resp.Status + " " + string(body)
}

// wantAsk checks what ask returns.
func (f *farm) wantAsk(when string, w Want, want string) {
	f.t.Helper()
	if got := f.ask(w); got != want {
		f.t.Errorf("%s: %q, want %q", when, got, want)
	}
}

// stats are those of one worker.
func (f *farm) stats(name string) Stats {
	f.t.Helper()
	for _, s := range f.Stats() {
		if s.URL == "http://"+name+".test" {
			return s
		}
	}
	f.t.Fatalf("no worker %s", name)
	return Stats{}
}

// wantState checks a worker's state and breaker.
func (f *farm) wantState(when, name string, state State, breaker Breaker) {
	f.t.Helper()
	if s := f.stats(name); s.State != state || s.Breaker != breaker {
		f.t.Errorf("%s: %s is %v and %v (%s), want %v and %v", when, name, s.State, s.Breaker, s.Why, state, breaker)
	}
}

// status answers with a status, its text, and these headers: name, value …
func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, http.StatusText(code))
	}
}

// breaksOff answers with half of a body.
func breaksOff(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "half")
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

var errNoRoute = errors.New("no route to host")
