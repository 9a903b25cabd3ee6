package queue

import (
	"math"
	"time"

	"github.com/penstock-dev/penstock/internal/algorithm"
)

// bucket is the token bucket in front of the slots: one bucket token a request.
// It counts whole microseconds since the queue was made; the zero bucket is
// none, and lets everybody pass.
type bucket struct {
	on    bool
	rate  algorithm.Bucket
	spent int64
}

// configure changes the amounts and keeps the level, cut at the new capacity; a
// bucket that was not there before is full.
func (b *bucket) configure(o Options, now time.Duration) {
	if o.Burst == 0 {
		*b = bucket{}
		return
	}
	rate := algorithm.NewBucket(o.Refill, o.Per.Microseconds(), o.Burst, 0)
	switch {
	case !b.on:
		b.spent = algorithm.Whole
	case rate != b.rate:
		b.spent = b.rate.Rebase(b.spent, now.Microseconds(), rate)
	}
	b.on, b.rate = true, rate
}

// wait is how long until a token can be had of which before others go first; 0
// if now.
func (b *bucket) wait(now time.Duration, before int) time.Duration {
	if !b.on {
		return 0
	}
	us, spent := now.Microseconds(), b.spent
	if before > 0 {
		spent = b.rate.Take(spent, us, int64(before))
	}
	wait := b.rate.Wait(spent, us, 1)
	switch {
	case wait == 0:
		return 0
	case wait > math.MaxInt64/int64(time.Microsecond)-us:
		return math.MaxInt64 - now
	}
	return time.Duration(us+wait)*time.Microsecond - now
}

func (b *bucket) take(now time.Duration) {
	if b.on {
		b.spent = b.rate.Take(b.spent, now.Microseconds(), 1)
	}
}

// refund gives back the token of a request that was never sent.
func (b *bucket) refund() {
	if b.on {
		b.spent = b.rate.Refund(b.spent, 1)
	}
}

// alarm has the line served again when the bucket has a token for its first, and
// sleeps while no one waits for that.
type alarm struct {
	ring  func() // called in a goroutine of its own
	timer *time.Timer
	at    time.Duration // when it is set for
	set   bool
}

// arm sets it, now, for at.
func (a *alarm) arm(now, at time.Duration) {
	switch {
	case a.set && a.at == at:
		return
	case a.timer == nil:
		a.timer = time.AfterFunc(at-now, a.ring)
	default:
		a.timer.Reset(at - now)
	}
	a.at, a.set = at, true
}

// disarm turns it off; a ring that has begun comes all the same.
func (a *alarm) disarm() {
	if a.set {
		a.timer.Stop()
		a.set = false
	}
}
