package workers

import (
	"net/http"
	"net/url"
	"strings"
)

// SetTarget points out at the worker at base such that the request target that
// the client sent, rawTarget, reaches the worker byte for byte behind base's
// path: http.Request.RequestURI in origin form, or in absolute form, of which
// path and query count. What net/url would have re-encoded stays as it is.
//
// There are two exceptions. A space, which HTTP/2 can carry and which would
// break an HTTP/1.1 request line, becomes %20. And where the whole path begins
// with "//", bytes that belong in no path ('^', '"', bytes above 0x7f and
// their like) are percent-encoded.
//
// A target that is neither form nor "*" has no path: the worker is asked for base
// or "/". out.URL is changed in place; out.Host is left alone.
func SetTarget(out *http.Request, base *url.URL, rawTarget string) {
	if out.URL == nil {
		out.URL = new(url.URL)
	}
	setTarget(out.URL, base, rawTarget)
}

// setTarget is SetTarget for the URL alone.
func setTarget(out, base *url.URL, rawTarget string) {
	*out = url.URL{Scheme: base.Scheme, Host: base.Host}
	if rawTarget == "*" {
		out.Opaque = "*"
		return
	}
	if strings.Contains(rawTarget, " ") {
		rawTarget = strings.ReplaceAll(rawTarget, " ", "%20")
	}
	path, query, asked := strings.Cut(pathAndQuery(rawTarget), "?")
	if prefix := strings.TrimSuffix(base.EscapedPath(), "/"); prefix != "" {
		path = prefix + path
	}
	out.RawQuery = query
	out.ForceQuery = asked && query == ""

	// Opaque is written as it is, except that URL.RequestURI takes "//" at its
	// front for a host.
	if !strings.HasPrefix(path, "//") {
		out.Opaque = path
		return
	}
	decoded, err := url.PathUnescape(path)
	if err != nil { // which no server lets in
		out.Path = path
		return
	}
	out.Path, out.RawPath = decoded, path
}

// pathAndQuery returns target without a scheme and host, as net/url parses it.
// It begins with a "/".
func pathAndQuery(target string) string {
	if strings.HasPrefix(target, "/") {
		return target
	}
	_, rest, _ := strings.Cut(target, ":")
	if authority, ok := strings.CutPrefix(rest, "//"); ok {
		rest = ""
		if at := strings.IndexAny(authority, "/?"); at >= 0 {
			rest = authority[at:]
		}
	}
	switch {
	case strings.HasPrefix(rest, "/"):
		return rest
	case strings.HasPrefix(rest, "?"):
		return "/" + rest
	default:
		return "/"
	}
}
