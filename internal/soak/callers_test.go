package soak

import (
	"sync"
)

// caller is a listed caller, with what its limits must hold in the end. Where
// nobody but the gateway can know whether a request was charged, since its client
// left before anything came of it, both are right.
type caller struct {
	id string

	mu       sync.Mutex
	requests bounds
	tokens   bounds // of calm callers alone
}

// bounds are what an amount lies within.
type bounds struct{ least, most int64 }

func (b *bounds) add(least, most int64) {
	b.least += least
	b.most += most
}

func (b bounds) hold(n int64) bool { return b.least <= n && n <= b.most }

// sign makes a call the caller's.
func (c *caller) sign(q *call) *call {
	q.header.Set("Authorization", "Bearer "+keyOf(c.id))
	q.caller = c
	return q
}

// charge notes what a request is charged.
func (c *caller) charge(requests, tokens bounds) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests.add(requests.least, requests.most)
	c.tokens.add(tokens.least, tokens.most)
}
