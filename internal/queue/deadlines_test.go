package queue

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestDeadlines compares with a list: who may be due, and when to look again.
func TestDeadlines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s deadlines
		model := map[*place]time.Duration{}
		var line []*place
		now, timeout, most := time.Duration(0), time.Duration(10), 0
		leave := func(p *place) {
			p.deadline.place, p.deadline = nil, nil
			delete(model, p)
			line = slices.DeleteFunc(line, func(o *place) bool { return o == p })
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(t, "n") {
					p := new(place)
					if got := s.add(p, now, timeout); got != now+timeout {
						t.Fatalf("it waits until %d, want %d", got, now+timeout)
					}
					model[p] = now + timeout
					line = append(line, p)
				}
			},
			"configure": func(t *rapid.T) {
				timeout = time.Duration(rapid.IntRange(1, 60).Draw(t, "timeout"))
			},
			"leave": func(t *rapid.T) {
				for range min(len(line), rapid.IntRange(1, 40).Draw(t, "n")) {
					leave(line[rapid.IntRange(0, len(line)-1).Draw(t, "who")])
				}
			},
			"look": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 20).Draw(t, "passes"))
				for {
					p, again := s.due(now)
					if p == nil {
						want := time.Duration(math.MaxInt64)
						for _, at := range model {
							want = min(want, at)
						}
						if again != want || again <= now {
							t.Fatalf("at %d look again at %d, want %d", now, again, want)
						}
						return
					}
					if at, ok := model[p]; !ok || at > now {
						t.Fatalf("at %d one is due whose time is %d (it waits: %v)", now, at, ok)
					}
					leave(p)
				}
			},
			"": func(t *rapid.T) {
				waiting := 0
				for i := range s.rows {
					r := &s.rows[i]
					for j := range r.ring {
						d := &r.ring[j]
						if d.place == nil {
							continue
						}
						waiting++
						if at := model[d.place]; d.at != at || d.place.deadline != d {
							t.Fatalf("until %d waits one who should until %d", d.at, at)
						}
					}
				}
				if most = max(most, waiting); waiting != len(model) || len(s.rows) > most+1 {
					t.Fatalf("%d wait, in %d rows, want %d", waiting, len(s.rows), len(model))
				}
			},
		})
	})
}

// TestDeadlinesAreBounded: gaps are closed before there is more room made, one who
// waits on while many pass does not hold that up, and the room of a rush is given
// back.
func TestDeadlinesAreBounded(t *testing.T) {
	var s deadlines
	add := func() *place {
		p := new(place)
		s.add(p, 0, time.Hour)
		return p
	}
	leave := func(p *place) { p.deadline.place, p.deadline = nil, nil }
	room := func() int { return len(s.rows[0].ring) }
	first := add()
	for range 100_000 {
		leave(add())
	}
	if room() > leastDeadlines {
		t.Errorf("room for %d, of whom 2 wait at a time", room())
	}
	rush := make([]*place, 100_000)
	for i := range rush {
		rush[i] = add()
	}
	if room() > 4*len(rush) {
		t.Errorf("room for %d, of whom %d wait", room(), len(rush))
	}
	for _, p := range rush {
		leave(p)
	}
	leave(first)
	if p, again := s.due(0); p != nil || again != math.MaxInt64 || room() > mostSpareDeadlines {
		t.Errorf("when all have left: %v is due, look again at %v, room for %d is kept", p, again, room())
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
