package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
)

// Secret is a text that is never printed: fmt, slog, JSON and YAML show
// [redacted] in its place, or nothing when it is empty.
type Secret string

// Reveal returns the text. Who calls it keeps it out of logs and errors.
func (s Secret) Reveal() string { return string(s) }

// String returns [redacted], or "" for the empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

// GoString returns what String does, in quotes.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format prints what String returns, also under verbs that a string does not
// have, where fmt would show the bare value. (Of %p it is not asked.)
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		_, _ = fmt.Fprint(f, s.GoString())
		return
	}
	_, _ = fmt.Fprint(f, s.String())
}

// LogValue returns what String does.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns what String does.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// secretText is a secret as it was written: the text itself, env:NAME or
// file:PATH. The two prefixes count as the file has them, so that no
// variable's value can name another variable or a file. No message shows
// any of it but the name and the path.
type secretText struct {
	value
	raw, text string // before and after ${VAR} was expanded
}

func (v value) secretText() (secretText, bool) {
	s, ok := v.text()
	if !ok {
		return secretText{}, false
	}
	return secretText{v, v.node.Value, s.text}, true
}

// secret reads a secret that is used as it is.
func (m *mapping) secret(key string, to *Secret) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	s, ok := v.secretText()
	if !ok {
		return
	}
	if text, ok := s.resolve(); ok && s.usable(text) {
		*to = Secret(text)
	}
}

// resolve returns the secret itself, which is never empty.
func (s secretText) resolve() (secret string, ok bool) {
	origin, err := shown(s.raw)+": ", error(nil)
	if name, found := strings.CutPrefix(s.raw, "env:"); found {
		if !variable.MatchString(name) {
			s.fail("env: without a variable's name: write env:NAME")
			return "", false
		}
		var set bool
		if secret, set = s.r.getenv(name); !set {
			err = errors.New("the variable is not set")
		}
	} else if strings.HasPrefix(s.raw, "file:") {
		secret, err = s.r.secretFile(strings.TrimPrefix(s.text, "file:"))
	} else {
		origin, secret = "", s.text
	}
	if err == nil && secret == "" {
		err = errors.New("an empty secret protects nothing")
	}
	if err != nil {
		s.fail("%s%v", origin, err)
		return "", false
	}
	return secret, true
}

// secretFile reads a secret without the newline that editors leave at its end.
func (r *reader) secretFile(path string) (string, error) {
	if path == "" {
		return "", errors.New("no path: write file:PATH")
	}
	data, err := r.read(path, maxSecretBytes)
	return strings.TrimRight(string(data), "\r\n"), err
}

// read reads a file that the configuration names. Errors do not show its path,
// which was expanded.
func (r *reader) read(path string, most int64) ([]byte, error) {
	data, err := r.readFile(path, most)
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return data, err
}

// usable reports a secret that no request can carry, and warns of one that
// is easy to guess.
func (s secretText) usable(secret string) bool { return s.r.usable(s.place(), s.path, secret) }

func (r *reader) usable(p place, path, secret string) bool {
	if strings.ContainsFunc(secret, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		r.fail(p, path, "a secret with a space or a control character in it: no request can carry it")
		return false
	}
	if len(secret) < 8 {
		r.warn(p, path, "a secret of fewer than 8 bytes is easy to guess")
	}
	return true
}

// digest returns the SHA-256 of an API key. A key that is given as
// sha256:HEX is the digest itself.
func (s secretText) digest() (digest [32]byte, ok bool) {
	text, ok := s.resolve()
	if !ok {
		return digest, false
	}
	hexes, given := strings.CutPrefix(text, "sha256:")
	if !given {
		return sha256.Sum256([]byte(text)), s.usable(text)
	}
	b, err := hex.DecodeString(hexes)
	if err != nil || len(b) != len(digest) {
		s.fail("sha256: needs 64 hexadecimal digits after it")
		return digest, false
	}
	return [32]byte(b), true
}
