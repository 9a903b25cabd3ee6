package queue

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// TestBucketIsExact: after a burst one request goes each time a token has come,
// to the microsecond, and no slot's end gives one back.
func TestBucketIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// One token each 333,333 1/3 us.
		r := newRig(t, Options{Burst: 2, Refill: 3, Per: time.Second, Size: 10, Timeout: time.Hour})
		r.start("ab")
		r.want(map[string]outcome{"ab": {}})
		r.release("ab")
		r.start("cdef")
		r.check()
		r.sleep(333334*time.Microsecond - 1)
		r.check()
		r.sleep(1)
		for i, w := range []struct {
			name string
			at   time.Duration
		}{{"c", 333334}, {"d", 666667}, {"e", 1000000}, {"f", 1333334}} {
			at := w.at * time.Microsecond
			if i > 0 {
				_, in := r.alarm()
				r.sleep(in - 1)
				r.check()
				r.sleep(1)
			}
			r.want(map[string]outcome{w.name: {Position: i + 1, Waited: at, After: at}})
		}
		if set, _ := r.alarm(); set {
			t.Error("the alarm is set while nobody waits")
		}
		r.stats(Stats{InFlight: 4, Size: 10, Granted: 6, Waited: 4})
	})
}

func TestBucketAndSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Burst: 2, Refill: 1, Per: 10 * time.Second, Size: 10, Timeout: time.Hour})
		r.start("abc")
		r.want(map[string]outcome{"a": {}})
		if set, _ := r.alarm(); set {
			t.Error("the alarm is set while it is a slot that lacks")
		}
		r.release("a") // the second token
		r.want(map[string]outcome{"b": {Position: 1}})
		r.sleep(time.Second)
		r.release("b") // a slot, but no token
		r.check()
		r.start("d") // nor does it barge
		r.sleep(9*time.Second - 1)
		r.check()
		r.sleep(1)
		r.want(map[string]outcome{"c": {Position: 2, Waited: 10 * time.Second, After: 10 * time.Second}})
		r.cancel("d")
		r.release("c")
		if set, _ := r.alarm(); set {
			t.Error("the alarm is set while nobody waits")
		}
	})
}

// TestWhoLeavesTakesNoToken: of those who give up, time out or are pushed out,
// none costs a token.
func TestWhoLeavesTakesNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Burst: 1, Refill: 1, Per: time.Minute, Size: 2, Timeout: 70 * time.Second})
		r.start("a")
		r.ask(Ask{Caller: "hog"}, "b")
		r.q.Configure(Options{Burst: 1, Refill: 1, Per: time.Minute, Size: 2, Timeout: time.Hour})
		r.ask(Ask{Caller: "hog"}, "c")
		r.ask(Ask{Caller: "mouse"}, "d") // pushes c out
		r.cancel("b")
		r.sleep(time.Minute)
		if d := r.ended["d"]; d.Error != "" || d.Waited != time.Minute {
			t.Errorf("d: %+v", d)
		}
		if c := r.ended["c"]; c.Error != "pushed_out" || c.Retry != 3*time.Minute {
			t.Errorf("c: %+v", c)
		}
		r.stats(Stats{InFlight: 2, Size: 2, Granted: 2, Waited: 3, PushedOut: 1, Left: 1})
	})
}

// TestTokenOfOneWhoLeaves grants to a waiter that has just left: slot and token
// go to the next one, and its caller is charged nothing.
func TestTokenOfOneWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 { // select chooses by chance
			r := newRig(t, Options{Slots: 1, Burst: 2, Refill: 1, Per: time.Hour, Size: 10, Timeout: 2 * time.Hour})
			r.start("a")
			r.ask(Ask{Caller: "b", Cost: 1000}, "b")
			r.start("c")
			r.q.mu.Lock()
			r.leave["b"]()
			r.q.release(r.slots["a"].place, r.q.now())
			r.q.mu.Unlock()
			synctest.Wait()
			r.want(map[string]outcome{"a": {}, "b": {Error: "context canceled"}, "c": {Position: 2}})
			if got := r.q.line.classes[0].callers.byName["b"].served; got != (work{}) {
				t.Fatalf("b was charged %v, want what it was lifted to: nothing is sure of a's", got)
			}
			r.cancel("c")
			r.release("c")
		}
	})
}

func TestBucketKeepsItsLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Burst: 10, Refill: 1, Per: time.Minute, Size: 10, Timeout: time.Hour})
		configure := func(burst, refill int64) {
			t.Helper()
			if err := r.q.Configure(Options{Burst: burst, Refill: refill, Per: time.Minute, Size: 10, Timeout: time.Hour}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		r.start("abcd")
		r.want(map[string]outcome{"abcd": {}}) // 6 left
		configure(100, 1)
		r.start("efghij")
		r.want(map[string]outcome{"efghij": {}}) // none
		r.start("k")
		r.check()
		configure(100, 2)
		r.sleep(30*time.Second - 1)
		r.check()
		r.sleep(1)
		r.want(map[string]outcome{"k": {Position: 1, Waited: 30 * time.Second, After: 30 * time.Second}})
		r.sleep(time.Hour) // full
		configure(1, 2)
		r.start("lm")
		r.want(map[string]outcome{"l": {}})
		configure(0, 0) // none lets everybody in
		r.want(map[string]outcome{"m": {Position: 1}})
		configure(1, 1) // a new one is full
		r.start("no")
		r.want(map[string]outcome{"n": {}})
		r.cancel("o")
	})
}

// TestBucketThatHardlyRefills: a wait beyond what a duration holds is cut.
func TestBucketThatHardlyRefills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Burst: 1, Refill: 1, Per: math.MaxInt64 / 1000 * 1000, Size: 10, Timeout: time.Hour})
		r.start("ab")
		r.want(map[string]outcome{"a": {}, "b": {Error: "late", Retry: r.q.bucket.wait(r.q.now(), 0)}})
		if got := r.q.bucket.wait(r.q.now(), 5); got < 290*365*24*time.Hour {
			t.Errorf("the sixth token comes in %v", got)
		}
	})
}

// TestBusy: whoever came would have to wait for a slot, for a token or for others.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, o := range []Options{{}, {Slots: 1}, {Burst: 1, Refill: 1, Per: time.Second}} {
			q, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			limited := o != Options{}
			if q.Busy() {
				t.Errorf("%+v: busy at first", o)
			}
			s, err := q.Enter(t.Context(), Ask{})
			if err != nil {
				t.Fatal(err)
			}
			if q.Busy() != limited {
				t.Errorf("%+v: busy %t with one in flight, want %t", o, q.Busy(), limited)
			}
			s.Release()
			time.Sleep(time.Second)
			if q.Busy() {
				t.Errorf("%+v: busy when all is over", o)
			}
		}
	})
}

// TestUnsent: what was not sent costs no token.
func TestUnsent(t *testing.T) {
	q, err := New(Options{Burst: 1, Refill: 1, Per: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s, err := q.Enter(t.Context(), Ask{})
		if err != nil {
			t.Fatal(err)
		}
		s.Unsent()
		s.Release()
		s.Unsent() // a slot that is void
	}
	if _, err := q.Enter(t.Context(), Ask{}); err != nil {
		t.Error(err)
	}
	if _, err := q.Enter(t.Context(), Ask{}); err == nil {
		t.Error("there are two tokens")
	}
	Slot{}.Unsent()
}
