package config

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// maxAmount is the largest whole number that every store and every JSON
// reader keeps exactly. maxEstimate leaves room for a million parts of it.
const (
	maxAmount   = 1 << 53
	maxEstimate = math.MaxInt32
	maxDuration = 366 * day
	day         = 24 * time.Hour
)

// scalar is a single value, with its variables expanded.
type scalar struct {
	value
	text string
	// typed says that the file itself says the type: the value is not one
	// ${VAR} and nothing else.
	typed bool
}

// scalar reads a single value; if it is none, it has said that expected was
// expected.
func (v value) scalar(expected string) (scalar, bool) {
	if !v.is(yaml.ScalarNode, expected) {
		return scalar{}, false
	}
	if v.node.ShortTag() == "!!null" {
		v.fail("expected %s, got nothing", expected)
		return scalar{}, false
	}
	text, whole, err := expand(v.node.Value, v.r.getenv)
	if err != nil {
		v.fail("%v", err)
		return scalar{}, false
	}
	return scalar{v, text, !whole}, true
}

const quotedStyle = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// plain reports whether the value may be a number or a boolean: one ${VAR},
// in quotes or not, or neither in quotes nor with a variable in it.
func (s scalar) plain() bool {
	return !s.typed || s.node.Style&quotedStyle == 0 && s.node.Value == s.text
}

// got describes the value for messages as the file has it: what a variable
// expands to could be a secret.
func (s scalar) got() string {
	if s.typed && s.node.Style&quotedStyle != 0 {
		return "the string " + quoted(s.node.Value)
	}
	return shown(s.node.Value)
}

func (s scalar) expected(what string) {
	s.fail("expected %s, got %s", what, s.got())
}

// wholeNumber reads digits and nothing else: no sign, no octal, no exponent.
func wholeNumber(s string) (n int64, ok bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil { // out of range
		n = math.MaxInt64
	}
	return n, true
}

// whole reads a whole number from least to most. It reports whether the key
// is there.
func whole[T int | int64](m *mapping, key string, to *T, least, most int64) bool {
	v, ok := m.get(key)
	if ok {
		wholeValue(v, to, least, most)
	}
	return ok
}

// wholeValue reads the value itself.
func wholeValue[T int | int64](v value, to *T, least, most int64) {
	expected := wholeForm(least, most)
	s, ok := v.scalar(expected)
	if !ok {
		return
	}
	if n, ok := wholeNumber(s.text); ok && s.plain() && n >= least && n <= most {
		*to = T(n)
	} else {
		s.expected(expected)
	}
}

func wholeForm(least, most int64) string {
	return "a whole number from " + strconv.FormatInt(least, 10) + " to " + strconv.FormatInt(most, 10)
}

// boolean reads true or false; yes, on and 1 are not.
func (m *mapping) boolean(key string, to *bool) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	s, ok := v.scalar("true or false")
	if !ok {
		return
	}
	if s.text != "true" && s.text != "false" || !s.plain() {
		s.expected("true or false")
		return
	}
	*to = s.text == "true"
}

// text reads a string. Numbers and the like need quotes, so that what was
// written is what is meant.
func (v value) text() (scalar, bool) {
	s, ok := v.scalar("a string")
	if ok && s.typed && s.node.ShortTag() != "!!str" {
		s.fail("expected a string, got %s: put it in quotes", s.kind())
		return scalar{}, false
	}
	return s, ok
}

func (m *mapping) text(key string, to *string) {
	if v, ok := m.get(key); ok {
		if s, ok := v.text(); ok {
			*to = s.text
		}
	}
}

// matching reads a string of a form, which form describes.
func (m *mapping) matching(key string, to *string, re *regexp.Regexp, form string) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	if s, ok := v.text(); ok && !re.MatchString(s.text) {
		s.expected(form)
	} else if ok {
		*to = s.text
	}
}

// word reads one of a few words. It reports whether it did.
func (m *mapping) word(key string, to *string, words ...string) bool {
	v, ok := m.get(key)
	if !ok {
		return false
	}
	return v.word(to, words)
}

func (v value) word(to *string, words []string) bool {
	last := len(words) - 1
	expected := words[last]
	if last > 0 {
		expected = strings.Join(words[:last], ", ") + " or " + words[last]
	}
	s, ok := v.scalar(expected)
	switch {
	case !ok:
		return false
	case slices.Contains(words, s.text):
		*to = s.text
		return true
	}
	if near := nearest(s.text, words); near != "" && near != expected {
		s.fail("expected %s, got %s; did you mean %s?", expected, s.got(), near)
	} else {
		s.expected(expected)
	}
	return false
}

const durationForm = "a duration such as 30s, 1m30s, 2h or 1d"

