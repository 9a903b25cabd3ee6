package identity

import (
	"crypto/sha256"
	"net/http"
	"strings"
)

// maxKeyBytes is the longest key that can be a listed one.
const maxKeyBytes = 4096

const authorization = "Authorization"

// keyHeaders is where keys are shown after Authorization, the first one that
// is present counting.
var keyHeaders = [...]string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

// Credential is the key that a request showed: where, and its digest, never
// its text. The zero Credential is none.
type Credential struct {
	// Header is the canonical name of the header that it came in; empty
	// where there was no key.
	Header string
	// Digest is the SHA-256 of the key's text.
	Digest [sha256.Size]byte
}

// credentialOf returns the key that counts, and whether it is too long to be a
// listed one. Only the first line of each header is looked at.
func credentialOf(h http.Header) (cred Credential, long bool) {
	if key, _ := bearer(first(h[authorization])); key != "" {
		return newCredential(authorization, key)
	}
	for _, name := range keyHeaders {
		if key := trim(first(h[name])); key != "" {
			return newCredential(name, key)
		}
	}
	return Credential{}, false
}

func newCredential(header, key string) (cred Credential, long bool) {
	var room [256]byte // most keys fit, and cost no allocation
	return Credential{Header: header, Digest: sha256.Sum256(append(room[:0], key...))}, len(key) > maxKeyBytes
}

// Strip removes every other key from h, the header of the request toward a
// worker, so that the worker sees no key but the one that counted here: the
// other key headers, and an Authorization with another Bearer. One of another
// scheme is not a key and stays. Of each, the first line is all that stays: the
// others nobody here has looked at, and there are workers that read the last.
func (c Credential) Strip(h http.Header) {
	for _, name := range keyHeaders {
		if c.Header != "" && name != c.Header {
			delete(h, name)
		}
		firstAlone(h, name)
	}
	firstAlone(h, authorization)
	if _, is := bearer(first(h[authorization])); is && c.Header != "" && c.Header != authorization {
		delete(h, authorization)
	}
}

// firstAlone leaves a header its first line. It does not change the old lines,
// since h may share them.
func firstAlone(h http.Header, name string) {
	if lines := h[name]; len(lines) > 1 {
		h[name] = lines[:1:1]
	}
}

// bearer returns the token of an Authorization of the scheme Bearer, and
// whether it is of that scheme. The token is empty when there is not exactly
// one.
func bearer(line string) (token string, is bool) {
	const scheme = "Bearer"
	line = trim(line)
	if len(line) < len(scheme) || !strings.EqualFold(line[:len(scheme)], scheme) {
		return "", false
	}
	rest := line[len(scheme):]
	if rest != "" && schemeByte(rest[0]) {
		return "", false // another scheme, whose name begins like this one
	}
	token = trim(rest)
	if len(token) == len(rest) || strings.ContainsAny(token, " \t") {
		return "", true
	}
	return token, true
}

// schemeByte reports whether c would make the scheme a longer word.
func schemeByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}

func trim(s string) string { return strings.Trim(s, " \t") }
