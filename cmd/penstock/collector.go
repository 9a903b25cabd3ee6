package main

import (
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// The collector's settings when the environment names none. What a gateway
// keeps is little beside what passes through it, so that Go's own setting of 100
// would have the collector run all the time. The limit makes it run more often
// where memory is short; a tenth is left to what is not on the heap.
const (
	collectorPercent = 400
	collectorShare   = 0.9
)

// setCollector makes the garbage collector fit for a gateway. Each of GOGC and
// GOMEMLIMIT stays as the environment says, if it does. memory is how much there
// is for the process; where it cannot be told, nothing is set. It returns the
// percentage, 0 where none was set.
func setCollector(lookup func(string) (string, bool), memory func() (uint64, error)) (percent int) {
	available, err := memory()
	if err != nil || available == 0 {
		return 0
	}
	if _, set := lookup("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(int64(collectorShare * float64(available)))
	}
	if _, set := lookup("GOGC"); set {
		return 0
	}
	debug.SetGCPercent(collectorPercent)
	return collectorPercent
}

// memoryOfProcess is the limit of the process's cgroup, or else the memory of
// the machine.
func memoryOfProcess() (uint64, error) {
	return memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)()
}
