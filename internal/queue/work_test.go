package queue

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func bigOf(w work) *big.Int {
	n := new(big.Int).SetUint64(w.hi)
	return n.Lsh(n, 64).Add(n, new(big.Int).SetUint64(w.lo))
}

func TestCharged(t *testing.T) {
	for _, tt := range []struct {
		cost, weight int64
		want         work
	}{
		{cost: 1, weight: 1, want: work{lo: 1 << 32}},
		{cost: 0, weight: 0, want: work{lo: 1 << 32}},
		{cost: math.MinInt64, weight: math.MinInt64, want: work{lo: 1 << 32}},
		{cost: 3, weight: 2, want: work{lo: 3 << 31}},
		{cost: 1, weight: 3, want: work{lo: 1<<32/3 + 1}},
		{cost: 1 << 32, weight: 1, want: work{hi: 1}},
		{cost: 1 << 33, weight: 4, want: work{lo: 1 << 63}},
		{cost: mostCost, weight: 1, want: work{hi: 1 << 16}},
		{cost: math.MaxInt64, weight: 1, want: work{hi: 1 << 16}},
		{cost: 1, weight: math.MaxInt64, want: work{lo: 1}}, // nothing is free
	} {
		if got := charged(tt.cost, tt.weight); got != tt.want {
			t.Errorf("charged(%d, %d) = %v, want %v", tt.cost, tt.weight, got, tt.want)
		}
	}
}

func drawWork(t *rapid.T, label string) work {
	return work{rapid.Uint64Max(1<<62).Draw(t, label), rapid.Uint64().Draw(t, label)}
}

// TestWork checks the arithmetic beside math/big's.
func TestWork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawWork(t, "a"), drawWork(t, "b")
		n := rapid.Uint64Range(1, math.MaxUint64).Draw(t, "n")
		same := func(what string, got work, want *big.Int) {
			t.Helper()
			if bigOf(got).Cmp(want) != 0 {
				t.Fatalf("%s is %v, want %v", what, bigOf(got), want)
			}
		}
		x, y, z := bigOf(a), bigOf(b), new(big.Int).SetUint64(n)
		if a.less(b) != (x.Cmp(y) < 0) || a.less(a) {
			t.Fatal("less")
		}
		same("a+b", a.plus(b), new(big.Int).Add(x, y))
		same("a+b-b", a.plus(b).minus(b), x)
		q, rest := a.over(n)
		wantQ, wantRest := new(big.Int).DivMod(x, z, new(big.Int))
		same("a/n", q, wantQ)
		same("a%n", work{lo: rest}, wantRest)
		same("a/n*n", q.times(n), new(big.Int).Mul(wantQ, z))
		coarse := new(big.Int).Rsh(x, 16)
		if !coarse.IsUint64() {
			coarse.SetUint64(math.MaxUint64)
		}
		if got := a.coarse(); got != coarse.Uint64() {
			t.Fatalf("coarse %d, want %d", got, coarse)
		}
	})
}
