package modelname

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatches(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"gpt-4", "gpt-4", true},
		{"gpt-4", "gpt-4-latest", true},
		{"gpt-4", "gpt-4-0613", true},
		{"gpt-4", "gpt-4-2024-05-13", true},
		{"gpt-4", "gpt-4-20240513", true},
		{"gpt-4", "gpt-4-1313", false}, // no thirteenth month
		{"gpt-4", "gpt-4-0632", false}, // no such day
		{"gpt-4", "gpt-4-0600", false},
		{"gpt-4", "gpt-4-0006", false},
		{"gpt-4", "gpt-4-2024-13-01", false},
		{"gpt-4", "gpt-4-2024-05", false}, // a month alone
		{"gpt-4", "gpt-4-06131", false},
		{"gpt-4", "gpt-4-061", false},
		{"gpt-4", "gpt-4-06a3", false},
		{"gpt-4", "gpt-4-٠٦١٣", false},
		{"gpt-4", "gpt-4--0613", false},
		{"gpt-4", "gpt-4-2024051-3", false},
		{"gpt-4", "gpt-4-20-240513", false},
		{"gpt-4", "gpt-4-latest-0613", false},
		{"gpt-4", "gpt-4-LATEST", false},
		{"gpt-4", "gpt-4latest", false},
		{"gpt-4", "gpt-4-", false},
		{"gpt-4", "gpt-4o", false},
		{"gpt-4", "gpt-5-0613", false},
		{"gpt-4", "gpt", false},
		{"gpt-4", "", false},
		{"gpt-4", "GPT-4", false},
		{"gpt-4", " gpt-4", false},
		{"gpt-4-latest", "gpt-4", false},
		{"", "", true},
		{"", "-latest", true},
		{"*", "", true},
		{"*", "a/b", true},
		{"gpt-4*", "gpt-4", true},
		{"gpt-4*", "gpt-4o-0613", true},
		{"gpt-4*", "xgpt-4", false},
		{"*-4", "gpt-4-latest", false}, // globs are as written
		{"meta/*/8b*", "meta/a/b/8b-chat", true},
		{"meta/*/8b*", "meta/8b", false},
		{"a*a", "a", false},
	}
	for _, tt := range tests {
		if got := Matches(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%q of %q: %v, want %v", tt.name, tt.pattern, got, tt.want)
		}
	}
}

// TestMatchesGlob holds it to a regular expression that says the same.
func TestMatchesGlob(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab/*]{0,8}`).Draw(t, "pattern")
		name := rapid.StringMatching(`[ab/]{0,10}`).Draw(t, "name")
		slow := regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `$`)
		if got, want := MatchesGlob(pattern, name), slow.MatchString(name); got != want {
			t.Fatalf("%q of %q: %v, want %v", name, pattern, got, want)
		}
	})
}

// TestVersions holds base, which looks for a version from the end, to Matches,
// which is told where it begins.
func TestVersions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`a?(-?(0229|12|2024|latest|9)){0,5}`).Draw(t, "name")
		want, found := "", 0
		for i := range len(name) {
			if Matches(name[:i], name) {
				want, found = name[:i], found+1
			}
		}
		if found > 1 {
			t.Fatalf("%q is a version of %d names", name, found)
		}
		if got, ok := base(name); ok != (found == 1) || got != want {
			t.Fatalf("%q is a version of %q, %v; want %q, %v", name, got, ok, want, found == 1)
		}
	})
}

func TestSet(t *testing.T) {
	var s Set[string]
	if v, ok := s.Of("gpt-4"); ok {
		t.Errorf("an empty set has %q", v)
	}
	for _, p := range []string{"gpt-4-turbo", "gpt-4-turbo-*", "gpt-4o*", "gpt-4o-mini", "gpt-5*", "gpt-5", "*-late", "late-*", "*-instruct", "claude-*"} {
		if !s.Add(p, p) {
			t.Errorf("%s is refused", p)
		}
	}
	for _, p := range []string{"gpt-5", "gpt-5*"} {
		if s.Add(p, "another") {
			t.Errorf("%s is taken twice", p)
		}
	}
	for name, want := range map[string]string{
		"gpt-4-turbo":            "gpt-4-turbo",
		"gpt-4-turbo-2024-04-09": "gpt-4-turbo-*", // the longer one
		"gpt-4o-mini-2024-07-18": "gpt-4o-mini",
		"gpt-4o-mini-audio":      "gpt-4o*",
		"gpt-5":                  "gpt-5",
		"gpt-5-0101":             "gpt-5", // as long as gpt-5*: the name is meant
		"gpt-5-x":                "gpt-5*",
		"late--late":             "*-late",     // as long, both globs: the first
		"claude-x-instruct":      "*-instruct", // 9 letters against 7
		"gpt-3":                  "",
		"":                       "",
	} {
		if got, ok := s.Of(name); got != want || ok != (want != "") {
			t.Errorf("%q belongs to %q, %v; want %q", name, got, ok, want)
		}
	}
	s.Add("*", "*")
	if got, _ := s.Of(""); got != "*" {
		t.Errorf("no name belongs to %q, want *", got)
	}
}

// TestSetIsASearch holds Of to a search that tries every pattern.
func TestSetIsASearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Set[string]
		patterns := rapid.SliceOfNDistinct(rapid.StringMatching(`[ab*]{0,4}(-0101)?`), 0, 6, rapid.ID).Draw(t, "patterns")
		for _, p := range patterns {
			s.Add(p, p)
		}
		name := rapid.StringMatching(`[ab]{0,5}(-latest|-0101){0,2}`).Draw(t, "name")
		want, found := "", false
		for _, p := range patterns {
			longer := Fixed(p) > Fixed(want) || Fixed(p) == Fixed(want) && IsGlob(want) && !IsGlob(p)
			if Matches(p, name) && (!found || longer) {
				want, found = p, true
			}
		}
		if got, ok := s.Of(name); got != want || ok != found {
			t.Fatalf("%q belongs to %q, %v; want %q, %v", name, got, ok, want, found)
		}
	})
}

func TestOfDoesNotAllocate(t *testing.T) {
	var s Set[int]
	s.Add("gpt-4", 1)
	s.Add("gpt-*", 2)
	for _, name := range []string{"gpt-4", "gpt-4-2024-02-29", "gpt-4-latest", "gpt-5", "other-20240229"} {
		if n := testing.AllocsPerRun(100, func() { s.Of(name) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
