package config

import (
	"crypto/sha256"
	"maps"
	"regexp"
	"slices"
)

// keyID is what a key's given name looks like: fit for a metric's label.
var keyID = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)

// name reads a name that metrics may show. What stands there in its place is
// not shown: it could be a key.
func (m *mapping) name(key string, to *string) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	if s, ok := v.text(); ok && s.isName() {
		*to = s.text
	}
}

// isName reports whether a text is a name; if not, it has said so.
func (s scalar) isName() bool {
	if keyID.MatchString(s.text) {
		return true
	}
	s.fail("a name has 1 to 64 letters, digits and . _ @ -")
	return false
}

// auth reads the section of the same name. It comes before every section
// that refers to a key by its id.
func (r *reader) auth(m *mapping, a *Auth) {
	m.masked = true
	m.word("unknown_keys", &a.UnknownKeys, "by_address", "trust", "learn")
	if v, ok := m.get("keys"); ok {
		a.Keys = r.authKeys(v)
	}
	m.later("mode", "jwt")
}

// authKeys reads the list in two passes: first every id, since no key's text
// may be one of them.
func (r *reader) authKeys(v value) (keys []Key) {
	items, _ := v.items()
	type listing struct {
		*mapping
		id string
	}
	var list []listing
	for _, item := range items {
		if m, ok := item.mapping(); ok {
			m.masked = true
			list = append(list, listing{m, r.keys.readID(m)})
		}
	}
	seen := keySet{}
	for _, l := range list {
		if v, ok := l.get("key"); !ok {
			l.missing("key", "write the key itself, sha256:HEX, env:NAME or file:PATH")
		} else if digest, ok := r.keys.readDigest(v); ok && seen.add(v, digest) && l.id != "" {
			k := Key{ID: l.id, Digest: digest, Line: l.node.Line}
			l.name("role", &k.Role)
			l.name("tenant", &k.Tenant)
			r.keys.add(k)
			keys = append(keys, k)
		} else {
			l.name("role", new(string))
			l.name("tenant", new(string))
		}
		l.later("tier")
		l.done()
	}
	return keys
}

// keyring is what is known of auth.keys while the rest of the file is read.
type keyring struct {
	byID map[string]Key      // without its digest until the key was read
	ids  map[[32]byte]bool   // of each id, as if it were a key
	id   map[[32]byte]string // by the key's digest
}

func newKeyring() keyring {
	return keyring{byID: map[string]Key{}, ids: map[[32]byte]bool{}, id: map[[32]byte]string{}}
}

func (k keyring) add(key Key) {
	k.byID[key.ID] = key
	k.id[key.Digest] = key.ID
}

// readID reads the id of one of auth.keys; "" when it is missing or wrong.
func (k keyring) readID(m *mapping) string {
	v, ok := m.get("id")
	if !ok {
		m.missing("id", "the name that logs and metrics show")
		return ""
	}
	s, ok := v.text()
	if !ok {
		return ""
	}
	if !keyID.MatchString(s.text) {
		v.fail("an id has 1 to 64 letters, digits and . _ @ -")
		return ""
	}
	if other, ok := k.byID[s.text]; ok {
		v.fail("the key on line %d has this id: give each its own", other.Line)
		return ""
	}
	k.byID[s.text] = Key{ID: s.text, Line: m.node.Line}
	k.ids[sha256.Sum256([]byte(s.text))] = true
	return s.text
}

// readDigest reads a key that stands as a value.
func (k keyring) readDigest(v value) ([32]byte, bool) {
	s, ok := v.secretText()
	if !ok {
		return [32]byte{}, false
	}
	return k.digest(s)
}

// digest returns the digest of a key that is not the id of one: ids are no
// secrets, and one that opened something would be a hole.
func (k keyring) digest(s secretText) ([32]byte, bool) {
	digest, ok := s.digest()
	if ok && k.ids[digest] {
		s.fail("this is the id of a key, which is no secret: write the key")
		return digest, false
	}
	return digest, ok
}

// refer reads a key that is named outside auth.keys: by its id, or by
// itself. A key of auth.keys has its ID either way.
func (k keyring) refer(s secretText) (Key, bool) {
	key, isID := k.byID[s.text]
	if isID {
		key.Line = s.node.Line
		return key, k.id[key.Digest] == key.ID // else auth.keys has said what is wrong
	}
	digest, ok := k.digest(s)
	key = Key{Digest: digest}
	if id, listed := k.id[digest]; listed {
		key = k.byID[id]
	} else if ok {
		s.warnOfID(k.byID)
	}
	key.Line = s.node.Line
	return key, ok
}

// warnOfID warns of a key that looks like an id that was meant. The first few
// are looked at: where there are many they are keys.
func (s secretText) warnOfID(ids map[string]Key) {
	if s.r.strangers++; s.r.strangers > maxListed {
		return
	}
	if id := nearest(s.text, slices.Sorted(maps.Keys(ids))); id != "" {
		s.r.warn(s.place(), s.path, "no key of auth.keys has this id, so that it is taken for a key itself; did you mean %s?", id)
	}
}

// keySet finds keys that are listed twice in a section, however written.
type keySet map[[32]byte]int // line by digest

func (k keySet) add(v value, digest [32]byte) bool {
	if line, ok := k[digest]; ok {
		v.fail("the same key stands on line %d already: keep one of them", line)
		return false
	}
	k[digest] = v.node.Line
	return true
}
