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

// TestEras: simulations may begin with 1970, and go on until a lifetime from now.
func TestEras(t *testing.T) {
	set := penstock.MustLimits(
		penstock.Limit{Name: "sliding", Unit: penstock.Tokens, Amount: 10, Window: time.Minute},
		penstock.Limit{Name: "fixed", Unit: penstock.Tokens, Amount: 10, Window: time.Minute, Algorithm: penstock.FixedWindow},
		penstock.Limit{Name: "bucket", Unit: penstock.Tokens, Amount: 10, Window: time.Minute, Algorithm: penstock.TokenBucket},
	)
	limiter := penstock.New(nil)
	for _, begin := range []time.Time{time.Unix(0, 0), time.Unix(0, 0).AddDate(30, 0, 0), time.Now().AddDate(69, 0, 0).Truncate(time.Minute)} {
		charges := func(n int64) []penstock.Charge {
			return set.Charges(begin.String(), penstock.Amounts{penstock.Tokens: n})
		}
		d, err := limiter.AllowAt(t.Context(), begin, charges(10)...)
		if err != nil || !d.Allowed {
			t.Fatalf("%v: %+v, %v", begin, d, err)
		}
		if d, err = limiter.AllowAt(t.Context(), begin, charges(1)...); err != nil || d.Allowed {
			t.Fatalf("%v: one more than the limit: %+v, %v", begin, d, err)
		}
		for i, want := range []time.Duration{61 * time.Second, time.Minute, 6 * time.Second} {
			if got := d.Charges[i].RetryAfter; got != want {
				t.Errorf("%v: %s: retry after %v, want %v", begin, set.At(i).Name, got, want)
			}
		}
		if d, err = limiter.AllowAt(t.Context(), begin.Add(61*time.Second), charges(10)...); err != nil || !d.Allowed {
			t.Errorf("%v: after the wait: %+v, %v", begin, d, err)
		}
	}
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
