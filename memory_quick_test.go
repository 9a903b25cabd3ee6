package penstock

import (
	"testing"
	"time"
)

// TestQuick: what is meant to be decided quickly is. That it is decided rightly
// the conformance suite says.
func TestQuick(t *testing.T) {
	window := func(a Algorithm, u Unit, amount int64) Limit {
		return Limit{Unit: u, Amount: amount, Window: time.Minute, Algorithm: a}
	}
	amounts := Amounts{Requests: 1, Tokens: 10, Concurrent: 1}
	for _, tt := range []struct {
		name   string
		limits []Limit
		later  time.Duration
		handle bool
		keys   int
		look   bool
		want   bool
		fits   bool
	}{
		{name: "bucket", limits: []Limit{window(TokenBucket, Requests, 9)}, want: true, fits: true},
		{name: "sliding window", limits: []Limit{window(SlidingWindow, Requests, 9)}, want: true, fits: true},
		{name: "fixed window", limits: []Limit{window(FixedWindow, Requests, 9)}, want: true, fits: true},
		{name: "in flight", limits: []Limit{InFlight(9)}, want: true, fits: true},
		{name: "bucket, denied", limits: []Limit{window(TokenBucket, Requests, 1)}, want: true},
		{name: "sliding window, denied", limits: []Limit{window(SlidingWindow, Requests, 1)}, want: true},
		{name: "fixed window, denied", limits: []Limit{window(FixedWindow, Requests, 1)}, want: true},
		{name: "in flight, denied", limits: []Limit{InFlight(1)}, want: true},
		{name: "a look", limits: []Limit{window(SlidingWindow, Requests, 9)}, look: true, want: true, fits: true},
		{name: "by a handle", limits: []Limit{window(TokenBucket, Requests, 9)}, handle: true, want: true, fits: true},
		{name: "two limits", limits: []Limit{window(TokenBucket, Requests, 9), window(SlidingWindow, Tokens, 90)}, want: true, fits: true},
		{name: "two limits, one denies", limits: []Limit{window(TokenBucket, Requests, 9), window(SlidingWindow, Tokens, 15)}, want: true},
		{name: "three keys", limits: []Limit{window(TokenBucket, Requests, 9)}, keys: 3, want: true, fits: true},
		{name: "three keys, denied", limits: []Limit{window(TokenBucket, Requests, 1)}, keys: 3, want: true},
		{name: "as many keys as there is room for", limits: []Limit{InFlight(9)}, keys: mostSpots, want: true, fits: true},
		{name: "one more", limits: []Limit{InFlight(9)}, keys: mostSpots + 1},
		{name: "a step later", limits: []Limit{window(SlidingWindow, Requests, 9)}, later: 2 * time.Second, want: true, fits: true},
		{name: "a step later, denied", limits: []Limit{window(SlidingWindow, Requests, 1)}, later: 2 * time.Second, want: true},
		{name: "a window later", limits: []Limit{window(FixedWindow, Requests, 9)}, later: time.Minute},
		{name: "more than a bucket holds", limits: []Limit{window(TokenBucket, Tokens, 9)}},
		{name: "a month, denied", limits: []Limit{PerMonth(Requests, 1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := NewMemoryStore(MemoryOptions{})
			s.BornAt(noon.AddDate(0, 0, -1))
			set := MustLimits(tt.limits...)
			var charges []Charge
			for i := range max(tt.keys, 1) {
				key := string(rune('a' + i))
				charges = set.AppendCharges(charges, key, &amounts)
				if tt.handle {
					charges[len(charges)-1].Handle = NewHandle(key)
				}
			}
			if s.quick(charges, noon.UnixMicro(), true) {
				t.Fatal("a new key was decided quickly")
			}
			if _, err := s.Take(ctx, noon, charges); err != nil {
				t.Fatal(err)
			}
			if got := s.quick(charges, noon.Add(tt.later).UnixMicro(), !tt.look); got != tt.want {
				t.Fatalf("quick = %v, want %v", got, tt.want)
			}
			fits := true
			for i := range charges {
				fits = fits && charges[i].RetryAfter == 0
			}
			if tt.want && fits != tt.fits {
				t.Errorf("fits = %v, want %v", fits, tt.fits)
			}
		})
	}
}
