package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{}, ""},
		{Options{Slots: 3}, ""},
		{Options{Slots: 3, Timeout: time.Second}, ""},
		{Options{Slots: 3, Size: 1, Timeout: 1}, ""},
		{Options{Slots: -1}, "queue: -1 slots; give 1 or more, or 0 for no limit"},
		{Options{Size: -2, Timeout: 1}, "queue: a size of -2; give 1 or more, or 0 so that nobody waits"},
		{Options{Burst: 1, Refill: 1, Per: time.Microsecond}, ""},
		{Options{Burst: -1}, "queue: a burst of -1; give 1 or more, or 0 for no bucket"},
		{Options{Burst: 5, Per: time.Second}, "queue: a refill of 0; give 1 or more, or a burst of 0 for no bucket"},
		{Options{Burst: 5, Refill: -1, Per: time.Second}, "queue: a refill of -1; give 1 or more, or a burst of 0 for no bucket"},
		{Options{Burst: 5, Refill: 1}, "queue: a refill per 0s; give whole microseconds, at least one"},
		{Options{Burst: 5, Refill: 1, Per: 1500}, "queue: a refill per 1.5µs; give whole microseconds, at least one"},
		{Options{Timeout: -time.Second}, "queue: a timeout of -1s; give one above 0"},
		{Options{Slots: 1, Size: 100}, "queue: a timeout of 0 with a size of 100; give a timeout above 0, or a size of 0 so that nobody waits"},
	} {
		got := ""
		q, err := New(tt.o)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("New(%+v): %q, want %q", tt.o, got, tt.want)
		}
		if (q == nil) != (err != nil) {
			t.Errorf("New(%+v) = %v, %v", tt.o, q, err)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&FullError{Reason: Full, RetryAfter: 3 * time.Second}, "queue: full; retry after 3s"},
		{&FullError{Reason: PushedOut, RetryAfter: time.Second}, "queue: full, and another caller's turn to wait; retry after 1s"},
		{&FullError{Reason: Late, RetryAfter: 99 * time.Second}, "queue: too long for the timeout; retry after 1m39s"},
		{&TimeoutError{Waited: 30 * time.Second, RetryAfter: time.Second}, "queue: no slot within 30s; retry after 1s"},
		{ErrStopped, "queue: stopped; ask another gateway"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 2, Size: 10, Timeout: time.Hour})
		r.start("ab")
		r.want(map[string]outcome{"ab": {}})
		r.start("cdef")
		r.check()
		r.stats(Stats{Slots: 2, InFlight: 2, Waiting: 4, Size: 10, Granted: 2, Waited: 4})
		for i, step := range []struct{ release, served string }{
			{"b", "c"}, {"a", "d"}, {"d", "e"}, {"c", "f"},
		} {
			r.sleep(time.Second)
			r.release(step.release)
			waited := time.Duration(i+1) * time.Second
			r.want(map[string]outcome{step.served: {Position: i + 1, Waited: waited, After: waited}})
		}
		r.release("ef")
		r.start("g")
		r.want(map[string]outcome{"g": {}})
		r.stats(Stats{Slots: 2, InFlight: 1, Size: 10, Granted: 7, Waited: 4})
	})
}

// TestNobodyBarges lets a newcomer in at the very moment when a slot comes
// back: it stands behind who waits already.
func TestNobodyBarges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 10, Timeout: time.Hour})
		r.start("ab")
		r.slots["a"].Release() // b's goroutine has not run yet
		r.start("c")
		r.want(map[string]outcome{"a": {}, "b": {Position: 1}})
		r.release("b")
		r.want(map[string]outcome{"c": {Position: 1}})
	})
}

