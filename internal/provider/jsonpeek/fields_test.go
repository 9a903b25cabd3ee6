package jsonpeek

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestNames looks for names of every length there may be, and for what is nearly
// one, as they are written in many ways.
func TestNames(t *testing.T) {
	var names []string
	for n := range maxName + 1 {
		names = append(names, strings.Repeat("a", n), "b"+strings.Repeat("a", max(n-1, 0)))
	}
	names = names[1:] // of those of no byte one is the other's twin
	names[0] = ""
	slices.Sort(names)
	names = slices.Compact(names)
	fields := NewFields(names[:maxFields]...)
	for _, between := range []string{``, ` `, "  ", "\n"} {
		for _, behind := range []string{"", padding} {
			for i, name := range names[:maxFields] {
				for _, key := range []string{name, name + "_", strings.TrimSuffix(name, "a") + "c"} {
					want := slices.Index(names[:maxFields], key)
					document := `{"` + key + `"` + between + `:` + between + `1` + between + `,` + between + `"x":` + between + `2}` + behind
					c := New([]byte(document))
					o := c.Object(fields)
					if !o.Next() || o.Field != want || string(c.Raw()) != "1" || !o.Next() || o.Field != Unknown || o.Next() || c.End() != nil {
						t.Errorf("%d of %q: field %d, want %d; error %v", i, document, o.Field, want, c.End())
					}
					c = New([]byte(document))
					if o := c.Object(NewFields(name)); !o.Next() || (o.Field == 0) != (key == name) {
						t.Errorf("%q alone in %q is field %d", name, document, o.Field)
					}
				}
			}
		}
	}
}

func TestNewFieldsPanics(t *testing.T) {
	for name, names := range map[string][]string{
		"twice": {"a", "a"}, "upper case": {"A"}, "not ASCII": {"é"}, "long": {strings.Repeat("a", 32)},
		"many": strings.Split(strings.Repeat("x,", 63), ","),
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Errorf("NewFields(%q) did not panic", names)
				}
			}()
			if name == "many" {
				for i := range names {
					names[i] = fmt.Sprint("f", i)
				}
			}
			NewFields(names...)
		})
	}
}
