package penstock

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"
)

func TestDecisionBinding(t *testing.T) {
	l := New(nil)
	set := MustLimits(PerMinute(Requests, 10), PerMinute(Tokens, 1000), PerHour(Tokens, 3000))
	d, err := l.AllowAt(ctx, noon, set.Charges("a", Amounts{Requests: 1, Tokens: 500})...)
	if err != nil || !d.Allowed || d.Binding().Limit().Name != "tokens_per_minute" {
		t.Errorf("allowed: the smallest share left: %+v %v", d.Binding(), err)
	}
	d, err = l.AllowAt(ctx, noon, set.Charges("a", Amounts{Requests: 1, Tokens: 2600})...)
	if err != nil || d.Allowed || d.RetryAfter != Never || d.Binding().Limit().Name != "tokens_per_minute" {
		t.Errorf("denied for ever: %+v %v", d, err)
	}
	for range 3 {
		d, err = l.AllowAt(ctx, noon, set.Charges("b", Amounts{Tokens: 1000})...)
	}
	if err != nil || d.Allowed || d.RetryAfter != 61*time.Second {
		t.Errorf("denied: %+v %v", d, err)
	}
	withFlight := MustLimits(InFlight(2), PerMinute(Requests, 1000))
	r, err := l.ReserveAt(ctx, noon, withFlight.Charges("c", Amounts{Requests: 1, Concurrent: 1})...)
	if err != nil || r.Binding().Limit().Name != "requests_per_minute" {
		t.Errorf("allowed: not the one that comes back by itself: %+v %v", r.Binding(), err)
	}
	for range 2 {
		r, err = l.ReserveAt(ctx, noon, withFlight.Charges("c", Amounts{Requests: 1, Concurrent: 1})...)
	}
	if err != nil || r.Allowed || r.Binding().Limit().Name != "concurrent_requests" {
		t.Errorf("denied by it: %+v %v", r.Binding(), err)
	}
	if r, err = l.ReserveAt(ctx, noon, withFlight.Charges("d", Amounts{Concurrent: 1})...); err != nil || r.Binding() == nil {
		t.Errorf("it alone: %+v %v", r, err)
	}
	d, err = l.AllowAt(ctx, noon)
	if err != nil || !d.Allowed || d.Binding() != nil {
		t.Errorf("nothing charged: %+v %v", d, err)
	}
}

func TestAllowOfRequestsInFlight(t *testing.T) {
	l := New(nil)
	set := MustLimits(InFlight(1))
	if _, err := l.Allow(ctx, set.Charges("a", Amounts{Concurrent: 1})...); err == nil {
		t.Error("no error")
	}
	if d, err := l.Look(ctx, set.Charges("a", Amounts{Concurrent: 1})...); err != nil || !d.Allowed {
		t.Errorf("something was taken: %+v %v", d, err)
	}
}

