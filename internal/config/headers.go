package config

import (
	"regexp"
	"slices"
	"strings"
)

// headerName is a token of RFC 9110, of a bearable length.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")

// metricPrefix keeps metric names valid; colons are for recording rules.
var metricPrefix = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)?$`)

// headers reads which rate-limit headers a response carries.
func (r *reader) headers(m *mapping, h *Headers) {
	m.boolean("enabled", &h.Enabled)
	names := []struct {
		key string
		to  *string
	}{
		{"limit_header", &h.Limit},
		{"remaining_header", &h.Remaining},
		{"reset_header", &h.Reset},
	}
	for _, n := range names {
		m.matching(n.key, n.to, headerName, "a header's name such as X-RateLimit-Limit")
	}
	m.boolean("retry_after", &h.RetryAfter)
	if v, ok := m.get("sets"); ok {
		h.Sets = r.headerSets(v)
	}

	after := strings.ToLower(h.Reset + "-After")
	taken := map[string]string{after: "reset_header with -After added"}
	for _, n := range names {
		name := strings.ToLower(*n.to)
		switch other := taken[name]; {
		case other != "":
			r.failAt(join(m.path, n.key), "the same name as %s: give each its own", other)
		case reserved(name) || n.to == &h.Reset && reserved(after):
			r.failAt(join(m.path, n.key), "a header that means something else: choose a name of your own, such as X-RateLimit-Limit")
		}
		taken[name] = n.key
	}
}

func (r *reader) headerSets(v value) []string {
	sets := []string{} // said, and so not nil
	items, _ := v.items()
	for _, item := range items {
		var set string
		if !item.word(&set, []string{"ietf", "openai", "anthropic"}) {
			continue
		}
		if slices.Contains(sets, set) {
			item.fail("%s stands here already: remove one", set)
			continue
		}
		sets = append(sets, set)
	}
	return sets
}

// reserved reports whether a header, in lower case, has a meaning of its own
// that a rate-limit header would break: framing, caching, cookies, and those
// that the sets and denials use.
func reserved(name string) bool {
	for _, prefix := range []string{
		"content-", "proxy-", "sec-", "access-control-", "anthropic-", "openai-", "if-",
		"x-ratelimit-limit-", "x-ratelimit-remaining-", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains([]string{
		"accept", "accept-ranges", "age", "allow", "alt-svc", "authorization", "cache-control", "connection", "cookie",
		"date", "etag", "expires", "host", "keep-alive", "last-modified", "link", "location", "ratelimit",
		"ratelimit-policy", "retry-after", "retry-after-ms", "server", "set-cookie", "te", "trailer",
		"transfer-encoding", "upgrade", "vary", "via", "warning", "www-authenticate", "x-request-id", "x-should-retry",
	}, name)
}
