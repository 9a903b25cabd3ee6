package benchmarks

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sethvargo/go-limiter/memorystore"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
	ulule "github.com/ulule/limiter/v3"
	ululememory "github.com/ulule/limiter/v3/drivers/store/memory"
	"golang.org/x/time/rate"
)

// peers are the limiters beside ours. Those with -clock read their own clock;
// so do sethvargo, throttled and ulule, which cannot be told the time.
func peers() []subject {
	return []subject{
		{name: "gcra-fixed", open: gcraFixed},
		{name: "gcra-syncmap", open: gcraSyncMap(false)},
		{name: "gcra-syncmap-clock", clock: true, open: gcraSyncMap(true)},
		{name: "xtime-syncmap", open: xtimeSyncMap(false)},
		{name: "xtime-syncmap-clock", clock: true, open: xtimeSyncMap(true)},
		{name: "xtime-mutex", open: xtimeMutex(false)},
		{name: "xtime-mutex-clock", clock: true, open: xtimeMutex(true)},
		{name: "sethvargo", clock: true, open: sethvargo},
		{name: "throttled", clock: true, open: throttledMap},
		{name: "ulule", clock: true, open: ululeMemory},
	}
}

// once are the subjects without those that are there twice, by both clocks,
// the second time.
func once(subjects []subject) (some []subject) {
	for _, s := range subjects {
		if !strings.HasSuffix(s.name, "-clock") {
			some = append(some, s)
		}
	}
	return some
}

// gcraSyncMap is the reference: the least that a keyed and exact limiter does
// with the standard library. A sync.Map holds a word a key, the theoretical
// arrival time of GCRA, which a compare-and-swap moves on. It forgets nobody.
func gcraSyncMap(ownClock bool) func(quota) (func() decide, func()) {
	return func(q quota) (func() decide, func()) {
		interval := int64(q.window) / q.amount
		tolerance := int64(q.window) - interval
		base := time.Now().Add(-time.Hour) // before any time that is handed in
		var keys sync.Map
		return func() decide {
			return func(key string, now time.Time) bool {
				if ownClock {
					now = time.Now()
				}
				t := int64(now.Sub(base))
				v, ok := keys.Load(key)
				if !ok {
					v, _ = keys.LoadOrStore(key, new(atomic.Int64))
				}
				arrival := v.(*atomic.Int64)
				for {
					old := arrival.Load()
					next := max(old, t)
					if next-t > tolerance {
						return false
					}
					if arrival.CompareAndSwap(old, next+interval) {
						return true
					}
				}
			}
		}, nothing
	}
}

// gcraFixed is the floor: a keyed limiter that can do nothing but decide. Its table
// was made as large as it will ever be, and holds 64 bits of a key's hash and the
// word of gcraSyncMap side by side: one probe fetches one line. It has no room for
// more keys, forgets nobody, takes two keys for one in rare cases, and reports
// nothing.
func gcraFixed(q quota) (func() decide, func()) {
	const size = 1 << 18
	type place struct {
		hash atomic.Uint64 // 0: nobody's
		next atomic.Int64
		_    [2]int64
	}
	interval := int64(q.window) / q.amount
	tolerance := int64(q.window) - interval
	base := time.Now().Add(-time.Hour)
	seed := maphash.MakeSeed()
	table := make([]place, size)
	return func() decide {
		return func(key string, now time.Time) bool {
			t, hash := int64(now.Sub(base)), maphash.String(seed, key)|1
			i := hash >> 8
			p := &table[i%size]
			for p.hash.Load() != hash {
				if p.hash.CompareAndSwap(0, hash) || p.hash.Load() == hash { // or somebody was quicker
					break
				}
				if i++; i == hash>>8+size {
					panic("the table is full")
				}
				p = &table[i%size]
			}
			for {
				old := p.next.Load()
				next := max(old, t)
				if next-t > tolerance {
					return false
				}
				if p.next.CompareAndSwap(old, next+interval) {
					return true
				}
			}
		}
	}, nothing
}

func newXtime(q quota) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(float64(q.amount)/q.window.Seconds()), int(q.amount))
}

func xtimeSyncMap(ownClock bool) func(quota) (func() decide, func()) {
	return func(q quota) (func() decide, func()) {
		var keys sync.Map
		return func() decide {
			return func(key string, now time.Time) bool {
				if ownClock {
					now = time.Now()
				}
				v, ok := keys.Load(key)
				if !ok {
					v, _ = keys.LoadOrStore(key, newXtime(q))
				}
				return v.(*rate.Limiter).AllowN(now, 1)
			}
		}, nothing
	}
}

func xtimeMutex(ownClock bool) func(quota) (func() decide, func()) {
	return func(q quota) (func() decide, func()) {
		var mu sync.Mutex
		keys := map[string]*rate.Limiter{}
		return func() decide {
			return func(key string, now time.Time) bool {
				if ownClock {
					now = time.Now()
				}
				mu.Lock()
				l := keys[key]
				if l == nil {
					l = newXtime(q)
					keys[key] = l
				}
				mu.Unlock()
				return l.AllowN(now, 1)
			}
		}, nothing
	}
}

func sethvargo(q quota) (func() decide, func()) {
	ctx := context.Background()
	store, err := memorystore.New(&memorystore.Config{Tokens: uint64(q.amount), Interval: q.window})
	if err != nil {
		panic(err)
	}
	return func() decide {
		return func(key string, _ time.Time) bool {
			_, _, _, ok, err := store.Take(ctx, key)
			return ok && err == nil
		}
	}, func() { _ = store.Close(ctx) }
}

func throttledMap(q quota) (func() decide, func()) {
	store, err := memstore.NewCtx(0) // a map without bounds: its faster one
	if err != nil {
		panic(err)
	}
	limiter, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{
		MaxRate:  throttled.PerDuration(int(q.amount), q.window),
		MaxBurst: int(q.amount) - 1,
	})
	if err != nil {
		panic(err)
	}
	limiter.SetMaxCASAttemptsLimit(1 << 30) // else it gives up under contention
	return func() decide {
		return func(key string, _ time.Time) bool {
			limited, _, err := limiter.RateLimitCtx(context.Background(), key, 1)
			return !limited && err == nil
		}
	}, nothing
}

func ululeMemory(q quota) (func() decide, func()) {
	limiter := ulule.New(ululememory.NewStore(), ulule.Rate{Period: q.window, Limit: q.amount})
	return func() decide {
		return func(key string, _ time.Time) bool {
			c, err := limiter.Get(context.Background(), key)
			return err == nil && !c.Reached
		}
	}, nothing
}
