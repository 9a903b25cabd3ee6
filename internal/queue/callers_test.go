package queue

import (
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// TestCallersAreBounded floods the queue with fresh names: no more than mostIdle
// idle ones are remembered, and those that lose least by it are forgotten.
func TestCallersAreBounded(t *testing.T) {
	q, err := New(Options{Slots: 10})
	if err != nil {
		t.Fatal(err)
	}
	enter := func(name string, cost int64) Slot {
		s, err := q.Enter(t.Context(), Ask{Caller: name, Cost: cost})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	c := &q.line.classes[0]
	held := enter("held", 1)
	early := enter("early", 1)
	enter("hog", 1e9).Release()
	c.callers.byName["hog"].served = charged(1e12, 1) // far ahead of all others
	c.last = c.callers.byName["early"]
	for i := range 3 * mostIdle {
		enter(strconv.Itoa(i), 1).Release()
		if n := len(c.callers.byName); n > mostIdle+2 {
			t.Fatalf("%d callers are remembered", n)
		}
	}
	if len(c.callers.heap) != mostIdle || len(c.callers.spare) > mostSpareCallers {
		t.Errorf("%d in the heap, %d spare", len(c.callers.heap), len(c.callers.spare))
	}
	for name, want := range map[string]bool{
		"held": true, "early": true, "hog": true, // in flight, or with most to lose
		"0": false, strconv.Itoa(2*mostIdle - 1): false, strconv.Itoa(2*mostIdle + 2): true, strconv.Itoa(3*mostIdle - 1): true,
	} {
		if _, ok := c.callers.byName[name]; ok != want {
			t.Errorf("%s is remembered: %v, want %v", name, ok, want)
		}
	}
	for i, u := range c.callers.heap {
		if !u.caller.kept || i > 0 && u.keyed.less(c.callers.heap[(i-1)/2].keyed) {
			t.Fatalf("the heap is out of order at %d", i)
		}
	}
	// Those whose counters grew after they first rested are found at their new
	// place: of all that are remembered, these alone survive another flood.
	for i := 3*mostIdle - 10; i < 3*mostIdle; i++ {
		s := enter(strconv.Itoa(i), 1)
		s.Served(1e9)
		s.Release()
	}
	c.last = c.callers.byName["early"]
	c.last.served = charged(3*mostIdle+10, 1)
	for i := 3 * mostIdle; i < 5*mostIdle; i++ {
		enter(strconv.Itoa(i), 1).Release()
	}
	for i := 3*mostIdle - 20; i < 3*mostIdle; i++ {
		if _, ok := c.callers.byName[strconv.Itoa(i)]; ok != (i >= 3*mostIdle-10) {
			t.Errorf("%d is remembered: %v", i, ok)
		}
	}
	held.Release()
	early.Release()
	if n := len(c.callers.byName); n != mostIdle {
		t.Errorf("%d callers are remembered when all are idle, want %d", n, mostIdle)
	}
}

// TestHolderIsNotForgotten: a caller that came back since it was idle stays,
// though its counter is the least.
func TestHolderIsNotForgotten(t *testing.T) {
	q, err := New(Options{Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	enter := func(name string) Slot {
		s, err := q.Enter(t.Context(), Ask{Caller: name})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	enter("a").Release()
	held := enter("a")
	held.place.caller.served, held.place.caller.open, held.place.charge = work{}, work{}, work{}
	for i := range mostIdle {
		enter(strconv.Itoa(i)).Release()
	}
	c := &q.line.classes[0].callers
	if c.byName["a"] != held.place.caller || len(c.byName) != mostIdle+1 || len(c.heap) != mostIdle {
		t.Errorf("%d callers are remembered, %d of them in the heap", len(c.byName), len(c.heap))
	}
	held.Release()
	if len(c.byName) != mostIdle || len(c.heap) != mostIdle {
		t.Errorf("%d callers are remembered, %d of them in the heap, when all are idle", len(c.byName), len(c.heap))
	}
}

// TestForgottenCallerGainsNothing: who is forgotten and comes back stands where
// a fresh name does, at the floor; and the floor does not fall when the one who was
// served last is forgotten.
func TestForgottenCallerGainsNothing(t *testing.T) {
	q, err := New(Options{Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := &q.line.classes[0]
	for i := range mostIdle + 1 {
		name := strconv.Itoa(i)
		s, err := q.Enter(t.Context(), Ask{Caller: name, Cost: 1})
		if err != nil {
			t.Fatal(err)
		}
		if i == mostIdle { // all others were served more since
			for _, u := range c.callers.byName {
				u.served = u.served.plus(charged(1e6, 1))
			}
			s.place.caller.served = charged(mostIdle+1, 1)
		}
		s.Release()
	}
	if c.last != nil {
		t.Fatal("the one who was served last is remembered")
	}
	if got, want := c.floor(), charged(mostIdle+1, 1); got != want {
		t.Errorf("the floor is %v, want %v", got, want)
	}
	s, err := q.Enter(t.Context(), Ask{Caller: "fresh", Cost: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.place.caller.served, charged(mostIdle+2, 1); got != want {
		t.Errorf("a fresh name is at %v, want %v", got, want)
	}
}

// TestAhead compares with a count along the line: how many go before somebody is
// exact while nobody left from between, and else never too few.
func TestAhead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c caller
		var line []*place
		between := false // has somebody left from there, since the caller last had no waiter
		t.Repeat(map[string]func(*rapid.T){
			"push": func(*rapid.T) {
				p := new(place)
				c.push(p, 0)
				line = append(line, p)
			},
			"remove": func(t *rapid.T) {
				if len(line) == 0 {
					t.Skip("nobody waits")
				}
				i := rapid.IntRange(0, len(line)-1).Draw(t, "which")
				c.remove(line[i])
				between = len(line) > 1 && (between || i > 0 && i < len(line)-1)
				line = slices.Delete(line, i, i+1)
			},
			"": func(t *rapid.T) {
				for i, p := range line {
					if got := c.ahead(p); got < i || got > len(line)-1 || !between && got != i || i == 0 && got != 0 {
						t.Fatalf("%d before number %d of %d", got, i, len(line))
					}
				}
			},
		})
	})
}
