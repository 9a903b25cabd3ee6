package penstock

import (
	"strings"
	"testing"
	"time"
)

func TestNewLimits(t *testing.T) {
	set := MustLimits(
		PerMinute(Requests, 60),
		Limit{Unit: Tokens, Amount: 10, Window: 10 * time.Second, Precision: time.Second},
		Limit{Name: "burst", Unit: Requests, Amount: 60, Window: time.Minute, Algorithm: TokenBucket},
		PerMonth(Cost, 5_000_000_000),
		InFlight(10),
		Limit{Unit: Custom + 2, Amount: 1, Window: 90 * time.Minute, Algorithm: FixedWindow},
	)
	for i, want := range []Limit{
		{Name: "requests_per_minute", Unit: Requests, Amount: 60, Window: time.Minute, Precision: time.Second},
		{Name: "tokens_per_10s", Unit: Tokens, Amount: 10, Window: 10 * time.Second, Precision: time.Second},
		{Name: "burst", Unit: Requests, Amount: 60, Window: time.Minute, Algorithm: TokenBucket, Capacity: 60},
		{Name: "cost_per_month", Unit: Cost, Amount: 5_000_000_000, Window: Month, Algorithm: FixedWindow},
		{Name: "concurrent_requests", Unit: Concurrent, Amount: 10},
		{Name: "custom2_per_1h30m0s", Unit: Custom + 2, Amount: 1, Window: 90 * time.Minute, Algorithm: FixedWindow},
	} {
		if got := set.At(i); got != want {
			t.Errorf("limit %d:\n got %+v\nwant %+v", i, got, want)
		}
	}
	if set.Len() != 6 || (*Limits)(nil).Len() != 0 {
		t.Error("Len")
	}
}

func TestNewLimitsErrors(t *testing.T) {
	minute := func(l Limit) Limit {
		l.Unit, l.Window = Requests, time.Minute
		if l.Amount == 0 {
			l.Amount = 1
		}
		return l
	}
	for want, limits := range map[string][]Limit{
		"amount of 0": {PerMinute(Requests, 0)},
		"amount of -1: it must lie between 1 and 9007199254740992": {PerMinute(Requests, -1)},
		"amount of 9007199254740993":                               {PerMinute(Requests, MaxAmount+1)},
		"unit 16: there are 16":                                    {PerMinute(NumUnits, 1)},
		"only a token bucket has one":                              {minute(Limit{Capacity: 1})},
		"a capacity of -1":                                         {minute(Limit{Capacity: -1, Algorithm: TokenBucket})},
		"algorithm 3":                                              {minute(Limit{Algorithm: 3})},
		"have no window, algorithm or precision":                   {{Unit: Concurrent, Amount: 1, Window: time.Second}},
		"and are not overdrawn":                                    {{Unit: Concurrent, Amount: 1, Overdraw: true}},
		"a calendar month is a fixed window":                       {{Amount: 1, Window: Month, Algorithm: TokenBucket}},
		"a window of 0s":                                           {{Amount: 1}},
		"a window of -2ns":                                         {{Amount: 1, Window: -2}},
		"a hundred years":                                          {{Amount: 1, Window: 1 << 62}},
		"it must be whole microseconds":                            {{Amount: 1, Window: time.Millisecond + 1}},
		"only a sliding window has one":                            {minute(Limit{Algorithm: FixedWindow, Precision: time.Second})},
		"it must divide 1m0s at most 120 times":                    {minute(Limit{Precision: 100 * time.Millisecond})},
		"a precision of 7s":                                        {minute(Limit{Precision: 7 * time.Second})},
		"a precision of 1ns":                                       {minute(Limit{Precision: 1})},
		"a precision of -1s":                                       {minute(Limit{Precision: -time.Second})},
		"cannot be counted for ten years":                          {{Amount: MaxAmount, Window: time.Second, Algorithm: TokenBucket}},
		"limits 0 and 1 are both requests_per_minute":              {PerMinute(Requests, 1), PerMinute(Requests, 2)},
		"33 limits in one set":                                     make([]Limit, 33),
	} {
		_, err := NewLimits(limits...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nshould say %q", err, want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("MustLimits did not panic")
		}
	}()
	MustLimits(Limit{})
}

func TestDefaultPrecision(t *testing.T) {
	for _, test := range []struct {
		window, step time.Duration
	}{
		{time.Second, 20 * time.Millisecond},
		{time.Minute, time.Second},
		{time.Hour, time.Minute},
		{24 * time.Hour, 24 * time.Minute},
		{time.Millisecond, 20 * time.Microsecond},
		{time.Microsecond, time.Microsecond},
		{7 * time.Microsecond, time.Microsecond},
		{61 * time.Microsecond, 61 * time.Microsecond},
		{30 * time.Second, 500 * time.Millisecond},
	} {
		set := MustLimits(Limit{Amount: 1, Window: test.window})
		if got := set.At(0).Precision; got != test.step || Precision(test.window, 60) != test.step {
			t.Errorf("a window of %v has steps of %v, want %v", test.window, got, test.step)
		}
	}
}

func TestChargesSkipsWhatIsNotTaken(t *testing.T) {
	set := MustLimits(PerMinute(Requests, 1), PerMinute(Tokens, 1), PerHour(Tokens, 2), InFlight(1))
	charges := set.Charges("a", Amounts{Tokens: 5, Concurrent: 1})
	if len(charges) != 3 || charges[0].Limit().Name != "tokens_per_minute" || charges[2].Amount != 1 {
		t.Errorf("%+v", charges)
	}
}

// TestNothingToCharge: without limits, or of units that nothing is taken of,
// there is nothing to charge, and what is not charged is not settled.
func TestNothingToCharge(t *testing.T) {
	set := MustLimits(PerMinute(Requests, 10), PerMinute(Tokens, 100))
	ask := Amounts{Requests: 1}
	for name, limits := range map[string]*Limits{"nil": nil, "zero": {}, "empty": MustLimits(), "of another unit": MustLimits(PerMinute(Tokens, 1))} {
		if charges := limits.Charges("a", ask); len(charges) != 0 {
			t.Errorf("%s: %+v", name, charges)
		}
	}
	l := New(nil)
	if d, err := l.AllowAt(ctx, noon); err != nil || !d.Allowed || d.Binding() != nil || !d.Time.Equal(noon) {
		t.Errorf("no charges: %+v, %v", d, err)
	}
	for _, reserved := range []int64{0, 1} {
		ask[Tokens] = reserved
		r, err := l.ReserveAt(ctx, noon, set.Charges("a", ask)...)
		if err != nil || !r.Allowed {
			t.Fatal(r, err)
		}
		if err := r.SettleAt(ctx, noon, Amounts{Tokens: 30}); err != nil {
			t.Fatal(err)
		}
		d, err := l.LookAt(ctx, noon, set.Charges("a", Amounts{Tokens: 1})...)
		if want := 30 * reserved; err != nil || d.Charges[0].Used != want {
			t.Errorf("%d reserved and 30 settled: %d used, want %d (%v)", reserved, d.Charges[0].Used, want, err)
		}
	}
}
