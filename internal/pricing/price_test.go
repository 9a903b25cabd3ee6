package pricing

import (
	"math"
	"math/big"
	"testing"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
	"github.com/penstock-dev/penstock/internal/traffic"
	"pgregory.net/rapid"
)

func TestCost(t *testing.T) {
	// USD 3, 15, 0.30, 3.75 and 6 per million; above 1000 tokens 6, 22.50, 0.60, 7.50 and 12.
	base, long := Rates{3e9, 15e9, 3e8, 3_750_000_000, 6e9}, Rates{6e9, 22_500_000_000, 6e8, 7_500_000_000, 12e9}
	p, tiered := Price{Rates: base}, Price{base, 1000, long}
	one := func(input, output int64) Price { return Price{Rates: Rates{Input: input, Output: output}} }
	all := func(n int64) Price { return Price{Rates: Rates{n, n, n, n, n}} }
	tests := []struct {
		what  string
		price Price
		usage traffic.Usage
		want  int64
	}{
		{"nothing", p, traffic.Usage{}, 0},
		{"free", Price{}, traffic.Usage{Input: 1e9, Output: 1e9}, 0},
		{"input", p, traffic.Usage{Input: 1_000_000}, 3e9},
		{"output", p, traffic.Usage{Output: 1_000_000}, 15e9},
		{"both", p, traffic.Usage{Input: 1000, Output: 500}, 3_000_000 + 7_500_000},
		{"cached and written are parts of the input", p, traffic.Usage{Input: 1000, CachedInput: 600, CacheWrites: 300, Output: 1}, 100*3000 + 600*300 + 300*3750 + 15000},
		{"writes for an hour are parts of the writes", p, traffic.Usage{Input: 1000, CacheWrites: 300, LongCacheWrites: 100}, 700*3000 + 200*3750 + 100*6000},
		{"all writes for an hour", p, traffic.Usage{Input: 300, CacheWrites: 300, LongCacheWrites: 300}, 300 * 6000},
		{"all of it cached", p, traffic.Usage{Input: 10, CachedInput: 10}, 10 * 300},
		{"rounded up once, not part by part", all(1), traffic.Usage{Input: 300_000, CachedInput: 100_000, CacheWrites: 100_000, Output: 700_001}, 2},
		{"the least", one(1, 0), traffic.Usage{Input: 1}, 1},
		{"whole", one(1, 0), traffic.Usage{Input: 1_000_000}, 1},

		{"at the base price up to there", tiered, traffic.Usage{Input: 1000, CachedInput: 500, CacheWrites: 100, LongCacheWrites: 50, Output: 5000}, 400*3000 + 500*300 + 50*3750 + 50*6000 + 5000*15000},
		{"all of it at the long price above", tiered, traffic.Usage{Input: 1001, CachedInput: 500, CacheWrites: 100, LongCacheWrites: 50, Output: 10}, 401*6000 + 500*600 + 50*7500 + 50*12000 + 10*22500},
		{"a long input that is all cached", tiered, traffic.Usage{Input: 2000, CachedInput: 2000}, 2000 * 600},
		{"a long output alone", tiered, traffic.Usage{Output: 1_000_000}, 15e9},
		{"input below nothing is not long", tiered, traffic.Usage{Input: -2000, Output: 1}, 15000},
		{"no other rates", Price{base, 0, long}, traffic.Usage{Input: 1}, 3000},

		{"more cached than there is", p, traffic.Usage{Input: 10, CachedInput: 1000}, 10 * 300},
		{"more written than there is", p, traffic.Usage{Input: 10, CacheWrites: 1000}, 10 * 3750},
		{"more written for an hour than written", p, traffic.Usage{Input: 10, CacheWrites: 4, LongCacheWrites: 10}, 6*3000 + 4*6000},
		{"cached and written twice", p, traffic.Usage{Input: 10, CachedInput: 10, CacheWrites: 10}, 10*300 + 10*3750},
		{"cached and written overlap", p, traffic.Usage{Input: 10, CachedInput: 6, CacheWrites: 6}, 6*300 + 6*3750},
		{"below nothing", p, traffic.Usage{Input: -1, Output: -1, CachedInput: -1, CacheWrites: -1, LongCacheWrites: -1}, 0},
		{"output alone", p, traffic.Usage{Input: math.MinInt64, Output: 1, CachedInput: math.MaxInt64}, 15000},
		{"a price below nothing", one(-1e9, 15e9), traffic.Usage{Input: 100, Output: 1}, 15000},

		{"the most", one(penstock.MaxAmount, 0), traffic.Usage{Input: 1_000_000}, penstock.MaxAmount},
		{"one token short of the most", one(penstock.MaxAmount, 0), traffic.Usage{Input: 999_999}, 9007190247541738}, // 2^53 x 0.999999, up
		{"more than the most", one(penstock.MaxAmount, 0), traffic.Usage{Input: 1_000_001}, penstock.MaxAmount},
		{"as much as 64 bits hold, and a rest", one(0, 2_000_000), traffic.Usage{Output: math.MaxInt64}, penstock.MaxAmount},
		{"as much as 128 bits hold", all(math.MaxInt64), traffic.Usage{Input: math.MaxInt64, Output: math.MaxInt64, CachedInput: math.MaxInt64, CacheWrites: math.MaxInt64, LongCacheWrites: math.MaxInt64 / 2}, penstock.MaxAmount},
	}
	for _, tt := range tests {
		if got := tt.price.Cost(tt.usage); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.what, got, tt.want)
		}
	}
}

