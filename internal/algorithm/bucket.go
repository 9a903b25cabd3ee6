package algorithm

import (
	"math"
	"math/bits"
)

// Bucket is a token bucket: it holds at most Capacity and is refilled
// continuously and exactly.
//
// Its state is one number, spent, on the scale of what has been minted since
// its birth: the level is minted(now) - spent, never above Capacity. A level may
// be negative: that is debt, and the refill pays it. This is the virtual
// scheduling of GCRA (ITU-T I.371) with the time axis turned into an amount
// axis, so that a charge of any size is one addition of integers.
//
// The scale is of parts of a unit, as many as make what is minted in a
// microsecond a whole number of them: nothing is rounded, and when a unit is
// there does not depend on anything but what was taken. Where these would be too
// many to count, a part is a unit; see NewBucket.
type Bucket struct {
	Capacity int64 // at least 1

	birth        int64
	amount, size int64  // parts that are minted in microseconds
	full         int64  // Capacity in parts
	part         int64  // parts of a unit
	inverse      uint64 // 2^64 over part
	most         int64  // units that can be told in parts
	quick        uint64 // microseconds in each of which amount is minted, as far as that can be counted
	even         bool   // a part is minted in each microsecond
	mint         ratio  // from microseconds to what is minted in them, rounded down
	pour         ratio  // and back, rounded up
}

const (
	mostMinted = 1 << 12 // parts a microsecond: they can be counted for 71 years, also back to 1970
	mostFull   = 1 << 60 // parts
)