func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 2, Timeout: time.Hour})
		r.start("abcde")
		r.want(map[string]outcome{"a": {}, "de": {Error: "full", Retry: time.Second}})
		r.stats(Stats{Slots: 1, InFlight: 1, Waiting: 2, Size: 2, Granted: 1, Waited: 2, Full: 2})
		r.sleep(5 * time.Second)
		r.release("a")
		r.start("f")
		r.want(map[string]outcome{"b": {Position: 1, Waited: 5 * time.Second, After: 5 * time.Second}})
		r.start("g")
		r.want(map[string]outcome{"g": {Error: "full", Retry: 3 * 5 * time.Second}})
	})
}

func TestNobodyWaitsAtSizeZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1})
		r.start("ab")
		r.want(map[string]outcome{"a": {}, "b": {Error: "full", Retry: time.Second}})
		r.release("a")
		r.start("c")
		r.want(map[string]outcome{"c": {}})
	})
}

func TestNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.start("abcdefgh")
		r.want(map[string]outcome{"abcdefgh": {}})
		r.release("abcd")
		r.stats(Stats{InFlight: 4, Granted: 8})
	})
}

func TestTimeoutIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 1234567 * time.Microsecond
		r := newRig(t, Options{Slots: 1, Size: 10, Timeout: timeout})
		r.start("a")
		r.start("b")
		r.sleep(time.Second)
		r.start("c")
		r.want(map[string]outcome{"a": {}})
		r.sleep(timeout - time.Second - 1)
		r.check()
		r.sleep(1)
		r.want(map[string]outcome{"b": {Error: "timeout", Waited: timeout, After: timeout}})
		r.sleep(time.Minute)
		r.want(map[string]outcome{"c": {Error: "timeout", Waited: timeout, After: timeout}})
		r.stats(Stats{Slots: 1, InFlight: 1, Size: 10, Granted: 1, Waited: 2, TimedOut: 2})
		// Neither timed-out waiter gets the slot, and their places are reused.
		r.release("a")
		r.start("de")
		r.want(map[string]outcome{"d": {}})
		r.release("d")
		r.want(map[string]outcome{"e": {Position: 1}})
	})
}

func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 10, Timeout: time.Hour})
		r.start("abcde")
		r.want(map[string]outcome{"a": {}})
		r.sleep(time.Second)
		r.cancel("c") // from the middle
		r.want(map[string]outcome{"c": {Error: "context canceled", After: time.Second}})
		r.cancel("e") // from the end
		r.want(map[string]outcome{"e": {Error: "context canceled", After: time.Second}})
		r.cancel("b") // from the front
		r.want(map[string]outcome{"b": {Error: "context canceled", After: time.Second}})
		r.start("f")
		r.release("a")
		r.want(map[string]outcome{"d": {Position: 3, Waited: time.Second, After: time.Second}})
		r.release("d")
		r.want(map[string]outcome{"f": {Position: 2}})
		r.stats(Stats{Slots: 1, InFlight: 1, Size: 10, Granted: 3, Waited: 5, Left: 3})
	})
}

func TestGoneBeforeEntering(t *testing.T) {
	q, err := New(Options{Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if _, err := q.Enter(ctx, Ask{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
	if got, want := q.Stats(), (Stats{Slots: 1, Left: 1}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

// TestGrantToOneWhoLeaves grants to a waiter that has just left, before it can
// run again: the slot goes to the next one.
func TestGrantToOneWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 { // select chooses by chance
			r := newRig(t, Options{Slots: 1, Size: 10, Timeout: time.Hour})
			r.start("abc")
			r.q.mu.Lock()
			r.leave["b"]()
			r.q.release(r.slots["a"].place, r.q.now()) // as Release does
			r.q.mu.Unlock()
			synctest.Wait()
			r.want(map[string]outcome{"a": {}, "b": {Error: "context canceled"}, "c": {Position: 2}})
			r.stats(Stats{Slots: 1, InFlight: 1, Size: 10, Granted: 3, Waited: 2, Left: 1})
			r.release("c")
			r.stats(Stats{Slots: 1, Size: 10, Granted: 3, Waited: 2, Left: 1})
		}
	})
}

// TestLeavingAfterAGrant cancels just after the grant: the waiter may have the
// slot or pass it on, and nothing in between.
func TestLeavingAfterAGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 {
			r := newRig(t, Options{Slots: 1, Size: 10, Timeout: time.Hour})
			r.start("abc")
			r.slots["a"].Release()
			r.leave["b"]()
			synctest.Wait()
			if r.ended["b"].Error == "" {
				r.want(map[string]outcome{"a": {}, "b": {Position: 1}})
				r.release("b")
				r.want(map[string]outcome{"c": {Position: 2}})
				r.stats(Stats{Slots: 1, InFlight: 1, Size: 10, Granted: 3, Waited: 2})
			} else {
				r.want(map[string]outcome{"a": {}, "b": {Error: "context canceled"}, "c": {Position: 2}})
				r.stats(Stats{Slots: 1, InFlight: 1, Size: 10, Granted: 3, Waited: 2, Left: 1})
			}
			r.release("c")
		}
	})
}

