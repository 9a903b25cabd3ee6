package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/policy"
)

// printGate says what stands in front of the workers, if anything does.
func printGate(w io.Writer, g config.Gate) {
	if g.Slots == 0 {
		return
	}
	fmt.Fprintf(w, "\nIn front of the workers: %s; %s; %s.\n", slots(g), bucket(g), line(g))
}

func slots(g config.Gate) string {
	if a := g.Adaptive; a.Enabled {
		return fmt.Sprintf("%d to %d in flight, %d at first, as the workers' load says (%s)", a.Min, a.Max, g.Slots, a.Signal)
	}
	return fmt.Sprintf("at most %d in flight", g.Slots)
}

func bucket(g config.Gate) string {
	switch {
	case g.Capacity == 0:
		return "no bucket"
	case g.Refill.Per == time.Second:
		return fmt.Sprintf("a bucket of %d refilled by %d a second", g.Capacity, g.Refill.Amount)
	}
	return fmt.Sprintf("a bucket of %d refilled by %d in %s", g.Capacity, g.Refill.Amount, span(g.Refill.Per))
}

func line(g config.Gate) string {
	if g.QueueSize == 0 {
		return "nobody waits"
	}
	return fmt.Sprintf("%d wait up to %s", g.QueueSize, span(g.QueueTimeout))
}

// printTurns prints the classes and weights that were said.
func printTurns(w io.Writer, p *policy.Policy) error {
	if len(p.Turns()) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TURN\tFOR\tCLASS\tWEIGHT")
	for _, t := range p.Turns() {
		weight := "of the plan"
		if t.Weight != 0 {
			weight = strconv.FormatInt(t.Weight, 10)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", t.Name, t.Match, t.Class, weight)
	}
	return table.Flush()
}
