package accuracy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/standin"
)

// saturated is a limit that more is asked of than it allows.
type saturated struct {
	penstock.Limit
	most int64 // asked for at once
}

// saturations are all algorithms with the units that differ in how they are
// asked for. What is refilled in a tick is a whole number.
func saturations(requests, tokens int64) (all []saturated) {
	for _, algorithm := range []penstock.Algorithm{penstock.SlidingWindow, penstock.FixedWindow, penstock.TokenBucket} {
		for _, s := range []saturated{
			{penstock.PerMinute(penstock.Requests, requests), 1},
			{penstock.PerMinute(penstock.Tokens, tokens), tokens / 50},
		} {
			s.Algorithm = algorithm
			if algorithm == penstock.TokenBucket {
				s.Capacity = s.Amount / 2
			}
			s.Limit = penstock.MustLimits(s.Limit).At(0) // with its precision
			all = append(all, s)
		}
	}
	return all
}

func (s *saturated) String() string { return s.Algorithm.String() + " of " + s.Unit.String() }

// tick is what times are multiples of. It is a part of a sliding window's step.
const tick = 250 * time.Millisecond

// midMinute is where the simulated time begins: within a window, not at its edge.
func midMinute() time.Time { return time.Date(2026, time.May, 1, 12, 0, 30, 0, time.UTC) }

// TestAdmitted asks for more than there is, by the library.
func TestAdmitted(t *testing.T) {
	var b strings.Builder
	b.WriteString(admittedHead)
	for _, s := range saturations(1200, 60_000) {
		t.Run(s.String(), func(t *testing.T) {
			limiter, set := penstock.New(nil), penstock.MustLimits(s.Limit)
			ticks := saturate(t, &s, 200, 40, func(now time.Time) admit {
				return func(cost int64) (bool, error) {
					d, err := limiter.AllowAt(t.Context(), now, penstock.Charge{Key: "key", Limits: set, Amount: cost})
					return d.Allowed, err
				}
			})
			b.WriteString(ticks.row(t, &s))
		})
	}
	keep(t, "admitted by the library", b.String())
}

// TestAdmittedOverTheWire asks for more than there is, of the gateway. A request
// costs as many tokens as its text has: it is for an embedding.
func TestAdmittedOverTheWire(t *testing.T) {
	var b strings.Builder
	b.WriteString(admittedHead)
	for _, s := range saturations(240, 1200) {
		t.Run(s.String(), func(t *testing.T) {
			capacity := ""
			if s.Capacity > 0 {
				capacity = fmt.Sprintf(", capacity: %d", s.Capacity)
			}
			r := start(t, fmt.Sprintf("rate_limiting: {rules: [{name: all, limit: {%s: %d, per: minute, algorithm: %s%s}}]}",
				s.Unit, s.Amount, s.Algorithm, capacity), standin.Options{Capacity: callers})
			ticks := saturate(t, &s, 5+*requests/200, 160, func(now time.Time) admit {
				r.over(t)
				r.set(now)
				return func(cost int64) (bool, error) { return r.embed(t.Context(), cost) }
			})
			r.over(t)
			b.WriteString(ticks.row(t, &s))
		})
	}
	keep(t, "admitted over the wire", b.String())
}

// embed asks for an embedding of so many tokens, and reports whether it may.
func (r *rig) embed(ctx context.Context, tokens int64) (bool, error) {
	body, err := json.Marshal(object{"model": "m", "input": strings.Repeat("word", int(tokens)), "dimensions": 1})
	if err != nil {
		return false, err
	}
	resp, err := r.post(ctx, "/v1/embeddings", body, http.Header{})
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusTooManyRequests:
		return false, nil
	}
	return false, errors.New(resp.Status)
}

// admit asks for so much, and says whether it is admitted.
type admit func(cost int64) (bool, error)

// admissions is what was admitted, tick by tick, and what then was free.
type admissions []admission

