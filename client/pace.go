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
	last       time.Time // when the last request was sent; zero: long ago
	sent       uint64    // how many were
	before     uint64    // how many of those were sent before the last halving
}

// wait returns how long, from now on, it is until the next request may be sent;
// 0 or less is now.
func (p *pace) wait(now time.Time) time.Duration {
	// Within what a Duration holds: 1<<62 ns are 146 years.
	interval := time.Duration(min(float64(time.Second)/p.rate, 1<<62))
	return p.last.Add(interval).Sub(now)
}

// send counts a request that is sent now and returns its number, from 1.
func (p *pace) send(now time.Time) uint64 {
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
