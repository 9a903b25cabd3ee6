package queue

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// teach has as many holds of d as make a prediction.
func (r *rig) teach(d time.Duration) {
	r.t.Helper()
	for range enoughHolds {
		s, err := r.q.Enter(r.t.Context(), Ask{})
		if err != nil {
			r.t.Fatal(err)
		}
		time.Sleep(d)
		s.Release()
	}
}

func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 100, Timeout: 30 * time.Second})
		r.teach(10 * time.Second)
		r.ask(Ask{Caller: "hog"}, "abcde") // the fourth that waits has three before it
		r.want(map[string]outcome{"a": {}})
		r.ask(Ask{Caller: "hog"}, "f")
		r.want(map[string]outcome{"f": {Error: "late", Retry: 40 * time.Second}})
		r.ask(Ask{Caller: "mouse"}, "m") // is served long before
		r.check()
		r.ask(Ask{Caller: "vip", Class: traffic.ClassInteractive}, "v")
		r.check()
		r.release("a")
		r.want(map[string]outcome{"v": {Position: 1}})
		r.release("v")
		r.want(map[string]outcome{"m": {Position: 1}}) // a was the hog's, and is as much as this
		r.release("m")
		r.want(map[string]outcome{"b": {Position: 1}})
		if s := r.q.Stats(); s.Late != 1 || s.Full != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestLateNeedsToKnow: before enough holds nobody is late for want of slots, but
// for the bucket, which is exact.
func TestLateNeedsToKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 100, Timeout: 30 * time.Second})
		for range enoughHolds - 1 {
			s, _ := r.q.Enter(t.Context(), Ask{})
			time.Sleep(time.Hour)
			s.Release()
		}
		r.start("abcde")
		r.want(map[string]outcome{"a": {}})

		r = newRig(t, Options{Burst: 1, Refill: 1, Per: 15 * time.Second, Size: 100, Timeout: 30 * time.Second})
		r.start("abcd")
		r.want(map[string]outcome{"a": {}, "d": {Error: "late", Retry: 45 * time.Second}})
		r.sleep(30 * time.Second) // to the timeout's very end
		if b, c := r.ended["b"], r.ended["c"]; b.Waited != 15*time.Second || c.After != 30*time.Second {
			t.Errorf("b: %+v, c: %+v", b, c)
		}
	})
}

// TestStarvationBoundsThePrediction: a low class is not told to wait for more of
// those above than go before it.
func TestStarvationBoundsThePrediction(t *testing.T) {
	d := newDrive(t, Options{Slots: 1})
	d.enter(Ask{})
	d.enterMany(1000, Ask{Caller: "i", Class: traffic.ClassInteractive})
	for ahead, want := range []int{15, 31, 47} {
		u := d.q.line.classes[traffic.ClassBulk].callers.byName["b"]
		if got := d.q.line.before(traffic.ClassBulk, u, ahead, d.q.line.arrived); got != want {
			t.Errorf("with %d of its own ahead: %d before, want %d", ahead, got, want)
		}
		d.enter(Ask{Caller: "b", Class: traffic.ClassBulk})
	}
}

// TestPrediction compares positions with the turns that come true.
func TestPrediction(t *testing.T) {
	for _, tt := range []struct {
		name    string
		waiting []Ask
		asks    Ask
		want    int // told; the real one is the same
	}{
		{"nobody", nil, Ask{Caller: "m"}, 0},
		{"behind a hog", many(100, Ask{Caller: "h", Cost: 1000}), Ask{Caller: "m", Cost: 5}, 1},
		{"a crowd of one each", append(many(1, Ask{Caller: "a"}), Ask{Caller: "b"}, Ask{Caller: "c"}, Ask{Caller: "d"}), Ask{Caller: "m"}, 4},
		{"the hog itself", many(100, Ask{Caller: "m", Cost: 1000}), Ask{Caller: "m"}, 100},
		{"the second beside a hog", append(many(100, Ask{Caller: "h", Cost: 10}), Ask{Caller: "m", Cost: 10}), Ask{Caller: "m", Cost: 10}, 3 - 1},
		{"above", many(7, Ask{Class: traffic.ClassBulk}), Ask{Caller: "m", Class: traffic.ClassInteractive}, 0},
		{"below", many(7, Ask{Class: traffic.ClassInteractive}), Ask{Caller: "m"}, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDrive(t, Options{Slots: 1})
			d.enter(Ask{})
			for _, a := range tt.waiting {
				d.enter(a)
			}
			l := &d.q.line
			u, ahead := l.classes[tt.asks.Class].callers.byName["m"], 0
			if u != nil {
				ahead = int(u.waiting)
			}
			if got := l.before(tt.asks.Class, u, ahead, l.arrived); got != tt.want {
				t.Errorf("%d before, want %d", got, tt.want)
			}
		})
	}
}

func many(n int, a Ask) []Ask {
	asks := make([]Ask, n)
	for i := range asks {
		asks[i] = a
	}
	return asks
}

// TestProgress pins what a waiter is told, and when.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 100, Timeout: 3500 * time.Millisecond})
		r.teach(time.Second)
		r.ask(Ask{Caller: "x"}, "abc")
		r.want(map[string]outcome{"a": {}})
		born := time.Now()
		var told string
		ask := Ask{Caller: "x", Progress: func(position int, wait time.Duration) {
			told += fmt.Sprintln(time.Since(born), position, wait)
		}}
		r.ask(ask, "d")
		r.sleep(1500 * time.Millisecond)
		r.release("a")
		r.want(map[string]outcome{"b": {Position: 1, Waited: 1500 * time.Millisecond, After: 1500 * time.Millisecond}})
		r.sleep(time.Second)
		r.cancel("c")
		r.sleep(time.Second) // d's timeout, in spite of being told
		r.want(map[string]outcome{
			"c": {Error: "context canceled", After: 2500 * time.Millisecond},
			"d": {Error: "timeout", Waited: 3500 * time.Millisecond, After: 3500 * time.Millisecond},
		})
		if want := "0s 3 3s\n1s 3 3s\n2s 2 2s\n3s 1 1s\n"; told != want {
			t.Errorf("told\n%swant\n%s", told, want)
		}
		// Not when its time is up, though it be by a whole second.
		told = ""
		if err := r.q.Configure(Options{Slots: 1, Size: 100, Timeout: 2 * time.Second}); err != nil {
			t.Fatal(err)
		}
		r.ask(ask, "g")
		r.sleep(2 * time.Second)
		r.want(map[string]outcome{"g": {Error: "timeout", Waited: 2 * time.Second, After: 2 * time.Second}})
		if n := strings.Count(told, "\n"); n != 2 {
			t.Errorf("told\n%swant to be told twice", told)
		}
		if err := r.q.Configure(Options{Slots: 1, Size: 100, Timeout: 3500 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		// Told while it is granted, and by a callback that takes its time.
		told = ""
		ask.Progress = func(int, time.Duration) { time.Sleep(2 * time.Second) }
		r.ask(ask, "e")
		r.sleep(time.Second)
		r.release("b")
		r.sleep(time.Second)
		r.want(map[string]outcome{"e": {Position: 1, Waited: time.Second, After: 2 * time.Second}})
		// Leaving, while it is told of.
		ask.Progress = func(int, time.Duration) {}
		r.ask(ask, "f")
		r.sleep(1200 * time.Millisecond)
		r.cancel("f")
		r.want(map[string]outcome{"f": {Error: "context canceled", After: 1200 * time.Millisecond}})
	})
}
