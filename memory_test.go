package penstock_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/storetest"
)

// TestMemoryStore: at times before the store was made, which its buckets count
// by other means, and after.
func TestMemoryStore(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) penstock.Store { return penstock.NewMemoryStore(penstock.MemoryOptions{}) })
	})
	t.Run("after", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) penstock.Store { return bornEarlier() })
	})
}

// bornEarlier returns a store that is older than any time of the conformance
// suite's.
func bornEarlier() *penstock.MemoryStore {
	s := penstock.NewMemoryStore(penstock.MemoryOptions{})
	s.BornAt(time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC))
	return s
}

func TestModel(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) penstock.Store { return storetest.NewModel() })
}

// handling is a memory store whose charges all have a handle, one a key.
type handling struct {
	*penstock.MemoryStore
	mu      sync.Mutex
	handles map[string]*penstock.Handle
}

func (h *handling) Take(ctx context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	h.give(charges)
	return h.MemoryStore.Take(ctx, now, charges)
}

func (h *handling) Look(ctx context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	h.give(charges)
	return h.MemoryStore.Look(ctx, now, charges)
}

func (h *handling) give(charges []penstock.Charge) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range charges {
		key := charges[i].Key
		if h.handles[key] == nil {
			h.handles[key] = penstock.NewHandle(key)
		}
		charges[i].Handle = h.handles[key]
	}
}

// TestHandles: a store keeps its promises when it is asked by handles.
func TestHandles(t *testing.T) {
	storetest.Run(t, func(*testing.T) penstock.Store {
		return &handling{MemoryStore: bornEarlier(), handles: map[string]*penstock.Handle{}}
	})
}
