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
	// USD 3, 15, 0.30 and 3.75 per million.
	p := Price{Input: 3e9, Output: 15e9, CachedInput: 3e8, CacheWrites: 3_750_000_000}
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
		{"all of it cached", p, traffic.Usage{Input: 10, CachedInput: 10}, 10 * 300},
		{"rounded up once, not part by part", Price{1, 1, 1, 1}, traffic.Usage{Input: 300_000, CachedInput: 100_000, CacheWrites: 100_000, Output: 700_001}, 2},
		{"the least", Price{Input: 1}, traffic.Usage{Input: 1}, 1},
		{"whole", Price{Input: 1}, traffic.Usage{Input: 1_000_000}, 1},

		{"more cached than there is", p, traffic.Usage{Input: 10, CachedInput: 1000}, 10 * 300},
		{"more written than there is", p, traffic.Usage{Input: 10, CacheWrites: 1000}, 10 * 3750},
		{"cached and written twice", p, traffic.Usage{Input: 10, CachedInput: 10, CacheWrites: 10}, 10*300 + 10*3750},
		{"cached and written overlap", p, traffic.Usage{Input: 10, CachedInput: 6, CacheWrites: 6}, 6*300 + 6*3750},
		{"below nothing", p, traffic.Usage{Input: -1, Output: -1, CachedInput: -1, CacheWrites: -1}, 0},
		{"output alone", p, traffic.Usage{Input: math.MinInt64, Output: 1, CachedInput: math.MaxInt64}, 15000},
		{"a price below nothing", Price{Input: -1e9, Output: 15e9}, traffic.Usage{Input: 100, Output: 1}, 15000},

		{"the most", Price{Input: penstock.MaxAmount}, traffic.Usage{Input: 1_000_000}, penstock.MaxAmount},
		{"one token short of the most", Price{Input: penstock.MaxAmount}, traffic.Usage{Input: 999_999}, 9007190247541738}, // 2^53 x 0.999999, up
		{"more than the most", Price{Input: penstock.MaxAmount}, traffic.Usage{Input: 1_000_001}, penstock.MaxAmount},
		{"as much as 64 bits hold, and a rest", Price{Output: 2_000_000}, traffic.Usage{Output: math.MaxInt64}, penstock.MaxAmount},
		{"as much as 128 bits hold", Price{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}, traffic.Usage{Input: math.MaxInt64, Output: math.MaxInt64, CachedInput: math.MaxInt64, CacheWrites: math.MaxInt64}, penstock.MaxAmount},
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

// TestCostIsExact holds Cost to math/big.
func TestCostIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Price{drawn(t, "input price"), drawn(t, "output price"), drawn(t, "cached price"), drawn(t, "writes price")}
		u := traffic.Usage{Input: drawn(t, "input"), Output: drawn(t, "output"), CachedInput: drawn(t, "cached"), CacheWrites: drawn(t, "writes")}
		if got, want := p.Cost(u), slowCost(p, u); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	})
}

func slowCost(p Price, u traffic.Usage) int64 {
	positive := func(n int64) *big.Int { return big.NewInt(max(n, 0)) }
	least := func(a, b *big.Int) *big.Int {
		if a.Cmp(b) < 0 {
			return a
		}
		return b
	}
	input := positive(u.Input)
	cached, writes := least(positive(u.CachedInput), input), least(positive(u.CacheWrites), input)
	plain := new(big.Int).Sub(input, cached)
	if plain.Sub(plain, writes).Sign() < 0 {
		plain.SetInt64(0)
	}
	sum := new(big.Int)
	add := func(tokens *big.Int, price int64) { sum.Add(sum, new(big.Int).Mul(tokens, positive(price))) }
	add(plain, p.Input)
	add(cached, p.CachedInput)
	add(writes, p.CacheWrites)
	add(positive(u.Output), p.Output)
	sum.Add(sum, big.NewInt(perTokens-1)).Div(sum, big.NewInt(perTokens))
	return least(sum, big.NewInt(penstock.MaxAmount)).Int64()
}

// TestGarbageIsNotCheaper: a usage whose parts are more than the whole costs at
// least as much as every usage that it may have been meant for.
func TestGarbageIsNotCheaper(t *testing.T) {
	tokens, price := rapid.Int64Range(-10, 100), rapid.Int64Range(0, 1e9)
	rapid.Check(t, func(t *rapid.T) {
		p := Price{price.Draw(t, "input price"), price.Draw(t, "output price"), price.Draw(t, "cached price"), price.Draw(t, "writes price")}
		u := traffic.Usage{Input: tokens.Draw(t, "input"), CachedInput: tokens.Draw(t, "cached"), CacheWrites: tokens.Draw(t, "writes")}
		got := p.Cost(u)
		input := max(u.Input, 0)
		cached, writes := min(max(u.CachedInput, 0), input), min(max(u.CacheWrites, 0), input)
		// Whatever the order in which the parts are cut to the whole.
		for _, meant := range []traffic.Usage{
			{Input: input, CachedInput: cached, CacheWrites: min(writes, input-cached)},
			{Input: input, CachedInput: min(cached, input-writes), CacheWrites: writes},
		} {
			if want := p.Cost(meant); got < want {
				t.Fatalf("%+v costs %d; %+v costs %d", u, got, meant, want)
			}
		}
	})
}

// TestCostGrows: more tokens never cost less.
func TestCostGrows(t *testing.T) {
	small := rapid.Int64Range(0, 1e12)
	rapid.Check(t, func(t *rapid.T) {
		p := Price{small.Draw(t, "input price"), small.Draw(t, "output price"), small.Draw(t, "cached price"), small.Draw(t, "writes price")}
		u := traffic.Usage{Input: small.Draw(t, "input"), Output: small.Draw(t, "output"), CachedInput: small.Draw(t, "cached"), CacheWrites: small.Draw(t, "writes")}
		more := u
		more.Output += small.Draw(t, "more output")
		more.Input += small.Draw(t, "more input")
		if u.CachedInput+u.CacheWrites <= u.Input && p.Cost(more) < p.Cost(u) {
			t.Fatalf("%+v costs %d, %+v %d", u, p.Cost(u), more, p.Cost(more))
		}
	})
}

// TestMax: what configurations can say is what stores can count.
func TestMax(t *testing.T) {
	if usd.Max != penstock.MaxAmount {
		t.Errorf("usd reads up to %d, stores count up to %d", usd.Max, penstock.MaxAmount)
	}
}

func BenchmarkCost(b *testing.B) {
	p := Price{Input: 3e9, Output: 15e9, CachedInput: 3e8, CacheWrites: 3_750_000_000}
	u := traffic.Usage{Input: 12_345, Output: 678, CachedInput: 9_000, CacheWrites: 100}
	b.ReportAllocs()
	for b.Loop() {
		p.Cost(u)
	}
}
