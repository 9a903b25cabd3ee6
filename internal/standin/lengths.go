package standin

import (
	"math"
	"math/rand/v2"
)

// Lengths is how the lengths of prompts or answers are spread, in tokens: a
// lognormal spread, cut off at Max such that its mean stays Mean; only a mean
// close to Max may come out lower. No length is below 1.
type Lengths struct {
	// Mean is the mean length.
	Mean float64
	// CV is the standard deviation as a share of the mean that the spread would
	// have without the cut. Zero or less: every length is Mean.
	CV float64
	// Max is the largest length. Zero or less: 16 times Mean.
	Max int64
}

// DefaultInput is the shape of the prompts of the Azure LLM inference trace 2023,
// conversations.
func DefaultInput() Lengths { return Lengths{Mean: 1155, CV: 0.96, Max: 14050} }

// DefaultOutput is the shape of that trace's answers.
func DefaultOutput() Lengths { return Lengths{Mean: 211, CV: 0.77, Max: 1000} }

// sampler returns a function that draws lengths.
func (l Lengths) sampler() func(*rand.Rand) int64 {
	mean := min(max(l.Mean, 1), 1<<40) // NaN stays
	if math.IsNaN(mean) {
		mean = 1
	}
	top := l.Max
	if top <= 0 {
		top = int64(16 * mean)
	}
	if !(l.CV > 0) || mean >= float64(top) {
		n := min(int64(math.Round(mean)), top)
		return func(*rand.Rand) int64 { return n }
	}
	sigma := math.Sqrt(math.Log1p(l.CV * l.CV))
	mu := cutLognormal(mean, sigma, float64(top))
	share := normalCDF((math.Log(float64(top)) - mu) / sigma)
	return func(rng *rand.Rand) int64 {
		z := math.Sqrt2 * math.Erfinv(2*share*rng.Float64()-1)
		n := math.Round(math.Exp(mu + sigma*z))
		return min(max(int64(n), 1), top)
	}
}

// cutLognormal returns the mu for which the lognormal spread (mu, sigma) has the
// given mean below top. The mean of a cut spread grows with mu, so it is found by
// halving, as far up as the sampler's precision goes.
func cutLognormal(mean, sigma, top float64) float64 {
	logTop := math.Log(top)
	low, high := math.Log(mean)-sigma*sigma, logTop+5*sigma
	for range 64 {
		mu := (low + high) / 2
		z := (logTop - mu) / sigma
		cut := math.Exp(mu+sigma*sigma/2) * normalCDF(z-sigma) / normalCDF(z)
		if cut < mean {
			low = mu
		} else {
			high = mu
		}
	}
	return low
}

// normalCDF returns the share of the standard normal spread below z.
func normalCDF(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }
