package workers

import (
	"context"
	"net"
	"net/url"
)

// Reachable reports whether a connection to at least one worker can be made
// before ctx ends. It asks all at once, and sends nothing. While this machine has
// none left to make, they are as good as they were.
func (p *Pool) Reachable(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	answers := make(chan bool, len(p.workers))
	for _, w := range p.workers {
		go func() {
			c, err := p.options.dial(ctx, "tcp", address(w.url))
			if err == nil {
				_ = c.Close()
			}
			answers <- err == nil || ownShortage(err)
		}()
	}
	p.mu.Unlock()
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
