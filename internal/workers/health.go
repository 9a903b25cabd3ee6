package workers

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/peer"
)

const (
	whileNotUp   = time.Second     // from one check to the next
	checkTimeout = 5 * time.Second // at most
	checkBytes   = 64 << 10        // of a check's answer that are read
	downAfter    = 2               // checks in a row
)

// Watch checks the workers until ctx ends: each at once and then every
// HealthInterval, one that is not up at least every second, and at once one that
// could not be connected to or whose breaker opens. Connections whose worker's host
// is gone it ends, checks or not. It returns when the last check has ended. One
// Watch runs at a time.
func (p *Pool) Watch(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	look := time.NewTicker(peer.LookEvery)
	defer look.Stop()
	watched := map[*worker]context.CancelFunc{}
	for {
		p.mu.Lock()
		var now []*worker
		if p.policy.HealthInterval > 0 {
			now = slices.Clone(p.workers)
		}
		p.mu.Unlock()
		for w, end := range watched {
			if !slices.Contains(now, w) {
				end()
				delete(watched, w)
			}
		}
		for _, w := range now {
			if watched[w] == nil {
				life, end := context.WithCancel(ctx)
				watched[w] = end
				running.Go(func() { p.watch(life, w) })
			}
		}
		select {
		case <-p.changed:
		case <-look.C:
			if p.dialled != nil {
				p.dialled.endGone(peer.Gone)
			}
		case <-ctx.Done():
			for _, end := range watched {
				end()
			}
			return
		}
	}
}

// watch checks one worker until ctx ends.
func (p *Pool) watch(ctx context.Context, w *worker) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		select {
		case <-w.poke: // this check is the one that is asked for
		default:
		}
		began, heard := time.Now(), w.heard.Load()
		answered, err := p.check(ctx, w)
		if ctx.Err() != nil {
			return
		}
		if !answered && w.heard.Load() != heard {
			err = nil // it is too busy with requests to answer anything else
		}
		next := time.Now().Add(p.checked(w, err))
		timer.Reset(time.Until(next))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			continue
		case <-w.poke:
		}
		if soon := began.Add(time.Second); soon.Before(next) {
			timer.Reset(time.Until(soon))
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// check asks a worker how it is, and reports whether it said so. Any status below
// 500 is well, and so is 501: one that does not know the path, or GET, is alive.
func (p *Pool) check(ctx context.Context, w *worker) (answered bool, err error) {
	p.mu.Lock()
	path, timeout := p.policy.HealthPath, min(p.policy.HealthInterval, checkTimeout)
	transport, bearer := w.transport, w.bearer
	p.mu.Unlock()
	if path == "" {
		path = "/health"
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%s is not answered within %s", path, timeout))
	defer cancel()
	req := (&http.Request{Method: http.MethodGet, Header: http.Header{"User-Agent": {"penstock"}}}).WithContext(ctx)
	SetTarget(req, w.url, path)
	if bearer != "" {
		req = withBearer(req, bearer)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if !isUnknown(err) {
			w.letGo(transport)
		}
		return false, cause(ctx, err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, checkBytes) // its end, for the sake of the connection
	_ = resp.Body.Close()
	if resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented {
		return true, fmt.Errorf("%s is answered with %d", path, resp.StatusCode)
	}
	return true, nil
}

// letGo closes the idle connections to a worker that has not answered a check. Where
// its host has gone without a word, and another has taken its name or itself has
// come back, each of them would cost a client its request, and in a row they would
// open the breaker of one that works.
func (w *worker) letGo(transport *http.Transport) {
	transport.CloseIdleConnections()
	if w.http1 != nil {
		w.http1.letGo()
	}
}

// checked takes in a check, and returns the time until the next one.
func (p *Pool) checked(w *worker, err error) time.Duration {
	p.mu.Lock()
	defer p.unlock()
	interval := p.policy.HealthInterval
	switch {
	case err == nil:
		if w.missed > 0 || w.state == Down {
			w.returns++ // what was there went away, and this is what came in its place
			if w.breaker == Open {
				w.openUntil = time.Now()
			}
		}
		w.missed, w.refused = 0, 0
		if w.state != Up {
			p.isUp(w)
		}
	case w.state == Starting:
		rest := p.policy.StartupTimeout - time.Since(w.added)
		if rest <= 0 {
			p.isDown(w, slog.LevelError, err.Error())
			break
		}
		w.why = err.Error()
		if !w.told {
			w.told = true
			p.note(slog.LevelInfo, "the worker is starting: it does not answer yet", w, slog.String("why", w.why))
		}
		return min(p.spread(min(interval, whileNotUp)), rest)
	case w.state == Up && ownShortage(err):
	case w.state == Up:
		if w.missed++; w.missed >= downAfter {
			p.isDown(w, slog.LevelWarn, err.Error())
		}
	default:
		w.why = err.Error()
	}
	if w.state == Down {
		interval = min(interval, whileNotUp)
	}
	return p.spread(interval)
}

// spread is an interval give or take a tenth, so that gateways do not march in
// step.
func (p *Pool) spread(interval time.Duration) time.Duration {
	return interval - interval/10 + p.options.jitter(interval/5)
}

// isUp makes a worker one that is asked. The lock is held.
func (p *Pool) isUp(w *worker) {
	w.state, w.why, w.missed, w.refused = Up, "", 0, 0
	p.note(slog.LevelInfo, "the worker is up", w)
}

// isDown makes a worker one that is not asked until a check succeeds. The lock
// is held.
func (p *Pool) isDown(w *worker, level slog.Level, why string) {
	text := "the worker is down: it is not asked until it answers a check"
	if w.state == Starting {
		text = "the worker did not start within worker_policy.startup_timeout: look at the worker's own log, or allow it more time; it is asked as soon as it answers a check"
	}
	w.state, w.why, w.missed = Down, why, 0
	p.note(level, text, w, slog.String("why", why))
}
