package main

import (
	"fmt"
	"io"
	"math"
)

// A budget is what the design allows, and what was reached.
type budget struct {
	what    string
	allowed float64
	reached float64 // NaN when it was not measured
	unit    string
}

// verdict is met, NOT met, or that it was not measured.
func (b budget) verdict() string {
	switch {
	case math.IsNaN(b.reached):
		return "not measured"
	case b.reached <= b.allowed:
		return "met"
	}
	return "NOT met"
}

const cpu = "cpu-ns/op"

func decision(workload, subject string) string { return "Decision/" + workload + "/" + subject }

// budgets are all budgets of the design, in its order. It has the time handed in to
// our decisions, and peers as they are: with their own clock where they take no
// other. That nothing is locked by a denial shows in what it costs when two
// processors make them.
func budgets(r results) []budget {
	worst := math.Inf(-1)
	for _, p := range peers {
		worst = max(worst, r.ratio(decision("zipf", "penstock-bucket"), decision("zipf", p.name), cpu))
	}
	clock := (r.median(decision("hot", "penstock-bucket-clock"), cpu) - r.median(decision("hot", "penstock-bucket"), cpu)) /
		(r.median(decision("hot", "clock"), cpu) - r.median(decision("hot", "none"), cpu))
	allocs := 0.0
	for _, w := range []string{"hot", "zipf", "paced", "deny"} {
		for _, a := range []string{"bucket", "sliding", "fixed"} {
			allocs = max(allocs, r.median(decision(w, "penstock-"+a), "allocs/op"))
		}
	}
	peek := r.median("Peek/code", "ns/op")
	for _, text := range []string{"cjk", "messages"} {
		peek = max(peek, r.median("Peek/"+text, "ns/op"))
	}
	all := []budget{
		{"bucket, hot", 25, r.median(decision("hot", "penstock-bucket"), cpu), "ns"},
		{"bucket, hot, by a handle", 12, r.median(decision("hot", "penstock-bucket-handle"), cpu), "ns"},
		{"bucket, zipf, of the best peer", 1.0 / 3, worst, "x"},
		{"bucket, zipf, of sync.Map + CAS", 0.65, r.ratio(decision("zipf", "penstock-bucket"), decision("zipf", "gcra-syncmap"), cpu), "x"},
		{"own clock, in reads of the clock", 1.1, clock, "x"},
		{"sliding, hot, of the bucket", 1.2, r.ratio(decision("hot", "penstock-sliding"), decision("hot", "penstock-bucket"), cpu), "x"},
		{"sliding, zipf, of the bucket", 1.8, r.ratio(decision("zipf", "penstock-sliding"), decision("zipf", "penstock-bucket"), cpu), "x"},
		{"denied, hot, of admitted", 1, r.ratio(decision("deny", "penstock-bucket"), decision("hot", "penstock-bucket"), cpu), "x"},
		{"denied at 2 processors, of 1", 1.2, r.ratio(decision("deny", "penstock-bucket")+"-2", decision("deny", "penstock-bucket"), cpu), "x"},
		{"allocations", 0, allocs, ""},
	}
	for _, a := range []string{"bucket", "sliding"} {
		for _, w := range []string{"hot", "zipf"} {
			one := decision(w, "penstock-"+a)
			all = append(all,
				budget{"4 limits in a record of 1, " + a + ", " + w, 1.5, r.ratio("Four/"+w+"/penstock-"+a, one, cpu), "x"},
				budget{"4 limits over 3 keys of 1, " + a + ", " + w, 3.5, r.ratio("ThreeKeys/"+w+"/penstock-"+a, one, cpu), "x"})
		}
	}
	all = append(all,
		budget{"heap a key at 1M, bucket", 56, r.median("Keys/penstock-bucket", "heap-B/key"), "B"},
		budget{"heap a key at 1M, sliding in use", 110, r.median("Keys/penstock-sliding-used", "heap-B/key"), "B"},
		budget{"Redis (not built yet)", 0, math.NaN(), ""})
	for _, w := range gatewayWorkloads {
		allowed := 1.1
		if w == "json-0.5KB" {
			allowed = 1.15
		}
		all = append(all, budget{"gateway of bare, " + w, allowed, r.ratio("Gateway/"+w+"/penstock", "Gateway/"+w+"/bare", cpu), "x"})
	}
	return append(all,
		budget{"a stream held open", 96, stream(r, "penstock") / 1024, "KiB"},
		budget{"metering a chunk", 250, r.median("Meter/stream", "ns/chunk"), "ns"},
		budget{"metering a chunk, allocations", 0, r.median("Meter/stream", "allocs/op"), ""},
		budget{"peek 219 KB of prose", 50, r.median("Peek/prose", "ns/op") / 1e3, "us"},
		budget{"peek 219 KB at worst", 110, peek / 1e3, "us"},
		budget{"queue, a free slot", 60, r.median("Free/slots", "ns/op"), "ns"},
		budget{"queue, 10,000 waiting, 1 caller", 200, r.median("JoinAndRelease/waiting=10000/callers=1", "ns/op"), "ns"},
		budget{"queue, 10,000 waiting, 100 callers", 200, r.median("JoinAndRelease/waiting=10000/callers=100", "ns/op"), "ns"})
}

func showBudgets(w io.Writer, r results) {
	fmt.Fprintf(w, "\nBUDGETS of the design                   allowed    reached\n")
	for _, b := range budgets(r) {
		reached := "-"
		if !math.IsNaN(b.reached) {
			reached = short(b.reached)
		}
		fmt.Fprintf(w, "%-40s %6s %10s %-3s  %s\n", b.what, short(b.allowed), reached, b.unit, b.verdict())
	}
}
