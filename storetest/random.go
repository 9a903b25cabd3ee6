package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
	"pgregory.net/rapid"
)

// againstModel drives the store and the [Model] with the same random traffic:
// several keys, several limits of every kind in one request, reservations held
// while limits change, and compares every answer.
func againstModel(t *testing.T, open func(t *testing.T) penstock.Store) {
	rapid.Check(t, func(r *rapid.T) { traffic(r, open(t)) })
}

func traffic(t *rapid.T, store penstock.Store) {
	limiter, truth := penstock.New(store), penstock.New(NewModel())
	keys := []string{"alice", "bob", "all"}
	draw := func() *penstock.Limits {
		limits := []penstock.Limit{penstock.InFlight(rapid.Int64Range(1, 3).Draw(t, "in flight"))}
		for i, unit := range []penstock.Unit{penstock.Requests, penstock.Tokens, penstock.Tokens, penstock.OutputTokens} {
			if rapid.Bool().Draw(t, "has it") {
				limits = append(limits, drawLimit(t, fmt.Sprint("limit", i), unit))
			}
		}
		if rapid.Bool().Draw(t, "month") {
			limits = append(limits, penstock.PerMonth(penstock.Tokens, rapid.Int64Range(1, 1000).Draw(t, "a month")))
		}
		return penstock.MustLimits(limits...)
	}
	sets := map[string]*penstock.Limits{}
	for _, key := range keys {
		sets[key] = draw()
	}
	type pair struct {
		got, want *penstock.Reservation
		sets      map[string]*penstock.Limits
	}
	var open []pair
	now := epoch
	shadow := map[string]bool{"bob": rapid.Bool().Draw(t, "bob is a shadow")}
	charges := func(amounts penstock.Amounts, chosen []string) (c []penstock.Charge) {
		for _, key := range chosen {
			c = sets[key].AppendCharges(c, key, &amounts)
		}
		for i := range c {
			c[i].Shadow = shadow[c[i].Key]
		}
		return c
	}
	amounts := func(most int64) penstock.Amounts {
		return penstock.Amounts{
			penstock.Requests:     rapid.Int64Range(0, 1).Draw(t, "requests"),
			penstock.Tokens:       rapid.Int64Range(0, most).Draw(t, "tokens"),
			penstock.OutputTokens: rapid.Int64Range(0, most).Draw(t, "output"),
			penstock.Concurrent:   rapid.Int64Range(0, 1).Draw(t, "concurrent"),
		}
	}
	chosen := func() []string {
		return rapid.Permutation(keys).Draw(t, "keys")[:rapid.IntRange(1, len(keys)).Draw(t, "how many")]
	}
	t.Repeat(map[string]func(*rapid.T){
		"pass": func(t *rapid.T) {
			now = now.Add(drawPause(t, sets[keys[0]].At(sets[keys[0]].Len()-1)))
		},
		"reserve": func(t *rapid.T) {
			a, who := amounts(60), chosen()
			got, err := limiter.ReserveAt(background, now, charges(a, who)...)
			must(t, err)
			want, err := truth.ReserveAt(background, now, charges(a, who)...)
			must(t, err)
			same(t, &got.Decision, &want.Decision)
			if got.Allowed {
				held := map[string]*penstock.Limits{}
				for _, key := range who {
					held[key] = sets[key]
				}
				open = append(open, pair{got, want, held})
			}
		},
		"look": func(t *rapid.T) {
			a, who := amounts(60), chosen()
			got, err := limiter.LookAt(background, now, charges(a, who)...)
			must(t, err)
			want, err := truth.LookAt(background, now, charges(a, who)...)
			must(t, err)
			same(t, &got, &want)
		},
		"end": func(t *rapid.T) {
			if len(open) == 0 {
				t.Skip("nothing open")
			}
			n := rapid.IntRange(0, len(open)-1).Draw(t, "which")
			p := open[n]
			open = append(open[:n], open[n+1:]...)
			used := amounts(120)
			for key, set := range p.sets { // an extra on a limit that is gone may be counted or not
				if set != sets[key] {
					used = penstock.Amounts{}
				}
			}
			must(t, p.got.SettleAt(background, now, used))
			must(t, p.want.SettleAt(background, now, used))
		},
		"reload": func(t *rapid.T) {
			key := rapid.SampledFrom(keys).Draw(t, "key")
			sets[key] = draw()
		},
	})
	for _, p := range open {
		must(t, p.got.CancelAt(background, now))
		must(t, p.want.CancelAt(background, now))
	}
	for _, key := range keys {
		a := penstock.Amounts{penstock.Concurrent: 1}
		got, err := limiter.LookAt(background, now, sets[key].Charges(key, a)...)
		must(t, err)
		if used := got.Charges[0].Used; used != 0 {
			t.Fatalf("%d in flight under %s when all have ended", used, key)
		}
	}
}

