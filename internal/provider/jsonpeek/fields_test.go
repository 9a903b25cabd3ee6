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

func TestCamelNames(t *testing.T) {
	fields := NewCamelFields("text", "partName", "aVeryLongNameOfField", "x")
	for _, tt := range []struct {
		key   string
		field int
		err   string
	}{
		{"text", 0, ""},
		{"partName", 1, ""},
		{"part_name", 1, ""},
		{`part\u004eame`, 1, ""},
		{"x", 3, ""},
		{"aVeryLongNameOfField", 2, ""},
		{"a_very_long_name_of_field", 2, ""},
		{"part", Unknown, ""},
		{"part-name", Unknown, ""},
		{"partNames", Unknown, ""},
		{"part_Names", Unknown, ""},
		{"text_", Unknown, ""},
		{"partname", Unknown, "partName"},
		{"PartName", Unknown, "partName"},
		{"part_Name", Unknown, "partName"},
		{`part\u006eame`, Unknown, "partName"},
		{"averylongnameoffield", Unknown, "aVeryLongNameOfField"},
		{"A_very_long_name_of_field", Unknown, "aVeryLongNameOfField"},
		{"te\u017ft", Unknown, ""},
		{"Text", Unknown, "text"},
		{"X", Unknown, "x"},
	} {
		for _, behind := range []string{"", padding} {
			c := New([]byte(`{"` + tt.key + `":1}` + behind))
			o := c.Object(fields)
			o.Next()
			var want string
			if tt.err != "" {
				want = fmt.Sprintf("the field %q must be written so, or in snake_case (at byte 1)", tt.err)
			} else if o.Field != tt.field {
				t.Errorf("%q is the field %d, want %d", tt.key, o.Field, tt.field)
			}
			for o.Next() {
			}
			if err := c.End(); (err == nil) != (want == "") || err != nil && err.Error() != want {
				t.Errorf("%q: error %v, want %q", tt.key, err, want)
			}
		}
	}
	c := New([]byte(`{"part_name":1,"partName":2}` + padding))
	for o := c.Object(fields); o.Next(); {
	}
	if err, want := c.End(), `the field "partName" is there twice (at byte 15)`; err == nil || err.Error() != want {
		t.Errorf("two spellings: error %v, want %q", err, want)
	}
}

func TestNewCamelFieldsPanics(t *testing.T) {
	for _, names := range [][]string{{"a", "a"}, {"aB", "a_b"}, {"a_b", "aB"}, {"aB", "ab"}, {strings.Repeat("a", 32)}, {strings.Repeat("a", 30) + "B"}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("NewCamelFields(%q) did not panic", names)
				}
			}()
			NewCamelFields(names...)
		}()
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
