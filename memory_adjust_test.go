package penstock

import (
	"testing"
	"time"
)

// TestRefundWhileLimitsChange: what is given back reaches its counter though the
// key is laid out anew at that moment.
func TestRefundWhileLimitsChange(t *testing.T) {
	s := NewMemoryStore(MemoryOptions{})
	sets := []*Limits{MustLimits(InFlight(9)), MustLimits(InFlight(9), PerHour(Tokens, 9), PerMinute(Tokens, 9))}
	c := sets[0].Charges("key", Amounts{Concurrent: 1})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300_000 {
			if _, err := s.Take(ctx, noon, []Charge{{Key: "key", Limits: sets[i&1]}}); err != nil {
				t.Error(err)
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for _, delta := range []int64{1, -1} {
			if _, err := s.Adjust(ctx, noon, []Adjustment{{Charge: &c[0], At: noon, Delta: delta}}); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := s.Look(ctx, noon, c); err != nil || c[0].Used != 0 {
		t.Errorf("%d in flight when all have ended (%v)", c[0].Used, err)
	}
}

// TestRefundToASharedCounter: an extra that finds no room is given back where it
// was counted, also where the charge was another one of its request before.
func TestRefundToASharedCounter(t *testing.T) {
	s, set := NewMemoryStore(MemoryOptions{MaxKeys: 1}), MustLimits(PerSecond(Tokens, 10))
	charges := []Charge{{Key: "a", Limits: set, Amount: 1}, {Key: "b", Limits: set, Amount: 1}}
	now := noon
	for _, c := range [][]Charge{charges, charges[1:], charges[:1]} {
		now = now.Add(10 * time.Second)
		s.Sweep(now)
		take(t, s, now, c...)
	}
	for _, delta := range []int64{5, -5} {
		if _, err := s.Adjust(ctx, now, []Adjustment{{Charge: &charges[1], At: now, Delta: delta}}); err != nil {
			t.Fatal(err)
		}
	}
	look := []Charge{{Key: "a", Limits: set}, {Key: "z", Limits: set}}
	if _, err := s.Look(ctx, now, look); err != nil || look[1].Used != 0 {
		t.Errorf("the shared counter keeps %d (%v)", look[1].Used, err)
	}
}
