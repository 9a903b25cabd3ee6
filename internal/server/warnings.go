package server

import (
	"fmt"
	"slices"
	"strings"

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
	// Rules that name none but paths whose requests they never see.
	unseen := func(at string, paths []string) {
		why := ""
		for _, path := range paths {
			switch {
			case strings.Contains(path, "*"):
				return
			case path == "/health":
				why = "never matches: penstock answers this path itself"
			case gateway.Closed(path) && !gateway.Opens(c.Routes.Allow, path):
				why = "never matches: this route of the workers' is closed; routes.allow opens it"
			case slices.Contains(c.RateLimiting.Bypass.Paths, path):
				why = "matches this path in another spelling alone: as it stands, bypass.paths lets it skip every limit"
			default:
				return
			}
		}
		if why != "" {
			warn(at, why)
		}
	}
	for i, e := range c.RateLimiting.PerEndpoint {
		unseen(fmt.Sprintf("rate_limiting.per_endpoint[%d].path", i), []string{e.Path})
	}
	for i, r := range c.RateLimiting.Rules {
		unseen(fmt.Sprintf("rate_limiting.rules[%d].match.path", i), r.Match.Paths)
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
		{"rate_limiting.state_file", c.RateLimiting.StateFile != was.RateLimiting.StateFile},
	} {
		if k.changed {
			keys = append(keys, k.key)
		}
	}
	return keys
}
