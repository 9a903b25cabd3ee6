package identity_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/identity"
)

// keyNames is where keys are shown, the first that is present counting.
var keyNames = []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

func bearer(key string) http.Header {
	return http.Header{"Authorization": {"Bearer " + key}}
}

func credential(t interface{ Fatal(...any) }, h http.Header) identity.Credential {
	_, cred := newIdentifier(t, identity.ByAddress, nil).Identify(request("192.0.2.1:1", h))
	return cred
}

func TestCredential(t *testing.T) {
	for _, c := range []struct {
		name     string
		h        http.Header
		from     string // "" is none
		key      string
		stripped http.Header
	}{
		{"nothing", http.Header{}, "", "", http.Header{}},
		{"bearer", http.Header{"Authorization": {"Bearer k"}}, "Authorization", "k", http.Header{"Authorization": {"Bearer k"}}},
		{"lower case", http.Header{"Authorization": {"bearer k"}}, "Authorization", "k", http.Header{"Authorization": {"bearer k"}}},
		{"mixed case", http.Header{"Authorization": {"bEaReR k"}}, "Authorization", "k", http.Header{"Authorization": {"bEaReR k"}}},
		{
			"more space",
			http.Header{"Authorization": {" Bearer \t k\t"}},
			"Authorization", "k",
			http.Header{"Authorization": {" Bearer \t k\t"}},
		},
		{"bearer alone", http.Header{"Authorization": {"Bearer"}}, "", "", http.Header{"Authorization": {"Bearer"}}},
		{"bearer and space", http.Header{"Authorization": {"Bearer "}}, "", "", http.Header{"Authorization": {"Bearer "}}},
		{"two tokens", http.Header{"Authorization": {"Bearer a b"}}, "", "", http.Header{"Authorization": {"Bearer a b"}}},
		{"no space", http.Header{"Authorization": {"Bearerk"}}, "", "", http.Header{"Authorization": {"Bearerk"}}},
		{"colon", http.Header{"Authorization": {"Bearer:k"}}, "", "", http.Header{"Authorization": {"Bearer:k"}}},
		{"basic", http.Header{"Authorization": {"Basic k"}}, "", "", http.Header{"Authorization": {"Basic k"}}},
		{"bare key", http.Header{"Authorization": {"k"}}, "", "", http.Header{"Authorization": {"k"}}},
		{"x-api-key", http.Header{"X-Api-Key": {"k"}}, "X-Api-Key", "k", http.Header{"X-Api-Key": {"k"}}},
		{"api-key", http.Header{"Api-Key": {"k"}}, "Api-Key", "k", http.Header{"Api-Key": {"k"}}},
		{"x-goog-api-key", http.Header{"X-Goog-Api-Key": {"k"}}, "X-Goog-Api-Key", "k", http.Header{"X-Goog-Api-Key": {"k"}}},
		{"trimmed", http.Header{"X-Api-Key": {"\t k "}}, "X-Api-Key", "k", http.Header{"X-Api-Key": {"\t k "}}},
		{"empty", http.Header{"X-Api-Key": {" "}}, "", "", http.Header{"X-Api-Key": {" "}}},

		{
			"all four",
			http.Header{"Authorization": {"Bearer a"}, "X-Api-Key": {"b"}, "Api-Key": {"c"}, "X-Goog-Api-Key": {"d"}, "Accept": {"e"}},
			"Authorization", "a",
			http.Header{"Authorization": {"Bearer a"}, "Accept": {"e"}},
		},
		{
			"three",
			http.Header{"X-Api-Key": {"b"}, "Api-Key": {"c"}, "X-Goog-Api-Key": {"d"}},
			"X-Api-Key", "b",
			http.Header{"X-Api-Key": {"b"}},
		},
		{"two", http.Header{"Api-Key": {"c"}, "X-Goog-Api-Key": {"d"}}, "Api-Key", "c", http.Header{"Api-Key": {"c"}}},
		{
			"basic stays beside a key",
			http.Header{"Authorization": {"Basic a"}, "X-Api-Key": {"b"}},
			"X-Api-Key", "b",
			http.Header{"Authorization": {"Basic a"}, "X-Api-Key": {"b"}},
		},
		{
			"a longer scheme stays beside a key",
			http.Header{"Authorization": {"Bearerish a"}, "X-Api-Key": {"b"}},
			"X-Api-Key", "b",
			http.Header{"Authorization": {"Bearerish a"}, "X-Api-Key": {"b"}},
		},
		{
			"an empty bearer does not",
			http.Header{"Authorization": {"Bearer "}, "X-Api-Key": {"b"}},
			"X-Api-Key", "b",
			http.Header{"X-Api-Key": {"b"}},
		},
		{
			"nor two tokens",
			http.Header{"Authorization": {"Bearer a b"}, "X-Api-Key": {"b"}},
			"X-Api-Key", "b",
			http.Header{"X-Api-Key": {"b"}},
		},
		{
			"nor what a worker might split",
			http.Header{"Authorization": {"Bearer\u00a0a"}, "X-Api-Key": {"b"}},
			"X-Api-Key", "b",
			http.Header{"X-Api-Key": {"b"}},
		},
		{
			"nor a bearer on a further line",
			http.Header{"Authorization": {"Basic a", "Bearer c"}, "X-Api-Key": {"b"}},
			"X-Api-Key", "b",
			http.Header{"Authorization": {"Basic a"}, "X-Api-Key": {"b"}},
		},
		{
			"further lines behind the key",
			http.Header{"Authorization": {"Bearer a", "Basic b", "Bearer c"}},
			"Authorization", "a",
			http.Header{"Authorization": {"Bearer a"}},
		},
		{
			"further lines of its own",
			http.Header{"X-Api-Key": {"a", "b"}},
			"X-Api-Key", "a",
			http.Header{"X-Api-Key": {"a"}},
		},
		{
			"a further line is not looked at",
			http.Header{"X-Api-Key": {"", "b"}, "Api-Key": {"c"}},
			"Api-Key", "c",
			http.Header{"Api-Key": {"c"}},
		},
		{
			"nothing counts, and nothing goes that was looked at",
			http.Header{"Authorization": {"Basic a", "Bearer b"}, "X-Api-Key": {"", "c"}, "Accept": {"d", "e"}},
			"", "",
			http.Header{"Authorization": {"Basic a"}, "X-Api-Key": {""}, "Accept": {"d", "e"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want identity.Credential
			if c.from != "" {
				want = identity.Credential{Header: c.from, Digest: sum(c.key)}
			}
			cred := credential(t, c.h)
			if cred != want {
				t.Errorf("credential %v, want %v", cred, want)
			}
			out := c.h.Clone()
			cred.Strip(out)
			if d := cmp.Diff(c.stripped, out); d != "" {
				t.Errorf("stripped (-want +got):\n%s", d)
			}
		})
	}
}

// Of every combination of the four headers, the first that is present counts
// and the others go.
func TestEveryCombination(t *testing.T) {
	for mask := range 1 << len(keyNames) {
		h, want := http.Header{}, ""
		for i, name := range slices.Backward(keyNames) {
			if mask&(1<<i) != 0 {
				h.Set(name, "Bearer-"+name)
				want = name
			}
		}
		if want == "Authorization" {
			h.Set(want, "Bearer "+want)
		}
		cred := credential(t, h)
		if cred.Header != want {
			t.Errorf("%v: %q counts, want %q", h, cred.Header, want)
		}
		cred.Strip(h)
		if want != "" && (len(h) != 1 || h.Get(want) == "") {
			t.Errorf("stripped to %v, want %s alone", h, want)
		}
	}
}

// After Strip a worker finds one key, the one that counted, and the lines that
// are stripped from a header are not changed where another header shares them.
func TestStripLeavesOneKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeader(t, rapid.StringMatching(`[A-Z]{0,3}`))
		shared, before := http.Header{}, h.Clone()
		for name, lines := range h {
			shared[name] = lines
		}
		cred := credential(t, h)
		cred.Strip(h)
		if d := cmp.Diff(before, shared); d != "" {
			t.Fatalf("shared lines changed:\n%s", d)
		}
		if cred.Header == "" {
			for name, lines := range before {
				if slices.Contains(keyNames, name) {
					lines = lines[:min(len(lines), 1)]
				}
				if !slices.Equal(lines, h[name]) {
					t.Fatalf("%s is %q without a key, want %q", name, h[name], lines)
				}
			}
			return
		}
		if again := credential(t, h); again != cred {
			t.Fatalf("%v counts after Strip, %v before", again, cred)
		}
		keys := 0
		for _, name := range keyNames {
			for _, line := range h[name] {
				if name != "Authorization" || strings.HasPrefix(strings.ToLower(line), "bearer ") {
					keys++
				}
			}
		}
		if keys != 1 {
			t.Fatalf("%d keys are left in %v", keys, h)
		}
	})
}

// Anything in Authorization is read without trouble, and what counts is what
// strings.Fields makes of it.
func FuzzBearer(f *testing.F) {
	for _, line := range []string{"", "Bearer k", "bearer\tk ", "Bearer a b", "Bearer", "Bearerk", "Basic k", "  BEARER   k", "Bearer:k"} {
		f.Add(line)
	}
	i := newIdentifier(f, identity.ByAddress, nil)
	f.Fuzz(func(t *testing.T, line string) {
		var want identity.Credential
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(fields) == 2 && strings.EqualFold(fields[0], "Bearer") {
			want = identity.Credential{Header: "Authorization", Digest: sum(fields[1])}
		}
		_, got := i.Identify(request("192.0.2.1:1", http.Header{"Authorization": {line}}))
		if got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	})
}
