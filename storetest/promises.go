package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
	"pgregory.net/rapid"
)

// The promises of a limit, each held by a property on random traffic. What a
// promise speaks of is kept here event by event and summed up in the plainest
// way.

func promises(t *testing.T, open func(t *testing.T) penstock.Store) {
	check := func(name string, property func(t *rapid.T, store penstock.Store)) {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) { property(r, open(t)) })
		})
	}
	check("1 all or none", allOrNone)
	check("2 never over", neverOver)
	check("3 retry after is true", retryAfterIsTrue)
	check("4 debt stays and refunds go home", debtStays)
	check("5 one clock", oneClock)
	check("6 integers", integers)
	check("7 counters outlive configuration", countersOutlive)
}

// epoch is a moment far from the edges of windows.
var epoch = time.Date(2026, time.January, 15, 12, 0, 30, 0, time.UTC)

var background = context.Background()

var (
	algorithms = rapid.SampledFrom([]penstock.Algorithm{penstock.SlidingWindow, penstock.FixedWindow, penstock.TokenBucket})
	windows    = rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 10 * time.Second, time.Minute, time.Hour, 24 * time.Hour})
)

// drawLimit draws a limit on the unit.
func drawLimit(t *rapid.T, name string, unit penstock.Unit) penstock.Limit {
	l := penstock.Limit{
		Name:      name,
		Unit:      unit,
		Amount:    rapid.Int64Range(1, 100).Draw(t, "amount"),
		Window:    windows.Draw(t, "window"),
		Algorithm: algorithms.Draw(t, "algorithm"),
	}
	switch l.Algorithm {
	case penstock.TokenBucket:
		l.Capacity = rapid.Int64Range(1, 100).Draw(t, "capacity")
	case penstock.SlidingWindow:
		l.Precision = l.Window / time.Duration(rapid.SampledFrom([]int{1, 2, 4, 5, 10, 50, 100}).Draw(t, "steps"))
	}
	l.Overdraw = rapid.IntRange(0, 9).Draw(t, "overdraw") == 0
	return l
}

// drawPause draws a time to pass: within a step, a few steps, or windows.
func drawPause(t *rapid.T, l penstock.Limit) time.Duration {
	size := l.Window
	if size <= 0 {
		size = time.Second
	}
	return rapid.OneOf(
		rapid.Just(time.Duration(0)),
		rapid.Map(rapid.Int64Range(0, int64(size/time.Microsecond)/20), micro),
		rapid.Map(rapid.Int64Range(0, 3*int64(size/time.Microsecond)), micro),
	).Draw(t, "pause")
}

func micro(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatalf("the store's error: %v", err)
	}
}

func allowed(charges []penstock.Charge) bool {
	for i := range charges {
		if charges[i].RetryAfter != 0 && !charges[i].Shadow {
			return false
		}
	}
	return true
}

// allOrNone: whatever a request is charged to, either everything moves by its
// amount or nothing does.
func allOrNone(t *rapid.T, store penstock.Store) {
	sets := map[string]*penstock.Limits{}
	for _, key := range []string{"a", "b", "all"} {
		var limits []penstock.Limit
		for i := range rapid.IntRange(1, 4).Draw(t, "limits") {
			limits = append(limits, drawLimit(t, fmt.Sprint("limit", i), penstock.Tokens))
		}
		sets[key] = penstock.MustLimits(limits...)
	}
	used := func(now time.Time, key string) []int64 {
		charges := sets[key].Charges(key, penstock.Amounts{penstock.Tokens: 1})
		_, err := store.Look(background, now, charges)
		must(t, err)
		var used []int64
		for i := range charges {
			used = append(used, charges[i].Used)
		}
		return used
	}
	now := epoch
	for range 30 {
		now = now.Add(drawPause(t, sets["all"].At(0)))
		var charges []penstock.Charge
		amount := rapid.Int64Range(1, 60).Draw(t, "amount")
		keys := rapid.Permutation([]string{"a", "b", "all"}).Draw(t, "keys")[:rapid.IntRange(1, 3).Draw(t, "how many")]
		before := map[string][]int64{}
		for _, key := range keys {
			before[key] = used(now, key)
			charges = sets[key].AppendCharges(charges, key, &penstock.Amounts{penstock.Tokens: amount})
		}
		_, err := store.Take(background, now, charges)
		must(t, err)
		moved := int64(0)
		if allowed(charges) {
			moved = amount
		}
		for _, key := range keys {
			for i, after := range used(now, key) {
				if after != before[key][i]+moved {
					t.Fatalf("allowed=%v of %d: limit %d of %s went from %d to %d", moved > 0, amount, i, key, before[key][i], after)
				}
			}
		}
	}
}

