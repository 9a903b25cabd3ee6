package server

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/adaptive"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/workers"
)

// lineOf is what a configuration says of slots, the bucket and who waits.
func lineOf(c *config.Config) queue.Options {
	g := c.Gate()
	return queue.Options{
		Slots: int(g.Slots), Burst: g.Capacity, Refill: g.Refill.Amount, Per: g.Refill.Per,
		Size: int(g.QueueSize), Timeout: g.QueueTimeout,
	}
}

// line is the slots, where they move and where they do not.
type line struct {
	queue *queue.Queue
	loop  atomic.Pointer[adaptive.Loop] // it moves the slots; nil: nobody does

	mu      sync.Mutex // guards what follows, and the queue's options
	options queue.Options
	base    context.Context    // in which a loop runs; nil: it is not time yet
	end     context.CancelFunc // of the one that runs
	running sync.WaitGroup
}

var signals = map[string]adaptive.Signal{
	"auto":        adaptive.Auto,
	"metrics":     adaptive.Metrics,
	"queue":       adaptive.Queue,
	"first_token": adaptive.FirstToken,
}

// configureLine makes the slots what the configuration says: so many, or moving
// from where they are.
func (s *Server) configureLine(c *config.Config) error {
	l, a, options := &s.line, c.Gate().Adaptive, lineOf(c)
	loop := l.loop.Load()
	if a.Enabled {
		moving := adaptive.Options{Start: options.Slots, Min: int(a.Min), Max: int(a.Max), Signal: signals[a.Signal]}
		if loop == nil {
			loop = s.newLoop(moving)
		} else {
			loop.Configure(moving)
		}
	} else {
		loop = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if loop != nil {
		options.Slots = loop.Slots() // those that it sets from here on come after
	}
	if err := l.queue.Configure(options); err != nil {
		return err
	}
	l.options = options
	if l.loop.Swap(loop) != loop {
		l.run()
	}
	return nil
}

func (s *Server) newLoop(o adaptive.Options) *adaptive.Loop {
	var loop *adaptive.Loop
	loop = adaptive.New(adaptive.Config{
		Options:   o,
		Transport: s.pool.Own(),
		Targets: func() (targets []adaptive.Target) {
			for _, u := range s.pool.URLs() {
				targets = append(targets, adaptive.Target{URL: u})
			}
			return targets
		},
		Load: func() (inFlight, waiting int) {
			q := s.queue.Stats()
			return q.InFlight, q.Waiting
		},
		Set: func(slots int) { s.line.set(loop, slots) },
		Log: s.log,
	})
	return loop
}

// run has the loop run that there is now, if it is time, and no other. l.mu is
// held.
func (l *line) run() {
	if l.end != nil {
		l.end()
		l.end = nil
	}
	loop := l.loop.Load()
	if loop == nil || l.base == nil {
		return
	}
	var ctx context.Context
	ctx, l.end = context.WithCancel(l.base)
	l.running.Go(func() { loop.Run(ctx) })
}

// move moves the slots, where they do move, until ctx ends.
func (l *line) move(ctx context.Context) {
	l.mu.Lock()
	l.base = ctx
	l.run()
	l.mu.Unlock()
	<-ctx.Done()
	l.running.Wait()
}

// set makes the slots as many as the loop says, while it is the one that moves
// them.
func (l *line) set(loop *adaptive.Loop, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loop.Load() != loop {
		return
	}
	l.options.Slots = n
	_ = l.queue.Configure(l.options) // nothing else of them is new
}

// firstToken takes in how long a stream took to its first token.
func (l *line) firstToken(took time.Duration, input int64) {
	if loop := l.loop.Load(); loop != nil {
		loop.FirstToken(took, input)
	}
}

// workersOf are the workers, and when they are asked.
func workersOf(c *config.Config) (pool []workers.Worker, policy workers.Policy, err error) {
	for _, w := range c.Workers {
		add := workers.Worker{URL: w.URL, Weight: int(w.Weight), Models: w.Models, Key: w.APIKey.Reveal()}
		if len(w.CA) > 0 {
			add.CA = x509.NewCertPool()
			if !add.CA.AppendCertsFromPEM(w.CA) {
				return nil, policy, fmt.Errorf("ca_file of the worker %s holds no certificate", w.URL.Redacted())
			}
		}
		pool = append(pool, add)
	}
	p := &c.WorkerPolicy
	return pool, workers.Policy{
		StartupTimeout: p.StartupTimeout,
		HealthPath:     p.Health.Path,
		HealthInterval: p.Health.Interval,
		Retries:        p.Retries,
		Failures:       p.Breaker.Failures,
		Open:           p.Breaker.Open,
	}, nil
}
