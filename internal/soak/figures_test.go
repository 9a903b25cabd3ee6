package soak

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// figures are what the process takes at a moment, after a collection.
type figures struct {
	at         time.Duration
	heap, rss  int64
	goroutines int
	keys       int64
	bytes      int64 // of the store
	requests   uint64
}

// slack is how much the heap may grow from the first figures to the last. It has
// room for the traffic that happens to be under way, and for the tables of the
// test, but not for a leak of much per request.
const slack = 64 << 20

// measure takes figures every so often until ctx ends, and checks that the heap
// stays flat.
func (s *soak) measure(ctx context.Context, every time.Duration) {
	began := time.Now()
	for wait(ctx, every) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		st := s.ledger.Stats()
		s.figures = append(s.figures, figures{
			time.Since(began), int64(m.HeapAlloc), residentSet(), runtime.NumGoroutine(), st.Keys, st.Bytes, s.serial.Load(),
		})
	}
	if n := len(s.figures); n > 1 && s.figures[n-1].heap > 2*s.figures[0].heap+slack {
		s.fault("the heap has grown from %d to %d bytes", s.figures[0].heap, s.figures[n-1].heap)
	}
}

// residentSet is how much memory the process has, in bytes; 0 where the system
// does not say it in Linux's way.
func residentSet() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

func table(all []figures) string {
	var b strings.Builder
	b.WriteString("| at | heap MiB | RSS MiB | goroutines | keys | store KiB | requests |\n|---|---|---|---|---|---|---|\n")
	for _, f := range all {
		fmt.Fprintf(&b, "| %v | %.1f | %.1f | %d | %d | %d | %d |\n", f.at.Round(time.Second),
			float64(f.heap)/(1<<20), float64(f.rss)/(1<<20), f.goroutines, f.keys, f.bytes>>10, f.requests)
	}
	return b.String()
}
