package pricing

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/penstock-dev/penstock/internal/modelname"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
	"pgregory.net/rapid"
)

// stated reads prices of input, output, cached input and cache writes; - is one
// that is not stated.
func stated(t testing.TB, text string) (s Stated) {
	t.Helper()
	fields := strings.Fields(text)
	for i, to := range [...]**int64{&s.Input, &s.Output, &s.CachedInput, &s.CacheWrites} {
		if i >= len(fields) || fields[i] == "-" {
			continue
		}
		nano, err := usd.Parse(fields[i])
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		*to = &nano
	}
	return s
}

// shown writes the prices of input, output, cached input, cache writes and those
// for an hour, and those of a long input.
func shown(p Price) string {
	rates := func(r Rates) string {
		return fmt.Sprint(usd.Format(r.Input), " ", usd.Format(r.Output), " ", usd.Format(r.CachedInput), " ", usd.Format(r.CacheWrites), " ", usd.Format(r.LongCacheWrites))
	}
	if p.Above == 0 && p.Long == (Rates{}) {
		return rates(p.Rates)
	}
	return fmt.Sprint(rates(p.Rates), " above ", p.Above, " ", rates(p.Long))
}

func TestOf(t *testing.T) {
	table := New(stated(t, "75 150"), []Model{
		{"gpt-4", stated(t, "40 80 20")},
		{"gpt-4", stated(t, "1 1")}, // the first counts
		{"gpt-4o*", stated(t, "2")},
		{"gpt-4o-mini", stated(t, "- 9")},
		{"house-*", stated(t, "1 2 0.5 1.5")},
		{"house-large", stated(t, "10")},
		{"output-alone", stated(t, "- 5")},
		{"free", stated(t, "0 0")},
		{"nothing", Stated{}},
		{"gemini-2.5-pro*", stated(t, "1.5 - 0.2")},
		{"claude-sonnet-4-5", stated(t, "- - - 3")},
		{"grok-4.3", stated(t, "1 2 0.1 1")},
	})
	tests := []struct {
		model, want string
		listed      bool
	}{
		// In the built-in table alone. TestBuiltin holds that to its source.
		{"gpt-4-32k", "60.00 120.00 60.00 60.00 60.00", true},                           // no price of a cache: as input
		{"gpt-4-32k-20250101", "60.00 120.00 60.00 60.00 60.00", true},                  // a version of it
		{"claude-opus-4-1-20250805", "15.00 75.00 1.50 18.75 30.00", true},              // claude-opus-4-1*
		{"text-embedding-3-large", "0.13 0.13 0.13 0.13 0.13", true},                    // no price of output: as input
		{"gpt-4.1-mini", "0.40 1.60 0.10 0.40 0.40", true},                              // the name
		{"gpt-4.1-mini-latest", "0.40 1.60 0.10 0.40 0.40", true},                       // not the shorter gpt-4.1
		{"us.anthropic.claude-3-haiku-20240307-v1:0", "0.25 1.25 0.25 0.25 0.25", true}, // *.claude-3-haiku-20240307*

		// Of these a long input has its own price.
		{"gpt-5.5", "5.00 30.00 0.50 5.00 5.00 above 271999 10.00 45.00 1.00 10.00 10.00", true},
		{"claude-sonnet-4-5-20250929", "3.00 15.00 0.30 3.00 3.00 above 200000 6.00 22.50 0.60 3.00 3.00", true},
		{"claude-sonnet-4.5", "3.00 15.00 0.30 3.75 6.00 above 200000 6.00 22.50 0.60 7.50 12.00", true},
		{"gemini-2.5-pro", "1.50 10.00 0.20 1.50 1.50 above 200000 1.50 15.00 0.20 1.50 1.50", true}, // what is stated is for any length
		{"grok-4.3", "1.00 2.00 0.10 1.00 1.00", true},                                               // all of it

		// Stated by the configuration.
		{"gpt-4", "40.00 80.00 20.00 40.00 40.00", true},
		{"gpt-4-0613", "40.00 80.00 20.00 40.00 40.00", true},    // as a version, before the built-in name
		{"gpt-4o", "2.00 10.00 1.25 2.00 2.00", true},            // a glob, before the built-in name; the others from there
		{"gpt-4o-2024-05-13", "2.00 15.00 2.00 2.00 2.00", true}, // each name's own
		{"gpt-4o-mini", "0.15 9.00 0.075 0.15 0.15", true},       // the name, before the glob
		{"gpt-4o-mini-latest", "0.15 9.00 0.075 0.15 0.15", true},
		{"gpt-4o-what", "2.00 2.00 2.00 2.00 2.00", true}, // in the built-in table it is not
		{"house-small", "1.00 2.00 0.50 1.50 1.50", true},
		{"house-large", "10.00 10.00 10.00 10.00 10.00", true}, // one entry counts, not the glob's, too
		{"output-alone", "75.00 5.00 75.00 75.00 75.00", true},
		{"free", "0.00 0.00 0.00 0.00 0.00", true},
		{"nothing", "75.00 75.00 75.00 75.00 75.00", true},

		// Nowhere.
		{"house", "75.00 150.00 75.00 75.00 75.00", false},
		{"GPT-4", "75.00 150.00 75.00 75.00 75.00", false}, // names have a case
		{"", "75.00 150.00 75.00 75.00 75.00", false},
		{strings.Repeat("x", 10_000), "75.00 150.00 75.00 75.00 75.00", false},
	}
	for range 2 { // the second time from what has been resolved
		for _, tt := range tests {
			if p, listed := table.Of(tt.model); shown(p) != tt.want || listed != tt.listed {
				t.Errorf("%.50s: %s, listed %v; want %s, %v", tt.model, shown(p), listed, tt.want, tt.listed)
			}
		}
	}
}

