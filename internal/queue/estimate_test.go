package queue

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimeoutSaysWhenToRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := New(Options{Slots: 1, Size: 5, Timeout: 3 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		first, _ := q.Enter(t.Context(), Ask{})
		time.Sleep(4 * time.Second)
		first.Release() // the mean hold is 4 s
		second, _ := q.Enter(t.Context(), Ask{})
		defer second.Release()
		go func() {
			time.Sleep(time.Second)
			_, _ = q.Enter(t.Context(), Ask{})
		}()
		_, err = q.Enter(t.Context(), Ask{})
		var late *TimeoutError
		if !errors.As(err, &late) {
			t.Fatalf("got %v, want a TimeoutError", err)
		}
		// One still waits, so a newcomer would be the second.
		if want := (TimeoutError{Waited: 3 * time.Second, RetryAfter: 8 * time.Second}); *late != want {
			t.Errorf("got %+v, want %+v", *late, want)
		}
	})
}

func TestEstimate(t *testing.T) {
	const most = math.MaxInt
	for _, tt := range []struct {
		slots, waiting int
		hold, want     time.Duration
	}{
		{slots: 0, waiting: 0, hold: time.Hour, want: time.Second},
		{slots: 1, waiting: 0, hold: 0, want: time.Second},
		{slots: 1, waiting: 0, hold: time.Second + 1, want: time.Second + 1},
		{slots: 4, waiting: 7, hold: 5 * time.Second, want: 10 * time.Second},
		{slots: 3, waiting: 0, hold: 10 * time.Second, want: 3333333333},
		{slots: 1, waiting: 59, hold: time.Second, want: time.Minute},
		{slots: 1, waiting: 60, hold: time.Second, want: time.Minute},
		{slots: 100, waiting: 9, hold: time.Second, want: time.Second},
		{slots: 1, waiting: most, hold: most, want: time.Minute},
		{slots: 1, waiting: 1<<62 - 1, hold: 4, want: time.Minute}, // 2^64
		{slots: most, waiting: most - 1, hold: 7 * time.Second, want: 7 * time.Second},
		{slots: most, waiting: most - 1, hold: 1, want: time.Second},
	} {
		q, err := New(Options{Slots: tt.slots})
		if err != nil {
			t.Fatal(err)
		}
		q.line.waiting = tt.waiting
		q.hold.mean = tt.hold
		if got := q.Estimate(); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}

func TestRecentMeanHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := New(Options{Slots: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range []struct{ hold, want time.Duration }{
			{0, time.Second}, // the first says all, be it 0
			{16 * time.Second, 2 * time.Second},
			{10 * time.Second, 3 * time.Second},
			{3 * time.Second, 3 * time.Second},
			{11 * time.Second, 4 * time.Second},
			{time.Hour, time.Minute},
		} {
			s, err := q.Enter(t.Context(), Ask{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(step.hold)
			s.Release()
			if got := q.Estimate(); got != step.want {
				t.Errorf("step %d: %v, want %v", i, got, step.want)
			}
		}
	})
}

// TestServedOfNone: the zero Slot, and one that was taken when nothing was
// limited, have no counter.
func TestServedOfNone(t *testing.T) {
	Slot{}.Served(5)
	q, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := q.Enter(t.Context(), Ask{Caller: "a"})
	if err != nil {
		t.Fatal(err)
	}
	s.Served(5)
	s.Release()
	if n := len(q.line.classes[0].callers.byName); n != 0 {
		t.Errorf("%d callers are remembered of an unlimited queue", n)
	}
}

func TestTimes(t *testing.T) {
	for _, tt := range []struct {
		n    int
		by   uint64
		want uint64
	}{
		{0, math.MaxUint64, 0},
		{3, 5, 15},
		{2, math.MaxUint64, math.MaxUint64},
		{math.MaxInt, 1 << 40, math.MaxUint64},
	} {
		if got := times(tt.n, tt.by); got != tt.want {
			t.Errorf("%d times %d is %d, want %d", tt.n, tt.by, got, tt.want)
		}
	}
}

// TestHoldsAreSampled: once enough is known and nobody waits, one hold of seven is
// measured; of those who waited each is.
func TestHoldsAreSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 9, Timeout: time.Hour})
		r.teach(8 * time.Second)
		for i := range 2*oneIn + 1 {
			s, err := r.q.Enter(t.Context(), Ask{})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := s.place.since != unread, i%oneIn == oneIn-1; got != want {
				t.Errorf("grant %d is measured: %v, want %v", i, got, want)
			}
			s.Release()
		}
		if got, want := r.q.hold.mean, 8*time.Second*49/64; got != want { // two of 0 s
			t.Errorf("the mean is %v, want %v", got, want)
		}
		r.start("ab")
		r.release("a")
		if r.slots["b"].place.since == unread {
			t.Error("the hold of one who waited is not measured")
		}
		r.release("b")
	})
}

// TestHoldBeginsAtTheGrant checks that the time in the line is no part of the
// hold.
func TestHoldBeginsAtTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 1, Timeout: time.Hour})
		r.start("ab")
		r.sleep(16 * time.Second)
		r.release("a")
		r.sleep(8 * time.Second)
		r.release("b")
		if got, want := r.q.Estimate(), 15*time.Second; got != want {
			t.Errorf("after holds of 16 s and 8 s: %v, want %v", got, want)
		}
	})
}
