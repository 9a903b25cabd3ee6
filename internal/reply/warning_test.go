package reply_test

import (
	"math"
	"math/big"
	"net/http"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-dev/penstock/internal/reply"
)

func TestWarn(t *testing.T) {
	for _, c := range []struct {
		what   string
		limits []reply.Limit
		want   string
	}{
		{"nothing", nil, ""},
		{"far", []reply.Limit{{Name: "a", Unit: "requests", Limit: 100, Remaining: 21}}, ""},
		{"near", []reply.Limit{{Name: "cost_per_day", Unit: "cost", Limit: 100, Remaining: 20}}, "cost_per_day: 80% used"},
		{"debt", []reply.Limit{{Name: "a", Unit: "tokens", Limit: 100, Remaining: -5}}, "a: 100% used"},
		{"a small one", []reply.Limit{{Name: "a", Unit: "requests", Limit: 4, Remaining: 1}, {Name: "b", Unit: "requests", Limit: 3}}, "b: 100% used"},
		{"a burst", []reply.Limit{{Name: "a", Unit: "requests", Limit: 10, Smooths: true}}, ""},
		{"in flight", []reply.Limit{{Name: "a", Unit: "concurrent", Limit: 10}}, ""},
		{"several", []reply.Limit{
			{Name: "a", Unit: "requests", Limit: 1000, Remaining: 1},
			{Name: "b", Unit: "requests", Limit: 1000, Remaining: 999},
			{Name: "é.c", Unit: "tokens", Limit: math.MaxInt64, Remaining: math.MaxInt64 / 10},
		}, "a: 99% used, ??.c: 90% used"},
		{"no size", []reply.Limit{{Name: "a", Unit: "requests"}}, ""},
	} {
		out := http.Header{"X-Ratelimit-Warning": {"the worker's"}}
		newHeaders(t, reply.HeaderOptions{}).Warn(out, c.limits)
		if got := out.Get("x-ratelimit-warning"); got != c.want || len(out) != len(c.want)/max(len(c.want), 1) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	out := http.Header{"X-Ratelimit-Warning": {"the worker's"}}
	newHeaders(t, reply.HeaderOptions{Off: true}).Warn(out, []reply.Limit{{Name: "a", Limit: 1}})
	if out.Get("x-ratelimit-warning") != "the worker's" {
		t.Errorf("switched off, it is %v", out)
	}
}

// TestNear: a limit is near when at least 80 % of it are used, whatever its size.
func TestNear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := reply.Limit{Unit: "tokens", Limit: rapid.Int64Range(1, math.MaxInt64).Draw(t, "limit")}
		l.Remaining = rapid.Int64Range(0, l.Limit).Draw(t, "remaining")
		used := new(big.Rat).SetFrac(big.NewInt(l.Limit-l.Remaining), big.NewInt(l.Limit))
		if want := used.Cmp(big.NewRat(4, 5)) >= 0; l.Near() != want {
			t.Errorf("%d of %d left: %t", l.Remaining, l.Limit, l.Near())
		}
	})
}
