package policy

import (
	"cmp"
	"strings"
)

// model is one entry of per_model: a name, which also stands for its dated and
// latest versions, or a glob.
type model struct {
	name  string
	group *group // nil when nothing limits it
	glob  bool
	fixed int // letters that are not a glob's *
}

func newModel(name string, g *group) model {
	return model{
		name:  name,
		group: g,
		glob:  strings.Contains(name, "*"),
		fixed: len(name) - strings.Count(name, "*"),
	}
}

func (m *model) matches(name string) bool {
	if m.glob {
		return globMatches(m.name, name)
	}
	rest, ok := strings.CutPrefix(name, m.name)
	return ok && (rest == "" || rest == "-latest" || dated(rest))
}

// modelOf returns the entry for a model's name: the longest that matches, of two
// as long a name before a glob, and of two globs the first; nil if there is none.
// A request that names no model has the entry *, since a worker may answer it
// all the same.
func (p *Policy) modelOf(name string) *model {
	var best *model
	for i := range p.models {
		m := &p.models[i]
		if m.matches(name) && (best == nil || cmp.Or(cmp.Compare(m.fixed, best.fixed), boolCompare(best.glob, m.glob)) > 0) {
			best = m
		}
	}
	return best
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// dated reports whether s is a date as model versions have it: -20240229,
// -2024-02-29 or -0229.
func dated(s string) bool {
	digits := strings.ReplaceAll(s, "-", "")
	switch {
	case len(s) == 5 && s[0] == '-' && len(digits) == 4:
	case len(s) == 9 && s[0] == '-' && len(digits) == 8:
		digits = digits[4:]
	case len(s) == 11 && s[0] == '-' && s[5] == '-' && s[8] == '-' && len(digits) == 8:
		digits = digits[4:]
	default:
		return false
	}
	for i := range len(s) {
		if s[i] != '-' && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	month, day := digits[:2], digits[2:]
	return "01" <= month && month <= "12" && "01" <= day && day <= "31"
}

// globMatches reports whether name matches pattern, in which * stands for any
// letters, a slash among them.
func globMatches(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	name, ok := strings.CutPrefix(name, first)
	if !star || !ok {
		return ok && name == ""
	}
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], next
	}
}