// refuses: charges that make no sense are an error, and take nothing.
func refuses(t *testing.T, store penstock.Store) {
	set := penstock.MustLimits(penstock.PerMinute(penstock.Requests, 10), penstock.PerMinute(penstock.Tokens, 10))
	other := penstock.MustLimits(penstock.PerMinute(penstock.Requests, 10))
	one := penstock.Amounts{penstock.Requests: 1, penstock.Tokens: 1}
	a, b := set.Charges("a", one), set.Charges("b", one)
	for name, charges := range map[string][]penstock.Charge{
		"no limit":              {{Key: "a", Amount: 1}},
		"no such index":         {{Key: "a", Limits: set, Index: 2, Amount: 1}},
		"a negative index":      {{Key: "a", Limits: set, Index: -1, Amount: 1}},
		"a negative amount":     {{Key: "a", Limits: set, Amount: -1}},
		"too large an amount":   {{Key: "a", Limits: set, Amount: penstock.MaxAmount + 1}},
		"a limit twice":         {a[0], a[1], a[0]},
		"a key in two places":   {a[0], b[0], a[1]},
		"a key with two limits": {a[1], other.Charges("a", one)[0]},
	} {
		if _, err := store.Take(background, epoch, charges); err == nil {
			t.Errorf("%s: Take has no error", name)
		}
		if _, err := store.Look(background, epoch, charges); err == nil {
			t.Errorf("%s: Look has no error", name)
		}
	}
	for _, key := range []string{"a", "b"} {
		charges := set.Charges(key, one)
		if _, err := store.Look(background, epoch.Add(time.Second), charges); err != nil || charges[0].Used != 0 || charges[1].Used != 0 {
			t.Errorf("%s was charged by what was refused: %+v, %v", key, charges, err)
		}
	}
}

// nothing: a charge of 0 passes even where there is debt, and changes nothing.
func nothing(t *testing.T, store penstock.Store) {
	for _, l := range []penstock.Limit{
		{Unit: penstock.Tokens, Amount: 10, Window: time.Minute},
		{Unit: penstock.Tokens, Amount: 10, Window: time.Minute, Algorithm: penstock.FixedWindow},
		{Unit: penstock.Tokens, Amount: 10, Window: time.Minute, Algorithm: penstock.TokenBucket},
	} {
		set := penstock.MustLimits(l)
		r, err := penstock.New(store).ReserveAt(background, epoch, set.Charges(l.Algorithm.String(), penstock.Amounts{penstock.Tokens: 10})...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.RaiseAt(background, epoch, penstock.Amounts{penstock.Tokens: 25}); err != nil {
			t.Fatal(err)
		}
		charges := []penstock.Charge{{Key: l.Algorithm.String(), Limits: set}}
		if _, err := store.Take(background, epoch, charges); err != nil || charges[0].RetryAfter != 0 || charges[0].Used != 25 {
			t.Errorf("%v: a charge of 0 on a debt: %+v, %v; want it to pass, with 25 used", l.Algorithm, charges[0].Status, err)
		}
	}
}
