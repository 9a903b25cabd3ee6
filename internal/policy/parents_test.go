package policy

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock"
)

// counted is one limit, kept as every charge that was ever made.
type counted struct {
	penstock.Limit
	charges []moment
}

type moment struct {
	at     time.Duration // since the start of a month
	amount int64
}

// admits reports whether the limit lets one more pass, as slowly as can be.
func (c *counted) admits(m moment) bool {
	used := func(from time.Duration) (sum int64) {
		for _, k := range c.charges {
			if k.at >= from {
				sum += k.amount
			}
		}
		return sum
	}
	switch {
	case c.Window == penstock.Month:
		return used(0)+m.amount <= c.Amount
	case c.Algorithm == penstock.FixedWindow:
		return used(m.at-m.at%c.Window)+m.amount <= c.Amount
	case c.Algorithm == penstock.SlidingWindow:
		return used(m.at-c.Window+1)+m.amount <= c.Amount
	}
	// A bucket: since no earlier charge has more passed than it held, and was
	// refilled by.
	for _, k := range append(c.charges, m) {
		if refill := int64(m.at-k.at) * c.Amount / int64(c.Window); used(k.at)+m.amount > c.Size()+refill {
			return false
		}
	}
	return true
}

// TestBefore: a limit of which it is said that it never denies does not, whatever
// the other one lets pass.
func TestBefore(t *testing.T) {
	limit := rapid.Custom(func(t *rapid.T) penstock.Limit {
		l := penstock.Limit{
			Amount:    rapid.Int64Range(1, 8).Draw(t, "amount"),
			Window:    rapid.SampledFrom([]time.Duration{2, 3, 4, 6, 8, 12, 24 * time.Hour, penstock.Month}).Draw(t, "window"),
			Algorithm: rapid.SampledFrom([]penstock.Algorithm{penstock.SlidingWindow, penstock.FixedWindow, penstock.TokenBucket}).Draw(t, "algorithm"),
		}
		switch {
		case l.Window == penstock.Month:
			l.Algorithm = penstock.FixedWindow
		case l.Algorithm == penstock.TokenBucket:
			l.Capacity = rapid.Int64Range(0, 8).Draw(t, "capacity")
		}
		return l
	})
	said := 0
	rapid.Check(t, func(t *rapid.T) {
		parent, child := counted{Limit: limit.Draw(t, "parent")}, counted{Limit: limit.Draw(t, "child")}
		p, c := Rule{Limit: parent.Limit}, Rule{Limit: child.Limit}
		if p.before(&c) == "" {
			return
		}
		said++
		if c.before(&p) != "" {
			t.Fatal("both deny before the other")
		}
		now := time.Duration(0)
		for range 30 {
			now += time.Duration(rapid.IntRange(0, 4).Draw(t, "later"))
			m := moment{now, rapid.Int64Range(1, 4).Draw(t, "amount")}
			if !parent.admits(m) {
				continue
			}
			if !child.admits(m) {
				t.Fatalf("denies %d at %d", m.amount, m.at)
			}
			parent.charges, child.charges = append(parent.charges, m), append(child.charges, m)
		}
	})
	if said == 0 {
		t.Error("nothing was said of any")
	}
}

// TestBeforeIsLarge: amounts as large as can be wrap nothing around.
func TestBeforeIsLarge(t *testing.T) {
	large := penstock.Limit{Amount: penstock.MaxAmount, Window: time.Nanosecond}
	for _, algorithm := range []penstock.Algorithm{penstock.SlidingWindow, penstock.FixedWindow, penstock.TokenBucket} {
		large.Algorithm = algorithm
		for _, small := range []penstock.Limit{
			{Amount: penstock.MaxAmount, Window: 366 * 24 * time.Hour},
			{Amount: 1, Window: 366 * 24 * time.Hour, Algorithm: penstock.TokenBucket},
			{Amount: 1, Window: penstock.Month, Algorithm: penstock.FixedWindow},
		} {
			a, b := Rule{Limit: large}, Rule{Limit: small}
			if why := a.before(&b); why != "" {
				t.Errorf("%s of %s: %s", a.Limit.Algorithm, b.Limit.Algorithm, why)
			}
		}
	}
}

// TestCovers: what a scope is said to cover matches whatever the other one does,
// and counts together what that one does.
func TestCovers(t *testing.T) {
	globs := func(letters string) *rapid.Generator[[]string] {
		return rapid.SliceOfN(rapid.StringMatching(`[`+letters+`*]{1,3}`), 0, 2)
	}
	dimensions := rapid.SliceOfNDistinct(rapid.SampledFrom([]dimension{perModel, perPath}), 0, 2, rapid.ID)
	scopes := rapid.Custom(func(t *rapid.T) scope {
		return scope{models: globs("ab").Draw(t, "models"), paths: globs("cd").Draw(t, "paths"), per: dimensions.Draw(t, "per")}
	})
	said := 0
	rapid.Check(t, func(t *rapid.T) {
		s, of := scopes.Draw(t, "scope"), scopes.Draw(t, "of")
		if !s.covers(&of) {
			return
		}
		said++
		rules := [2]rule{{models: s.models, paths: s.paths, per: s.per}, {models: of.models, paths: of.paths, per: of.per}}
		k := newKeys()
		together := map[string]string{} // s's counter, by of's
		for range 30 {
			a := chat(rapid.StringMatching(`[ab]{0,3}(-latest|-0229)?`).Draw(t, "model"), 1, 1)
			to := Target{Method: "POST", Path: rapid.StringMatching(`[cd]{0,3}`).Draw(t, "path")}
			if !rules[1].matches(visitor(), &to, a) {
				continue
			}
			if !rules[0].matches(visitor(), &to, a) {
				t.Fatalf("%s %s: matches the one alone", to.Path, a.Model)
			}
			counter, one := rules[0].keyOf(&k, visitor(), &to, a), rules[1].keyOf(&k, visitor(), &to, a)
			if other, known := together[one]; known && other != counter {
				t.Fatalf("%s counts what is counted in %s and %s", one, other, counter)
			}
			together[one] = counter
		}
	})
	if said == 0 {
		t.Error("nothing was said of any")
	}
}
