package modelname

import (
	"slices"
	"strings"
)

// A Set is a list of patterns, each with a value. It finds names in a time that
// does not depend on how many of the patterns are names. The zero Set is empty.
// Any number of goroutines may call Of while none calls Add.
type Set[T any] struct {
	names map[string]T
	globs []glob[T] // the longest first, of two as long the one added first
}

type glob[T any] struct {
	first, rest string // before the first *, and behind it
	fixed       int
	value       T
}

// Add adds a pattern. If the same one has been added before, that one stays and
// Add returns false.
func (s *Set[T]) Add(pattern string, value T) bool {
	if !IsGlob(pattern) {
		if _, known := s.names[pattern]; known {
			return false
		}
		if s.names == nil {
			s.names = map[string]T{}
		}
		s.names[pattern] = value
		return true
	}
	g := glob[T]{fixed: Fixed(pattern), value: value}
	g.first, g.rest, _ = strings.Cut(pattern, "*")
	i := 0
	for ; i < len(s.globs) && s.globs[i].fixed >= g.fixed; i++ {
		if o := &s.globs[i]; o.first == g.first && o.rest == g.rest {
			return false
		}
	}
	s.globs = slices.Insert(s.globs, i, g)
	return true
}

// Of returns the value of the pattern that a name belongs to: of those that
// match, the one with the most letters that are not a *, of two as long a name
// before a glob, and of two globs the one added first. It does not allocate.
func (s *Set[T]) Of(name string) (value T, ok bool) {
	// No glob has more letters than the name itself.
	if value, ok = s.names[name]; ok {
		return value, true
	}
	least := 0
	if b, versioned := base(name); versioned {
		if value, ok = s.names[b]; ok {
			least = len(b) + 1
		}
	}
	for i := range s.globs {
		g := &s.globs[i]
		if g.fixed < least {
			break
		}
		if g.fixed <= len(name) && startsAndGoesOn(g.first, g.rest, name) {
			return g.value, true
		}
	}
	return value, ok
}
