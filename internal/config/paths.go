package config

import (
	"path"
	"strings"
)

// paths reads a list of cleaned paths. With below, one may end in /*.
func (m *mapping) paths(key string, to *[]string, below bool) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	items, _ := v.items()
	for _, item := range items {
		s, ok := item.text()
		if !ok {
			continue
		}
		exact, all := s.text, false
		if below {
			exact, all = strings.CutSuffix(exact, "/*")
		}
		if all && exact == "" { // all below the root
			exact = "/"
		}
		if problem := pathProblem(exact); problem != "" {
			s.fail("%s", problem)
			continue
		}
		*to = append(*to, s.text)
	}
}

// pathProblem says why no request's cleaned path equals p, or that p is
// more than one path.
func pathProblem(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "a path begins with /"
	case strings.Contains(p, "*"):
		return "a path is one path: * stands for nothing here"
	case strings.ContainsAny(p, "?#;"):
		return "a path has no ?, # or ; in it: remove it and what follows"
	case strings.ContainsFunc(p, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '%' }):
		return "a path is compared as it is sent, and must need no percent-encoding: letters, digits and marks alone"
	case path.Clean(p) != p:
		return "a path is compared after // and dots are resolved and the last / is cut: write " + path.Clean(p)
	}
	return ""
}
