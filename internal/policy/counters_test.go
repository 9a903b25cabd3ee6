package policy

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// asker asks a real limiter at a time of its own.
type asker struct {
	t       *testing.T
	limiter *penstock.Limiter
	now     time.Time
}

func newAsker(t *testing.T, o penstock.MemoryOptions) *asker {
	return &asker{t: t, limiter: penstock.New(penstock.NewMemoryStore(o)), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
}

// ask returns the rule that denies; empty when it passes.
func (k *asker) ask(p *Policy, c *traffic.Caller, a *traffic.Ask) string {
	k.t.Helper()
	n := p.Need(c, a)
	charges, large := p.Charges(nil, c, Target{}, a, &n)
	if large != nil {
		k.t.Fatal(large.Message)
	}
	r, err := k.limiter.ReserveAt(context.Background(), k.now, charges...)
	if err != nil {
		k.t.Fatal(err)
	}
	if r.Allowed {
		return ""
	}
	return p.Rule(r.Binding()).Name
}

// passes asks until it is denied, and returns how often it passed and by what
// it was denied.
func (k *asker) passes(p *Policy, c *traffic.Caller, a *traffic.Ask) (n int, by string) {
	k.t.Helper()
	for {
		if by = k.ask(p, c, a); by != "" || n > 1000 {
			return n, by
		}
		n++
	}
}

// TestTwoPlansAreNotTwoBudgets: who has used up one plan, and is given another,
// has what the other is larger by, and no more.
func TestTwoPlansAreNotTwoBudgets(t *testing.T) {
	plain := compile(t, "rate_limiting: {default: {requests_per_minute: 5}}")
	listed := compile(t, `
auth: {keys: [{id: alice, key: key-of-alice}]}
rate_limiting:
  default: {requests_per_minute: 5}
  per_key: {keys: {alice: {requests_per_minute: 8}}}
`)
	k := newAsker(t, penstock.MemoryOptions{})
	alice, a := named("alice"), chat("m", 1, 1)
	if n, by := k.passes(plain, alice, a); n != 5 || by != "default.requests_per_minute" {
		t.Errorf("%d passed the first plan, then %s", n, by)
	}
	if n, by := k.passes(listed, alice, a); n != 3 || by != "per_key.requests_per_minute" {
		t.Errorf("%d more passed the second plan, then %s", n, by)
	}
	if n, by := k.passes(plain, alice, a); n != 0 || by != "default.requests_per_minute" {
		t.Errorf("%d more passed the first plan again, then %s", n, by)
	}
	if n, _ := k.passes(plain, named("bob"), a); n != 5 {
		t.Errorf("%d of bob's passed, want 5", n)
	}
}

// TestNamesOfAModelShareABudget: fresh names buy no fresh limits.
func TestNamesOfAModelShareABudget(t *testing.T) {
	p := limitsOnly(t, `
  per_model:
    models:
      gpt-4: {requests_per_minute: 3}
      "claude-*": {requests_per_minute: 2}
`)
	k := newAsker(t, penstock.MemoryOptions{})
	for _, model := range []string{"gpt-4", "gpt-4-0613", "gpt-4-latest"} {
		if by := k.ask(p, visitor(), chat(model, 1, 1)); by != "" {
			t.Errorf("%s is denied by %s", model, by)
		}
	}
	if by := k.ask(p, visitor(), chat("gpt-4-2024-05-13", 1, 1)); by != "per_model.gpt-4.requests_per_minute" {
		t.Errorf("a fourth name is denied by %q", by)
	}
	if n, by := k.passes(p, visitor(), chat("claude-3", 1, 1)); n != 2 || by != "per_model.claude-*.requests_per_minute" {
		t.Errorf("%d of another model passed, then %s", n, by)
	}
	if n, _ := k.passes(p, named("alice"), chat("claude-9", 1, 1)); n != 2 {
		t.Errorf("%d of another caller passed, want 2", n)
	}
}

// TestScopeAll: one pool for all callers, and for everybody alike.
func TestScopeAll(t *testing.T) {
	p := limitsOnly(t, "  per_model: {scope: all, models: {m: {requests_per_minute: 3}}}")
	k := newAsker(t, penstock.MemoryOptions{})
	for _, c := range []*traffic.Caller{visitor(), named("alice"), named("bob")} {
		if by := k.ask(p, c, chat("m", 1, 1)); by != "" {
			t.Errorf("%s is denied by %s", c.ID, by)
		}
	}
	if by := k.ask(p, named("carol"), chat("m", 1, 1)); by == "" {
		t.Error("a fourth passed")
	}
}

// TestHandles: what many requests are charged to by one key has a handle of that
// key, so that it is found without a search; what each caller has of its own has
// none.
func TestHandles(t *testing.T) {
	p := compile(t, `
auth: {keys: [{id: alice, key: key-of-alice}]}
rate_limiting:
  default: {requests_per_minute: 100}
  per_key: {keys: {alice: {requests_per_minute: 200}}}
  per_model: {scope: all, models: {m: {requests_per_minute: 300}}}
  global: {requests_per_minute: 1000}
  rules:
    - {name: everybody, limit: {requests: 500, per: minute}}
    - {name: each, per: [caller], limit: {requests: 400, per: minute}}
`)
	for _, c := range []struct {
		who  *traffic.Caller
		want map[string]bool
	}{
		{visitor(), map[string]bool{"default.requests_per_minute": false}},
		{named("alice"), map[string]bool{"per_key.requests_per_minute": true}},
	} {
		for rule, has := range map[string]bool{"per_model.m.requests_per_minute": true, "global.requests_per_minute": true, "rules.everybody": true, "rules.each": false} {
			c.want[rule] = has
		}
		a := chat("m", 1, 1)
		n := p.Need(c.who, a)
		charges, _ := p.Charges(nil, c.who, Target{}, a, &n)
		got := map[string]bool{}
		for i := range charges {
			h := charges[i].Handle
			got[p.Rule(&charges[i]).Name] = h != nil
			if h != nil && h.Key() != charges[i].Key {
				t.Errorf("%s: the handle is of another key", p.Rule(&charges[i]).Name)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: which rules have a handle (-want +got):\n%s", c.who.ID, diff)
		}
	}
}

// TestOverflow: when the store is full, listed callers keep their counters and
// the others share, apart by whether they were verified.
func TestOverflow(t *testing.T) {
	p := compile(t, `
auth: {keys: [{id: alice, key: key-of-alice}]}
rate_limiting:
  default: {requests_per_minute: 2}
  per_model: {models: {m: {requests_per_minute: 9}}}
  global: {requests_per_minute: 1000}
`)
	kept := p.Kept(1)
	k := newAsker(t, penstock.MemoryOptions{MaxKeys: kept + 2, Reserve: kept})
	at := func(i byte) *traffic.Caller { return &traffic.Caller{ID: "addr:192.0.2." + string('0'+i)} }
	fill := at(0)
	if n, _ := k.passes(p, fill, chat("m", 1, 1)); n != 2 {
		t.Fatalf("%d passed, want 2", n)
	}
	// Its plan's and its model's counters fill what is there for strangers: the
	// others have two requests among them.
	passed := 0
	for i := byte(1); i <= 5; i++ {
		if k.ask(p, at(i), chat("m", 1, 1)) == "" {
			passed++
		}
	}
	if passed != 2 {
		t.Errorf("%d of five strangers passed, want the 2 that they share", passed)
	}
	// One who was verified does not share with them.
	if by := k.ask(p, &traffic.Caller{ID: "key-sha256:00", Verified: true}, chat("m", 1, 1)); by != "" {
		t.Errorf("a verified caller is denied by %s", by)
	}
	if n, _ := k.passes(p, named("alice"), chat("m", 1, 1)); n != 2 {
		t.Errorf("%d of a listed caller's passed, want 2", n)
	}
}
