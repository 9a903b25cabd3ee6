package workers

import (
	"errors"
	"net/http"
	"net/textproto"
	"strconv"
)

// request is a request as http1 sends it.
type request struct {
	*http.Request                                                   // its method, headers and host
	target        string                                            // of the request line
	host          string                                            // where the request has none
	held          *Held                                             // the body; nil for none
	interim       func(code int, header textproto.MIMEHeader) error // as Want has it
}

// errNotPlain is of requests that are http.Transport's.
var errNotPlain = errors.New("workers: not a plain request")

// body is what is held of it.
func (r *request) body() []byte {
	if r.held == nil {
		return nil
	}
	return r.held.bytes
}

// again reports whether the request may be sent twice, by http.Transport's
// rules.
func (r *request) again() bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return r.Header["Idempotency-Key"] != nil || r.Header["X-Idempotency-Key"] != nil
}

// appendHead appends the request's head to b. It reports whether that is whole:
// what http.Transport would refuse or write in another way it leaves to it.
// Headers come in no order, but the values of each in theirs. There is no
// User-Agent but the client's.
func (r *request) appendHead(b []byte) ([]byte, bool) {
	method, host := r.Method, r.Host
	if method == "" {
		method = http.MethodGet
	}
	if host == "" {
		host = r.host
	}
	// Without a body, a length is an error, and with one held none other counts.
	if r.Close || method == http.MethodConnect || r.held == nil && r.ContentLength != 0 ||
		!all(method, tokenByte) || !all(r.target, targetByte) || !all(host, hostByte) {
		return b, false
	}
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, r.target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\n"...)
	switch {
	case r.held != nil, method == http.MethodPost, method == http.MethodPut, method == http.MethodPatch:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(r.body())), 10)
		b = append(b, "\r\n"...)
	}
	for name, values := range r.Header {
		switch name {
		case "Connection", "Upgrade", "Expect":
			return b, false
		}
		if !all(name, tokenByte) {
			return b, false
		}
		for i, v := range values {
			if v != "" && !all(v, valueByte) {
				return b, false
			}
			v = textproto.TrimString(v)
			switch name {
			case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
				continue // the request's fields say it
			case "User-Agent":
				if i > 0 || v == "" {
					continue
				}
			}
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...), true
}

// Where a byte may stand.
const (
	tokenByte  = 1 << iota // in a method and a header's name
	valueByte              // in a header's value
	targetByte             // in a request's target
	hostByte               // in a Host. Those with a '%' are for http.Transport, which knows of zones
)

var byteKinds = func() (kinds [256]uint8) {
	mark := func(kind uint8, bytes string) {
		for i := range len(bytes) {
			kinds[bytes[i]] |= kind
		}
	}
	const alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	mark(tokenByte, alphanumeric+"!#$%&'*+-.^_`|~")
	mark(hostByte, alphanumeric+"!$&'()*+,-.:;=[]_~")
	mark(valueByte, " \t")
	for b := range len(kinds) {
		if b > ' ' && b != 0x7f {
			kinds[b] |= valueByte | targetByte
		}
	}
	return kinds
}()

// all reports whether s has bytes, and all are of that kind.
func all(s string, kind uint8) bool {
	for i := range len(s) {
		if byteKinds[s[i]]&kind == 0 {
			return false
		}
	}
	return s != ""
}