func TestFallback(t *testing.T) {
	for text, want := range map[string]string{
		"":            "0.00 0.00 0.00 0.00 0.00",
		"5":           "5.00 5.00 5.00 5.00 5.00",
		"- 5":         "0.00 5.00 0.00 0.00 0.00",
		"5 6 7 8":     "5.00 6.00 7.00 8.00 8.00",
		"5 - 0 0.001": "5.00 5.00 0.00 0.001 0.001",
	} {
		if p, listed := New(stated(t, text), nil).Of("unheard-of"); shown(p) != want || listed {
			t.Errorf("%q: %s, listed %v; want %s", text, shown(p), listed, want)
		}
	}
}

// TestResolvedIsTheSame: whatever was asked before, by however many, a model has
// the price that a search finds; and what is kept of all that is bounded.
func TestResolvedIsTheSame(t *testing.T) {
	table := New(stated(t, "75 150"), []Model{{"m-1*", stated(t, "1")}, {"m-23", stated(t, "2")}})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 5 * resolvedModels {
				model := fmt.Sprintf("m-%d", (i*7+worker)%(2*resolvedModels))
				p, listed := table.Of(model)
				if want, wantListed := table.resolve(model); p != want || listed != wantListed {
					t.Errorf("%s: %+v, %v; want %+v, %v", model, p, listed, want, wantListed)
					return
				}
			}
		})
	}
	wg.Wait()
	kept := 0
	for i := range table.resolved {
		if table.resolved[i].Load() != nil {
			kept++
		}
	}
	if kept < resolvedModels/2 {
		t.Errorf("%d of %d places are in use: nothing is kept", kept, resolvedModels)
	}
	table = New(Stated{}, nil)
	table.Of(strings.Repeat("x", resolvedLength+1))
	for i := range table.resolved {
		if r := table.resolved[i].Load(); r != nil {
			t.Errorf("a name of %d bytes is kept", len(r.model))
		}
	}
	table.Of(strings.Repeat("x", resolvedLength))
	kept = 0
	for i := range table.resolved {
		if table.resolved[i].Load() != nil {
			kept++
		}
	}
	if kept != 1 {
		t.Errorf("%d names are kept of one of %d bytes", kept, resolvedLength)
	}
}

// TestStatedBeforeBuiltin: for any model and any length of input, each price is the
// configuration's, else the built-in table's, else the input's; for an hour's
// writes those of the others come before the input's.
func TestStatedBeforeBuiltin(t *testing.T) {
	builtin, err := parse(prices)
	if err != nil {
		t.Fatal(err)
	}
	price := rapid.Ptr(rapid.Int64Range(0, usd.Max), true)
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SampledFrom(builtin).Draw(t, "built-in")
		s := Stated{price.Draw(t, "input"), price.Draw(t, "output"), price.Draw(t, "cached"), price.Draw(t, "writes")}
		name := strings.ReplaceAll(b.name, "*", "")
		table := &Table{builtin: &modelname.Set[entry]{}}
		table.builtin.Add(b.name, b.entry)
		table.stated.Add(name, s)
		got, listed := table.resolve(name)
		if !listed {
			t.Fatalf("%s is not listed", name)
		}
		for _, input := range []int64{0, 1, b.above, b.above + 1, 1 << 40} {
			l := b.base
			if b.above != 0 && input > b.above {
				l = b.long
			}
			first := func(prices ...*int64) int64 {
				for _, p := range prices {
					if p != nil {
						return *p
					}
				}
				return -1
			}
			want := Rates{Input: first(s.Input, l.Input)}
			want.Output = first(s.Output, l.Output, &want.Input)
			want.CachedInput = first(s.CachedInput, l.CachedInput, &want.Input)
			want.CacheWrites = first(s.CacheWrites, l.CacheWrites, &want.Input)
			want.LongCacheWrites = first(s.CacheWrites, l.LongCacheWrites, &want.CacheWrites)
			if diff := cmp.Diff(want, got.At(input).Rates); diff != "" {
				t.Fatalf("%s at %d (-want +got):\n%s", name, input, diff)
			}
		}
	})
}

func TestOfDoesNotAllocate(t *testing.T) {
	table := New(Stated{}, []Model{{"mine-*", stated(t, "1")}})
	for _, model := range []string{"gpt-4o", "gpt-4o-2030-01-31", "claude-3-opus-x", "mine-1", "unheard-of"} {
		table.Of(model)
		if n := testing.AllocsPerRun(100, func() { table.Of(model) }); n != 0 {
			t.Errorf("%s: %v allocations", model, n)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	table := New(stated(b, "75 150"), []Model{{"mine-*", stated(b, "1")}})
	for _, model := range []string{"gpt-4o", "us.anthropic.claude-opus-4-6-v1:0", "unheard-of"} {
		b.Run(model, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Of(model)
			}
		})
	}
	b.Run("gpt-4o, everywhere", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				table.Of("gpt-4o")
			}
		})
	})
	b.Run("a search", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			table.resolve("unheard-of")
		}
	})
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		runtime.KeepAlive(New(Stated{}, nil))
	}
}
