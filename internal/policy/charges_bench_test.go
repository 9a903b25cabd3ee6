package policy

import (
	"math"
	"net/netip"
	"testing"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// hot is a policy of a plan, models and what all share, and a caller of each
// kind.
func hot(t tb, more string) (*Policy, []*traffic.Caller) {
	p := compile(t, `
auth: {keys: [{id: alice, key: key-of-alice, tenant: acme}]}
rate_limiting:
  default: {requests_per_minute: 60, tokens_per_minute: 100000}
  per_model: {models: {gpt-4: {requests_per_minute: 30}, "claude-*": {tokens_per_minute: 1000}}}
  global: {requests_per_second: 100}
`+more)
	alice := named("alice")
	alice.Tenant, alice.Role, alice.Addr = "acme", traffic.RoleUser, netip.MustParseAddr("2001:db8::1")
	who := visitor()
	who.Role, who.Addr = traffic.RoleAnonymous, netip.MustParseAddr("192.0.2.1")
	return p, []*traffic.Caller{alice, who, {ID: "key-sha256:" + string(make([]byte, 64)), Verified: true, Role: traffic.RoleUser}}
}

const hotRules = `
  per_endpoint: [{path: /v1/*, limits: {requests_per_minute: 40}}]
  rules:
    - {name: a, match: {model: "gpt-*", path: "/v1/*"}, per: [caller, model, ip], limit: {tokens: 500, per: 1m}, candidate: 400}
    - {name: b, match: {role: admin}, limit: {cost: 1.00, per: 1m}}
`

// TestHotPathDoesNotAllocate: who has asked before costs no allocation, neither
// by the sections nor by rules. Two keys of one request may want the same place
// among those that are kept, by chance of a policy's hash; so several are tried.
func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, more := range []string{"", hotRules} {
		least := math.Inf(1)
		for try := 0; try < 8 && least > 0; try++ {
			least = min(least, allocations(t, more))
		}
		if least != 0 {
			t.Errorf("%v allocations", least)
		}
	}
}

// allocations is how many a request costs, of the caller who has most.
func allocations(t *testing.T, more string) (most float64) {
	p, callers := hot(t, more)
	room := make([]penstock.Charge, 0, 16)
	to := Target{Method: "POST", Path: "/v1/chat/completions"}
	a := chat("gpt-4-0613", 10, 5)
	for _, c := range callers {
		n := testing.AllocsPerRun(100, func() {
			need := p.Need(c, a)
			if charges, large := p.Charges(room, c, to, a, &need); large != nil || len(charges) < 4 {
				t.Fatal(len(charges), large)
			}
			p.Precheck(room, c, to)
		})
		most = max(most, n)
	}
	return most
}

// BenchmarkLearned is what each request of a verified caller asks and tells.
func BenchmarkLearned(b *testing.B) {
	l, tokens := NewLearned(), int64(1)
	for b.Loop() {
		tokens = tokens * 48271 % (1<<31 - 1)
		l.Learn("key:alice", "gpt-4", tokens%4000)
		l.P99("key:alice", "gpt-4")
	}
}

func BenchmarkCharges(b *testing.B) {
	for _, bb := range []struct{ name, more string }{{"plan, model and global", ""}, {"and rules", hotRules}} {
		b.Run(bb.name, func(b *testing.B) {
			p, callers := hot(b, bb.more)
			room := make([]penstock.Charge, 0, 16)
			to := Target{Method: "POST", Path: "/v1/chat/completions"}
			a := chat("gpt-4-0613", 10, 5)
			b.ReportAllocs()
			for b.Loop() {
				need := p.Need(callers[0], a)
				p.Charges(room, callers[0], to, a, &need)
			}
		})
	}
}
