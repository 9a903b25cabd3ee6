package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/admin"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/telemetry"
	"github.com/penstock-dev/penstock/internal/traffic"
	"github.com/penstock-dev/penstock/internal/workers"
)

// What is seen from outside: the admin port, and the gauges that are read when
// they are asked for.

func (s *Server) adminHandler() http.Handler {
	s.mu.Lock()
	token := s.config.Admin.Token.Reveal()
	s.mu.Unlock()
	return admin.New(admin.Options{
		Token:   token,
		Ready:   s.ready,
		Metrics: s.metrics.Handler(),
		Reload:  s.Reload,
		Workers: admin.Workers{
			List:   s.listWorkers,
			Add:    s.addWorker,
			Drain:  s.pool.Drain,
			Remove: s.pool.Remove,
		},
	})
}

// ready is nil when requests can be served.
func (s *Server) ready() error {
	s.mu.Lock()
	stopping := s.stopping
	s.mu.Unlock()
	if stopping {
		return errors.New("stopping")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if !s.pool.Live() || !s.pool.Reachable(ctx) {
		return errors.New("no worker can be reached")
	}
	return nil
}

// listWorkers are the workers as operators see them.
func (s *Server) listWorkers() (shown []admin.Worker) {
	for _, w := range s.pool.Stats() {
		shown = append(shown, admin.Worker{
			URL:         w.URL,
			Weight:      w.Weight,
			Models:      w.Models,
			State:       w.State.String(),
			Why:         w.Why,
			Breaker:     w.Breaker.String(),
			Resting:     w.Resting.Seconds(),
			Outstanding: w.Outstanding,
			Tokens:      w.Tokens,
			Sent:        w.Sent,
			Failed:      w.Failed,
			Retries:     w.Retries,
		})
	}
	return shown
}

// addWorker adds a worker until the next reload.
func (s *Server) addWorker(url string, weight int, models []string) error {
	w, err := config.ParseWorker(url, int64(weight), models)
	if err != nil {
		return err
	}
	return s.pool.Add(workers.Worker{URL: w.URL, Weight: int(w.Weight), Models: w.Models})
}

// Hits returns the denials so far, by rule and listed key.
func (s *Server) Hits() []telemetry.Hit { return s.metrics.Hits() }

// seenLine is the slots and who waits for one.
func (s *Server) seenLine() telemetry.Queue {
	q := s.queue.Stats()
	line := telemetry.Queue{
		Slots: q.Slots, InUse: q.InFlight, Capacity: q.Size, Depth: q.Waiting,
		ByClass: map[traffic.Class]telemetry.ClassInQueue{},
	}
	for _, c := range traffic.Classes() {
		line.ByClass[c] = telemetry.ClassInQueue{InUse: q.Classes[c].InFlight, Depth: q.Classes[c].Waiting}
	}
	return line
}

// workers are the workers as metrics have them.
func (s *Server) workers() []telemetry.Worker {
	stats := s.pool.Stats()
	seen := make([]telemetry.Worker, len(stats))
	for i, w := range stats {
		seen[i] = telemetry.Worker{
			Name: w.URL, Healthy: w.State == workers.Up, BreakerOpen: w.Breaker != workers.Closed,
			Outstanding: w.Outstanding, Requests: w.Sent, Failures: w.Failed,
		}
	}
	return seen
}

// debt is what was used beyond limits so far, by unit.
func (s *Server) debt() map[string]int64 {
	debt := map[string]int64{}
	for u, n := range s.limiter.Debt() {
		if u := penstock.Unit(u); n > 0 || u == penstock.Tokens {
			debt[u.String()] = n
		}
	}
	return debt
}

// mostShown is how many listed callers' usage is shown, and of how many limits
// that all share.
const mostShown = 100

// usage is the share that is used of what the listed callers' plans and all
// together are held to.
func (s *Server) usage() (usage []telemetry.Usage) {
	s.mu.Lock()
	p, callers := s.policy, s.callers
	s.mu.Unlock()
	show := func(c *traffic.Caller, key string) {
		charges := p.Standing(nil, c)
		d, err := s.limiter.Look(context.Background(), charges[:min(len(charges), mostShown)]...)
		if err != nil {
			return // counted where requests meet it
		}
		for i := range d.Charges {
			c := &d.Charges[i]
			usage = append(usage, telemetry.Usage{
				Rule:  p.Rule(c).Name,
				Key:   key,
				Ratio: float64(c.Used) / float64(c.Limit().Size()),
			})
		}
	}
	for i := range callers[:min(len(callers), mostShown)] {
		if c := &callers[i]; !c.Bypass {
			show(c, c.Name)
		}
	}
	show(nil, "all")
	return usage
}
