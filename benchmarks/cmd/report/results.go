package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// results are the values of benchmark lines in their order, by name and unit.
// A name is without "Benchmark"; with more than one processor it ends in
// their number: Decision/hot/ulule-2.
type results map[string]map[string][]float64

var benchmarkLine = regexp.MustCompile(`^Benchmark(\S+)\s+\d+\s+(.*)$`)

// parse reads lines of Go's benchmark format and skips all others.
func parse(from io.Reader) (results, error) {
	r := results{}
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		m := benchmarkLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		fields := strings.Fields(m[2])
		if len(fields)%2 != 0 {
			return nil, fmt.Errorf("%q is no benchmark line", lines.Text())
		}
		if r[m[1]] == nil {
			r[m[1]] = map[string][]float64{}
		}
		for i := 0; i < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
			r[m[1]][fields[i+1]] = append(r[m[1]][fields[i+1]], v)
		}
	}
	return r, lines.Err()
}

// median is that of a benchmark's values, NaN when there are none.
func (r results) median(name, unit string) float64 { return median(r[name][unit]) }

// ratio is the median of what one benchmark has over another's, round by
// round, and NaN when one was not measured.
func (r results) ratio(name, other, unit string) float64 {
	a, b := r[name][unit], r[other][unit]
	if len(a) != len(b) {
		return median(a) / median(b)
	}
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	return (v[len(v)/2] + v[(len(v)-1)/2]) / 2
}
