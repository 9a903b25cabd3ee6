package queue

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestRanking seats and unseats callers at random and compares with a slice
// that is sorted anew each time.
func TestRanking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ranking
		var model []seat
		number := uint64(0)
		insert := func(at uint64) {
			s := seat{key{work{lo: at}, number}, new(caller)}
			number++
			r.insert(s.key, s.caller)
			model = append(model, s)
		}
		for range rapid.IntRange(0, 5*rowSize).Draw(t, "seated") {
			insert(uint64(number) * 7919 % 100)
		}
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				for range rapid.IntRange(1, rowSize).Draw(t, "n") {
					insert(rapid.Uint64Max(100).Draw(t, "served"))
				}
			},
			"remove": func(t *rapid.T) {
				for range min(len(model), rapid.IntRange(1, 2*rowSize).Draw(t, "n")) {
					i := rapid.IntRange(0, len(model)-1).Draw(t, "which")
					r.remove(model[i].key)
					model = slices.Delete(model, i, i+1)
				}
			},
			"pop": func(t *rapid.T) {
				for range min(len(model), rapid.IntRange(1, 2*rowSize).Draw(t, "n")) {
					r.pop()
					model = model[1:]
				}
			},
			"requeue": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("nobody is seated")
				}
				model[0].key = key{work{lo: rapid.Uint64Max(100).Draw(t, "served")}, number}
				number++
				r.requeue(model[0].key)
			},
			"": func(t *rapid.T) {
				slices.SortFunc(model, func(a, b seat) int {
					return cmp.Or(cmp.Compare(a.served.lo, b.served.lo), cmp.Compare(a.number, b.number))
				})
				var got []seat
				for _, row := range r.rows {
					if row.len == 0 {
						t.Fatal("an empty row")
					}
					got = append(got, row.seats[:row.len]...)
				}
				slices.Reverse(got)
				if !slices.Equal(got, model) || r.len != len(model) {
					t.Fatalf("%d are seated, counted as %d, want %d", len(got), r.len, len(model))
				}
				if rows := len(r.rows); rows > 1+4*len(model)/(rowSize/2) {
					t.Fatalf("%d rows for %d", rows, len(model))
				}
				k := key{work{lo: rapid.Uint64Max(101).Draw(t, "rank of")}, rapid.Uint64Max(number).Draw(t, "number")}
				want := 0
				for _, s := range model {
					if s.before(k) {
						want++
					}
				}
				if got := r.rank(k); got != want {
					t.Fatalf("%d before %v, want %d", got, k, want)
				}
				if len(model) > 0 && r.first().caller != model[0].caller {
					t.Fatal("another is first")
				}
			},
		})
	})
}
