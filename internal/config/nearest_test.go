package config

import (
	"testing"

	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	names := []string{"default", "strategy", "limits", "per_key", "per_model", "max_keys"}
	tests := []struct{ word, want string }{
		{"default", "default"},
		{"defualt", "default"},
		{"defaults", "default"},
		{"limit", "limits"},
		{"perkey", "per_key"},
		{"per-model", "per_model"},
		{"maxkey", "max_keys"},
		{"LIMITS", ""},
		{"lim", ""},
		{"tiers", ""},
		{"", ""},
		{"strategystrategystrategystrategystrategystrategystrategystrategystrategy", ""},
	}
	for _, tt := range tests {
		if got := nearest(tt.word, names); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.word, got, tt.want)
		}
	}
}

// slowDistance is the definition, by trying everything.
func slowDistance(a, b string) int {
	if a == "" || b == "" {
		return len(a) + len(b)
	}
	d := slowDistance(a[1:], b[1:])
	if a[0] != b[0] {
		d++
	}
	d = min(d, slowDistance(a[1:], b)+1, slowDistance(a, b[1:])+1)
	if len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] {
		d = min(d, slowDistance(a[2:], b[2:])+1)
	}
	return d
}

func TestDistance(t *testing.T) {
	words := rapid.StringMatching(`[abc]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := words.Draw(t, "a"), words.Draw(t, "b")
		if got, want := distance(a, b), slowDistance(a, b); got != want {
			t.Fatalf("%q to %q: got %d, want %d", a, b, got, want)
		}
	})
}