// TestGrantAtTheTimeout releases at the instant at which the timer fires: the
// waiter gets exactly one of the two, and the slot is not lost.
func TestGrantAtTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ways := map[string]int{}
		for i := range 200 {
			r := newRig(t, Options{Slots: 1, Size: 10, Timeout: time.Second})
			r.start("a")
			releaseAtTimeout := func() {
				time.Sleep(time.Second)
				r.slots["a"].Release()
			}
			if i%2 == 0 { // whose timer is older goes first
				go releaseAtTimeout()
				synctest.Wait()
				r.start("b")
			} else {
				r.start("b")
				go releaseAtTimeout()
			}
			r.sleep(time.Second)
			b, ok := r.ended["b"]
			if !ok {
				t.Fatal("the waiter still waits after its timeout")
			}
			ways[b.Error]++
			switch b.Error {
			case "":
				r.stats(Stats{Slots: 1, InFlight: 1, Size: 10, Granted: 2, Waited: 1})
				r.release("b")
			case "timeout":
				r.stats(Stats{Slots: 1, Size: 10, Granted: 1, Waited: 1, TimedOut: 1})
			default:
				t.Fatalf("outcome %+v", b)
			}
			if b.After != time.Second {
				t.Fatalf("Enter took %v", b.After)
			}
			r.start("c")
			if got := r.ended["c"]; got != (outcome{}) {
				t.Fatalf("after the race the slot is not free: %+v", got)
			}
		}
		t.Log(ways)
	})
}

func TestReleaseIsIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 10, Timeout: time.Hour})
		Slot{}.Release()
		r.start("abc")
		a := r.slots["a"]
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(a.Release)
		}
		wg.Wait()
		synctest.Wait()
		r.want(map[string]outcome{"a": {}, "b": {Position: 1}})
		// a's place is in use again, for d: a copy of a's slot must not
		// release it.
		r.start("d")
		a.Release()
		r.slots["a"].Release()
		synctest.Wait()
		r.check()
		r.release("bcd")
		a.Release()
		r.stats(Stats{Slots: 1, Size: 10, Granted: 4, Waited: 3})
	})
}

func TestConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 5, Timeout: time.Hour})
		configure := func(o Options) {
			t.Helper()
			if err := r.q.Configure(o); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		r.start("abcdef")
		r.want(map[string]outcome{"a": {}})

		// More slots wake the first in the line.
		configure(Options{Slots: 3, Size: 5, Timeout: time.Hour})
		r.want(map[string]outcome{"b": {Position: 1}, "c": {Position: 2}})

		// Fewer take effect as they come back; a smaller size keeps d, e and
		// f, and the new timeout does not shorten theirs.
		configure(Options{Slots: 1, Size: 1, Timeout: time.Second})
		r.stats(Stats{Slots: 1, InFlight: 3, Waiting: 3, Size: 1, Granted: 3, Waited: 5})
		r.start("g")
		r.want(map[string]outcome{"g": {Error: "full", Retry: time.Second}})
		r.sleep(time.Minute)
		r.release("ab")
		r.check()
		r.release("c")
		r.want(map[string]outcome{"d": {Position: 3, Waited: time.Minute, After: time.Minute}})

		// The new timeout holds for newcomers.
		configure(Options{Slots: 1, Size: 3, Timeout: time.Second})
		r.start("h")
		r.sleep(time.Second)
		r.want(map[string]outcome{"h": {Error: "timeout", Waited: time.Second, After: time.Second}})

		// A bad option changes nothing.
		before := r.q.Stats()
		if err := r.q.Configure(Options{Slots: 9, Size: 1}); err == nil {
			t.Error("a timeout of 0 was accepted")
		}
		r.stats(before)

		// No limit wakes everybody.
		configure(Options{})
		waited := time.Minute + time.Second
		r.want(map[string]outcome{"e": {Position: 4, Waited: waited, After: waited}, "f": {Position: 5, Waited: waited, After: waited}})
		r.stats(Stats{InFlight: 3, Granted: 6, Waited: 6, Full: 1, TimedOut: 1})
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 5, Timeout: time.Hour})
		r.start("abc")
		r.sleep(time.Second)
		r.q.Stop()
		r.q.Stop()
		synctest.Wait()
		r.want(map[string]outcome{"a": {}, "bc": {Error: "stopped", After: time.Second}})
		r.start("d")
		r.want(map[string]outcome{"d": {Error: "stopped"}})
		r.stats(Stats{Slots: 1, InFlight: 1, Size: 5, Granted: 1, Waited: 2})
		r.release("a")
		r.start("e")
		r.want(map[string]outcome{"e": {Error: "stopped"}})
		r.stats(Stats{Slots: 1, Size: 5, Granted: 1, Waited: 2})
	})
}

// TestWaitInVain: who gets no slot is told, too, where and how long it waited.
func TestWaitInVain(t *testing.T) {
	type stay struct {
		position int
		waited   time.Duration
		err      string
	}
	synctest.Test(t, func(t *testing.T) {
		q, err := New(Options{Slots: 1, Size: 2, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]stay{}
		var mu sync.Mutex
		enter := func(ctx context.Context, name string, a Ask) {
			go func() {
				s, err := q.Enter(ctx, a)
				mu.Lock()
				defer mu.Unlock()
				got[name] = stay{s.Position(), s.Waited(), fmt.Sprint(err)}
				if err != nil {
					s.Release() // it is none
				}
			}()
			synctest.Wait()
		}
		leaving, leave := context.WithCancel(t.Context())
		enter(t.Context(), "holds", Ask{})
		enter(t.Context(), "late", Ask{Caller: "a"})
		time.Sleep(time.Second)
		enter(t.Context(), "pushed out", Ask{Caller: "a"})
		time.Sleep(time.Second)
		enter(leaving, "left", Ask{Caller: "b"})
		time.Sleep(time.Second)
		leave()
		synctest.Wait()
		time.Sleep(58 * time.Second) // the late one has left
		enter(t.Context(), "stopped", Ask{})
		time.Sleep(time.Second)
		q.Stop()
		synctest.Wait()
		want := map[string]stay{
			"holds":      {0, 0, "<nil>"},
			"late":       {1, time.Minute, "queue: no slot within 1m0s; retry after 1s"},
			"pushed out": {2, time.Second, "queue: full, and another caller's turn to wait; retry after 1s"},
			"left":       {2, time.Second, "context canceled"},
			"stopped":    {1, time.Second, ErrStopped.Error()},
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(stay{})); d != "" {
			t.Error(d)
		}
		if s := q.Stats(); s.InFlight != 1 {
			t.Errorf("%d are in flight", s.InFlight)
		}
	})
}
