package provider

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// learnedState returns the state of a peeker that has learned of so many models.
func learnedState(models int) []byte {
	p := NewPeeker()
	for i := range models {
		p.learned.learn(fmt.Sprint("m", i), int64(2+i%9), 1)
	}
	return p.AppendState(nil)
}

func TestState(t *testing.T) {
	p := NewPeeker()
	for range 200 {
		p.learned.learn("dense", 2, 1)
	}
	p.learned.learn("thin", 8, 1)
	p.learned.find([]byte("dense")) // the last that was used
	state := p.AppendState([]byte("before"))
	if !bytes.HasPrefix(state, []byte("before")) {
		t.Fatalf("the buffer is %q", state)
	}
	state = state[len("before"):]
	if again := p.AppendState(nil); !bytes.Equal(again, state) {
		t.Errorf("the state is %q and then %q", state, again)
	}

	restored := NewPeeker()
	restored.learned.learn("forgotten", 2, 1)
	if err := restored.RestoreState(state); err != nil {
		t.Fatal(err)
	}
	text := `"` + strings.Repeat("a", 4000) + `"`
	for _, model := range []string{"dense", "thin", "forgotten"} {
		want := chatRequest(t, p, model, text).Ask.Input
		if got := chatRequest(t, restored, model, text).Ask.Input; got != want {
			t.Errorf("%s: 4000 bytes are %d tokens, want %d", model, got, want)
		}
	}
	if got := chatRequest(t, restored, "dense", text).Ask.Input; got != 2000 {
		t.Errorf("4000 bytes are %d tokens, want 2000", got)
	}

	// What was used least recently goes first, after a restart too.
	for i := range learnModels - 1 {
		restored.learned.learn(fmt.Sprint("m", i), 8, 1)
		restored.learned.find([]byte("dense"))
	}
	if restored.learned.find([]byte("thin")) != nil || restored.learned.find([]byte("dense")) == nil || len(restored.learned.models) != learnModels {
		t.Errorf("the wrong model of %d is forgotten", len(restored.learned.models))
	}
}

func TestRestoreNothing(t *testing.T) {
	p := NewPeeker()
	p.learned.learn("m", 2, 1)
	if err := p.RestoreState(NewPeeker().AppendState(nil)); err != nil || len(p.learned.models) != 0 {
		t.Errorf("error %v; %d models, want none", err, len(p.learned.models))
	}
	p.learned.learn("m", 2, 1)
	if len(p.learned.models) != 1 {
		t.Error("nothing is learned after an empty state")
	}
}

func TestFullState(t *testing.T) {
	state := learnedState(learnModels)
	p := NewPeeker()
	if err := p.RestoreState(state); err != nil || len(p.learned.models) != learnModels {
		t.Fatalf("error %v; %d models", err, len(p.learned.models))
	}
	if again := p.AppendState(nil); !bytes.Equal(again, state) {
		t.Errorf("restored it is\n%q, want\n%q", again, state)
	}
}

func TestRestoreGarbage(t *testing.T) {
	figure := func(name string, weight uint64) string {
		b := append(binary.AppendUvarint(nil, uint64(len(name))), name...)
		return string(binary.AppendUvarint(b, weight))
	}
	counted := func(n uint64, figures ...string) string {
		return stateVersion + string(binary.AppendUvarint(nil, n)) + strings.Join(figures, "")
	}
	good := counted(2, figure("a", minWeight), figure(strings.Repeat("b", learnName), maxWeight))
	if err := NewPeeker().RestoreState([]byte(good)); err != nil {
		t.Fatal(err)
	}
	states := map[string]string{
		"nothing":       "",
		"other version": "peek2\x00",
		"more":          good + "x",
		"too few":       counted(1, figure("a", minWeight), figure("b", minWeight)),
		"no name":       counted(1, figure("", minWeight)),
		"long name":     counted(1, figure(strings.Repeat("b", learnName+1), minWeight)),
		"twice":         counted(2, figure("a", minWeight), figure("a", maxWeight)),
		"too light":     counted(1, figure("a", minWeight-1)),
		"too heavy":     counted(1, figure("a", maxWeight+1)),
		"heaviest":      counted(1, figure("a", 1<<63)),
		"too many":      counted(1<<62, figure("a", minWeight)),
		"endless":       stateVersion + strings.Repeat("\xff", 11),
	}
	var all []string
	for i := range learnModels + 1 {
		all = append(all, figure(fmt.Sprint(i), minWeight))
	}
	states["one too many"] = counted(learnModels+1, all...)
	for i := range len(good) {
		states[fmt.Sprint("cut at ", i)] = good[:i]
	}
	for name, state := range states {
		p := NewPeeker()
		p.learned.learn("kept", 2, 1)
		if err := p.RestoreState([]byte(state)); err != errState {
			t.Errorf("%s: error %v", name, err)
		}
		if p.learned.find([]byte("kept")) == nil || len(p.learned.models) != 1 {
			t.Errorf("%s: something is taken of it", name)
		}
	}
}

func FuzzRestoreState(f *testing.F) {
	for _, models := range []int{0, 1, 3, learnModels} {
		f.Add(learnedState(models))
	}
	f.Add([]byte(stateVersion))
	f.Fuzz(func(t *testing.T, state []byte) {
		p := NewPeeker()
		p.learned.learn("kept", 2, 1)
		before := p.AppendState(nil)
		if p.RestoreState(state) != nil {
			if after := p.AppendState(nil); !bytes.Equal(before, after) {
				t.Fatalf("of %q something is taken: %q", state, after)
			}
			return
		}
		if n := len(p.learned.models); n > learnModels {
			t.Fatalf("%d models", n)
		}
		for name, f := range p.learned.models {
			if w := f.weight.Load(); w < minWeight || w > maxWeight || name == "" || len(name) > learnName || f.model != name {
				t.Fatalf("%q is of the weight %d", name, w)
			}
		}
		again := NewPeeker()
		if err := again.RestoreState(p.AppendState(nil)); err != nil || !bytes.Equal(again.AppendState(nil), p.AppendState(nil)) {
			t.Fatalf("%q is not restored again: %v", state, err)
		}
	})
}
