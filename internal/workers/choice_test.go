package workers

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/modelname"
)

func TestModels(t *testing.T) {
	p := newPool(t,
		Worker{URL: mustParse(t, "http://a.test"), Models: []string{"llama-3", "qwen*"}},
		Worker{URL: mustParse(t, "http://b.test"), Models: []string{"mistral", "*"}},
		Worker{URL: mustParse(t, "http://c.test"), Models: []string{"llama-3"}},
	)
	for model, want := range map[string]string{
		"":               "abc",
		"llama-3":        "abc",
		"llama-3-latest": "abc",
		"llama-3-0613":   "abc",
		"llama-3x":       "b",
		"qwen-2/7b":      "ab",
		"gpt":            "b",
	} {
		got := ""
		for i, name := range []string{"a", "b", "c"} {
			if p.workers[i].has(model) {
				got += name
			}
		}
		if got != want {
			t.Errorf("%q is served by %s, want %s", model, got, want)
		}
	}
	p.Update([]Worker{{URL: mustParse(t, "http://a.test"), Models: []string{"llama-3"}}}, Policy{})
	body := newOnce("prompt")
	if _, err := p.Send(newRequest(t, http.MethodPost, body), nil, Want{Model: "gpt"}); !errors.Is(err, ErrNoModel) || errors.Is(err, ErrNoWorker) || body.closed != 1 {
		t.Errorf("%v, and the body was closed %d times; want ErrNoModel alone, and once", err, body.closed)
	}
}

func TestUnavailable(t *testing.T) {
	p := newPool(t, dead(t, 5)...)
	now := time.Now()
	p.workers[0].state = Down
	p.workers[1].draining = true
	p.workers[2].breaker, p.workers[2].openUntil = Open, now.Add(time.Hour)
	p.workers[3].breaker, p.workers[3].probe = HalfOpen, 1
	p.workers[4].resting, p.workers[4].restUntil = true, now.Add(time.Minute)
	_, err := p.RoundTrip(newRequest(t, http.MethodGet, nil))
	if d := cmp.Diff(error(&UnavailableError{Down: 1, Draining: 1, Open: 2, Resting: 1, RetryAfter: time.Second}), err); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !errors.Is(err, ErrNoWorker) || errors.Is(err, ErrNoModel) {
		t.Errorf("%v is not an ErrNoWorker alone", err)
	}
	if want := "workers: none may be asked now: 1 down, 1 draining, 2 with an open breaker, 1 resting"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if p.Live() {
		t.Error("live")
	}
	p.workers[3].probe = 0
	if !p.Live() {
		t.Error("not live")
	}
}

func TestNames(t *testing.T) {
	got := fmt.Sprint(Up, Starting, Down, Draining, Closed, Open, HalfOpen)
	if want := "up starting down draining closed open half-open"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestIsLess holds the comparison to one of fractions.
func TestIsLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tokens := rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(0, math.MaxInt64))
		weight := rapid.OneOf(rapid.Uint64Range(1, 5), rapid.Uint64Range(1, math.MaxInt64))
		n, w, n2, w2 := tokens.Draw(t, "n"), weight.Draw(t, "w"), tokens.Draw(t, "n2"), weight.Draw(t, "w2")
		fraction := func(n int64, w uint64) *big.Rat {
			return new(big.Rat).SetFrac(big.NewInt(n), new(big.Int).SetUint64(w))
		}
		if got, want := isLess(n, w, n2, w2), fraction(n, w).Cmp(fraction(n2, w2)) < 0; got != want {
			t.Fatalf("%d/%d < %d/%d: %t", n, w, n2, w2, got)
		}
	})
}

