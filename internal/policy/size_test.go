package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// large is a configuration of so many keys, each of a tenant and with a plan of its
// own, of so many rules that are for all of them, and of so many globs.
func large(n int) string {
	var keys, plans, rules, models strings.Builder
	for i := range n {
		fmt.Fprintf(&keys, "    - {id: k%d, key: key-number-%d, tenant: t%d}\n", i, i, i)
		fmt.Fprintf(&plans, "      k%d: {requests_per_minute: %d}\n", i, 100+i)
		fmt.Fprintf(&rules, "    - {name: r%d, per: [caller], limit: {requests: %d, per: 1h}}\n", i, 1_000_000-i)
		fmt.Fprintf(&models, "      \"m%06d-*\": {requests_per_minute: 30}\n", i)
	}
	return "auth:\n  keys:\n" + keys.String() + "rate_limiting:\n  per_key:\n    keys:\n" + plans.String() +
		"  rules:\n" + rules.String() + "  per_model:\n    models:\n" + models.String()
}

// TestNewIsLinear: a policy of four times as much of everything is made of four
// times as much; tenants times rules would be sixteen times.
func TestNewIsLinear(t *testing.T) {
	made := func(n int) float64 {
		c := parse(t, large(n))
		return testing.AllocsPerRun(1, func() {
			if _, err := New(c, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := made(50), made(200); many > 5*few {
		t.Errorf("%v allocations of 50 keys, rules and models, %v of 200", few, many)
	}
}

// BenchmarkIdle looks for what is idle in configurations of a thousand and of four
// thousand plans and models, which is what a start and a reload wait for.
func BenchmarkIdle(b *testing.B) {
	for _, n := range []int{1000, 4000} {
		text := large(n)
		text = text[:strings.Index(text, "  rules:")] + text[strings.Index(text, "  per_model:"):]
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := parse(b, text)
			p, err := New(c, nil)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				p.Idle(c, func(string) []traffic.Endpoint { return nil })
			}
		})
	}
}
