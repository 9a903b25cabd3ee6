package penstock_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) penstock.Store { return penstock.NewMemoryStore(penstock.MemoryOptions{}) })
}

func TestModel(t *testing.T) {
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
		return &handling{MemoryStore: penstock.NewMemoryStore(penstock.MemoryOptions{}), handles: map[string]*penstock.Handle{}}
	})
}
