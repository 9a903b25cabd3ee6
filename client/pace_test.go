package client

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	type step struct {
		t      time.Duration // now
		do     string        // send, woken (sent late), success or limited
		number uint64        // of what is sent, or is answered
		wait   time.Duration // until the next one, after that
		rate   float64
	}
	start := time.Date(2026, time.January, 1, 9, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		pace  pace
		steps []step
	}{
		{"evenly spaced", pace{rate: 10, most: 100}, []step{
			{0, "send", 1, 100 * ms, 10},
			{100 * ms, "send", 2, 100 * ms, 10},
			{500 * ms, "send", 3, 100 * ms, 10}, // idle time is not saved up
		}},
		{"timers are late", pace{rate: 10, most: 100}, []step{
			{0, "send", 1, 100 * ms, 10},
			{103 * ms, "woken", 2, 97 * ms, 10},
			{202 * ms, "woken", 3, 98 * ms, 10},
			{10 * time.Second, "woken", 4, -9600 * ms, 10}, // asleep
			{10 * time.Second, "send", 5, 100 * ms, 10},    // one too many, no more
		}},
		{"grows", pace{rate: 10, most: 12.5}, []step{
			{0, "send", 1, 100 * ms, 10},
			{10 * ms, "success", 1, 80909090, 11},
			{20 * ms, "success", 1, 62644628, 12.100000000000001},
			{30 * ms, "success", 1, 50 * ms, 12.5},
			{40 * ms, "success", 1, 40 * ms, 12.5},
			{90 * ms, "success", 1, -10 * ms, 12.5},
		}},
		{"halves once a burst", pace{rate: 8, most: 100}, []step{
			{0, "send", 1, 125 * ms, 8},
			{125 * ms, "send", 2, 125 * ms, 8},
			{250 * ms, "send", 3, 125 * ms, 8},
			{300 * ms, "limited", 2, 200 * ms, 4},
			{300 * ms, "limited", 1, 200 * ms, 4},
			{300 * ms, "success", 3, 200 * ms, 4}, // sent before it
			{500 * ms, "send", 4, 250 * ms, 4},
			{500 * ms, "limited", 3, 250 * ms, 4},
			{500 * ms, "limited", 4, 500 * ms, 2},
			{500 * ms, "success", 4, 500 * ms, 2},
			{1000 * ms, "send", 5, 500 * ms, 2},
			{1000 * ms, "success", 5, 454545454, 2.2},
		}},
		{"has a floor", pace{rate: 0.025, most: 100}, []step{
			{0, "send", 1, 40 * time.Second, 0.025},
			{0, "limited", 1, time.Minute, 1.0 / 60},
			{time.Minute, "send", 2, time.Minute, 1.0 / 60},
			{time.Minute, "limited", 2, time.Minute, 1.0 / 60},
			{2 * time.Minute, "send", 3, time.Minute, 1.0 / 60},
			{2 * time.Minute, "success", 3, 54545454545, 1.1 / 60},
		}},
		{"most is below the floor", pace{rate: 0.01, most: 0.01}, []step{
			{0, "send", 1, 100 * time.Second, 0.01},
			{0, "limited", 1, 100 * time.Second, 0.01},
		}},
		{"absurdly slow", pace{rate: 1e-300, most: 1e-300}, []step{
			{0, "send", 1, 1 << 62, 1e-300},
		}},
		{"absurdly fast", pace{rate: 1e300, most: math.MaxFloat64}, []step{
			{0, "send", 1, 0, 1e300},
			{0, "success", 1, 0, 1.1e300},
		}},
		{"the clock goes back", pace{rate: 10, most: 100}, []step{
			{time.Second, "send", 1, 100 * ms, 10},
			{0, "success", 1, time.Second + 90909090, 11},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.pace
			if due := p.due(); due.After(start) {
				t.Fatalf("the first is due at %v", due)
			}
			for i, s := range tt.steps {
				now := start.Add(s.t)
				switch s.do {
				case "send", "woken":
					if number := p.send(now, s.do == "woken"); number != s.number {
						t.Errorf("step %d: number %d", i, number)
					}
				case "success":
					p.succeeded(s.number)
				case "limited":
					p.limited(s.number)
				}
				if wait := p.due().Sub(now); wait != s.wait || math.Abs(p.rate-s.rate) > 1e-15*s.rate {
					t.Errorf("step %d: wait %d ns, rate %v, want %d, %v", i, wait, p.rate, s.wait, s.rate)
				}
			}
		})
	}
}

// TestPaceAgainstModel: the model remembers of each request how many halvings
// it was sent after, and lets it speak only as long as there was no other.
func TestPaceAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pace{rate: 10, most: 100}
		var (
			rate       = 10.0
			halvings   int
			sentAfter  []int // by number - 1
			unanswered []uint64
			now        time.Time
		)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "later")))
			if len(unanswered) == 0 || rapid.Bool().Draw(t, "send") {
				unanswered = append(unanswered, p.send(now, false))
				sentAfter = append(sentAfter, halvings)
				if wait := p.due().Sub(now); wait != time.Duration(float64(time.Second)/rate) {
					t.Fatalf("wait %v at %v/s", wait, rate)
				}
				continue
			}
			i := rapid.IntRange(0, len(unanswered)-1).Draw(t, "which")
			number := unanswered[i]
			unanswered = append(unanswered[:i], unanswered[i+1:]...)
			speaks := sentAfter[number-1] == halvings
			if rapid.Bool().Draw(t, "limited") {
				p.limited(number)
				if speaks {
					rate, halvings = max(rate/2, 1.0/60), halvings+1
				}
			} else {
				p.succeeded(number)
				if speaks {
					rate = min(rate*1.1, 100)
				}
			}
			if p.rate != rate {
				t.Fatalf("rate %v, want %v", p.rate, rate)
			}
		}
	})
}
