//go:build !amd64 || race

package penstock

import "sync/atomic"

// put writes a word of a record that others may read meanwhile, or its lock. The
// writer holds the lock; readers load each word atomically, and see by the
// lock's count whether they may believe it.
func put(w *uint64, v uint64) { atomic.StoreUint64(w, v) }
