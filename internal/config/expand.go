package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// variable is a name that ${} and env: take.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${VAR} and ${VAR:-default} in s, the default also when the
// variable is set and empty, and makes $$ one dollar. Any other dollar stays.
// Nothing in the result is expanded again. whole says that s was one ${}
// and nothing else. Errors name the variable, never a value.
func expand(s string, getenv func(string) (string, bool)) (text string, whole bool, err error) {
	var b strings.Builder
	rest := s
	for {
		before, after, found := strings.Cut(rest, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), whole, nil
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			rest = after[1:]
		case !strings.HasPrefix(after, "{"):
			b.WriteByte('$')
			rest = after
		default:
			inner, behind, closed := strings.Cut(after[1:], "}")
			if !closed {
				return "", false, errors.New("a ${ without its }: write $${ for the characters themselves")
			}
			value, err := lookup(inner, getenv)
			if err != nil {
				return "", false, err
			}
			b.WriteString(value)
			whole = len(rest) == len(s) && before == "" && behind == ""
			rest = behind
		}
	}
}

// lookup returns what stands for ${inner}.
func lookup(inner string, getenv func(string) (string, bool)) (string, error) {
	name, fallback, hasFallback := strings.Cut(inner, ":-")
	if !variable.MatchString(name) {
		return "", errors.New("no variable's name in ${}: write ${VAR} or ${VAR:-default}, or $${ for the characters themselves")
	}
	if strings.Contains(fallback, "${") {
		return "", fmt.Errorf("the default of ${%s} holds another ${}: a default is plain text", name)
	}
	value, set := getenv(name)
	switch {
	case hasFallback && value == "":
		return fallback, nil
	case !set:
		return "", fmt.Errorf("the variable %s is not set: set it, or write ${%s:-default}", name, name)
	}
	return value, nil
}
