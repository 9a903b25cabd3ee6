package accuracy

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// keep prints a table, and puts it between its marks in the document that the
// flag names.
func keep(t *testing.T, name, text string) {
	t.Helper()
	t.Logf("%s\n%s", name, text)
	if *table == "" || t.Failed() {
		return
	}
	page, err := os.ReadFile(*table)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- end -->"
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the table: put %q and %q there", *table, begin, end)
	}
	text = fmt.Sprintf("%s, %s, %s/%s, %d CPUs (%s):\n\n%s\n",
		time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), processor(), text)
	if err := os.WriteFile(*table, []byte(before+begin+text+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// processor is the name of the machine's processor where Linux says it.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // elsewhere there is none
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "processor unknown"
}

// byShape is the table of what is claimed, a row a shape.
func byShape(measured map[string]map[cell]outcome) string {
	var b strings.Builder
	b.WriteString("| tokens charged / used | requests | usage reported | reported, but left or broken off before | withheld | garbage |\n|---|---|---|---|---|---|\n")
	var total [4]outcome
	line := func(name string, row [4]outcome) {
		var n int64
		for _, o := range row {
			n += o.requests
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s |\n", name, n, shown(row[0]), shown(row[1]), shown(row[2]), shown(row[3]))
	}
	for _, s := range shapes() {
		row := [4]outcome{
			measured["reported"][cell{s.name, toTheEnd}], brokenOff(measured["reported"], s),
			claimed(measured["withheld"], s), claimed(measured["garbage"], s),
		}
		for i := range row {
			total[i].add(row[i])
		}
		line(s.name, row)
	}
	line("all", total)
	return b.String()
}

// byEnding is the table of how it went by the way in which requests ended.
func byEnding(measured map[string]map[cell]outcome) string {
	isStream := map[string]bool{}
	for _, s := range streams() {
		isStream[s.name] = true
	}
	var b strings.Builder
	b.WriteString("| usage | answer | ending | requests | tokens used | charged | charged / used |\n|---|---|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(measured)) {
		for _, stream := range []bool{true, false} {
			for _, e := range []ending{toTheEnd, left, died} {
				var row outcome
				for at, o := range measured[name] {
					if isStream[at.shape] == stream && at.ending == e {
						row.add(o)
					}
				}
				if row.requests > 0 {
					kind := map[bool]string{true: "stream", false: "whole"}[stream]
					fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %d | %s |\n", name, kind, e, row.requests, row.used, row.charged, shown(row))
				}
			}
		}
	}
	return b.String()
}

func shown(o outcome) string {
	if o.used == 0 {
		return "–"
	}
	return fmt.Sprintf("%.5f", o.ratio())
}
