package penstock_test

import (
	"bytes"
	"context"
	"strconv"
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
	t.Parallel()
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

// TestRestoreKeepsEveryStep: a key whose memory was set apart has all of its steps
// after a restart too, though nobody knows then for whom it was set apart, and a
// flood has filled what is for all.
func TestRestoreKeepsEveryStep(t *testing.T) {
	const listed = 100
	o := penstock.MemoryOptions{MaxBytes: 1 << 20, Reserve: listed}
	before := penstock.NewMemoryStore(o)
	set := penstock.MustLimits(penstock.PerMinute(penstock.Requests, 60))
	one := penstock.Amounts{penstock.Requests: 1}
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	charge := func(key string, keep bool, at time.Time) *penstock.Charge {
		charges := set.Charges(key, one)
		charges[0].Keep = keep
		if _, err := before.Take(context.Background(), at, charges); err != nil {
			t.Fatal(err)
		}
		return &charges[0]
	}
	for range 60 {
		now = now.Add(time.Second)
		for i := range listed {
			charge("listed "+strconv.Itoa(i), true, now)
		}
	}
	for i := 0; !charge("stranger "+strconv.Itoa(i), false, now).Shared; i++ {
	}
	var file bytes.Buffer
	if err := before.Snapshot(&file, now); err != nil {
		t.Fatal(err)
	}
	after := penstock.NewMemoryStore(o)
	if _, err := after.Restore(&file, now); err != nil {
		t.Fatal(err)
	}
	for i := range listed {
		charges := set.Charges("listed "+strconv.Itoa(i), one)
		if _, err := after.Look(context.Background(), now, charges); err != nil {
			t.Fatal(err)
		}
		if c := charges[0]; c.Used != 60 || c.RetryAfter > 2*time.Second {
			t.Errorf("%s: used %d, retry after %v; want 60 and at most 2s", c.Key, c.Used, c.RetryAfter)
		}
	}
}
