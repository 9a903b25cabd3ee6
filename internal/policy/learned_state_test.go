package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// lengths are the answers of every pair, in the order in which pairs make room.
func lengths(l *Learned) (all []string) {
	for e := l.used.Front(); e != nil; e = e.Next() {
		a := e.Value.(*answers)
		if l.pairs[a.pair] != e {
			all = append(all, "lost")
		}
		tokens := slices.Clone(a.tokens[:a.count])
		if a.count == learnedAnswers { // the oldest first
			tokens = append(slices.Clone(a.tokens[a.next:]), a.tokens[:a.next]...)
		}
		all = append(all, fmt.Sprint(a.caller, " ", a.model, " ", tokens))
	}
	return all
}

// TestLearnedAcrossRestarts: what was written and read again goes on as if
// nothing had happened.
func TestLearnedAcrossRestarts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lived, risen := NewLearned(), NewLearned()
		for range rapid.IntRange(1, 5).Draw(t, "lives") {
			for range rapid.IntRange(0, 400).Draw(t, "answers") {
				caller, model := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "caller"), rapid.SampledFrom([]string{"m", strings.Repeat("n", 256)}).Draw(t, "model")
				tokens := rapid.OneOf(rapid.Int64Range(0, 5000), rapid.Int64Range(-1, 1<<32)).Draw(t, "tokens")
				lived.Learn(caller, model, tokens)
				risen.Learn(caller, model, tokens)
				p, known := lived.P99(caller, model)
				if q, ok := risen.P99(caller, model); p != q || known != ok {
					t.Fatalf("p99 = %d %v, want %d %v", q, ok, p, known)
				}
			}
			state := risen.AppendState([]byte("before"))
			risen = NewLearned()
			risen.Learn("forgotten", "m", 1)
			if err := risen.RestoreState(state[len("before"):]); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(lengths(lived), lengths(risen)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func TestLearnedStateIsWhole(t *testing.T) {
	l := NewLearned()
	for i := range learnedCallers + 10 {
		for range 3 {
			l.Learn(fmt.Sprint("caller ", i), "model", int64(i))
		}
	}
	state := l.AppendState(nil)
	r := NewLearned()
	if err := r.RestoreState(state); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lengths(l), lengths(r)); diff != "" || len(lengths(r)) != learnedCallers {
		t.Fatalf("%d pairs %s", len(lengths(r)), diff)
	}
}

func TestLearnedRefusesState(t *testing.T) {
	l := NewLearned()
	for i := range 300 {
		l.Learn("a", "m", int64(i))
	}
	l.Learn("b", "m", 7)
	good := l.AppendState(nil)
	before := lengths(l)
	long := strings.Repeat("n", 257)
	bad := map[string]string{
		"another version":     "\x02" + string(good[1:]),
		"something behind":    string(good) + "\x00",
		"too many pairs":      "\x01\x81\x20",
		"a name too long":     "\x01\x01\x01a\x81\x02" + long + "\x01\x05",
		"a pair twice":        "\x01\x02\x01a\x01m\x01\x05\x01a\x01m\x01\x05",
		"too many answers":    "\x01\x01\x01a\x01m\x81\x02" + strings.Repeat("\x01", 257),
		"an answer too long":  "\x01\x01\x01a\x01m\x01\x80\x80\x80\x80\x08",
		"a number of no size": "\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
	}
	for n := range good {
		bad[fmt.Sprint("cut at ", n)] = string(good[:n])
	}
	for name, state := range bad {
		if err := l.RestoreState([]byte(state)); err != errLearned {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(lengths(l), before) {
			t.Fatalf("%s: something has changed", name)
		}
	}
}

// TestLearnedStateWhileOthersLearn: nobody is kept from learning, and what is
// written can be read.
func TestLearnedStateWhileOthersLearn(t *testing.T) {
	l := NewLearned()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				l.Learn(fmt.Sprint(i%(2*learnedCallers)), "m", 5) // each makes another one go
			}
		}
	})
	for range 50 {
		if err := NewLearned().RestoreState(l.AppendState(nil)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
}

// FuzzLearnedState: whatever is read, it is refused, or it is what would be
// written of it.
func FuzzLearnedState(f *testing.F) {
	l := NewLearned()
	f.Add(l.AppendState(nil))
	for i := range 300 {
		l.Learn("a", "m", int64(i))
	}
	l.Learn("b", "m", 7)
	f.Add(l.AppendState(nil))
	f.Fuzz(func(t *testing.T, state []byte) {
		l := NewLearned()
		if l.RestoreState(state) != nil {
			return
		}
		again := NewLearned()
		if err := again.RestoreState(l.AppendState(nil)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lengths(l), lengths(again)); diff != "" {
			t.Fatal(diff)
		}
		if e := l.used.Front(); e != nil {
			a := e.Value.(*answers)
			if p, ok := l.P99(a.caller, a.model); p < 0 || ok != (a.count >= learnedFrom) {
				t.Fatalf("p99 %d, %v", p, ok)
			}
		}
	})
}
