package workers

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// credentialHeaders are where clients show keys, whatever the dialect.
var credentialHeaders = [...]string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

// credentialParameter is where they do in a query.
const credentialParameter = "key"

// withBearer returns a copy of req that shows the key and none of the client's. It is
// for the worker by its own name: by a Host of its choice a client could have the key
// sent to another site that is served at the same address.
func withBearer(req *http.Request, key string) *http.Request {
	out := req.WithContext(req.Context())
	out.Host = ""
	out.Header = maps.Clone(req.Header)
	if out.Header == nil {
		out.Header = http.Header{}
	}
	for _, name := range credentialHeaders {
		delete(out.Header, name)
	}
	out.Header["Authorization"] = []string{"Bearer " + key}
	return out
}

// withoutKey returns a request's target without the client's key in its query.
// All else stays as it is, byte for byte.
func withoutKey(target string) string {
	path, query, asked := strings.Cut(target, "?")
	if !asked {
		return target
	}
	kept := make([]string, 0, 8)
	dropped := false
	for part := range strings.SplitSeq(query, "&") {
		if isKey(part) {
			dropped = true
			continue
		}
		kept = append(kept, part)
	}
	switch {
	case !dropped:
		return target
	case len(kept) == 0:
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

// isKey reports whether a part of a query is a key, however its name is written.
func isKey(part string) bool {
	name, _, _ := strings.Cut(part, "=")
	plain, err := url.QueryUnescape(name)
	return err == nil && plain == credentialParameter
}
