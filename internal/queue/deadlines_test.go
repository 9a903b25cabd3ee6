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
			s.remove(p)
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
				for _, root := range s.rows {
					for b := root.next; b != root; b = b.next {
						if b.next.prev != b || b.live == 0 && b.next != root || b.used < blockSize && b.next != root {
							t.Fatalf("a block of %d, of whom %b wait, is not the last", b.used, b.live)
						}
						for i := range blockSize {
							if b.live>>i&1 == 0 {
								continue
							}
							waiting++
							p := b.places[i]
							if at := model[p]; p.until() != at || p.block != b || int(p.nthOfBlock) != i || b.timeout != root.timeout {
								t.Fatalf("until %d waits one who should until %d", p.until(), at)
							}
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

// TestDeadlinesAreBounded: a block goes when all in it have left, be one before it who
// waits on; and of a rush few are kept.
func TestDeadlinesAreBounded(t *testing.T) {
	var s deadlines
	add := func() *place {
		p := new(place)
		s.add(p, 0, time.Hour)
		return p
	}
	blocks := func() (n int) {
		root := s.rows[0]
		for b := root.next; b != root; b = b.next {
			n++
		}
		return n
	}
	first := add()
	for range 100_000 {
		s.remove(add())
	}
	if n := blocks(); n > 2 {
		t.Errorf("%d blocks, of one who waits", n)
	}
	rush := make([]*place, 100_000)
	for i := range rush {
		rush[i] = add()
	}
	if n := blocks(); n > 2+len(rush)/blockSize {
		t.Errorf("%d blocks, of %d who wait", n, len(rush))
	}
	for _, p := range rush {
		s.remove(p)
	}
	s.remove(first)
	if p, again := s.due(0); p != nil || again != math.MaxInt64 {
		t.Errorf("when all have left: %v is due, look again at %v", p, again)
	}
	kept := 0
	for b := s.spare; b != nil; b = b.next {
		kept++
	}
	if n := blocks(); n > 1 || kept != mostSpareBlocks || s.kept != kept {
		t.Errorf("when all have left: %d blocks, and %d kept, counted as %d", n, kept, s.kept)
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