// admitted is one admission, for the sums of neverOver.
type admitted struct {
	at     time.Time
	amount int64
}

// neverOver: at every admission, what was admitted in the window and this ask
// are at most the limit; of a bucket, what was admitted since any earlier
// moment is at most the capacity and what was minted since.
func neverOver(t *rapid.T, store penstock.Store) {
	l := drawLimit(t, "limit", penstock.Tokens)
	l.Overdraw = false
	set := penstock.MustLimits(l)
	l = set.At(0)
	now := epoch
	var all []admitted
	for range rapid.IntRange(1, 120).Draw(t, "requests") {
		now = now.Add(drawPause(t, l))
		charges := set.Charges("key", penstock.Amounts{penstock.Tokens: rapid.Int64Range(1, l.Most()).Draw(t, "ask")})
		_, err := store.Take(background, now, charges)
		must(t, err)
		if allowed(charges) {
			all = append(all, admitted{now, charges[0].Amount})
		}
	}
	for i := range all {
		last := all[i].at
		sum := int64(0)
		for j := i; j >= 0; j-- {
			first := all[j].at
			sum += all[j].amount
			var most int64
			switch l.Algorithm {
			case penstock.SlidingWindow:
				if last.Sub(first) >= l.Window {
					continue
				}
				most = l.Amount
			case penstock.FixedWindow:
				if first.UnixMicro()/micros(l.Window) != last.UnixMicro()/micros(l.Window) {
					continue
				}
				most = l.Amount
			default:
				k := counter{limit: l}
				most = l.Capacity + k.units(k.minted(micros(last.Sub(first))))
			}
			if sum > most {
				t.Fatalf("%d admitted in %v, %d may be: %+v", sum, last.Sub(first), most, l)
			}
		}
	}
}

// retryAfterIsTrue: a denied request passes when its wait is over, and not a
// microsecond earlier; over several limits the longest wait holds.
func retryAfterIsTrue(t *rapid.T, store penstock.Store) {
	var limits []penstock.Limit
	for i := range rapid.IntRange(1, 3).Draw(t, "limits") {
		limits = append(limits, drawLimit(t, fmt.Sprint("limit", i), penstock.Tokens))
	}
	set := penstock.MustLimits(limits...)
	limiter := penstock.New(store)
	now := epoch
	for range 40 {
		now = now.Add(drawPause(t, limits[0]))
		ask := penstock.Amounts{penstock.Tokens: rapid.Int64Range(1, 100).Draw(t, "ask")}
		d, err := limiter.AllowAt(background, now, set.Charges("key", ask)...)
		must(t, err)
		if d.Allowed {
			continue
		}
		wait := d.RetryAfter
		if never := tooLarge(set, ask[penstock.Tokens]); never != (wait == penstock.Never) {
			t.Fatalf("wait = %v of %d", wait, ask[penstock.Tokens])
		} else if never {
			continue
		}
		early, err := limiter.AllowAt(background, now.Add(wait-time.Microsecond), set.Charges("key", ask)...)
		must(t, err)
		if early.Allowed {
			t.Fatalf("passed before its wait of %v was over: %+v", wait, limits)
		}
		now = now.Add(wait)
		if d, err = limiter.AllowAt(background, now, set.Charges("key", ask)...); err != nil || !d.Allowed {
			t.Fatalf("did not pass after its wait of %v: %v, again %v: %+v", wait, err, d.RetryAfter, limits)
		}
	}
}

func tooLarge(set *penstock.Limits, ask int64) bool {
	for i := range set.Len() {
		if ask > set.At(i).Most() {
			return true
		}
	}
	return false
}