// TestEstimateOfRequestsInFlight: the wait for one of n to end is the recent
// mean time in flight, over n, between a second and a minute.
func TestEstimateOfRequestsInFlight(t *testing.T) {
	l := New(nil)
	set := MustLimits(InFlight(2))
	hold := func(d time.Duration) {
		r, err := l.ReserveAt(ctx, noon, set.Charges("other", Amounts{Concurrent: 1})...)
		if err != nil || !r.Allowed {
			t.Fatal(r, err)
		}
		if err := r.SettleAt(ctx, noon.Add(d), Amounts{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := l.ReserveAt(ctx, noon, set.Charges("a", Amounts{Concurrent: 1})...); err != nil {
			t.Fatal(err)
		}
	}
	wait := func() time.Duration {
		d, err := l.LookAt(ctx, noon, set.Charges("a", Amounts{Concurrent: 1})...)
		if err != nil || d.Allowed {
			t.Fatal(d, err)
		}
		return d.RetryAfter
	}
	if got := wait(); got != time.Second {
		t.Errorf("nothing is known yet: %v", got)
	}
	hold(40 * time.Second)
	if got := wait(); got != 20*time.Second {
		t.Errorf("after one of 40 s: %v", got)
	}
	hold(8 * time.Second)
	if got := wait(); got != 18*time.Second { // 40 - (40-8)/8 = 36
		t.Errorf("after another of 8 s: %v", got)
	}
	for range 100 {
		hold(time.Hour)
	}
	if got := wait(); got != time.Minute {
		t.Errorf("after many of an hour: %v", got)
	}
}

// failing is a store whose calls fail.
type failing struct {
	Store
	err error
}

func (f *failing) Take(ctx context.Context, now time.Time, c []Charge) (time.Time, error) {
	if f.err != nil {
		return time.Time{}, f.err
	}
	return f.Store.Take(ctx, now, c)
}

func (f *failing) Look(ctx context.Context, now time.Time, c []Charge) (time.Time, error) {
	if f.err != nil {
		return time.Time{}, f.err
	}
	return f.Store.Look(ctx, now, c)
}

func (f *failing) Adjust(ctx context.Context, now time.Time, a []Adjustment) (time.Time, error) {
	if f.err != nil {
		return time.Time{}, f.err
	}
	return f.Store.Adjust(ctx, now, a)
}

func TestStoreErrors(t *testing.T) {
	store := &failing{Store: NewMemoryStore(MemoryOptions{}), err: ErrStoreUnavailable}
	l := New(store)
	set := MustLimits(PerMinute(Tokens, 10), InFlight(1))
	charges := func() []Charge { return set.Charges("a", Amounts{Tokens: 1, Concurrent: 1}) }
	if _, err := l.Allow(ctx, charges()[:1]...); !errors.Is(err, ErrStoreUnavailable) {
		t.Errorf("Allow: %v", err)
	}
	if _, err := l.Look(ctx, charges()...); !errors.Is(err, ErrStoreUnavailable) {
		t.Errorf("Look: %v", err)
	}
	if r, err := l.Reserve(ctx, charges()...); !errors.Is(err, ErrStoreUnavailable) || r != nil {
		t.Errorf("Reserve: %v %v", r, err)
	}
	store.err = nil
	r, err := l.Reserve(ctx, charges()...)
	if err != nil {
		t.Fatal(err)
	}
	store.err = ErrStoreUnavailable
	if _, err := r.Raise(ctx, Amounts{Tokens: 2}); !errors.Is(err, ErrStoreUnavailable) {
		t.Errorf("Raise: %v", err)
	}
	if err := r.Settle(ctx, Amounts{}); !errors.Is(err, ErrStoreUnavailable) {
		t.Errorf("Settle: %v", err)
	}
}

func TestReservationEndsOnce(t *testing.T) {
	l := New(nil)
	set := MustLimits(PerMinute(Tokens, 100), PerMinute(Requests, 10), InFlight(3))
	used := func() (n [3]int64) {
		d, err := l.LookAt(ctx, noon, set.Charges("a", Amounts{Tokens: 1, Requests: 1, Concurrent: 1})...)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			n[i] = d.Charges[i].Used
		}
		return n
	}
	ask := Amounts{Tokens: 40, Requests: 1, Concurrent: 1}
	r, _ := l.ReserveAt(ctx, noon, set.Charges("a", ask)...)
	for range 3 {
		if err := r.SettleAt(ctx, noon, Amounts{Tokens: 30}); err != nil {
			t.Fatal(err)
		}
		if err := r.CancelAt(ctx, noon); err != nil {
			t.Fatal(err)
		}
		if _, err := r.RaiseAt(ctx, noon, Amounts{Tokens: 500}); err != nil {
			t.Fatal(err)
		}
	}
	if got := used(); got != [3]int64{30, 1, 0} {
		t.Errorf("used %v", got)
	}
	denied, _ := l.ReserveAt(ctx, noon, set.Charges("a", Amounts{Tokens: 90})...)
	if denied.Allowed {
		t.Fatal("allowed")
	}
	if err := denied.CancelAt(ctx, noon); err != nil {
		t.Fatal(err)
	}
	if got := used(); got != [3]int64{30, 1, 0} {
		t.Errorf("a denied reservation gave back %v", got)
	}
	r, _ = l.ReserveAt(ctx, noon, set.Charges("a", ask)...)
	over, err := r.RaiseAt(ctx, noon, Amounts{Tokens: 90})
	if err != nil || over != (Amounts{Tokens: 20}) {
		t.Errorf("30 + 40 + 50 of 100 is %d over, %v", over, err)
	}
	if over, err := r.RaiseAt(ctx, noon, Amounts{Tokens: 90, Requests: 1}); err != nil || over != (Amounts{}) {
		t.Errorf("raised again to the same: %d over, %v", over, err)
	}
	for _, less := range []int64{0, -1, math.MinInt64} {
		if over, err := r.RaiseAt(ctx, noon, Amounts{Tokens: less}); err != nil || over != (Amounts{}) {
			t.Errorf("raised to %d: %d over, %v", less, over, err)
		}
		if got := used(); got != [3]int64{120, 2, 1} {
			t.Errorf("raised to %d: used %v", less, got)
		}
	}
	if err := r.SettleAt(ctx, noon, Amounts{Tokens: -5}); err != nil {
		t.Fatal(err)
	}
	if got := used(); got != [3]int64{30, 2, 0} {
		t.Errorf("used %v", got)
	}
	kept, _ := l.ReserveAt(ctx, noon, set.Charges("a", ask)...)
	if err := kept.KeepAt(ctx, noon); err != nil {
		t.Fatal(err)
	}
	if got := used(); got != [3]int64{70, 3, 0} {
		t.Errorf("used %v", got)
	}
	// What was raised beyond the limit went home again, so it is no debt.
	if debt := l.Debt(); debt != (Amounts{}) {
		t.Errorf("debt %v", debt)
	}
	r, _ = l.ReserveAt(ctx, noon, set.Charges("b", Amounts{Tokens: 90})...)
	if _, err := r.RaiseAt(ctx, noon, Amounts{Tokens: 130}); err != nil {
		t.Fatal(err)
	}
	if err := r.SettleAt(ctx, noon, Amounts{Tokens: 112}); err != nil {
		t.Fatal(err)
	}
	if debt := l.Debt(); debt != (Amounts{Tokens: 12}) {
		t.Errorf("112 of 100 used: debt %v", debt)
	}
	r, _ = l.ReserveAt(ctx, noon, set.Charges("c", Amounts{Tokens: 90})...)
	if err := r.SettleAt(ctx, noon, Amounts{Tokens: 103}); err != nil {
		t.Fatal(err)
	}
	if debt := l.Debt(); debt != (Amounts{Tokens: 15}) {
		t.Errorf("and 103 of another's 100: debt %v", debt)
	}
}

// TestDebt: what one request used beyond its limits is debt once, however many
// limits of the unit it went beyond, and shadows and what only smooths say
// nothing of it, as they say nothing of a raise.
func TestDebt(t *testing.T) {
	minute := MustLimits(PerMinute(Tokens, 100))
	both := MustLimits(PerMinute(Tokens, 100), PerHour(Tokens, 120), PerHour(OutputTokens, 1000))
	smooth := PerSecond(Tokens, 10)
	smooth.Overdraw = true
	for name, c := range map[string]struct {
		charges []Charge
		want    Amounts
	}{
		"one limit":     {minute.Charges("a", Amounts{Tokens: 60}), Amounts{Tokens: 50}},
		"two limits":    {both.Charges("a", Amounts{Tokens: 60, OutputTokens: 1}), Amounts{Tokens: 50}},
		"two keys":      {minute.AppendCharges(both.Charges("a", Amounts{Tokens: 60}), "b", &Amounts{Tokens: 60}), Amounts{Tokens: 50}},
		"a shadow":      {inShadow(minute.Charges("a", Amounts{Tokens: 60})), Amounts{}},
		"what smooths":  {MustLimits(smooth).Charges("a", Amounts{Tokens: 60}), Amounts{}},
		"beside limits": {minute.AppendCharges(MustLimits(smooth).Charges("a", Amounts{Tokens: 60}), "b", &Amounts{Tokens: 60}), Amounts{Tokens: 50}},
	} {
		for _, raised := range []int64{0, 130, 200} {
			l := New(nil)
			r, err := l.ReserveAt(ctx, noon, c.charges...)
			if err != nil || !r.Allowed {
				t.Fatal(name, err)
			}
			if _, err := r.RaiseAt(ctx, noon, Amounts{Tokens: raised}); err != nil {
				t.Fatal(err)
			}
			if err := r.SettleAt(ctx, noon, Amounts{Tokens: 150, OutputTokens: 1}); err != nil {
				t.Fatal(err)
			}
			if debt := l.Debt(); debt != c.want {
				t.Errorf("%s, raised to %d: debt %v, want %v", name, raised, debt, c.want)
			}
		}
	}
}

func inShadow(charges []Charge) []Charge {
	for i := range charges {
		charges[i].Shadow = true
	}
	return charges
}