// duration reads a positive duration of at most a year.
func (m *mapping) duration(key string, to *time.Duration) { m.readDuration(key, to, false) }

// durationOrNone is duration for a key of which 0 has a meaning; it needs no
// unit.
func (m *mapping) durationOrNone(key string, to *time.Duration) { m.readDuration(key, to, true) }

// leastInterval is the shortest time between two of the same thing. A check of a
// worker has that long for its answer, which takes its way and back.
const leastInterval = 10 * time.Millisecond

// interval is duration, or where orNone durationOrNone, for what is done again and
// again.
func (m *mapping) interval(key string, to *time.Duration, orNone bool) {
	if m.readDuration(key, to, orNone); 0 < *to && *to < leastInterval {
		m.r.failAt(join(m.path, key), "shorter than %s: nothing is to be done so often", durationText(leastInterval))
	}
}

func (m *mapping) readDuration(key string, to *time.Duration, orNone bool) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	s, ok := v.scalar(durationForm)
	if !ok {
		return
	}
	d, ok := parseDuration(s.text)
	switch n, bare := wholeNumber(s.text); {
	case bare && n == 0 && orNone:
		*to = 0
	case bare:
		s.fail("expected %s, got a number without a unit: write 60s for sixty seconds", durationForm)
	case !ok:
		s.expected(durationForm)
	case d == 0 && !orNone:
		s.fail("a duration of 0 is none: write a positive one, or remove it for the default")
	case d > maxDuration:
		s.fail("longer than %s", durationText(maxDuration))
	default:
		*to = d
	}
}

// unit is a suffix and what it stands for.
type unit struct {
	name string
	size int64
}

// durationUnits are in falling order, as they must stand in a duration.
func durationUnits() []unit {
	return []unit{
		{"d", int64(day)},
		{"h", int64(time.Hour)},
		{"m", int64(time.Minute)},
		{"s", int64(time.Second)},
		{"ms", int64(time.Millisecond)},
		{"us", int64(time.Microsecond)},
	}
}

// parseDuration reads whole numbers with units, the larger unit first. What
// is beyond maxDuration comes out as some duration beyond it.
func parseDuration(s string) (d time.Duration, ok bool) {
	units := durationUnits()
	rest := s
	for rest != "" {
		digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		rest = rest[len(digits):]
		name := rest[:len(rest)-len(strings.TrimLeft(rest, "dhmsu"))]
		rest = rest[len(name):]
		i := slices.IndexFunc(units, func(u unit) bool { return u.name == name })
		n, isNumber := wholeNumber(digits)
		if i < 0 || !isNumber {
			return 0, false
		}
		d += time.Duration(min(n, int64(2*maxDuration)/units[i].size) * units[i].size)
		units = units[i+1:]
	}
	return d, s != ""
}

// durationText writes d as parseDuration reads it, in the largest unit that
// comes out whole. d is positive and whole in microseconds.
func durationText(d time.Duration) string {
	units := durationUnits()
	i := slices.IndexFunc(units, func(u unit) bool { return int64(d)%u.size == 0 })
	return strconv.FormatInt(int64(d)/units[i].size, 10) + units[i].name
}

const sizeForm = "a size such as 64MiB, 10MB, 1GiB or a number of bytes"

// maxSize is a pebibyte, far beyond any machine and far from overflow.
const maxSize = 1 << 50

// size reads a positive number of bytes.
func (m *mapping) size(key string, to *int64) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	s, ok := v.scalar(sizeForm)
	if !ok {
		return
	}
	n, ok := parseSize(s.text)
	switch {
	case !ok:
		s.expected(sizeForm)
	case n == 0:
		s.fail("a size of 0 holds nothing: write a positive one, or remove it for the default")
	case n > maxSize:
		s.fail("larger than 1024TiB")
	default:
		*to = n
	}
}

// parseSize reads a whole number with or without a unit. What is beyond
// maxSize comes out as some size beyond it.
func parseSize(s string) (n int64, ok bool) {
	units := []unit{
		{"KiB", 1 << 10},
		{"MiB", 1 << 20},
		{"GiB", 1 << 30},
		{"TiB", 1 << 40},
		{"kB", 1e3},
		{"KB", 1e3},
		{"MB", 1e6},
		{"GB", 1e9},
		{"TB", 1e12},
		{"B", 1}, // after those that end in it
	}
	for _, u := range units {
		if digits, found := strings.CutSuffix(s, u.name); found {
			n, ok := wholeNumber(digits)
			return min(n, 2*maxSize/u.size) * u.size, ok
		}
	}
	n, ok = wholeNumber(s)
	return min(n, 2*maxSize), ok
}