// TestPick holds the choice to a slow one that sorts all who may be asked.
func TestPick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "workers")
		p := New(Options{})
		var list []Worker
		for i := range n {
			list = append(list, Worker{
				URL:    &url.URL{Scheme: "http", Host: string(rune('a' + i))},
				Weight: rapid.IntRange(0, 3).Draw(t, "weight"),
				Models: rapid.SampledFrom([][]string{nil, {"m"}, {"x*", "m"}, {"*"}}).Draw(t, "models"),
			})
		}
		p.Update(list, Policy{Retries: 1, Failures: 1, HealthInterval: time.Hour})
		now := time.Now()
		for _, w := range p.workers {
			w.tokens = rapid.Int64Range(0, 4).Draw(t, "tokens")
			w.state = rapid.SampledFrom([]State{Up, Up, Starting, Down}).Draw(t, "state")
			w.draining = rapid.IntRange(0, 5).Draw(t, "draining") == 0
			w.breaker = rapid.SampledFrom([]Breaker{Closed, Closed, Open, HalfOpen}).Draw(t, "breaker")
			w.openUntil = now.Add(rapid.SampledFrom([]time.Duration{-1, time.Hour}).Draw(t, "open"))
			w.probe = rapid.Uint32Range(0, 1).Draw(t, "probe")
			w.resting = rapid.IntRange(0, 3).Draw(t, "resting") == 0
			w.restUntil = now.Add(rapid.SampledFrom([]time.Duration{-1, time.Hour}).Draw(t, "rest"))
		}
		p.next = rapid.IntRange(0, n).Draw(t, "next")
		p.budget = rapid.SampledFrom([]int{0, 4, 5, 50}).Draw(t, "budget")
		tried := rapid.SliceOfNDistinct(rapid.SampledFrom(p.workers), 0, n, rapid.ID).Draw(t, "tried")
		a := attempt(rapid.IntRange(int(first), int(look)).Draw(t, "attempt"))
		want := Want{Model: rapid.SampledFrom([]string{"", "m", "x1", "y"}).Draw(t, "model"), Tokens: rapid.Int64Range(-1, 3).Draw(t, "want")}
		retries := rapid.IntRange(0, 1).Draw(t, "retries")

		better := func(i, j int) bool { // i before j
			w, o := p.workers[i], p.workers[j]
			tried1, tried2 := contains(tried, w), contains(tried, o)
			if tried1 != tried2 {
				return tried2
			}
			if w.state != o.state {
				return w.state == Up
			}
			if l, l2 := w.tokens*int64(o.weight), o.tokens*int64(w.weight); l != l2 {
				return l < l2
			}
			start := p.next % n
			return (i-start+n)%n < (j-start+n)%n
		}
		best := -1
		for i, w := range p.workers {
			serves := want.Model == "" || len(w.models) == 0
			for _, m := range w.models {
				serves = serves || modelname.Matches(m, want.Model)
			}
			switch {
			case !serves, w.state == Down, w.draining,
				w.resting && w.restUntil.After(now),
				w.breaker == Open && w.openUntil.After(now),
				w.breaker == HalfOpen && w.probe != 0,
				contains(tried, w) && (a == first || a == failOver || a == retryNow),
				a >= retryNow && (p.budget < perRetry || retries >= 1):
				continue
			}
			if best < 0 || better(i, best) {
				best = i
			}
		}
		budget := p.budget
		c := p.pick(&want, tried, a, retries)
		if best < 0 {
			if c.worker != nil {
				t.Fatalf("picked %s, want none", c.worker.key)
			}
			return
		}
		w := p.workers[best]
		if c.worker != w {
			t.Fatalf("picked %v, want %s", c.worker, w.key)
		}
		switch {
		case a == look && (w.outstanding != 0 || p.budget != budget):
			t.Fatal("a look changed something")
		case a == first && p.budget != min(budget+1, 50), a == failOver && p.budget != budget, (a == retryNow || a == retryLast) && p.budget != budget-5:
			t.Fatalf("budget %d after %d", p.budget, budget)
		case a != look && (w.outstanding != 1 || c.tokens != max(want.Tokens, 1)):
			t.Fatalf("%d outstanding, %d tokens", w.outstanding, c.tokens)
		}
	})
}

func contains(list []*worker, w *worker) bool {
	for _, o := range list {
		if o == w {
			return true
		}
	}
	return false
}

// TestTokensAreOutstanding: a large request is as much as many small ones, by
// the workers' weights.
func TestTokensAreOutstanding(t *testing.T) {
	workers, arrived, goOn := named(t, 2)
	workers[1].Weight = 3
	p := newPool(t, workers...)
	var wg sync.WaitGroup
	var got []int
	for range 8 {
		wg.Go(func() {
			resp, err := p.Send(newRequest(t, http.MethodGet, nil), nil, Want{Tokens: 100})
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
		})
		got = append(got, <-arrived)
	}
	n := [2]int{}
	for _, at := range got {
		n[at]++
	}
	if n != [2]int{2, 6} {
		t.Errorf("went to %v, want two and six", got)
	}
	if a, b := p.Stats()[0], p.Stats()[1]; a.Tokens != 200 || b.Tokens != 600 || b.Weight != 3 {
		t.Errorf("%d and %d tokens outstanding, want 200 and 600", a.Tokens, b.Tokens)
	}
	close(goOn)
	wg.Wait()
}
