package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/modelname"
)

// Target is what a request is sent to, which is known before its body.
type Target struct {
	Method string
	Path   string // cleaned
	// Others are what some workers may read the path as instead. A limit on
	// one of those is a limit on the request.
	Others []string
}

// isOf reports whether the path, or what it may be read as, matches the pattern.
func (t *Target) isOf(pattern string) bool {
	return modelname.MatchesGlob(pattern, t.Path) ||
		slices.ContainsFunc(t.Others, func(p string) bool { return modelname.MatchesGlob(pattern, p) })
}

// endpoint is one entry of per_endpoint.
type endpoint struct {
	path    string
	methods []string
	name    string // methods and path
	group   *group // nil when nothing limits it
	index   int    // in the configuration
}

func (e *endpoint) matches(t *Target) bool {
	return one(e.methods, t.Method) && t.isOf(e.path)
}

// endpoints compiles the limits by endpoint, the longest path first.
func (b *builder) endpoints() {
	for i, e := range b.rate.PerEndpoint {
		methods := slices.Sorted(slices.Values(e.Methods))
		name := strings.TrimLeft(strings.Join(methods, ",")+" "+e.Path, " ")
		rules := b.rules("per_endpoint."+name, name+".", e.Limits)
		b.policy.endpoints = append(b.policy.endpoints, endpoint{
			path:    e.Path,
			methods: methods,
			name:    name,
			group:   b.group(rules, name, "caller and endpoint", endpointKey+name),
			index:   i,
		})
	}
	slices.SortStableFunc(b.policy.endpoints, func(x, y endpoint) int {
		return cmp.Or(
			cmp.Compare(modelname.Fixed(y.path), modelname.Fixed(x.path)),
			cmp.Compare(strings.Count(x.path, "*"), strings.Count(y.path, "*")),
		)
	})
}

// endpointOf returns the entry for a target: of those that match the one with the
// longest path, then the one with the fewest *, then the first; nil if there is
// none.
func (p *Policy) endpointOf(t *Target) *endpoint {
	for i := range p.endpoints {
		if p.endpoints[i].matches(t) {
			return &p.endpoints[i]
		}
	}
	return nil
}
