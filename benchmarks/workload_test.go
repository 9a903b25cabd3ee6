package benchmarks

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// callers returns n keys of 19 bytes.
func callers(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = callerName(i)
	}
	return keys
}

func callerName(i int) string {
	name := []byte("caller-000000000000")
	for at := len(name) - 1; i > 0; i /= 10 {
		name[at] += byte(i % 10)
		at--
	}
	return string(name)
}

// A traffic is whose request comes when, over and over.
type traffic struct {
	keys []string
	// order are indexes of keys; its length is a power of two.
	order []uint32
	// gap is the time from one request to the next. 0: as fast as it goes.
	gap time.Duration
	// warmUp is how many requests come before those that are measured.
	warmUp int
}

// hot is one caller that sends everything.
var hot = sync.OnceValue(func() *traffic {
	return &traffic{keys: callers(1), order: make([]uint32, 1), warmUp: 1}
})

const manyCallers = 100_000

// zipf is 100,000 callers, the n-th of which sends 1/n^1.07 of what the first
// one does.
var zipf = sync.OnceValue(func() *traffic {
	t := &traffic{keys: callers(manyCallers), order: make([]uint32, 1<<20)}
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.07, 1, manyCallers-1)
	// The rank of a caller says nothing about where its key lies.
	place := rand.New(rand.NewPCG(3, 4)).Perm(manyCallers)
	for i := range t.order {
		t.order[i] = uint32(place[z.Uint64()])
	}
	return t
})

// paced is the same at 50,000 requests a second, by a clock that is made up: a
// minute's window has many live steps then, which the tight loop of zipf, over
// in a second, never sees.
var paced = sync.OnceValue(func() *traffic {
	t := *zipf()
	t.gap = time.Second / 50_000
	t.warmUp = int(90 * time.Second / t.gap)
	if testing.Short() {
		t.warmUp = 1000
	}
	return &t
})

// A running is an open subject and where its made up clock stands.
type running struct {
	fork  func() decide
	clock atomic.Int64 // nanoseconds, with a gap
	base  time.Time
}

// now is the time of the next 64 decisions.
func (r *running) now(gap time.Duration) time.Time {
	if gap == 0 {
		return time.Now()
	}
	return r.base.Add(time.Duration(r.clock.Add(64 * int64(gap))))
}

// start opens a subject and lets it see every key, and the warm-up.
func (t *traffic) start(fork func() decide) *running {
	decide := fork()
	now := time.Now()
	r := &running{fork: fork, base: now.Round(0)}
	for _, k := range t.keys {
		decide(k, now)
	}
	for i := range t.warmUp {
		if t.gap != 0 {
			now = r.base.Add(t.gap * time.Duration(i))
		}
		decide(t.keys[t.order[i&(len(t.order)-1)]], now)
	}
	r.clock.Store(int64(t.gap) * int64(t.warmUp))
	return r
}

// run measures b.N decisions of an open subject, from as many goroutines as
// there are processors, and returns how many passed. Where the clock is not
// made up, it is read once for 64 decisions, as one that is handed in would be.
func (t *traffic) run(b *testing.B, r *running) (passed int64) {
	var sum atomic.Int64
	var nth atomic.Uint32
	b.ReportAllocs()
	before := cpuTime()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		i := nth.Add(1) * 0x9e3779b1 // each begins elsewhere
		mask := uint32(len(t.order) - 1)
		decide := r.fork()
		n := int64(0)
		now := r.now(t.gap)
		for pb.Next() {
			i++
			if i%64 == 0 {
				now = r.now(t.gap)
			}
			if decide(t.keys[t.order[i&mask]], now) {
				n++
			}
		}
		sum.Add(n)
	})
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
	return sum.Load()
}

// cpuTime is how much the process has used of all processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
