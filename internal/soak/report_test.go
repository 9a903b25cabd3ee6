package soak

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// report prints what was done, and checks that there was enough of it: of every
// outcome that is named, some.
func (s *soak) report(some ...outcome) {
	var b strings.Builder
	total := map[outcome]int{}
	for _, kind := range slices.Sorted(maps.Keys(s.outcomes)) {
		for _, o := range slices.Sorted(maps.Keys(s.outcomes[kind])) {
			total[o] += s.outcomes[kind][o]
			fmt.Fprintf(&b, "| %-10s | %-22s | %8d |\n", kind, o, s.outcomes[kind][o])
		}
	}
	b.WriteString("\n")
	n := 0
	for _, o := range slices.Sorted(maps.Keys(total)) {
		n += total[o]
		fmt.Fprintf(&b, "| %-10s | %-22s | %8d |\n", "all", o, total[o])
	}
	b.WriteString("\n")
	hits := map[string]int{}
	for _, h := range s.server.Hits() {
		hits[h.Rule] += h.Count
	}
	for _, rule := range slices.Sorted(maps.Keys(hits)) {
		fmt.Fprintf(&b, "| %-10s | %-34s | %8d |\n", "denied by", rule, hits[rule])
	}
	fmt.Fprintf(&b, "\n%s", table(s.figures))
	fmt.Fprintf(&b, "\n%d requests, %d to %d charged; %d reloads, %d refused; %d deaths of workers; at most %v waited\n", n, s.charged.least, s.charged.most, s.reloads, s.refused, s.deaths, s.depth)
	fmt.Fprintf(&b, "the store has room for %d keys and %d KiB, bursts are smoothed: %v; by %s\n", s.climate.keys, s.climate.bytes>>10, s.climate.burst, strings.Join(s.climate.algorithms, " and "))
	fmt.Fprintf(&b, "%s\n%v\n%d lines of the log\n", s.ledger, &s.yard.floor, s.log.lines)
	s.t.Logf("seed %d\n\n%s", s.seed, &b)
	if s.faults > 0 {
		s.t.Errorf("%d faults in all, of which the first are shown", s.faults)
	}
	if uint64(n) != s.serial.Load() {
		s.t.Errorf("%d requests were sent, %d have an outcome", s.serial.Load(), n)
	}
	for _, o := range some {
		if total[o] == 0 && *length >= 30*time.Second {
			s.t.Errorf("no request came to %q: that proves little", o)
		}
	}
}
