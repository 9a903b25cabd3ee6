package standin

import (
	"iter"
	"math"
	"math/rand/v2"
	"time"
)

// Load is the traffic of several callers, each with its own rhythm.
type Load struct {
	// Callers are who asks. None: no traffic.
	Callers []Caller
	// Seed makes the schedule repeatable; a caller's part of it depends on the
	// seed, its place in Callers and its own fields only (where it has no Rate,
	// on their number too).
	Seed uint64
}

// Caller is one who sends requests.
type Caller struct {
	// Name is for people; Key is the API key that its requests carry.
	Name, Key string
	// Rate is the mean number of requests a second, from 1e-9 to 1e9. Zero or
	// less: an equal share of 5.5, the rate of the Azure LLM inference trace
	// 2023, conversations.
	Rate float64
	// CV is the coefficient of variation of the times between requests, which
	// are gamma spread: 1 is a Poisson process, more is burstier, less is more
	// even. From 0.01 to 100; zero or less: 1.
	CV float64
	// Input and Output are how long prompts and answers are, in tokens. Zero:
	// DefaultInput and DefaultOutput.
	Input, Output Lengths
	// StreamShare is the share, from 0 to 1, of the requests that ask for a
	// stream.
	StreamShare float64
	// Model is the model that it asks for.
	Model string
}

// Request is one request of a schedule or trace.
type Request struct {
	// At is when it is sent, from the start.
	At time.Duration
	// Caller is whose it is: the place in Load.Callers, or a trace's client.
	Caller int
	// InputTokens and OutputTokens are the lengths of its prompt and answer.
	InputTokens, OutputTokens int64
	// Stream and Model are as the caller's; false and empty in a trace.
	Stream bool
	Model  string
}

// All returns the load's requests in order of time, without end.
func (l Load) All() iter.Seq[Request] {
	return func(yield func(Request) bool) {
		next := make([]Request, len(l.Callers))
		draws := make([]func() Request, len(l.Callers))
		for i := range l.Callers {
			draws[i] = l.caller(i)
			next[i] = draws[i]()
		}
		for len(next) > 0 {
			first := 0
			for i := range next {
				if next[i].At < next[first].At {
					first = i
				}
			}
			if !yield(next[first]) {
				return
			}
			next[first] = draws[first]()
		}
	}
}

// caller returns a function that draws the requests of the i-th caller, one
// after the other.
func (l Load) caller(i int) func() Request {
	c := l.Callers[i]
	if !(c.Rate > 0) {
		c.Rate = 5.5 / float64(len(l.Callers))
	}
	if !(c.CV > 0) {
		c.CV = 1
	}
	c.Rate, c.CV = min(max(c.Rate, 1e-9), 1e9), min(max(c.CV, 0.01), 100)
	if c.Input == (Lengths{}) {
		c.Input = DefaultInput()
	}
	if c.Output == (Lengths{}) {
		c.Output = DefaultOutput()
	}
	rng := rand.New(rand.NewPCG(l.Seed, uint64(i)))
	input, output := c.Input.sampler(), c.Output.sampler()
	shape := 1 / (c.CV * c.CV)
	mean := float64(time.Second) / c.Rate
	const never = 1 << 61 // 73 years, beyond which times no longer grow
	var at time.Duration
	return func() Request {
		at = min(at+time.Duration(min(gamma(rng, shape)/shape*mean, never)), never)
		return Request{
			At: at, Caller: i,
			InputTokens: input(rng), OutputTokens: output(rng),
			Stream: rng.Float64() < c.StreamShare, Model: c.Model,
		}
	}
}

// gamma draws from the gamma spread of this shape and scale 1, after Marsaglia
// and Tsang, "A simple method for generating gamma variables" (2000).
func gamma(rng *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(rng, shape+1) * math.Pow(1-rng.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v *= v * v
		if math.Log(1-rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}