// debtStays: what is used beyond a reservation counts from when it was settled,
// even past the limit, and what was not used counts no longer, from the moment
// of settling on. The sums are those of the events.
func debtStays(t *rapid.T, store penstock.Store) {
	l := drawLimit(t, "limit", penstock.Tokens)
	set := penstock.MustLimits(l)
	limiter, truth := penstock.New(store), penstock.New(NewModel())
	type pair struct{ got, want *penstock.Reservation }
	var open []pair
	now := epoch
	for range 60 {
		now = now.Add(drawPause(t, l))
		switch i := rapid.IntRange(0, 9).Draw(t, "do"); {
		case i < 4:
			ask := penstock.Amounts{penstock.Tokens: rapid.Int64Range(1, l.Amount).Draw(t, "ask")}
			got, err := limiter.ReserveAt(background, now, set.Charges("key", ask)...)
			must(t, err)
			want, err := truth.ReserveAt(background, now, set.Charges("key", ask)...)
			must(t, err)
			same(t, &got.Decision, &want.Decision)
			open = append(open, pair{got, want})
		case len(open) == 0:
		default:
			n := rapid.IntRange(0, len(open)-1).Draw(t, "which")
			p := open[n]
			used := penstock.Amounts{penstock.Tokens: rapid.Int64Range(0, 3*l.Amount).Draw(t, "used")}
			var over [2]penstock.Amounts
			for at, r := range []*penstock.Reservation{p.got, p.want} {
				var err error
				switch {
				case i < 6:
					over[at], err = r.RaiseAt(background, now, used)
				case i < 7:
					err = r.CancelAt(background, now)
				default:
					err = r.SettleAt(background, now, used)
				}
				must(t, err)
			}
			if over[0] != over[1] {
				t.Fatalf("of a raise to %d %d went beyond %+v, want %d", used[penstock.Tokens], over[0][penstock.Tokens], l, over[1][penstock.Tokens])
			}
			if i >= 6 {
				open = append(open[:n], open[n+1:]...)
			}
		}
		look := penstock.Amounts{penstock.Tokens: rapid.Int64Range(1, l.Amount).Draw(t, "look")}
		got, err := limiter.LookAt(background, now, set.Charges("key", look)...)
		must(t, err)
		want, err := truth.LookAt(background, now, set.Charges("key", look)...)
		must(t, err)
		same(t, &got, &want)
	}
}

// same holds two decisions of the same request against each other.
func same(t *rapid.T, got, want *penstock.Decision) {
	if got.Allowed != want.Allowed || got.RetryAfter != want.RetryAfter {
		t.Fatalf("allowed=%v retry=%v, want %v %v", got.Allowed, got.RetryAfter, want.Allowed, want.RetryAfter)
	}
	for i := range want.Charges {
		g, w := &got.Charges[i], &want.Charges[i]
		if g.Key != w.Key || g.Limits != w.Limits || g.Index != w.Index || g.Amount != w.Amount || g.Shadow != w.Shadow {
			t.Fatalf("charge %d has become %d of limit %d under %q; it was %d of limit %d under %q, and the store fills in Shared and Status alone",
				i, g.Amount, g.Index, g.Key, w.Amount, w.Index, w.Key)
		}
		if g.Status != w.Status {
			t.Fatalf("charge %d of %d under %q, %+v:\n got %+v\nwant %+v", i, g.Amount, g.Key, g.Limit(), g.Status, w.Status)
		}
	}
}

// oneClock: a store that is not handed a time reads its own clock once, whatever
// it is asked: the moment it returns lies within the call, never before one that
// it returned earlier, and every duration it says counts from that moment.
func oneClock(t *rapid.T, store penstock.Store) {
	if _, ok := store.(*Model); ok {
		return // it has no clock
	}
	set := penstock.MustLimits(penstock.PerHour(penstock.Tokens, 10), penstock.PerDay(penstock.Requests, 1000))
	charges := set.Charges("key", penstock.Amounts{penstock.Tokens: 1, penstock.Requests: 1})
	var last time.Time
	ask := func(what string, call func() (time.Time, error)) time.Time {
		before := time.Now()
		at, err := call()
		must(t, err)
		// A store on another machine has a clock of its own; an hour is no
		// drift but a fault.
		if after := time.Now(); at.Before(before.Add(-time.Hour)) || at.After(after.Add(time.Hour)) {
			t.Fatalf("%s: the moment %v of a call between %v and %v", what, at, before, after)
		}
		if at.Before(last) {
			t.Fatalf("%s: the moment %v after %v", what, at, last)
		}
		last = at
		return at
	}
	whole := func(what string, charged, at time.Time) {
		for i := range charges {
			l := charges[i].Limit()
			step := micros(l.Precision)
			ends := (charged.UnixMicro()/step + 1) * step
			if want := micro(ends-at.UnixMicro()) + l.Window; charges[i].Reset != want {
				t.Fatalf("%s: reset = %v at %v, want %v", what, charges[i].Reset, at, want)
			}
		}
	}
	for range 5 {
		taken := ask("Take", func() (time.Time, error) { return store.Take(background, time.Time{}, charges) })
		whole("Take", taken, taken)
		extra := []penstock.Adjustment{{Charge: &charges[0], Delta: 1}, {Charge: &charges[1], Delta: 1}}
		charged := ask("Adjust", func() (time.Time, error) { return store.Adjust(background, time.Time{}, extra) })
		looked := ask("Look", func() (time.Time, error) { return store.Look(background, time.Time{}, charges) })
		whole("Look", charged, looked)
	}
}

// integers: the largest amounts there can be are counted to the last unit, and
// nothing overflows.
func integers(t *rapid.T, store penstock.Store) {
	l := penstock.Limit{Unit: penstock.Tokens, Amount: penstock.MaxAmount, Window: 10 * 366 * 24 * time.Hour, Algorithm: algorithms.Draw(t, "algorithm")}
	set := penstock.MustLimits(l)
	limiter := penstock.New(store)
	takeOf := func(key string, n int64) *penstock.Reservation {
		r, err := limiter.ReserveAt(background, epoch, set.Charges(key, penstock.Amounts{penstock.Tokens: n})...)
		must(t, err)
		return r
	}
	take := func(n int64) *penstock.Reservation { return takeOf("key", n) }
	for range 2 {
		all := takeOf("all of it", penstock.MaxAmount)
		if !all.Allowed {
			t.Fatalf("what was taken at once did not come back at once: %+v", all.Decision)
		}
		must(t, all.CancelAt(background, epoch))
	}
	n := rapid.Int64Range(1, penstock.MaxAmount-1).Draw(t, "first")
	first, second := take(n), take(penstock.MaxAmount-n)
	if !first.Allowed || !second.Allowed || second.Charges[0].Remaining() != 0 {
		t.Fatalf("%d and the rest of the limit: %+v", n, second.Decision)
	}
	if r := take(1); r.Allowed || r.RetryAfter <= 0 {
		t.Fatalf("one more than the limit: %+v", r.Decision)
	}
	must(t, second.SettleAt(background, epoch, penstock.Amounts{penstock.Tokens: penstock.MaxAmount}))
	for range 10 {
		extra := []penstock.Adjustment{{Charge: &first.Charges[0], Delta: penstock.MaxAmount}}
		if _, err := store.Adjust(background, epoch, extra); err != nil {
			t.Fatal(err)
		}
		r := take(1)
		if r.Allowed || r.RetryAfter <= 0 || r.Charges[0].Used <= 0 || r.Charges[0].Reset <= 0 || r.Charges[0].Remaining() != 0 {
			t.Fatalf("deep in debt: %+v", r.Decision)
		}
	}
}

// countersOutlive: whatever becomes of a limit's amount, precision, window and
// algorithm, what is counted stays counted at the moment of the change, and
// from then on it is as the model says.
func countersOutlive(t *rapid.T, store penstock.Store) {
	limiter, truth := penstock.New(store), penstock.New(NewModel())
	var names []string
	for i := range rapid.IntRange(1, 3).Draw(t, "limits") {
		names = append(names, fmt.Sprint("limit", i))
	}
	draw := func() *penstock.Limits {
		var limits []penstock.Limit
		for _, name := range names {
			limits = append(limits, drawLimit(t, name, penstock.Tokens))
		}
		return penstock.MustLimits(limits...)
	}
	set := draw()
	now := epoch
	for range 40 {
		now = now.Add(drawPause(t, set.At(0)))
		if rapid.IntRange(0, 4).Draw(t, "reload") == 0 {
			set = draw()
		}
		ask := penstock.Amounts{penstock.Tokens: rapid.Int64Range(1, 50).Draw(t, "ask")}
		got, err := limiter.AllowAt(background, now, set.Charges("key", ask)...)
		must(t, err)
		want, err := truth.AllowAt(background, now, set.Charges("key", ask)...)
		must(t, err)
		same(t, &got, &want)
	}
}
