package server

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// pace keeps the collector from taking the counters for something that it may let
// as much again pile up beside. They can be most of what lives, are next to no work
// for the collector, since they hold no pointers, and have a ceiling that says how
// much memory they are to cost.
type pace struct {
	percent  int          // of what lives beside the counters may be garbage
	counters func() int64 // their bytes
	now      int          // the percentage of all, as it is set
}

// keep sets the percentage now, for counters that were restored, and after each
// collection, until ctx is done.
func (p *pace) keep(ctx context.Context) {
	p.now = p.percent
	p.set()
	var again func()
	again = func() {
		if ctx.Err() == nil {
			p.set()
			afterCollection(again)
		}
	}
	afterCollection(again)
}

// set sets the percentage, unless it is about the one that is set.
func (p *pace) set() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	to := percentOfAll(p.percent, int64(live[0].Value.Uint64()), p.counters())
	if diff := to - p.now; diff > p.now/8 || -diff > p.now/8 {
		p.now = to
		debug.SetGCPercent(to)
	}
}

// percentOfAll returns how many percent of all that lives are percent of what is
// no counter.
func percentOfAll(percent int, live, counters int64) int {
	const least = 4 << 20 // counters that came since the collection are not in what lived then
	other := max(live-counters, least)
	return max(1, int(int64(percent)*other/max(live, other)))
}

// afterCollection calls then, in a goroutine of the runtime's, when the collector
// has run.
func afterCollection(then func()) {
	type garbage struct{ _ *byte } // what has no pointer may be kept with its neighbours
	runtime.AddCleanup(new(garbage), func(then func()) { then() }, then)
}
