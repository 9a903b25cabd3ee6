package provider

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// chatRequest peeks a chat with this content, which needs no escapes.
func chatRequest(t *testing.T, p *Peeker, model, content string) *Request {
	t.Helper()
	r, err := p.Peek(openAIEndpoint(chatKind), fmt.Appendf(nil, `{"model":%q,"messages":[{"role":"user","content":%s}]}`, model, content))
	if err != nil {
		t.Fatal(err)
	}
	return &r
}

func reported(input int64) traffic.Usage {
	return traffic.Usage{Input: input, Output: 1, Source: traffic.Reported}
}

func TestLearn(t *testing.T) {
	english := `"` + strings.Repeat("a", 4000) + `"` // weighs 4000
	chinese := `"` + strings.Repeat("字", 1000) + `"` // weighs 6000
	for _, tt := range []struct {
		name             string
		content          string
		reported         int64 // tokens in the content, again and again
		english, chinese int64 // what is estimated in the end
	}{
		{"as assumed", english, 1000, 1000, 1500},
		{"denser", english, 2000, 2000, 3000},    // a token weighs 2
		{"thinner", english, 500, 500, 750},      // 8
		{"by Chinese", chinese, 1000, 667, 1000}, // 6
		{"least", english, 100_000, 4000, 6000},  // 1
		{"most", english, 1, 250, 375},           // 16
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPeeker()
			for range 200 {
				p.Learn(chatRequest(t, p, "m1", tt.content), reported(tt.reported))
			}
			if got := chatRequest(t, p, "m1", english).Ask.Input; got != tt.english {
				t.Errorf("English is %d tokens, want %d", got, tt.english)
			}
			if got := chatRequest(t, p, "m1", chinese).Ask.Input; got != tt.chinese {
				t.Errorf("Chinese is %d tokens, want %d", got, tt.chinese)
			}
			if got := chatRequest(t, p, "m2", english).Ask.Input; got != 1000 {
				t.Errorf("English is %d tokens to another model, want 1000", got)
			}
		})
	}
}

// TestLearnSlowly: one answer moves the estimate by an eighth of the way.
func TestLearnSlowly(t *testing.T) {
	p := NewPeeker()
	r := chatRequest(t, p, "m", `"`+strings.Repeat("a", 4096)+`"`)
	p.Learn(r, reported(512)) // 8 a token: from 4 to 4.5
	if got := chatRequest(t, p, "m", `"`+strings.Repeat("a", 4500)+`"`).Ask.Input; got != 1000 {
		t.Errorf("4500 bytes are %d tokens, want 1000", got)
	}
}

// TestLearnsNothing: what says little teaches nothing.
func TestLearnsNothing(t *testing.T) {
	long := strings.Repeat("a", learnBytes)
	for name, teach := range map[string]func(*Peeker){
		"short": func(p *Peeker) { p.Learn(chatRequest(t, p, "m", `"`+long[1:]+`"`), reported(1)) },
		"counted": func(p *Peeker) {
			p.Learn(chatRequest(t, p, "m", `"`+long+`"`), traffic.Usage{Input: 1, Source: traffic.Counted})
		},
		"no input": func(p *Peeker) { p.Learn(chatRequest(t, p, "m", `"`+long+`"`), reported(0)) },
		"media": func(p *Peeker) {
			p.Learn(chatRequest(t, p, "m", `[{"type":"text","text":"`+long+`"},{"type":"image_url"}]`), reported(1))
		},
		"ids": func(p *Peeker) {
			r, err := p.Peek(openAIEndpoint(textKind), []byte(`{"model":"m","prompt":["`+long+`",[1]]}`))
			if err != nil {
				t.Fatal(err)
			}
			p.Learn(&r, reported(1))
		},
		"no model": func(p *Peeker) { p.Learn(chatRequest(t, p, "", `"`+long+`"`), reported(1)) },
		"long name": func(p *Peeker) {
			p.Learn(chatRequest(t, p, strings.Repeat("m", learnName+1), `"`+long+`"`), reported(1))
		},
	} {
		p := NewPeeker()
		teach(p)
		if n := len(p.learned.models); n != 0 {
			t.Errorf("%s: something is learned of %d models", name, n)
		}
	}
	p := NewPeeker()
	p.Learn(chatRequest(t, p, strings.Repeat("m", learnName), `"`+long+`"`), reported(1))
	if n := len(p.learned.models); n != 1 {
		t.Errorf("something is learned of %d models, want 1", n)
	}
}

func TestLearnedIsBounded(t *testing.T) {
	name := func(i int) []byte { return fmt.Appendf(nil, "m%d", i) }
	var l learned
	for i := range learnModels {
		l.learn(string(name(i)), 8, 1)
	}
	l.find(name(0))
	l.learn(string(name(2)), 8, 1)
	for i := range 2 { // in the room of 1 and 3
		l.learn(fmt.Sprint("new", i), 8, 1)
	}
	for i, want := range map[int]bool{0: true, 1: false, 2: true, 3: false, 4: true} {
		if got := l.find(name(i)) != nil; got != want {
			t.Errorf("%s is known: %v, want %v", name(i), got, want)
		}
	}
	for i := range 3 * learnModels {
		l.learn(fmt.Sprint("flood", i), 8, 1)
		if l.find(name(0)) == nil {
			t.Fatalf("the model in use is forgotten after %d others", i)
		}
	}
	if len(l.models) != learnModels {
		t.Errorf("%d models, want %d", len(l.models), learnModels)
	}
}

func TestLearnedConcurrently(t *testing.T) {
	var l learned
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				if i%4 == g {
					l.learn(fmt.Sprint("m", i%700), 8, 1)
				}
				if f := l.find(fmt.Appendf(nil, "m%d", i%700)); f != nil {
					if w := f.weight.Load(); w < defaultWeight || w > 2*defaultWeight {
						t.Errorf("a token weighs %d/1024", w)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestLearnedStays: no report drives a figure out of its bounds.
func TestLearnedStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l learned
		for range rapid.IntRange(1, 100).Draw(t, "times") {
			l.learn("m", rapid.Int64Range(1, math.MaxInt64).Draw(t, "weight"), rapid.Int64Range(1, maxTokens).Draw(t, "tokens"))
			if w := l.models["m"].weight.Load(); w < minWeight || w > maxWeight {
				t.Fatalf("a token weighs %d/1024", w)
			}
		}
	})
}

func TestTokens(t *testing.T) {
	for _, tt := range []struct {
		text jsonpeek.Text
		want int64
	}{
		{jsonpeek.Text{}, 0},
		{jsonpeek.Text{ASCII: 1}, 1},
		{jsonpeek.Text{ASCII: 4}, 1},
		{jsonpeek.Text{ASCII: 5}, 2},
		{jsonpeek.Text{Other: 2}, 1},
		{jsonpeek.Text{Other: 3}, 2},
		{jsonpeek.Text{ASCII: 2, Other: 1}, 1},
		{jsonpeek.Text{ASCII: 3, Other: 1}, 2},
	} {
		if got := tokens(weigh(tt.text), defaultWeight); got != tt.want {
			t.Errorf("%v is %d tokens, want %d", tt.text, got, tt.want)
		}
	}
}
