package server

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/gateway"
	"github.com/penstock-dev/penstock/internal/policy"
)

// Warnings adds to what Load has warned of what is valid in a configuration and
// does nothing, as only the rooms that it is for can tell; all in the order of
// the file. p is what the configuration was compiled to.
func Warnings(warnings []config.Warning, c *config.Config, p *policy.Policy) []config.Warning {
	warnings = append(slices.Clone(warnings), p.Idle(c, endpoints)...)
	warn := func(path, format string, args ...any) {
		warnings = append(warnings, c.Warning(path, fmt.Sprintf(format, args...)))
	}
	for i, route := range c.Routes.Allow {
		if !gateway.Closed(route) {
			warn(fmt.Sprintf("routes.allow[%d]", i), "opens nothing: no such route is closed")
		}
	}
	if r := &c.RateLimiting; r.Enabled {
		for i, path := range r.Bypass.Paths {
			at := fmt.Sprintf("rate_limiting.bypass.paths[%d]", i)
			switch {
			case path == "/health":
				warn(at, "does nothing: penstock answers this path itself, which takes nothing from any limit")
			case gateway.Closed(path) && !gateway.Opens(c.Routes.Allow, path):
				warn(at, "does nothing: this route of the workers' is closed; routes.allow opens it, a bypass does not")
			}
		}
		for i, e := range r.PerEndpoint {
			if why := unseen(c, []string{e.Path}); why != "" {
				warn(fmt.Sprintf("rate_limiting.per_endpoint[%d].path", i), "%s", why)
			}
		}
		for i, rule := range r.Rules {
			if why := unseen(c, rule.Match.Paths); why != "" {
				warn(fmt.Sprintf("rate_limiting.rules[%d].match.path", i), "rule %s: %s", rule.Name, why)
			}
		}
	}
	config.SortWarnings(warnings)
	return warnings
}

// unseen says why no request to any of the paths comes to a rule; empty when
// some may.
func unseen(c *config.Config, paths []string) (why string) {
	for _, path := range paths {
		switch {
		case strings.Contains(path, "*"):
			return ""
		case path == "/health":
			why = "never matches: penstock answers this path itself"
		case gateway.Closed(path) && !gateway.Opens(c.Routes.Allow, path):
			why = "never matches: this route of the workers' is closed; routes.allow opens it"
		case slices.Contains(c.RateLimiting.Bypass.Paths, path):
			why = "matches this path in another spelling alone: as it stands, bypass.paths lets it skip every limit"
		default:
			return ""
		}
	}
	return why
}

// warn logs what is valid and probably not meant, and what is easily overlooked.
func (s *Server) warn(c *config.Config, warnings []config.Warning) {
	s.mu.Lock()
	p := s.policy
	s.mu.Unlock()
	for _, w := range Warnings(warnings, c, p) {
		s.log.Warn(w.String())
	}
	if _, buffered := bodies(c, debug.SetMemoryLimit(-1)); buffered < c.MaxBufferedBytes {
		s.log.Warn("request bodies are given half of the memory that penstock may use, which is less than max_buffered_bytes: give it more memory, or lower that", "bytes", buffered)
	}
	if most := counters(c, debug.SetMemoryLimit(-1)); most < c.RateLimiting.MaxMemory {
		s.log.Warn("counters are given a quarter of the memory that penstock may use, which is less than rate_limiting.max_memory: give it more memory, or lower that", "bytes", most)
	}
	if prices := p.PriceSource(); prices != "" {
		s.log.Info(prices)
	}
}

// bodies is how large one request's body and all of those that are held may be where
// the process has so many bytes of memory: half of it at most. Whoever sends bodies
// could have it killed else, known or not.
func bodies(c *config.Config, memory int64) (one, all int64) {
	all = min(c.MaxBufferedBytes, memory/2)
	return min(c.MaxBodyBytes, all), all
}

// counters is how much the counters may take where the process has so many bytes of
// memory: a quarter of it at most, which with what bodies may take leaves one for all
// else. A flood of callers would end the process, and what all others have used would
// be forgotten.
func counters(c *config.Config, memory int64) int64 {
	const least = 1 << 20 // below which nothing can be counted
	return min(c.RateLimiting.MaxMemory, max(memory/4, least))
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
