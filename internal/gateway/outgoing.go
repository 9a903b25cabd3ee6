package gateway

import (
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"github.com/penstock-dev/penstock/internal/clientaddr"
)

// outgoing makes the request that a worker gets: what the client sent, with the
// key that counts and no other, and the client's address. Its values are the
// client's own, and nobody changes them.
func (x *exchange) outgoing() *http.Request {
	out := x.r.WithContext(x.ctx)
	out.Header = x.outgoingHeader()
	out.Close, out.Trailer, out.Body = false, nil, nil
	switch {
	case x.read:
		out.TransferEncoding = nil // what was read of the body is sent
	case x.r.ContentLength != 0:
		x.upload = &upload{from: x.r, control: http.NewResponseController(x.w), most: x.rules.MaxBody}
		if x.r.ContentLength < 0 {
			out.Trailer = maps.Clone(x.r.Trailer)
			if out.Trailer == nil {
				out.Trailer = http.Header{}
			}
			maps.DeleteFunc(out.Trailer, notInTrailer)
			x.upload.trailer = out.Trailer
		}
		out.Body = x.upload
	}
	switch x.r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		// There are workers that read no body of a GET, and would take it for the
		// next request of the connection.
		out.Close = x.r.ContentLength != 0
	}
	return out
}

// outgoingHeader is the header of the request that a worker gets.
func (x *exchange) outgoingHeader() http.Header {
	in := x.r.Header
	trusted := clientaddr.Trusted(x.rules.TrustedProxies).Peer(x.r)
	h := x.header
	if h == nil {
		h = make(http.Header, len(in)+addedHeaders)
		x.header = h
	}
	for name, lines := range in {
		if !isHopByHop(name) && x.passes(name, trusted) {
			h[name] = lines
		}
	}
	dropNamed(h, in["Connection"])
	if hasToken(in["Te"], "trailers") {
		h["Te"] = []string{"trailers"}
	}
	if x.upgrades() && hasToken(in["Connection"], "Upgrade") {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, in["Upgrade"]
	}
	x.cred.Strip(h)
	x.setForwarded(h, trusted)
	h["X-Request-Id"] = x.line(x.id)
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = x.line("") // else net/http would name itself
	}
	return h
}

// addedHeaders is how many headers a request has more than the client sent.
const addedHeaders = 5

// line is the value of a header with one line, which is made for the request to a
// worker alone.
func (x *exchange) line(s string) []string {
	n := x.said
	x.lines[n] = s
	x.said++
	return x.lines[n:x.said:x.said]
}

// passes reports whether the worker gets a header of the client's that is not for
// this hop alone. Who is behind a proxy only trusted ones say.
func (x *exchange) passes(name string, trusted bool) bool {
	switch name {
	case "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto":
		return false // setForwarded says it
	case "X-Real-Ip":
		return trusted
	case "Http2-Settings":
		return x.upgrades()
	case "Accept-Encoding":
		return !x.counted // else the answer is read
	case "Expect":
		return !x.read // else the body is here
	}
	return (trusted || !strings.HasPrefix(name, "X-Forwarded-")) && !misleads(name)
}

// misleads reports whether a worker may take a header for another, which does not
// pass or which the gateway says (there are workers that take a _ for a -), or the
// request for another than was counted.
func misleads(name string) bool {
	if strings.Contains(name, "_") {
		name = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if notInTrailer(name, nil) {
			return true
		}
	}
	switch name {
	case "X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url":
		return true
	}
	return false
}

// setForwarded tells the worker who asks: what a trusted proxy said of it, and
// the peer. What anyone else says is dropped.
func (x *exchange) setForwarded(h http.Header, trusted bool) {
	in := x.r.Header
	if client, _, err := net.SplitHostPort(x.r.RemoteAddr); err == nil {
		if prior := in["X-Forwarded-For"]; trusted && len(prior) > 0 {
			client = strings.Join(prior, ", ") + ", " + client
		}
		h["X-Forwarded-For"] = x.line(client)
	}
	host, proto := in["X-Forwarded-Host"], in["X-Forwarded-Proto"]
	if !trusted || len(host) == 0 {
		host = x.line(x.r.Host)
	}
	switch {
	case trusted && len(proto) > 0:
	case x.r.TLS != nil:
		proto = x.line("https")
	default:
		proto = x.line("http")
	}
	h["X-Forwarded-Host"], h["X-Forwarded-Proto"] = host, proto
}

// isHopByHop reports whether a header is for one connection alone (RFC 9110,
// section 7.6.1, and those of RFC 2616, section 13.5.1).
func isHopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// dropNamed removes the headers that the lines of a Connection header name.
func dropNamed(h http.Header, connection []string) {
	for _, line := range connection {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
}

// hasToken reports whether a token is among those of a header's lines, in
// whatever case.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for word := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(textproto.TrimString(word), token) {
				return true
			}
		}
	}
	return false
}

// upgrades reports whether the request asks for a websocket. It is the only
// protocol that a connection is handed over to: by h2c a client could send
// requests through it that nobody counts.
func (x *exchange) upgrades() bool {
	lines := x.r.Header["Upgrade"]
	return x.r.Method == http.MethodGet && len(lines) == 1 && strings.EqualFold(lines[0], "websocket")
}

// notInTrailer reports whether a header does not pass behind a body. There are
// workers that take trailers for headers, so nothing passes there that says who
// asks, or where a message ends; nor what is no name, with which nothing can be sent.
func notInTrailer(name string, _ []string) bool {
	switch name {
	case "Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie", "Set-Cookie", "Forwarded", "X-Real-Ip", "X-Request-Id",
		"Host", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect",
		"Content-Length", "Content-Encoding", "Content-Type", "Content-Range", "X-Queue-Position":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "Proxy-") || misleads(name) || name == "" || strings.ContainsFunc(name, notInName)
}

// notInName reports whether a letter is none of a method or of a header's name.
func notInName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
}

// canBeSent reports whether a worker can be asked by that method, and by that name.
// What could not be sent would count as its failure. net/http has looked at a Host,
// but at no host in a target, and at the methods of HTTP/1 alone.
func canBeSent(method, host string) bool {
	return !strings.ContainsFunc(method, notInName) && !strings.ContainsFunc(host, func(c rune) bool { return c >= utf8.RuneSelf })
}
