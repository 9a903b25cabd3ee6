package algorithm

import "math"

// Bucket is a token bucket: it holds at most Capacity and is refilled
// continuously and exactly.
//
// Its state is one number, spent, on the scale of what has been minted since
// its birth: the level is minted(now) - spent, never above Capacity. A level may
// be negative: that is debt, and the refill pays it. This is the virtual
// scheduling of GCRA (ITU-T I.371) with the time axis turned into an amount
// axis, so that a charge of any size is one addition of integers.
type Bucket struct {
	Capacity int64 // at least 1

	birth        int64
	amount, size int64
	mint         ratio // from microseconds to what is minted in them, rounded down
	pour         ratio // and back, rounded up
}

// NewBucket returns the bucket of the given capacity that is refilled by amount
// in size microseconds; all three are at least 1. Birth is where minting began,
// the same for all that share a state.
func NewBucket(amount, size, capacity, birth int64) Bucket {
	return Bucket{
		Capacity: capacity, birth: birth, amount: amount, size: size,
		mint: downRatio(amount, size), pour: upRatio(size, amount),
	}
}

// Whole is the state of a bucket that nothing was ever taken from.
const Whole int64 = math.MinInt64

// minted is what the refill has made from birth to now.
func (b *Bucket) minted(now int64) int64 {
	if d := now - b.birth; d >= 0 {
		return b.mint.of(d)
	}
	q, rest := mulDiv(b.birth-now, b.amount, b.size)
	if rest {
		q = add(q, 1)
	}
	return -q
}

// mintedAt is the earliest time at which minted is at least x.
func (b *Bucket) mintedAt(x int64) int64 {
	if x > 0 {
		return add(b.birth, b.pour.of(x))
	}
	q, _ := mulDiv(-max(x, -math.MaxInt64), b.size, b.amount)
	return b.birth - q
}

// Settled is the state with what the bucket could not hold poured away, and
// what has been minted so far. A cost fits when settled + cost is at most that.
func (b *Bucket) Settled(spent, now int64) (settled, minted int64) {
	m := b.minted(now)
	return max(spent, m-b.Capacity), m
}

// Look is Settled and Wait in one, and what the level lacks to the capacity; a
// cost of 0 always fits.
func (b *Bucket) Look(spent, now, cost int64) (settled, lacks, wait int64) {
	settled, minted := b.Settled(spent, now)
	if lacks = settled - (minted - b.Capacity); lacks < 0 { // too much debt to count
		lacks = math.MaxInt64
	}
	switch {
	case lacks <= b.Capacity-cost || cost == 0:
		return settled, lacks, 0
	case cost > b.Capacity:
		return settled, lacks, Never
	}
	return settled, lacks, b.mintedAt(add(settled, cost)) - now
}

// Charged is a state that is Settled with cost taken, whether it fits or not.
func (*Bucket) Charged(settled, cost int64) int64 { return add(settled, cost) }

// SettleSince is Settled with what the level lacks to the capacity, for a time of
// since after the birth. It is small, to be made part of its caller: since is not
// negative, and neither is lacks, unless there is too much debt to count.
func (b *Bucket) SettleSince(spent, since int64) (settled, lacks int64) {
	empty := b.mint.of(since) - b.Capacity
	settled = max(spent, empty)
	return settled, settled - empty
}

// FilledSince is Filled for a time of since after the birth, with the same
// conditions.
func (b *Bucket) FilledSince(settled, since int64) int64 {
	return b.pour.of(settled+b.Capacity) - since
}

// Filled is how long until the level is Capacity again if nobody takes, of a
// state that is Settled and lacks something.
func (b *Bucket) Filled(settled, now int64) int64 {
	return b.mintedAt(add(settled, b.Capacity)) - now
}

// WaitSince is how long until a cost fits that does not yet, with the same
// conditions. It is no more than Capacity.
func (b *Bucket) WaitSince(settled, cost, since int64) int64 {
	return b.pour.of(settled+cost) - since
}

// Level is what could be taken now; negative in debt.
func (b *Bucket) Level(spent, now int64) int64 {
	spent, m := b.Settled(spent, now)
	return add(m, -spent)
}

// Fits reports whether cost can be taken now.
func (b *Bucket) Fits(spent, now, cost int64) bool {
	return cost <= b.Level(spent, now)
}

// Take charges cost now, whether it fits or not, and returns the new state.
func (b *Bucket) Take(spent, now, cost int64) int64 {
	spent, _ = b.Settled(spent, now)
	return b.Charged(spent, cost)
}

// Refund gives back what was taken before. What the bucket cannot hold is lost.
func (b *Bucket) Refund(spent, amount int64) int64 {
	return add(spent, -amount)
}

// Wait is how long until cost fits, 0 if it does now.
func (b *Bucket) Wait(spent, now, cost int64) int64 {
	if cost > b.Capacity {
		return Never
	}
	spent, m := b.Settled(spent, now)
	need := add(spent, cost)
	if need <= m {
		return 0
	}
	return b.mintedAt(need) - now
}

// Reset is how long until the level is Capacity again if nobody takes.
func (b *Bucket) Reset(spent, now int64) int64 {
	spent, m := b.Settled(spent, now)
	full := add(spent, b.Capacity)
	if full <= m {
		return 0
	}
	return b.mintedAt(full) - now
}

// Rebase is the state under the new parameters to which has the level that
// spent has under b at the given time, cut at the new capacity.
func (b *Bucket) Rebase(spent, at int64, to Bucket) int64 {
	return add(to.minted(at), -b.Level(spent, at))
}
