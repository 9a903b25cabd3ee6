package client

import "time"

// leastRate is the rate, in requests per second, below which halving does not
// go: from it the next answer, and with it recovery, is at most a minute away.
const leastRate = 1.0 / 60

// pace is the arithmetic of [Adaptive], with the factors of the documents'
// adaptive client: a rate that each answer multiplies, and requests that are
// spaced evenly at it.
type pace struct {
	rate, most float64   // requests per second
	last       time.Time // when the last request was sent or due; zero: long ago
	sent       uint64    // how many were
	before     uint64    // how many of those were sent before the last halving
}

// due returns when the next request may be sent.
func (p *pace) due() time.Time {
	// Within what a Duration holds: 1<<62 ns are 146 years.
	return p.last.Add(time.Duration(min(float64(time.Second)/p.rate, 1<<62)))
}

// send counts a request that is sent now, which is due, and returns its number,
// from 1. Of one that a timer woke for its turn, the time that it was due counts
// instead: timers are late, and the rate would never be reached.
func (p *pace) send(now time.Time, woken bool) uint64 {
	if woken {
		now = p.due()
	}
	p.last = now
	p.sent++
	return p.sent
}

// succeeded is told of each success. What was sent before the last halving says
// nothing of the rate that it led to, and changes nothing: else the answers that
// were under way would take a halving back, or halve again.
func (p *pace) succeeded(number uint64) {
	if number > p.before {
		p.rate = min(p.rate*1.1, p.most)
	}
}

// limited is told of each answer that says the rate is too high.
func (p *pace) limited(number uint64) {
	if number > p.before {
		p.rate = max(p.rate*0.5, min(leastRate, p.most))
		p.before = p.sent
	}
}
