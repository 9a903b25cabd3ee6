package workers

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"time"
)

// reachedFor is how long it is remembered whether a worker was reached. Anybody may
// ask, and each connection takes a port of this machine, which it has back a minute
// after it was closed.
const reachedFor = time.Second

// Reachable reports whether a connection to at least one worker can be made
// before ctx ends, or could within the last second. It asks all at once, and sends
// nothing. While this machine has none left to make, they are as good as they were.
func (p *Pool) Reachable(ctx context.Context) bool {
	select {
	case p.reaching <- struct{}{}: // who comes meanwhile has the same answer
	case <-ctx.Done():
		return false
	}
	defer func() { <-p.reaching }()
	p.mu.Lock()
	list, known, so := slices.Clone(p.workers), time.Since(p.reachedAt) < reachedFor, p.reached
	p.mu.Unlock()
	if known {
		return so
	}
	so = p.reach(ctx, list)
	if so || !errors.Is(ctx.Err(), context.Canceled) {
		p.mu.Lock()
		if slices.Equal(list, p.workers) {
			p.reachedAt, p.reached = time.Now(), so
		}
		p.mu.Unlock()
	}
	return so
}

// reach reports whether one of these workers can be connected to.
func (p *Pool) reach(ctx context.Context, list []*worker) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan bool, len(list))
	for _, w := range list {
		go func() {
			c, err := p.options.dial(ctx, "tcp", address(w.url))
			if err == nil {
				_ = c.Close()
			}
			answers <- err == nil || ownShortage(err)
		}()
	}
	for range cap(answers) {
		if <-answers {
			return true
		}
	}
	return false
}

// address is where a worker listens.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}
