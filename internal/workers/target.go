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
// There are three exceptions. A space, which HTTP/2 can carry and which would
// break an HTTP/1.1 request line, becomes %20. And where the whole path begins
// with "//", bytes that belong in no path ('^', '"', bytes above 0x7f and
// their like) are percent-encoded. And of one that leads out of base's path, as some
// server reads it, is left what that leads to below it.
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
		path = prefix + within(path)
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

// within is a path that does not lead above where it begins. Only one that does to
// some server is changed: nothing of it that leads up is left.
func within(path string) string {
	if !strings.Contains(path, "..") && !strings.Contains(path, "%2") {
		return path
	}
	var kept []string
	depth, least := 0, 0 // for the server to which the path leads up the most
	for segment := range strings.SplitSeq(path, "/") {
		deeper := 0
		for part := range strings.SplitSeq(slashes.Replace(segment), "/") {
			name, _, _ := strings.Cut(dots.Replace(part), ";")
			name, _, _ = strings.Cut(name, "#")
			switch name {
			case "", ".":
			case "..":
				depth--
				kept = kept[:max(len(kept)-1, 0)]
			default:
				deeper = 1 // to who takes all of the segment for one
				kept = append(kept, part)
			}
		}
		least = min(least, depth)
		depth += deeper
	}
	if least == 0 {
		return path
	}
	if end := path[len(path)-1]; end == '/' && len(kept) > 0 {
		kept = append(kept, "")
	}
	return "/" + strings.Join(kept, "/")
}

// How servers may read what a path is written with.
var (
	slashes = strings.NewReplacer(`\`, "/", "%2f", "/", "%2F", "/", "%5c", "/", "%5C", "/")
	dots    = strings.NewReplacer("%2e", ".", "%2E", ".", "%3b", ";", "%3B", ";", "%23", "#")
)
