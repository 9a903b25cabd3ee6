// Package penstock meters requests, tokens, money and concurrency: limits of
// any unit and window, decided exactly, several at once, all or none.
//
// The words: a [Limit] is an amount of one [Unit] per window, by one
// [Algorithm]. [Limits] is a set of them that are counted together under one
// key: the plan of a caller, or one rule. A [Charge] is what one request takes
// from one limit under one key, and a [Decision] says of all charges of a
// request whether they were allowed, which limit binds, and how long to wait.
// A [Store] keeps the counters; [MemoryStore] is the one in this package.
//
// Work whose cost is known beforehand asks [Limiter.Allow]. Work whose cost
// shows only afterwards, as the tokens of a language model do, asks
// [Limiter.Reserve] for what it may need at most, and tells the [Reservation]
// what it really used.
//
// Every call reads the clock once. The methods that end in At take the time
// as a parameter instead.
package penstock
