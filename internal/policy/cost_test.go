package policy

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// TestCostNeed: a request is taken to cost what its input and the output that is
// reserved cost at the model's price, and at the least what its least input costs
// if all of it is cached.
func TestCostNeed(t *testing.T) {
	const pricing = `
pricing:
  default: {input: 10, output: 20}
  models:
    "mine-*": {input: 1, output: 2, cached_input: 0.5}
    free: {input: 0}
`
	tests := []struct {
		what, limits string
		ask          *traffic.Ask
		cost, least  int64
	}{
		{"the default", "cost_per_day: 5", chat("unheard-of", 1000, 100), 10_000_000 + 2_000_000, 32 * 10_000},
		{"stated", "cost_per_day: 5", chat("mine-7b", 1000, 100), 1_000_000 + 200_000, 32 * 500},
		{"free", "cost_per_day: 5", chat("free", 1000, 100), 0, 0},
		{"the least there is", "cost_per_day: 5", chat("mine-7b", 0, 1), 1_000 + 2_000, 0},
		{"no limit counts it", "tokens_per_day: 5", chat("mine-7b", 1000, 100), 0, 0},
		{"not metered", "cost_per_day: 5", of(traffic.Other), 0, 0},
	}
	for _, tt := range tests {
		p := limitsOnly(t, "  default: {"+tt.limits+"}"+pricing)
		n := p.Need(visitor(), tt.ask)
		if n.Amounts[penstock.Cost] != tt.cost || n.Least[penstock.Cost] != tt.least {
			t.Errorf("%s: %d, at least %d; want %d, at least %d", tt.what, n.Amounts[penstock.Cost], n.Least[penstock.Cost], tt.cost, tt.least)
		}
	}
	p := limitsOnly(t, "  default: {cost_per_day: 5}"+pricing)
	if got := p.Cost("mine-7b", traffic.Usage{Input: 1000, CachedInput: 400, Output: 10}); got != 600_000+200_000+20_000 {
		t.Errorf("a usage costs %d", got)
	}
	if _, listed := p.Price("unheard-of"); listed {
		t.Error("a model that nobody lists is listed")
	}
	if price, listed := p.Price("mine-7b"); !listed || price.CachedInput != 5e8 {
		t.Errorf("a model that is listed costs %+v, listed: %v", price, listed)
	}
	// Free of charge so far, and it may turn out not to be.
	if got := charged(p, visitor(), chat("free", 10, 10)); len(got) != 1 {
		t.Errorf("charged %v", got)
	}
}

// TestCostSettles: what a day's money has left is what the usages cost, whatever
// was reserved.
func TestCostSettles(t *testing.T) {
	p := limitsOnly(t, "  default: {cost_per_day: 1000}")
	rapid.Check(t, func(t *rapid.T) {
		k := penstock.New(nil)
		spent := int64(0)
		for range 5 {
			a := drawAsk(t)
			a.Kind = traffic.ChatCompletions
			n := p.Need(visitor(), a)
			charges, large := p.Charges(nil, visitor(), Target{}, a, &n)
			if large != nil {
				return
			}
			r, err := k.Reserve(context.Background(), charges...)
			if err != nil {
				t.Fatal(err)
			}
			if !r.Allowed {
				return
			}
			u := traffic.Usage{Input: rapid.Int64Range(0, 5000).Draw(t, "input"), Output: rapid.Int64Range(0, 5000).Draw(t, "output")}
			var used penstock.Amounts
			used[penstock.Cost] = p.Cost(a.Model, u)
			spent += used[penstock.Cost]
			if err := r.Settle(context.Background(), used); err != nil {
				t.Fatal(err)
			}
		}
		d, err := k.Look(context.Background(), p.Standing(nil, visitor())...)
		if err != nil || d.Charges[0].Used != spent {
			t.Fatalf("%v: %d is used, and %d was spent", err, d.Charges[0].Used, spent)
		}
	})
}
