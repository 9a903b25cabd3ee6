package e2e

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// Each listed key has the limits of its own plan. A key that nobody has listed
// buys nothing: it is the address that counts.
func TestOpenAIKeys(t *testing.T) {
	t.Parallel()
	const alice, bob, carol, dave = "sk-keys-alice-1", "sk-keys-bob-1", "sk-keys-carol", "sk-keys-dave"
	g := serveWith(t, fmt.Sprintf(`
auth:
  keys:
    - {id: alice, key: %s}
    - {id: bob, key: "sha256:%x"}
    - {id: dave, key: %s}
rate_limiting:
  default: {requests_per_hour: 1, tokens_per_hour: 1000}
  per_key:
    keys:
      alice: {requests_per_hour: 3}
      bob: {requests_per_hour: unlimited, tokens_per_hour: 40}
      %s: {requests_per_hour: 2}
  bypass: {keys: [dave]}
`, alice, sha256.Sum256([]byte(bob)), dave, carol))

	rejected, allowed := float64(0), float64(0)
	for _, caller := range []struct {
		name, key string
		passes    int // this often, and then no more
		limit     string
		most      int64 // of the limit
		each      int64
	}{
		{name: "alice", key: alice, passes: 3, limit: "Requests", most: 3, each: 1},
		{name: "bob", key: bob, passes: 2, limit: "Tokens", most: 40, each: 16},
		{name: "carol", key: carol, passes: 2, limit: "Requests", most: 2, each: 1},
		{name: "a stranger", key: "sk-keys-unknown-1", passes: 1, limit: "Requests", most: 1, each: 1},
		{name: "the stranger with another key", key: "sk-keys-unknown-2", passes: 0, limit: "Requests", most: 1, each: 1},
		{name: "the stranger whose key is another's name", key: "alice", passes: 0, limit: "Requests", most: 1, each: 1},
	} {
		t.Run(caller.name, func(t *testing.T) {
			client, record := newOpenAI(t, g, caller.key)
			ask := openAIAsk{model: "standin", prompt: sixteen, most: 12}
			for n := range caller.passes {
				if _, err := openAIChat(t.Context(), client, ask); err != nil {
					t.Fatalf("request %d: %v", n+1, err)
				}
				allowed++
				a := record.sent()[n]
				most, left := a.number(t, "X-Ratelimit-Limit-"+caller.limit), a.number(t, "X-Ratelimit-Remaining-"+caller.limit)
				if want := caller.most - int64(n+1)*caller.each; most != caller.most || left != want {
					t.Errorf("%d of %d are left, want %d of %d", left, most, want, caller.most)
				}
				g.idle(t)
			}
			_, err := openAIChatStream(t.Context(), client, ask)
			sent := record.sent()
			if len(sent) != caller.passes+1 {
				t.Fatalf("%d requests were sent, want %d", len(sent), caller.passes+1)
			}
			wantOpenAI(t, err, sent[caller.passes], rateLimited)
			rejected++
		})
	}

	t.Run("who is not limited", func(t *testing.T) {
		client, record := newOpenAI(t, g, dave)
		for range 5 {
			if _, err := openAIChat(t.Context(), client, openAIAsk{model: "standin", prompt: sixteen, most: 12}); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range record.sent() {
			for name := range a.header {
				if regexp.MustCompile(`(?i)^(x-)?rate-?limit`).MatchString(name) {
					t.Errorf("the answer has the header %s", name)
				}
			}
		}
	})

	g.idle(t)
	hits := map[string]float64{}
	series := regexp.MustCompile(`^rate_limit_hits_total\{key="([^"]*)",rule="([^"]*)"\}$`)
	nameless := regexp.MustCompile(`^key-[0-9a-f]{8}$`)
	for name, n := range g.metrics(t) {
		if m := series.FindStringSubmatch(name); m != nil {
			hits[nameless.ReplaceAllString(m[1], "key-HASH")+" "+m[2]] += n
		}
	}
	for name, want := range map[string]float64{
		"alice per_key.requests_per_hour":    1,
		"bob per_key.tokens_per_hour":        1,
		"key-HASH per_key.requests_per_hour": 1,
		"other default.requests_per_hour":    3,
	} {
		if hits[name] != want {
			t.Errorf("%s denied %v times, want %v: %v", name, hits[name], want, hits)
		}
	}
	g.counted(t, samples{
		`http_rate_limit_total{result="allowed"}`:  allowed,
		`http_rate_limit_total{result="rejected"}`: rejected,
	})
	metrics := get(t, g.admin+"/metrics")
	for _, s := range []string{alice, bob, carol, dave, "sk-keys-unknown"} {
		if strings.Contains(metrics, s) {
			t.Errorf("the metrics hold the key %q", s)
		}
	}
}
