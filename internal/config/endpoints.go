package config

import (
	"cmp"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// roles reads the plans of the callers of each role, after default.
func (r *reader) roles(m *mapping, c *RateLimiting) {
	v, ok := m.get("roles")
	if !ok {
		return
	}
	for _, e := range v.named("names no role: name one, such as anonymous or user, or remove roles") {
		r.places[e.path] = e.name.place()
		var turn Turn
		limits := e.limits(false, &turn)
		r.tiers = append(r.tiers, tier{path: e.path, own: limits, plan: limits.over(c.Default)})
		if (scalar{value: e.name, text: e.key}).isName() {
			c.Roles = append(c.Roles, RoleLimits{e.key, limits, turn})
		}
	}
}

// roleOf returns the limits of the role that the holder of a key has.
func (c *RateLimiting) roleOf(key Key) Limits {
	role := cmp.Or(key.Role, traffic.RoleUser)
	for _, r := range c.Roles {
		if r.Name == role {
			return r.Limits
		}
	}
	return nil
}

// perEndpoint reads the limits by what is asked.
func (r *reader) perEndpoint(m *mapping, c *RateLimiting) {
	v, ok := m.get("per_endpoint")
	if !ok {
		return
	}
	items, ok := v.items()
	if ok && len(items) == 0 {
		v.fail("names no endpoint: name a path and its limits, or remove per_endpoint")
	}
	for _, item := range items {
		m, ok := item.mapping()
		if !ok {
			continue
		}
		e := EndpointLimits{Line: m.node.Line}
		if v, ok := m.get("path"); ok {
			e.Path, _ = v.pathPattern()
		} else {
			m.missing("path", "write the path of the endpoint, in which * stands for any letters")
		}
		if v, ok := m.get("methods"); ok {
			items, ok := v.items()
			if ok && len(items) == 0 {
				v.fail("names no method: name one such as POST, or remove it for all")
			}
			e.Methods = methods(items)
		}
		if v, ok := m.get("limits"); ok {
			e.Limits = v.limits(false, nil)
			r.tiers = append(r.tiers, tier{path: v.path, own: e.Limits, plan: e.Limits, base: true})
		} else {
			m.missing("limits", "name a limit such as requests_per_minute")
		}
		m.done()
		if e.Path == "" {
			continue
		}
		if same, ok := c.sameEndpoint(e); ok {
			m.fail("the same path and methods stand on line %d already: put the limits together", same.Line)
			continue
		}
		c.PerEndpoint = append(c.PerEndpoint, e)
	}
}

// sameEndpoint finds an entry of the same path and methods.
func (c *RateLimiting) sameEndpoint(e EndpointLimits) (EndpointLimits, bool) {
	for _, o := range c.PerEndpoint {
		if o.Path == e.Path && slices.Equal(slices.Sorted(slices.Values(o.Methods)), slices.Sorted(slices.Values(e.Methods))) {
			return o, true
		}
	}
	return EndpointLimits{}, false
}

// methods reads the methods that limits can tell apart: the others are not
// limited.
func methods(items []value) (list []string) {
	for _, item := range items {
		var method string
		switch ok := item.word(&method, []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}); {
		case !ok:
		case slices.Contains(list, method):
			item.fail("%s stands here already: remove one", method)
		default:
			list = append(list, method)
		}
	}
	return list
}

// maxPath is the longest path that a rule can name, in bytes.
const maxPath = 256

// pathPattern reads a cleaned path, in which * stands for any letters.
func (v value) pathPattern() (string, bool) {
	s, ok := v.text()
	if !ok {
		return "", false
	}
	problem := pathProblem(strings.ReplaceAll(s.text, "*", "x"))
	switch {
	case len(s.text) > maxPath:
		s.fail("a path has at most %d bytes", maxPath)
	case strings.Contains(s.text, "*") && strings.Contains(problem, "write /"):
		s.fail("a path is compared after // and dots are resolved and the last / is cut: write it so")
	case problem != "":
		s.fail("%s", problem)
	default:
		return s.text, true
	}
	return "", false
}
