package queue

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestDeadlines compares with a list that is sorted anew each time: who is due
// first, and when to look again.
func TestDeadlines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s deadlines
		var model []deadline
		now, last := time.Duration(0), time.Duration(0)
		add := func(at time.Duration) {
			p := new(place)
			s.add(p, at)
			model = append(model, deadline{at, p})
			slices.SortStableFunc(model, func(a, b deadline) int { return int(a.at - b.at) })
		}
		t.Repeat(map[string]func(*rapid.T){
			"later": func(t *rapid.T) {
				for range rapid.IntRange(1, 9).Draw(t, "n") {
					last += time.Duration(rapid.IntRange(0, 9).Draw(t, "later"))
					add(last)
				}
			},
			"earlier": func(t *rapid.T) {
				add(now + time.Duration(rapid.IntRange(0, 99).Draw(t, "in")))
			},
			"leave": func(t *rapid.T) {
				for range min(len(model), rapid.IntRange(1, 9).Draw(t, "n")) {
					i := rapid.IntRange(0, len(model)-1).Draw(t, "who")
					s.remove(model[i].place)
					model = slices.Delete(model, i, i+1)
				}
			},
			"look": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 30).Draw(t, "passes"))
				for {
					p, again := s.due(now)
					if p == nil {
						want := time.Duration(math.MaxInt64)
						if len(model) > 0 {
							want = model[0].at
						}
						if again != want || again <= now {
							t.Fatalf("at %d look again at %d, want %d", now, again, want)
						}
						return
					}
					if len(model) == 0 || p != model[0].place || model[0].at > now {
						t.Fatalf("at %d another is due", now)
					}
					s.remove(p)
					model = model[1:]
				}
			},
			"": func(t *rapid.T) {
				var got []deadline
				for i, d := range s.list[s.next:] {
					if d.place == nil {
						continue
					}
					if int(d.place.deadline) != s.next+i {
						t.Fatalf("one at %d thinks that it is at %d", s.next+i, d.place.deadline)
					}
					got = append(got, d)
				}
				if !slices.Equal(got, model) {
					t.Fatalf("%v, want %v", got, model)
				}
			},
		})
	})
}

// TestDeadlinesAreBounded: gaps are closed before there is more room made, and
// the room of a rush is given back.
func TestDeadlinesAreBounded(t *testing.T) {
	var s deadlines
	places := make([]place, 100_000)
	for i := range places {
		s.add(&places[i], time.Hour)
	}
	for i := range places[10:] {
		s.remove(&places[i])
	}
	most := cap(s.list)
	for i := range 10 * len(places) {
		s.add(&places[i%10], time.Hour+time.Duration(i))
		s.remove(&places[i%10])
	}
	if got := cap(s.list); most > 4*len(places) || got > mostSpareDeadlines {
		t.Errorf("room for %d in the rush, and for %d of 10 after it", most, got)
	}
	s = deadlines{}
	for i := range places {
		s.add(&places[i], time.Hour)
	}
	for i := range places {
		s.remove(&places[i])
	}
	if p, again := s.due(0); p != nil || again != math.MaxInt64 || s.list != nil {
		t.Errorf("when all have left: %v is due, look again at %v, room for %d is kept", p, again, cap(s.list))
	}
}

// TestShorterTimeoutIsDueFirst: one alarm serves those who came with different
// timeouts, each at its own time; and it is off when nobody waits.
func TestShorterTimeoutIsDueFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Slots: 1, Size: 9, Timeout: time.Minute}
		r := newRig(t, o)
		r.start("ab")
		o.Timeout = time.Second
		if err := r.q.Configure(o); err != nil {
			t.Fatal(err)
		}
		r.start("cd")
		r.want(map[string]outcome{"a": {}})
		r.cancel("c")
		r.want(map[string]outcome{"c": {Error: "context canceled"}})
		r.sleep(time.Second)
		r.want(map[string]outcome{"d": {Error: "timeout", Waited: time.Second, After: time.Second}})
		o.Timeout = math.MaxInt64
		if err := r.q.Configure(o); err != nil {
			t.Fatal(err)
		}
		r.start("e")
		r.sleep(59*time.Second - 1)
		r.check()
		r.sleep(1)
		r.want(map[string]outcome{"b": {Error: "timeout", Waited: time.Minute, After: time.Minute}})
		r.sleep(24 * 365 * time.Hour)
		r.check()
		r.cancel("e")
		r.q.Stop()
		if r.q.timeouts.set {
			t.Error("the alarm is set after Stop")
		}
	})
}
