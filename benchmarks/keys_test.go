package benchmarks

import (
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
)

// BenchmarkKeys takes in a million keys that were never seen, one decision
// each, and says what that costs: insert-ns and insert-allocs a key, of the
// processor and with the collector's work; heap-B, what is live on the heap
// afterwards; rss-B, what the process has grown by in the eyes of the system;
// gc-ms, the processor time of one collection with all keys in place. Each key
// is a fresh string, as of a request; who keeps it keeps it alive.
func BenchmarkKeys(b *testing.B) {
	n := 1_000_000
	if testing.Short() {
		n = 10_000
	}
	for _, s := range once(all()) {
		if s.name == "clock" || s.name == "penstock-sliding-allow" || s.name == "gcra-fixed" { // which has no room for them
			continue
		}
		b.Run(s.name, func(b *testing.B) {
			for range b.N {
				fork, end := s.open(plenty)
				decide := fork()
				now := time.Now()
				weigh(b, n, func() {
					for i := range n {
						decide(callerName(i), now)
					}
				})
				runtime.KeepAlive(fork)
				runtime.KeepAlive(decide)
				end()
			}
		})
	}
	b.Run("penstock-sliding-used", func(b *testing.B) {
		for range b.N {
			store := newStore()
			weigh(b, n, func() { useSparsely(store, n) })
			runtime.KeepAlive(store)
		}
	})
}

// useSparsely charges n keys in one minute of a made up clock, each once and
// then three times as many by a Zipf spread: a window of a few live steps for
// most, of many for some.
func useSparsely(store *penstock.MemoryStore, n int) {
	limits := limitsOf(penstock.SlidingWindow, 1, plenty)
	z := rand.NewZipf(rand.New(rand.NewPCG(5, 6)), 1.07, 1, uint64(n-1))
	base := time.Now().Round(0)
	var charges []penstock.Charge
	for i := range 4 * n {
		caller := i / 4
		if i%4 != 0 {
			caller = int(z.Uint64())
		}
		charges = limits.AppendCharges(charges[:0], callerName(caller), &one)
		take(store, base.Add(time.Minute/time.Duration(4*n)*time.Duration(i)), charges)
	}
}

func weigh(b *testing.B, n int, insert func()) {
	b.StopTimer()
	var before, after runtime.MemStats
	runtime.GC()
	debug.FreeOSMemory()
	runtime.ReadMemStats(&before)
	rss := residentBytes(b)
	b.StartTimer()
	cpu := cpuTime()
	insert()
	cpu = cpuTime() - cpu
	b.StopTimer()
	runtime.ReadMemStats(&after)
	mallocs := after.Mallocs - before.Mallocs
	runtime.GC()
	gc := cpuTime()
	runtime.GC()
	gc = cpuTime() - gc
	debug.FreeOSMemory()
	runtime.ReadMemStats(&after)
	keys := float64(n)
	b.ReportMetric(float64(cpu)/keys, "insert-ns/key")
	b.ReportMetric(float64(mallocs)/keys, "insert-allocs/key")
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/keys, "heap-B/key")
	b.ReportMetric((residentBytes(b)-rss)/keys, "rss-B/key")
	b.ReportMetric(float64(gc)/1e6, "gc-ms")
	b.StartTimer()
}

// residentBytes is how much memory the system has given to the process, by
// Linux's own account; 0 elsewhere.
func residentBytes(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		b.Fatalf("/proc/self/statm: %v", err)
	}
	return pages * float64(os.Getpagesize())
}
