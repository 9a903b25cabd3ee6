// Package pricing says what a usage costs: from a built-in table of prices, which
// is a dated snapshot of a named source, under what a configuration states.
package pricing

import (
	"math/bits"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// perTokens is how many tokens a price is for.
const perTokens = 1_000_000

// Rates are what tokens cost, in nano-USD per million of them: 75e9 is USD 75.00
// per million.
type Rates struct {
	Input, Output int64
	// CachedInput is the price of input that was read from a cache, CacheWrites
	// of input that was written to one, LongCacheWrites of input that was written
	// to one for an hour; Input is the price of the rest of it.
	CachedInput, CacheWrites, LongCacheWrites int64
}

// A Price is what a request to a model costs. The whole request is charged at the
// one or the other rates, whichever its input is for: cached or not, all of it
// counts.
type Price struct {
	Rates
	// Above is the largest input, in tokens, that is charged at Rates; beyond it
	// are the rates Long. When it is 0, Rates are for any input.
	Above int64
	Long  Rates
}

// At returns the price of requests with so many input tokens: one that has no
// other rates for a longer input.
func (p Price) At(input int64) Price {
	if p.Above > 0 && input > p.Above {
		return Price{Rates: p.Long}
	}
	return Price{Rates: p.Rates}
}

// Cost returns what a usage costs in nano-USD: exact, rounded up once, and from
// 0 to [penstock.MaxAmount]. A number that cannot be, below 0, cached beyond the
// input, or for an hour beyond what was written, is taken for the nearest one
// that can. Of cached input and cache writes that are more than the input
// together, both are charged: such a usage costs at least as much as any true one
// that it may stand for.
func (p Price) Cost(u traffic.Usage) int64 {
	input := max(u.Input, 0)
	cached := min(max(u.CachedInput, 0), input)
	writes := min(max(u.CacheWrites, 0), input)
	long := min(max(u.LongCacheWrites, 0), writes)
	plain := max(input-cached-writes, 0)
	rates := p.At(input).Rates

	// Input counts twice at the most, and output once: three products below 2^126
	// fit into 128 bits.
	var high, low uint64
	for _, part := range [...]struct{ tokens, price int64 }{
		{plain, rates.Input},
		{cached, rates.CachedInput},
		{writes - long, rates.CacheWrites},
		{long, rates.LongCacheWrites},
		{max(u.Output, 0), rates.Output},
	} {
		h, l := bits.Mul64(uint64(part.tokens), uint64(max(part.price, 0)))
		var carry uint64
		low, carry = bits.Add64(low, l, 0)
		high, _ = bits.Add64(high, h, carry)
	}
	if high >= perTokens { // the quotient would not fit
		return penstock.MaxAmount
	}
	cost, rest := bits.Div64(high, low, perTokens)
	if cost >= uint64(penstock.MaxAmount) {
		return penstock.MaxAmount
	}
	if rest > 0 {
		cost++
	}
	return int64(cost)
}
