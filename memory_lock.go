package penstock

import (
	"runtime"
	"sync/atomic"
	"time"
)

// A lock guards a record. Only who holds it changes the record; others may read
// it all the same, and learn afterwards whether what they read was of one
// moment. Its count is odd while it is held, and grows whenever it is taken and
// whenever it is given back.
//
// It is held for some nanoseconds, and never by anyone who waits for a lock of
// another kind but the allocators', so waiting is turning round a few times.
type lock struct{ count uint64 }

// Lock takes the lock, and returns what Count would have said before.
func (l *lock) Lock() (count uint64) {
	if n := l.Count(); l.LockUnchanged(n) {
		return n
	}
	return l.wait()
}

func (l *lock) wait() uint64 {
	const turns, yields, pause = 50, 100, 50 * time.Microsecond
	for i := 0; ; i++ {
		if n := l.Count(); l.LockUnchanged(n) {
			return n
		}
		switch {
		case i < turns:
		case i < turns+yields: // the holder may be waiting for this processor
			runtime.Gosched()
		default: // or the system has taken it off
			time.Sleep(pause)
		}
	}
}

// TryLock takes the lock if nobody holds it.
func (l *lock) TryLock() bool {
	return l.LockUnchanged(l.Count())
}

// LockUnchanged takes the lock if nobody has held it since Count said count.
func (l *lock) LockUnchanged(count uint64) bool {
	return count&1 == 0 && atomic.CompareAndSwapUint64(&l.count, count, count+1)
}

// Unlock gives the lock back. Nobody else changes the count while it is odd.
func (l *lock) Unlock() { put(&l.count, l.Count()+1) }

// UnlockTo is Unlock for who knows the count: the one before the lock was taken
// where nothing was changed, else that and two.
func (l *lock) UnlockTo(count uint64) { put(&l.count, count) }

// Count is for Unchanged.
func (l *lock) Count() uint64 { return atomic.LoadUint64(&l.count) }

// Unchanged reports whether nobody has held the lock since Count said count, so
// that what was read in between is how the record stood at one moment.
func (l *lock) Unchanged(count uint64) bool { return count&1 == 0 && l.Count() == count }
