package gateway

import "strings"

// Closed reports whether a route of the workers' that is closed unless
// routes.allow opens it is among those that pattern names: a cleaned path, or
// with /* at the end all below it.
func Closed(pattern string) bool {
	dir, all := strings.CutSuffix(pattern, "*")
	if !all {
		return closed.has(pattern)
	}
	for path := range closed.exact {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	for _, below := range closed.below {
		if strings.HasPrefix(below, dir) || strings.HasPrefix(dir, below) {
			return true
		}
	}
	return false
}

// Opens reports whether routes.allow, when it is allow, opens a cleaned path.
func Opens(allow []string, path string) bool { return routes(allow...).has(path) }
