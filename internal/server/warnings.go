package server

import (
	"fmt"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/gateway"
	"github.com/penstock-dev/penstock/internal/policy"
)

// Warnings returns what is valid in a configuration and does nothing, and that
// only the rooms that it is for can tell. p is what the configuration was
// compiled to.
func Warnings(c *config.Config, p *policy.Policy) (warnings []config.Warning) {
	warn := func(path, message string) {
		warnings = append(warnings, config.Warning{Path: path, Message: message})
	}
	for i, route := range c.Routes.Allow {
		if !gateway.Closed(route) {
			warn(fmt.Sprintf("routes.allow[%d]", i), "opens nothing: no such route is closed")
		}
	}
	warnings = append(warnings, p.Idle(c)...)
	if !c.RateLimiting.Enabled {
		return warnings
	}
	for i, path := range c.RateLimiting.Bypass.Paths {
		at := fmt.Sprintf("rate_limiting.bypass.paths[%d]", i)
		switch {
		case path == "/health":
			warn(at, "does nothing: penstock answers this path itself, which takes nothing from any limit")
		case gateway.Closed(path) && !gateway.Opens(c.Routes.Allow, path):
			warn(at, "does nothing: this route of the workers' is closed; routes.allow opens it, a bypass does not")
		}
	}
	return warnings
}

// warn logs what is valid and probably not meant.
func (s *Server) warn(c *config.Config, warnings []config.Warning) {
	s.mu.Lock()
	p := s.policy
	s.mu.Unlock()
	for _, w := range append(warnings, Warnings(c, p)...) {
		s.log.Warn(w.String())
	}
}

// needRestart returns the keys that a reload cannot change, of those that say
// something else than at the start.
func (s *Server) needRestart(c *config.Config) (keys []string) {
	was := s.started
	for _, k := range []struct {
		key     string
		changed bool
	}{
		{"listen", c.Listen != was.Listen},
		{"admin_listen", c.AdminListen != was.AdminListen},
		{"admin.token", c.Admin.Token != was.Admin.Token},
		{"metrics.prefix", c.Metrics.Prefix != was.Metrics.Prefix},
		{"log.format", c.Log.Format != was.Log.Format},
	} {
		if k.changed {
			keys = append(keys, k.key)
		}
	}
	return keys
}