type admission struct {
	at     time.Time
	amount int64
	events int64
}

// saturate has all callers ask in parallel, at n moments with random pauses
// of up to so many ticks between them. Each asks for less and less until not
// even 1 is admitted. At every moment exactly what is free must be admitted.
func saturate(t *testing.T, s *saturated, n, pause int, at func(time.Time) admit) (all admissions) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	for now := midMinute(); len(all) < n; now = now.Add(tick * time.Duration(1+rng.IntN(pause))) {
		free := all.free(s, now)
		ask := at(now)
		var admitted, events atomic.Int64
		var asking sync.WaitGroup
		for range callers {
			costs := rand.New(rand.NewPCG(seed, rng.Uint64()))
			asking.Go(func() {
				for most := s.most; most > 0; {
					cost := 1 + costs.Int64N(most)
					ok, err := ask(cost)
					switch {
					case err != nil:
						t.Error(err)
						return
					case ok:
						admitted.Add(cost)
						events.Add(1)
					default:
						most = cost / 2
					}
				}
			})
		}
		asking.Wait()
		if admitted.Load() != free {
			t.Errorf("at %v: %d admitted, %d are free", now, admitted.Load(), free)
		}
		all = append(all, admission{now, admitted.Load(), events.Load()})
	}
	return all
}

// free is what the limit has left at a moment, added up in the plainest way.
func (all admissions) free(s *saturated, now time.Time) int64 {
	if s.Algorithm == penstock.TokenBucket {
		level, last := s.Capacity, now
		for i, a := range all {
			if i > 0 {
				level = min(s.Capacity, level+s.minted(a.at.Sub(last)))
			}
			level, last = level-a.amount, a.at
		}
		return min(s.Capacity, level+s.minted(now.Sub(last)))
	}
	free := s.Amount
	for _, a := range all {
		counts := a.at.Truncate(s.Window).Equal(now.Truncate(s.Window))
		if s.Algorithm == penstock.SlidingWindow {
			stepEnds := a.at.Truncate(s.Precision).Add(s.Precision)
			counts = now.Before(stepEnds.Add(s.Window))
		}
		if counts {
			free -= a.amount
		}
	}
	return free
}

// minted is what is refilled in a whole number of ticks.
func (s *saturated) minted(d time.Duration) int64 {
	return int64(d/tick) * s.Amount / int64(s.Window/tick)
}

const admittedHead = "| limit | admissions | windows | most admitted in one / allowed | admitted in all / allowed |\n|---|---|---|---|---|\n"

// row checks every window that begins and ends with an admission against the
// limit's promise, and writes down the fullest one.
func (all admissions) row(t *testing.T, s *saturated) string {
	t.Helper()
	var fullest float64
	var windows, events, admitted, allowed int64
	for i, first := range all {
		events += first.events
		admitted += first.amount
		allowed += all[:i].free(s, first.at)
		var sum int64
		for _, last := range all[i:] {
			sum += last.amount
			most := s.Amount
			switch {
			case s.Algorithm == penstock.TokenBucket:
				most = s.Capacity + s.minted(last.at.Sub(first.at))
			case s.Algorithm == penstock.FixedWindow && !last.at.Truncate(s.Window).Equal(first.at.Truncate(s.Window)):
				continue
			case s.Algorithm == penstock.SlidingWindow && last.at.Sub(first.at) >= s.Window:
				continue
			}
			windows++
			fullest = max(fullest, float64(sum)/float64(most))
			if sum > most {
				t.Errorf("%d admitted from %v to %v, %d may be", sum, first.at, last.at, most)
			}
		}
	}
	if fullest != 1 {
		t.Errorf("the fullest window has %v of what it may", fullest)
	}
	return fmt.Sprintf("| %s | %d | %d | %.3f | %.3f |\n", s, events, windows, fullest, float64(admitted)/float64(allowed))
}