// drawn draws numbers of every size, and some below zero.
func drawn(t *rapid.T, label string) int64 {
	n := rapid.Int64().Draw(t, label)
	return n >> rapid.IntRange(0, 62).Draw(t, label+" shift")
}

// drawnPrice draws a price of rates from draw; every other one has rates for a
// long input, which are at least as high.
func drawnPrice(t *rapid.T, draw func(label string) int64) Price {
	rates := func(label string) Rates {
		return Rates{draw(label + " input"), draw(label + " output"), draw(label + " cached"), draw(label + " writes"), draw(label + " long writes")}
	}
	p := Price{Rates: rates("price of")}
	if rapid.Bool().Draw(t, "tiers") {
		l := rates("long price of")
		p.Long = Rates{max(p.Input, l.Input), max(p.Output, l.Output), max(p.CachedInput, l.CachedInput), max(p.CacheWrites, l.CacheWrites), max(p.LongCacheWrites, l.LongCacheWrites)}
		p.Above = max(draw("above"), 0)
	}
	return p
}

func drawnUsage(draw func(label string) int64) traffic.Usage {
	return traffic.Usage{Input: draw("input"), Output: draw("output"), CachedInput: draw("cached"), CacheWrites: draw("writes"), LongCacheWrites: draw("long writes")}
}

// TestCostIsExact holds Cost to math/big.
func TestCostIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) int64 { return drawn(t, label) }
		p, u := drawnPrice(t, draw), drawnUsage(draw)
		if got, want := p.Cost(u), slowCost(p, u); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	})
}

func slowCost(p Price, u traffic.Usage) int64 {
	rates := p.Rates
	if p.Above > 0 && u.Input > p.Above {
		rates = p.Long
	}
	positive := func(n int64) *big.Int { return big.NewInt(max(n, 0)) }
	least := func(a, b *big.Int) *big.Int {
		if a.Cmp(b) < 0 {
			return a
		}
		return b
	}
	input := positive(u.Input)
	cached, writes := least(positive(u.CachedInput), input), least(positive(u.CacheWrites), input)
	long := least(positive(u.LongCacheWrites), writes)
	plain := new(big.Int).Sub(input, cached)
	if plain.Sub(plain, writes).Sign() < 0 {
		plain.SetInt64(0)
	}
	sum := new(big.Int)
	add := func(tokens *big.Int, price int64) { sum.Add(sum, new(big.Int).Mul(tokens, positive(price))) }
	add(plain, rates.Input)
	add(cached, rates.CachedInput)
	add(new(big.Int).Sub(writes, long), rates.CacheWrites)
	add(long, rates.LongCacheWrites)
	add(positive(u.Output), rates.Output)
	sum.Add(sum, big.NewInt(perTokens-1)).Div(sum, big.NewInt(perTokens))
	return least(sum, big.NewInt(penstock.MaxAmount)).Int64()
}

