package demo

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock"
)

// slow is what the ledger is held to: every amount that is charged now, by the
// time that it was charged at.
type slow struct {
	charged []*amount
	share   float64
	tokens  int64
	limit   int64
}

type amount struct {
	key    string
	limit  int // index
	at     time.Time
	tokens int64
}

// admitted looks at how much counts under every limit of a key.
func (s *slow) admitted(key string, limits *penstock.Limits, index int, now time.Time) {
	l := limits.At(index)
	sum := int64(0)
	for _, a := range s.charged {
		if a.key == key && a.limit == index && now.Sub(a.at) < l.Window {
			sum += a.tokens
		}
	}
	if share := float64(sum) / float64(l.Amount); share > s.share {
		s.share, s.tokens, s.limit = share, sum, l.Amount
	}
}

// held is a reservation, and what it is charged of each limit of tokens.
type held struct {
	*penstock.Reservation
	amounts [][]*amount
}

// TestMostIsWhatASlowModelSays plays requests that are raised, settled and
// cancelled, and never finds more than a limit.
func TestMostIsWhatASlowModelSays(t *testing.T) {
	limits := penstock.MustLimits(
		penstock.PerSecond(penstock.Requests, 20),
		penstock.PerSecond(penstock.Tokens, 100),
		penstock.Limit{Unit: penstock.Tokens, Amount: 250, Window: 4 * time.Second},
		penstock.PerSecond(penstock.InputTokens, 100),
	)
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		l := newLedger(penstock.NewMemoryStore(penstock.MemoryOptions{}))
		limiter := penstock.New(l)
		now := time.Unix(1_800_000_000, 0)
		var model slow
		var open []held
		tokens := rapid.Int64Range(0, 120)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
			what := rapid.IntRange(0, 3).Draw(t, "what")
			if what == 0 || len(open) == 0 {
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
				n := tokens.Draw(t, "tokens")
				r, err := limiter.ReserveAt(ctx, now, limits.Charges(key, penstock.Amounts{penstock.Requests: 1, penstock.Tokens: n, penstock.InputTokens: n})...)
				if err != nil {
					t.Fatal(err)
				}
				if !r.Allowed {
					continue
				}
				h := held{Reservation: r, amounts: make([][]*amount, limits.Len())}
				for i := range limits.Len() {
					if limits.At(i).Unit == penstock.Tokens && n > 0 {
						a := &amount{key, i, now, n}
						h.amounts[i] = append(h.amounts[i], a)
						model.charged = append(model.charged, a)
						model.admitted(key, limits, i, now)
					}
				}
				open = append(open, h)
				continue
			}
			i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
			h := open[i]
			n := tokens.Draw(t, "used")
			used := penstock.Amounts{penstock.Tokens: n}
			var err error
			switch what {
			case 1:
				_, err = h.RaiseAt(ctx, now, used)
			case 2:
				err = h.SettleAt(ctx, now, used)
			case 3:
				n = 0
				err = h.CancelAt(ctx, now)
			}
			if err != nil {
				t.Fatal(err)
			}
			for j, parts := range h.amounts {
				total := int64(0)
				for _, a := range parts {
					total += a.tokens
				}
				if len(parts) > 0 && n > total {
					a := &amount{parts[0].key, j, now, n - total}
					h.amounts[j] = append(parts, a)
					model.charged = append(model.charged, a)
				}
				for k := len(parts) - 1; k >= 0 && what > 1 && n < total; k-- { // what was taken last goes first
					back := min(parts[k].tokens, total-n)
					parts[k].tokens -= back
					total -= back
				}
			}
			if what > 1 {
				open = append(open[:i:i], open[i+1:]...)
			}
		}
		share, most, limit := l.most()
		if share != model.share || most != model.tokens || limit != model.limit {
			t.Fatalf("%v: %d of %d, want %v: %d of %d", share, most, limit, model.share, model.tokens, model.limit)
		}
		if share > 1 {
			t.Fatalf("%d of %d were admitted", most, limit)
		}
	})
}

// deaf is a store that cannot be asked.
type deaf struct{ penstock.Store }

var errDeaf = errors.New("the store is away")

func (deaf) Take(context.Context, time.Time, []penstock.Charge) (time.Time, error) {
	return time.Time{}, errDeaf
}

func (deaf) Adjust(context.Context, time.Time, []penstock.Adjustment) (time.Time, error) {
	return time.Time{}, errDeaf
}

// TestLedgerNotesOnlyWhatWasDone: neither what the store refused nor what it
// failed at is in the book.
func TestLedgerNotesOnlyWhatWasDone(t *testing.T) {
	ctx := context.Background()
	limits := penstock.MustLimits(penstock.PerMinute(penstock.Tokens, 10))
	away := newLedger(deaf{})
	if _, err := penstock.New(away).Reserve(ctx, limits.Charges("k", penstock.Amounts{penstock.Tokens: 5})...); !errors.Is(err, errDeaf) {
		t.Errorf("got %v", err)
	}
	c := limits.Charges("k", penstock.Amounts{penstock.Tokens: 5})
	if _, err := away.Adjust(ctx, time.Time{}, []penstock.Adjustment{{Charge: &c[0], Delta: 5}}); !errors.Is(err, errDeaf) {
		t.Errorf("got %v", err)
	}
	if len(away.entries) != 0 {
		t.Errorf("noted: %+v", away.entries)
	}
	l := newLedger(penstock.NewMemoryStore(penstock.MemoryOptions{}))
	limiter := penstock.New(l)
	for _, n := range []int64{6, 5, 0} {
		if _, err := limiter.Reserve(ctx, limits.Charges("k", penstock.Amounts{penstock.Tokens: n})...); err != nil {
			t.Fatal(err)
		}
	}
	if share, tokens, limit := l.most(); share != 0.6 || tokens != 6 || limit != 10 || len(l.entries) != 1 {
		t.Errorf("%v: %d of %d from %d entries, want 0.6: 6 of 10 from one", share, tokens, limit, len(l.entries))
	}
	if share, tokens, limit := newLedger(nil).most(); share != 0 || tokens != 0 || limit != 0 {
		t.Errorf("of nothing: %v, %d, %d", share, tokens, limit)
	}
}

func TestPerWindow(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	l := newLedger(nil)
	for _, e := range []struct {
		at     time.Duration
		tokens int64
	}{{0, 1}, {999 * time.Millisecond, 2}, {time.Second, 4}, {0, -1}, {3500 * time.Millisecond, 8}, {-time.Hour, 100}} {
		l.entries = append(l.entries, entry{at: begin.Add(e.at), tokens: e.tokens})
	}
	if diff := cmp.Diff([]int64{2, 4, 0, 8}, l.perWindow(begin, time.Second)); diff != "" {
		t.Error(diff)
	}
}
