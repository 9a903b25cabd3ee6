package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// TestLearnedSteps: nothing is known before the twentieth answer.
func TestLearnedSteps(t *testing.T) {
	l := NewLearned()
	for i := range learnedFrom {
		if got, ok := l.P99("c", "m"); ok {
			t.Fatalf("after %d answers: %d", i, got)
		}
		l.Learn("c", "m", int64(i))
	}
	if got, ok := l.P99("c", "m"); !ok || got != learnedFrom-1 {
		t.Errorf("after %d answers: %d, %v", learnedFrom, got, ok)
	}
	for _, p := range []pair{{"c", "n"}, {"d", "m"}, {"", ""}} {
		if got, ok := l.P99(p.caller, p.model); ok {
			t.Errorf("of %v: %d", p, got)
		}
	}
}

// TestLearnedModel holds P99 to sorting the last 256 answers anew each time.
func TestLearnedModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := NewLearned()
		var all []int64
		tokens := rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, 10_000), rapid.Int64Range(-5, 1<<40))
		for range rapid.IntRange(0, 600).Draw(t, "answers") {
			n := tokens.Draw(t, "tokens")
			l.Learn("c", "m", n)
			all = append(all, min(max(n, 0), 1<<31-1))
			if rapid.IntRange(0, 9).Draw(t, "look") > 0 {
				continue
			}
			got, ok := l.P99("c", "m")
			if len(all) < learnedFrom {
				if ok {
					t.Fatalf("after %d answers: %d", len(all), got)
				}
				continue
			}
			last := slices.Clone(all[max(0, len(all)-learnedAnswers):])
			slices.Sort(last)
			// The least of them that 99 of a hundred are not above.
			want := last[len(last)-1]
			for i := len(last) - 1; i >= 0 && 100*(i+1) >= 99*len(last); i-- {
				want = last[i]
			}
			if !ok || got != want {
				t.Fatalf("of %d answers: %d, want %d", len(all), got, want)
			}
		}
	})
}

// TestLearnedIsBounded: the pair that was used least recently makes room, and
// what it knew is not its successor's.
func TestLearnedIsBounded(t *testing.T) {
	l := NewLearned()
	know := func(caller string) {
		for range learnedFrom {
			l.Learn(caller, "m", 7)
		}
	}
	known := func(caller string) bool {
		_, ok := l.P99(caller, "m")
		return ok
	}
	know("first")
	know("second")
	for i := range learnedCallers - 2 {
		l.Learn(fmt.Sprint("other ", i), "m", 1)
	}
	if !known("first") { // and by that used
		t.Fatal("first is not known, and there was room")
	}
	l.Learn("newcomer", "m", 1)
	if known("second") || !known("first") {
		t.Errorf("second is known: %v, first: %v; want second to have made room", known("second"), known("first"))
	}
	if known("newcomer") {
		t.Error("the newcomer has what another knew")
	}
	for range learnedFrom - 1 {
		l.Learn("newcomer", "m", 1)
	}
	if got, ok := l.P99("newcomer", "m"); !ok || got != 1 {
		t.Errorf("the newcomer: %d, %v; want its own", got, ok)
	}
	for i := range 3 * learnedCallers {
		l.Learn(fmt.Sprint("flood ", i), "m", 1)
	}
	if len(l.pairs) != learnedCallers || l.used.Len() != learnedCallers {
		t.Errorf("%d pairs and %d in the line, want %d", len(l.pairs), l.used.Len(), learnedCallers)
	}
}

// TestLearnedNames: a client cannot fill the memory with names.
func TestLearnedNames(t *testing.T) {
	l := NewLearned()
	long, longest := strings.Repeat("m", learnedName+1), strings.Repeat("m", learnedName)
	for range learnedFrom {
		l.Learn("c", long, 1)
		l.Learn("c", longest, 1)
	}
	if _, ok := l.P99("c", long); ok || len(l.pairs) != 1 {
		t.Errorf("a name of %d bytes is kept", len(long))
	}
	if _, ok := l.P99("c", longest); !ok {
		t.Errorf("a name of %d bytes is not kept", len(longest))
	}
}

func TestLearnedRace(t *testing.T) {
	l := NewLearned()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 2000 {
				caller := fmt.Sprint((i + j) % 5)
				l.Learn(caller, "m", 40)
				if got, ok := l.P99(caller, "m"); ok && got != 40 {
					t.Errorf("%d, want 40", got)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestLearnIsForTheVerified: what an address sends teaches nothing, nor does a
// vector, and answers count one by one.
func TestLearnIsForTheVerified(t *testing.T) {
	l := NewLearned()
	p, err := New(parse(t, example(t, "01-basic")), l)
	if err != nil {
		t.Fatal(err)
	}
	embeddings := chat("m", 1, -1)
	embeddings.Kind = traffic.Embeddings
	three := chat("m", 1, -1)
	three.Answers = 3
	unsaid := chat("n", 1, -1)
	unsaid.Answers = 0
	for range learnedFrom {
		p.Learn(visitor(), chat("m", 1, -1), traffic.Usage{Output: 900})
		p.Learn(named("alice"), embeddings, traffic.Usage{Output: 900})
	}
	if len(l.pairs) != 0 {
		t.Fatalf("learned: %v", l.pairs)
	}
	for range learnedFrom {
		p.Learn(named("alice"), three, traffic.Usage{Output: 30})
		p.Learn(named("alice"), unsaid, traffic.Usage{Output: 30})
	}
	for model, want := range map[string]int64{"m": 10, "n": 30} {
		if got, ok := l.P99("key:alice", model); !ok || got != want {
			t.Errorf("%s: %d, %v; want %d", model, got, ok, want)
		}
	}
	// The policy that replaces it goes on with what was learned.
	next, err := New(parse(t, example(t, "02-requests")), l)
	if err != nil {
		t.Fatal(err)
	}
	if got := next.Need(named("alice"), chat("m", 1, -1)); got.Amounts[3] != 10 {
		t.Errorf("after a reload %d output tokens are reserved, want 10", got.Amounts[3])
	}
}
