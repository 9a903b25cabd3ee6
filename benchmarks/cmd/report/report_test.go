package main

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestTable pins the whole table of a few lines. In them the peers are such
// that each verdict comes up, and rounds whose ratios differ from those of
// their medians.
func TestTable(t *testing.T) {
	var out, noise bytes.Buffer
	if err := Run(t.Context(), []string{"testdata/lines.txt"}, &out, &noise); err != nil {
		t.Fatal(err)
	}
	if noise.Len() > 0 {
		t.Errorf("stderr: %s", &noise)
	}
	const golden = "testdata/table.txt"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("the table is\n%s\nwant\n%s", &out, want)
	}
}

func TestWhatIsNoResult(t *testing.T) {
	dir, files := t.TempDir(), 0
	write := func(text string) string {
		files++
		name := filepath.Join(dir, fmt.Sprintf("lines%d", files))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{filepath.Join(dir, "none")}, "no such file"},
		{[]string{write("ok  \tpackage\t0.1s\n")}, "no benchmark lines"},
		{[]string{write("BenchmarkX 1 2 ns/op 3\n")}, "is no benchmark line"},
		{[]string{write("BenchmarkX 1 two ns/op\n")}, "invalid syntax"},
		{[]string{"-what"}, "not defined"},
	} {
		err := Run(t.Context(), test.args, t.Output(), t.Output())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: error %v, want one with %q", test.args, err, test.want)
		}
	}
}

func TestMedianAndRatio(t *testing.T) {
	r := results{
		"a": {"ns/op": {10, 30, 20}},
		"b": {"ns/op": {5, 10, 40}},
		"c": {"ns/op": {2, 4}},
	}
	for what, got := range map[string][2]float64{
		"odd":               {r.median("a", "ns/op"), 20},
		"even":              {r.median("c", "ns/op"), 3},
		"round by round":    {r.ratio("a", "b", "ns/op"), 2},
		"of unequal rounds": {r.ratio("a", "c", "ns/op"), 20. / 3},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %v, want %v", what, got[0], got[1])
		}
	}
	if v := r.ratio("a", "none", "ns/op"); !math.IsNaN(v) {
		t.Errorf("ratio to what was not measured: %v", v)
	}
}