// TestGarbageIsNotCheaper: a usage whose parts are more than the whole costs at
// least as much as every usage that it may have been meant for.
func TestGarbageIsNotCheaper(t *testing.T) {
	tokens, price := rapid.Int64Range(-10, 100), rapid.Int64Range(0, 100)
	rapid.Check(t, func(t *rapid.T) {
		p := drawnPrice(t, func(label string) int64 { return price.Draw(t, label) })
		u := drawnUsage(func(label string) int64 { return tokens.Draw(t, label) })
		got := p.Cost(u)
		input := max(u.Input, 0)
		cached, writes := min(max(u.CachedInput, 0), input), min(max(u.CacheWrites, 0), input)
		// Whatever the order in which the parts are cut to the whole.
		for _, meant := range []traffic.Usage{
			{Input: input, CachedInput: cached, CacheWrites: min(writes, input-cached)},
			{Input: input, CachedInput: min(cached, input-writes), CacheWrites: writes},
		} {
			meant.Output = max(u.Output, 0)
			meant.LongCacheWrites = min(max(u.LongCacheWrites, 0), meant.CacheWrites)
			if want := p.Cost(meant); got < want {
				t.Fatalf("%+v costs %d; %+v costs %d", u, got, meant, want)
			}
		}
	})
}

// TestCostGrows: more tokens never cost less, at rates that do not fall with the
// length of the input.
func TestCostGrows(t *testing.T) {
	small := rapid.Int64Range(0, 1e12)
	rapid.Check(t, func(t *rapid.T) {
		p := drawnPrice(t, func(label string) int64 { return small.Draw(t, label) })
		u := drawnUsage(func(label string) int64 { return small.Draw(t, label) })
		more := u
		more.Output += small.Draw(t, "more output")
		more.Input += small.Draw(t, "more input")
		if u.CachedInput+u.CacheWrites <= u.Input && p.Cost(more) < p.Cost(u) {
			t.Fatalf("%+v costs %d, %+v %d", u, p.Cost(u), more, p.Cost(more))
		}
	})
}

// TestAt: the price at an input is what a request with it costs, and is flat.
func TestAt(t *testing.T) {
	small := rapid.Int64Range(-10, 1000)
	rapid.Check(t, func(t *rapid.T) {
		p := drawnPrice(t, func(label string) int64 { return small.Draw(t, label) })
		u := drawnUsage(func(label string) int64 { return small.Draw(t, label) })
		at := p.At(u.Input)
		if at.Above != 0 || at.Long != (Rates{}) {
			t.Fatalf("%+v at %d is %+v", p, u.Input, at)
		}
		if got, want := at.Cost(u), p.Cost(u); got != want {
			t.Fatalf("%+v costs %d at its price, %d at all", u, got, want)
		}
	})
}

func TestCostDoesNotAllocate(t *testing.T) {
	p := Price{Rates{3e9, 15e9, 3e8, 3_750_000_000, 6e9}, 1000, Rates{6e9, 22_500_000_000, 6e8, 7_500_000_000, 12e9}}
	for _, input := range []int64{100, 2000} {
		u := traffic.Usage{Input: input, Output: 10, CachedInput: 20, CacheWrites: 30, LongCacheWrites: 10}
		if n := testing.AllocsPerRun(100, func() { p.Cost(u) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// TestMax: what configurations can say is what stores can count.
func TestMax(t *testing.T) {
	if usd.Max != penstock.MaxAmount {
		t.Errorf("usd reads up to %d, stores count up to %d", usd.Max, penstock.MaxAmount)
	}
}

func BenchmarkCost(b *testing.B) {
	p := Price{Rates{3e9, 15e9, 3e8, 3_750_000_000, 6e9}, 10_000, Rates{6e9, 22_500_000_000, 6e8, 7_500_000_000, 12e9}}
	u := traffic.Usage{Input: 12_345, Output: 678, CachedInput: 9_000, CacheWrites: 100, LongCacheWrites: 50}
	b.ReportAllocs()
	for b.Loop() {
		p.Cost(u)
	}
}
