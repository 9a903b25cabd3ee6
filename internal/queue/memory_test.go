package queue

import (
	"reflect"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// TestPlacesAreReused checks that a stay hands its place back however it ends.
func TestPlacesAreReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Slots: 1, Size: 4, Timeout: time.Hour})
		for range 3 {
			r.start("abcd") // a and b get slots
			r.release("a")
			r.cancel("c")
			r.sleep(time.Hour) // too long for d
			r.release("b")
			if r.q.spare.len != 4 {
				t.Fatalf("%d places are spare, want 4", r.q.spare.len)
			}
		}
		r.start("ab")
		r.q.Stop()
		synctest.Wait()
		if r.q.spare.len != 3 {
			t.Fatalf("%d places are spare while one slot is held, want 3", r.q.spare.len)
		}
	})
}

// TestMemoryAfterARush checks that the places of a rush are not all kept.
func TestMemoryAfterARush(t *testing.T) {
	q, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	slots := make([]Slot, 2*mostSpare)
	for i := range slots {
		if slots[i], err = q.Enter(t.Context(), Ask{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time all are void
		for _, s := range slots {
			s.Release()
		}
	}
	kept := 0
	for p := q.spare.first; p != nil; p = p.next {
		kept++
	}
	if kept != mostSpare || q.spare.len != mostSpare {
		t.Errorf("%d places kept, counted as %d, want %d", kept, q.spare.len, mostSpare)
	}
	if got, want := q.Stats(), (Stats{Granted: 2 * mostSpare}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

// TestCacheLines: places and callers fill whole lines, and of a place the first
// holds what changes hands.
func TestCacheLines(t *testing.T) {
	const line = 64 // bytes, where penstock runs
	for of, lines := range map[reflect.Type]uintptr{reflect.TypeFor[place](): 2, reflect.TypeFor[caller](): 3} {
		if got, want := of.Size(), line*lines; got != want {
			t.Errorf("a %v has %d bytes, want %d", of, got, want)
		}
	}
	if at, _ := reflect.TypeFor[place]().FieldByName("block"); at.Offset >= line {
		t.Errorf("a place's block is at %d, behind its first line", at.Offset)
	}
}

// TestSlotIsSmall: see there.
func TestSlotIsSmall(t *testing.T) {
	if words := reflect.TypeFor[Slot]().Size() / reflect.TypeFor[uintptr]().Size(); words > 4 {
		t.Errorf("a Slot has %d words, want at most 4", words)
	}
}

func TestNoAllocations(t *testing.T) {
	q, err := New(Options{Slots: 1, Size: 100, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		s, err := q.Enter(ctx, Ask{})
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
	}); n != 0 {
		t.Errorf("a free slot: %v allocations", n)
	}

	// Two requests that alternate: whoever releases has the other one waiting.
	held, err := q.Enter(ctx, Ask{})
	if err != nil {
		t.Fatal(err)
	}
	wait, done := make(chan struct{}), make(chan Slot)
	go func() {
		defer close(done)
		for range wait {
			s, err := q.Enter(ctx, Ask{})
			if err != nil {
				t.Error(err)
				return
			}
			done <- s
		}
	}()
	if n := testing.AllocsPerRun(1000, func() {
		wait <- struct{}{}
		for q.Stats().Waiting == 0 {
			runtime.Gosched()
		}
		held.Release()
		held = <-done
	}); n != 0 {
		t.Errorf("a wait: %v allocations", n)
	}
	close(wait)
	<-done
	held.Release()
}