// NewBucket returns the bucket of the given capacity that is refilled by amount
// in size microseconds; all three are at least 1. Birth is where minting began,
// the same for all that share a state. Times lie within 70 years of it: beyond, what
// is minted may be cut, so that nothing comes any more.
//
// Of amounts that have more than 4,096 units when they and the microseconds are
// reduced to lowest terms, and of capacities of 2^60 parts and more, only whole
// units are minted, at moments counted from the birth: then one unit may come
// earlier than it should.
func NewBucket(amount, size, capacity, birth int64) Bucket {
	b := Bucket{Capacity: capacity, birth: birth, amount: amount, size: size, full: capacity, part: 1}
	common := gcd(amount, size)
	if minted, part := amount/common, size/common; minted <= mostMinted && capacity <= mostFull/part {
		b.amount, b.size, b.full, b.part = minted, 1, capacity*part, part
		b.quick, b.even = uint64(math.MaxInt64/minted), minted == 1
	}
	b.most = math.MaxInt64 / b.part
	b.inverse = math.MaxUint64 / uint64(b.part)
	b.mint, b.pour = downRatio(b.amount, b.size), upRatio(b.size, b.amount)
	return b
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Whole is the state of a bucket that nothing was ever taken from.
const Whole int64 = math.MinInt64

// Parts is how many parts units are, cut at math.MaxInt64.
func (b *Bucket) Parts(units int64) int64 {
	if units > b.most {
		return math.MaxInt64
	}
	return units * b.part
}

// Units is how many units parts are that are not negative, rounded up.
func (b *Bucket) Units(parts int64) (units int64) {
	q, _ := bits.Mul64(uint64(parts), b.inverse) // one too few at most
	units = int64(q)
	for rest := parts - units*b.part; rest > 0; rest -= b.part {
		units++
	}
	return units
}

// Cost is Parts of no more than Capacity.
func (b *Bucket) Cost(amount int64) int64 { return amount * b.part }

// Full is the Capacity in parts.
func (b *Bucket) Full() int64 { return b.full }

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

// empty is the state of which the level is 0 short of the Capacity; see EmptySince.
func (b *Bucket) empty(now int64) int64 { return add(b.minted(now), -b.full) }

// settled is the state with what the bucket could not hold poured away, and the
// one that is empty, both in parts.
func (b *Bucket) settled(spent, now int64) (settled, empty int64) {
	empty = b.empty(now)
	return max(spent, empty), empty
}

// Lacks is what the level lacks to the capacity, in parts.
func (b *Bucket) Lacks(spent, now int64) int64 {
	return lacks(b.settled(spent, now))
}

// Lacking is a state whose level lacks so many parts now.
func (b *Bucket) Lacking(parts, now int64) (spent int64) {
	return add(b.empty(now), parts)
}

func lacks(settled, empty int64) int64 {
	if settled -= empty; settled >= 0 {
		return settled
	}
	return math.MaxInt64 // too much debt to count
}

// Look says, of a charge of cost now, what the state is before it, what the level
// lacks to the capacity, and how long until it fits; a cost of 0 always does.
func (b *Bucket) Look(spent, now, cost int64) (settled, lack, wait int64) {
	settled, empty := b.settled(spent, now)
	missing := lacks(settled, empty)
	lack = b.Units(missing)
	switch {
	case cost == 0 || cost <= b.Capacity && missing <= b.full-b.Parts(cost):
		return settled, lack, 0
	case cost > b.Capacity:
		return settled, lack, Never
	}
	return settled, lack, max(1, b.mintedAt(add(settled, b.Parts(cost)))-now) // beyond the scale it is not known
}

// Charged is a state that is settled with cost taken, whether it fits or not.
func (b *Bucket) Charged(settled, cost int64) int64 { return add(settled, b.Parts(cost)) }

// Quick reports whether EmptySince and its like may be asked for a time of since
// after the birth, which the others know for all times and buckets: they are small,
// to be made part of their caller.
func (b *Bucket) Quick(since int64) bool { return uint64(since) <= b.quick }

// EmptySince is the state of which the level is 0 short of the Capacity: one that is
// less has had more poured than the bucket holds, and is that; one that is more lacks
// the difference, in parts, which is negative only where there is too much debt to
// count.
func (b *Bucket) EmptySince(since int64) int64 { return since*b.amount - b.full }

// FilledSince is Filled for a time of since after the birth, with the same
// conditions.
func (b *Bucket) FilledSince(settled, since int64) int64 {
	if b.even {
		return settled + b.full - since
	}
	return b.pour.of(settled+b.full) - since
}

// Filled is how long until the level is Capacity again if nobody takes, of a
// state that is settled and lacks something.
func (b *Bucket) Filled(settled, now int64) int64 {
	return max(1, b.mintedAt(add(settled, b.full))-now) // as in Look
}

// WaitSince is how long until a cost, in parts, fits that does not yet, with the
// conditions of EmptySince.
func (b *Bucket) WaitSince(settled, cost, since int64) int64 {
	return b.pour.of(settled+cost) - since
}

// Level is what could be taken now; negative in debt.
func (b *Bucket) Level(spent, now int64) int64 {
	_, lacks, _ := b.Look(spent, now, 0)
	return add(b.Capacity, -lacks)
}

// Fits reports whether cost can be taken now.
func (b *Bucket) Fits(spent, now, cost int64) bool {
	return cost <= b.Level(spent, now)
}

// Take charges cost now, whether it fits or not, and returns the new state.
func (b *Bucket) Take(spent, now, cost int64) int64 {
	spent, _ = b.settled(spent, now)
	return b.Charged(spent, cost)
}

// Refund gives back what was taken before. What the bucket cannot hold is lost.
func (b *Bucket) Refund(spent, amount int64) int64 {
	return add(spent, -b.Parts(amount))
}

// Wait is how long until cost fits, 0 if it does now.
func (b *Bucket) Wait(spent, now, cost int64) int64 {
	_, _, wait := b.Look(spent, now, cost)
	return wait
}

// Reset is how long until the level is Capacity again if nobody takes.
func (b *Bucket) Reset(spent, now int64) int64 {
	settled, lacks, _ := b.Look(spent, now, 0)
	if lacks == 0 {
		return 0
	}
	return b.Filled(settled, now)
}

// Rebase is the state under the new parameters to which has the level that
// spent has under b at the given time, cut at the new capacity, and rounded down to
// a part of to: were it a unit, a bucket whose rate changes to and fro more often
// than it gets one would get none.
func (b *Bucket) Rebase(spent, at int64, to Bucket) int64 {
	level := b.full - b.Lacks(spent, at)
	parts, rest := mulDiv(max(level, -level), to.part, b.part)
	if level < 0 {
		if parts = -parts; rest {
			parts--
		}
	}
	if parts >= to.full {
		return Whole
	}
	return add(to.minted(at), -max(parts, -math.MaxInt64))
}
