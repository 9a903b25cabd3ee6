package penstock_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/storetest"
)

// mortal is a memory store that dies before every fifth call, and rises from
// its snapshot. Only while something is in flight, which does not outlive a
// process, it lives on.
type mortal struct {
	t        *testing.T
	mu       sync.Mutex
	store    *penstock.MemoryStore
	last     time.Time // of the last call
	calls    int
	inFlight int64
	deaths   int
}

func (m *mortal) Take(ctx context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.die(now)
	at, err := m.store.Take(ctx, now, charges)
	fits := err == nil
	for i := range charges {
		fits = fits && (charges[i].RetryAfter == 0 || charges[i].Shadow)
	}
	for i := range charges {
		if c := &charges[i]; fits && c.RetryAfter == 0 && c.Limit().Unit == penstock.Concurrent {
			m.inFlight += c.Amount
		}
	}
	return at, err
}

func (m *mortal) Look(ctx context.Context, now time.Time, charges []penstock.Charge) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.die(now)
	return m.store.Look(ctx, now, charges)
}

func (m *mortal) Adjust(ctx context.Context, now time.Time, adjustments []penstock.Adjustment) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.die(now)
	for i := range adjustments {
		if a := &adjustments[i]; a.Charge.Limit().Unit == penstock.Concurrent {
			m.inFlight += a.Delta
		}
	}
	return m.store.Adjust(ctx, now, adjustments)
}

func (m *mortal) die(now time.Time) {
	last := m.last
	m.last = now
	if m.calls++; m.calls%5 != 3 || m.inFlight != 0 || last.IsZero() != now.IsZero() {
		return
	}
	var b bytes.Buffer
	if err := m.store.Snapshot(&b, last); err != nil {
		m.t.Error(err)
	}
	m.store = penstock.NewMemoryStore(penstock.MemoryOptions{})
	if left, err := m.store.Restore(&b, now); left != 0 || err != nil {
		m.t.Errorf("%d keys were left, %v", left, err)
	}
	m.deaths++
}

// TestMemoryStoreAcrossRestarts: a store that dies and rises again and again
// keeps every promise as one that lives does.
func TestMemoryStoreAcrossRestarts(t *testing.T) {
	deaths := 0
	storetest.Run(t, func(t *testing.T) penstock.Store {
		m := &mortal{t: t, store: penstock.NewMemoryStore(penstock.MemoryOptions{})}
		t.Cleanup(func() { deaths += m.deaths })
		return m
	})
	if deaths < 1000 {
		t.Errorf("it died %d times", deaths)
	}
	t.Logf("it died %d times", deaths)
}
