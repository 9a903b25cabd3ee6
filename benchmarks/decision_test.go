package benchmarks

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
)

// BenchmarkDecision is one decision on one limit. The key was seen before.
//
//	hot    one key
//	zipf   100,000 keys, as fast as it goes
//	paced  the same at 50,000 a second of a clock that is handed in
//	deny   one key whose quota is used up
func BenchmarkDecision(b *testing.B) {
	for _, w := range []struct {
		name    string
		traffic func() *traffic
		quota   quota
	}{
		{"hot", hot, plenty},
		{"zipf", zipf, plenty},
		{"paced", paced, plenty},
		{"deny", hot, quota{1, lifetime}},
	} {
		b.Run(w.name, func(b *testing.B) {
			for _, s := range all() {
				if w.name == "paced" && s.clock {
					continue
				}
				measure(b, s, w.traffic(), w.quota)
			}
			if len(w.traffic().keys) > 1 {
				return
			}
			for _, a := range algorithms {
				open := func(q quota) (func() decide, func()) { return byHandle(limitsOf(a.algorithm, 1, q)) }
				measure(b, subject{name: "penstock-" + a.name + "-handle", open: open}, w.traffic(), w.quota)
			}
		})
	}
}

// byHandle is one key that is charged by a handle, as listed callers are.
func byHandle(limits *penstock.Limits) (func() decide, func()) {
	store := newStore()
	handle := penstock.NewHandle(callerName(0))
	return func() decide {
		charges := limits.Charges(handle.Key(), one)
		charges[0].Handle = handle
		return func(_ string, now time.Time) bool {
			_, err := store.Take(context.Background(), now, charges)
			return err == nil && charges[0].RetryAfter == 0
		}
	}, nothing
}

// measure runs one subject as a benchmark of its name, opened once however
// often the benchmark is called to find its N.
func measure(b *testing.B, s subject, t *traffic, q quota) {
	var r *running
	end := nothing
	b.Run(s.name, func(b *testing.B) {
		if r == nil {
			var fork func() decide
			fork, end = s.open(q)
			r = t.start(fork)
		}
		want := int64(b.N)
		if q.amount == 1 && s.name != "none" && s.name != "clock" {
			want = 0
		}
		if passed := t.run(b, r); passed != want {
			b.Fatalf("%d of %d passed, want %d", passed, b.N, want)
		}
	})
	end()
}

// BenchmarkFour is four limits on one request of one key: for penstock all or
// none in one record; for the peers, which know one limit a key, four of them
// asked one after the other.
func BenchmarkFour(b *testing.B) {
	for _, w := range workloads {
		b.Run(w.name, func(b *testing.B) {
			for _, a := range algorithms {
				open := func(q quota) (func() decide, func()) { return ours(limitsOf(a.algorithm, 4, q), false) }
				measure(b, subject{name: "penstock-" + a.name, open: open}, w.traffic(), plenty)
			}
			for _, p := range once(peers()) {
				measure(b, subject{name: p.name, open: each(p, false)}, w.traffic(), plenty)
			}
		})
	}
}

// BenchmarkThreeKeys is four limits as well, two of them the caller's own, one
// of the model, one that everybody shares. penstock has handles of the last two,
// as its gateway does.
func BenchmarkThreeKeys(b *testing.B) {
	for _, w := range workloads {
		b.Run(w.name, func(b *testing.B) {
			for _, a := range algorithms {
				open := func(q quota) (func() decide, func()) { return threeKeys(a.algorithm, q) }
				measure(b, subject{name: "penstock-" + a.name, open: open}, w.traffic(), plenty)
			}
			for _, p := range once(peers()) {
				measure(b, subject{name: p.name, open: each(p, true)}, w.traffic(), plenty)
			}
		})
	}
}

var workloads = []struct {
	name    string
	traffic func() *traffic
}{{"hot", hot}, {"zipf", zipf}}

// models are what requests ask for in turn.
var models = func() (names [8]string) {
	for i := range names {
		names[i] = fmt.Sprintf("model-%02d", i)
	}
	return names
}()

const everybody = "everybody"

func threeKeys(a penstock.Algorithm, q quota) (func() decide, func()) {
	store := newStore()
	plan, model, global := limitsOf(a, 2, q), limitsOf(a, 1, q), limitsOf(a, 1, q)
	all := penstock.NewHandle(everybody)
	var byModel [len(models)]*penstock.Handle
	for i, name := range models {
		byModel[i] = penstock.NewHandle(name)
	}
	return func() decide {
		charges := plan.Charges("", one)
		charges = model.AppendCharges(charges, "", &one)
		charges = global.AppendCharges(charges, all.Key(), &one)
		charges[3].Handle = all
		n := 0
		return func(key string, now time.Time) bool {
			n++
			m := byModel[n%len(byModel)]
			charges[0].Key, charges[1].Key = key, key
			charges[2].Key, charges[2].Handle = m.Key(), m
			return take(store, now, charges)
		}
	}, nothing
}

// each makes a subject of four of a kind that are all asked.
func each(s subject, threeKeys bool) func(quota) (func() decide, func()) {
	return func(q quota) (func() decide, func()) {
		var forks [4]func() decide
		var ends [4]func()
		for i := range forks {
			forks[i], ends[i] = s.open(q)
		}
		fork := func() decide {
			var decides [4]decide
			for i := range decides {
				decides[i] = forks[i]()
			}
			n := 0
			return func(key string, now time.Time) bool {
				n++
				model, shared := key, key
				if threeKeys {
					model, shared = models[n%len(models)], everybody
				}
				return decides[0](key, now) && decides[1](key, now) && decides[2](model, now) && decides[3](shared, now)
			}
		}
		return fork, func() {
			for _, end := range ends {
				end()
			}
		}
	}
}
