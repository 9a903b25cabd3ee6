package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

const noAliases = "anchors, aliases and merge keys are not supported: write the value where it counts"

// reader carries one document's reading: what is wrong so far, and where
// each key stood, for the checks that look at several.
type reader struct {
	source
	errors, warnings findings
	places           places
	tiers            []tier // every set of limits
	keys             keyring
	turns            []string // the paths of every class and weight
	strangers        int      // keys outside auth.keys that are not listed there
}

// fail reports an error at p.
func (r *reader) fail(p place, path, format string, args ...any) {
	r.errors.add(r.finding(p, path, format, args...))
}

// warn reports a warning at p.
func (r *reader) warn(p place, path, format string, args ...any) {
	r.warnings.add(r.finding(p, path, format, args...))
}

// failAt and warnAt report at the place of path, or of the nearest key above
// it that stands in the file.
func (r *reader) failAt(path, format string, args ...any) {
	r.fail(r.places.of(path), path, format, args...)
}

func (r *reader) warnAt(path, format string, args ...any) {
	r.warn(r.places.of(path), path, format, args...)
}

func (r *reader) finding(p place, path, format string, args ...any) Error {
	return finding(r.name, p, path, fmt.Sprintf(format, args...))
}

// value is one node of the document and its path.
type value struct {
	r    *reader
	node *yaml.Node
	path string
}

func (v value) place() place { return place{line: v.node.Line, column: v.node.Column} }

func (v value) fail(format string, args ...any) {
	v.r.fail(v.place(), v.path, format, args...)
}

// is reports whether the node is of the kind, which is what is expected, and
// uses nothing of YAML that is refused; if not, it has said so.
func (v value) is(kind yaml.Kind, expected string) bool {
	switch {
	case v.node.Kind == yaml.AliasNode || v.node.Anchor != "":
		v.fail(noAliases)
	case v.node.Style&yaml.TaggedStyle != 0:
		v.fail("tags (!) are not supported: remove it")
	case v.node.Kind != kind:
		v.fail("expected %s, got %s", expected, v.kind())
	default:
		return true
	}
	return false
}

// kind describes what stands in the file, for messages.
func (v value) kind() string {
	switch v.node.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	switch v.node.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	}
	return "a string"
}

// entry is one pair of a mapping.
type entry struct {
	key  string
	name value // the key itself, with the path of the pair
	value
}

// entries returns the pairs of a mapping in their order, each key once.
// name gives an entry's path, which must not show a secret.
func (v value) entries(name func(i int, key string) string) ([]entry, bool) {
	if !v.is(yaml.MappingNode, "keys and values") {
		return nil, false
	}
	var list []entry
	lines := make(map[string]int, len(v.node.Content)/2)
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key := value{v.r, v.node.Content[i], v.path}
		switch {
		case key.node.ShortTag() == "!!merge":
			key.fail(noAliases)
			continue
		case !key.is(yaml.ScalarNode, "a name before the colon"):
			continue
		case key.node.ShortTag() != "!!str":
			key.fail("a name that is %s: put it in quotes", key.kind())
			continue
		}
		text := key.node.Value
		if line, ok := lines[text]; ok { // the text could be a secret
			key.fail("this key stands on line %d already: keep one of them", line)
			continue
		}
		path := name(i/2, text)
		lines[text] = key.node.Line
		list = append(list, entry{text, value{v.r, key.node, path}, value{v.r, v.node.Content[i+1], path}})
	}
	return list, true
}

// items returns the values of a list.
func (v value) items() ([]value, bool) {
	if !v.is(yaml.SequenceNode, "a list") {
		return nil, false
	}
	list := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		list[i] = value{v.r, n, v.path + "[" + strconv.Itoa(i) + "]"}
		v.r.places[list[i].path] = list[i].place()
	}
	return list, true
}

// mapping is a section whose keys are known: it is asked for each by name,
// and done reports the ones that nobody asked for.
type mapping struct {
	value
	// masked says that secrets stand in this section, so that the name of an
	// unknown key could be one whose level is wrong, and is not shown.
	masked bool
	given  []entry
	asked  map[string]bool
	known  []string
}

func (v value) mapping() (*mapping, bool) {
	given, ok := v.entries(func(_ int, key string) string { return join(v.path, key) })
	if !ok {
		return nil, false
	}
	return &mapping{value: v, given: given, asked: map[string]bool{}}, true
}

// get returns the value of a key that is known here.
func (m *mapping) get(key string) (value, bool) {
	m.known = append(m.known, key)
	e, ok := m.take(key)
	if ok {
		at := e.value
		if at.node.Kind != yaml.ScalarNode { // whose own place is that of its first part
			at = e.name
		}
		m.r.places[at.path] = at.place()
	}
	return e.value, ok
}

func (m *mapping) take(key string) (entry, bool) {
	m.asked[key] = true
	for _, e := range m.given {
		if e.key == key {
			return e, true
		}
	}
	return entry{}, false
}

// has reports whether a key is there.
func (m *mapping) has(key string) bool {
	return slices.ContainsFunc(m.given, func(e entry) bool { return e.key == key })
}

// later refuses keys of the design that this version does not have.
func (m *mapping) later(keys ...string) {
	for _, key := range keys {
		if e, ok := m.take(key); ok {
			e.name.fail(notYet)
		}
	}
}

// laterWord refuses a word of the design that this version does not have.
// It reports whether it stood there.
func (m *mapping) laterWord(key, word string) bool {
	e, ok := m.take(key)
	if !ok || e.node.Kind != yaml.ScalarNode || e.node.Value != word {
		return false
	}
	e.fail("%s: %s", word, notYet)
	return true
}

const notYet = "not supported by this version of penstock"

// missing reports that a key must be there.
func (m *mapping) missing(key, format string, args ...any) {
	m.r.failAt(m.path, "%s is missing: %s", key, fmt.Sprintf(format, args...))
}

// done reports the keys that were not asked for.
func (m *mapping) done() {
	for _, e := range m.given {
		if m.asked[e.key] {
			continue
		}
		path, message := e.path, "unknown key"
		if near := nearest(e.key, m.known); near != "" {
			message += "; did you mean " + near + "?"
		} else {
			if len(m.known) <= maxListed {
				message += "; known here: " + strings.Join(m.known, ", ")
			}
			if m.masked || !plainName.MatchString(e.key) {
				path = m.path
			}
		}
		m.r.fail(e.name.place(), path, "%s", message)
	}
}

// section reads a key that holds keys.
func (m *mapping) section(key string, read func(*mapping)) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	if sub, ok := v.mapping(); ok {
		read(sub)
		sub.done()
	}
}

// plainName is what keys of ours look like, and API keys rarely: only such an
// unknown name is shown.
var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]{0,39}$`)

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// quoted is a text of the file or the command line in quotes, and not too
// long of it.
func quoted(s string) string {
	const most = 64
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// shown is quoted, without its quotes where nothing odd needs them.
func shown(s string) string {
	q := quoted(s)
	if plain := q[1 : len(q)-1]; !strings.ContainsAny(plain, `\"`) {
		return plain
	}
	return q
}
