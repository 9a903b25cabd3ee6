// Package modelname says which entry of a list of models a model's name belongs
// to: a name, which also stands for its dated and latest versions, or a glob.
package modelname

import "strings"

// IsGlob reports whether a pattern is a glob: it has a *, which stands for any
// letters, a slash among them.
func IsGlob(pattern string) bool { return strings.Contains(pattern, "*") }

// Matches reports whether a name belongs to a pattern. One that is no glob
// matches itself, itself + "-latest", and itself + a date. Names have a case.
func Matches(pattern, name string) bool {
	if IsGlob(pattern) {
		return MatchesGlob(pattern, name)
	}
	return name == pattern || versioned(name, len(pattern)) && strings.HasPrefix(name, pattern)
}

// MatchesGlob reports whether name matches pattern, each * in which stands for
// any letters, a slash among them.
func MatchesGlob(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return name == pattern
	}
	return startsAndGoesOn(first, rest, name)
}

// startsAndGoesOn reports whether name matches a glob of first, a *, and rest.
func startsAndGoesOn(first, rest, name string) bool {
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
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

// Fixed returns how many letters of a pattern are not a *. The more there are,
// the better the pattern knows its names.
func Fixed(pattern string) int { return len(pattern) - strings.Count(pattern, "*") }

// versioned reports whether what follows the first n letters of a name is a
// version: -latest, or a date.
func versioned(name string, n int) bool {
	return n < len(name) && (name[n:] == latest || dated(name[n:]))
}

const latest = "-latest"

// base returns a name without its version, if it has one. There is one way at
// most to cut it: no two kinds of version end in the same letters.
func base(name string) (string, bool) {
	for _, n := range [...]int{len(latest), len("-0229"), len("-20240229"), len("-2024-02-29")} {
		if rest := len(name) - n; rest >= 0 && versioned(name, rest) {
			return name[:rest], true
		}
	}
	return "", false
}

// dated reports whether s is a date as model versions have it: -20240229,
// -2024-02-29 or -0229.
func dated(s string) bool {
	form := ""
	switch len(s) {
	case 5:
		form = "-mmdd"
	case 9:
		form = "-yyyymmdd"
	case 11:
		form = "-yyyy-mm-dd"
	}
	month, day := 0, 0
	for i := range len(form) {
		digit := int(s[i]) - '0'
		switch form[i] {
		case '-':
			if s[i] != '-' {
				return false
			}
			continue
		case 'm':
			month = 10*month + digit
		case 'd':
			day = 10*day + digit
		}
		if digit < 0 || digit > 9 {
			return false
		}
	}
	return 1 <= month && month <= 12 && 1 <= day && day <= 31
}
