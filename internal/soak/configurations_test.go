package soak

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

const (
	mostSlots    = 12  // of all configurations
	mostWaiting  = 100 // so too
	mostRetries  = 2   // so too
	mostArrivals = 1 + mostRetries
	maxBody      = 1 << 20 // of a request, in bytes
)

// Listed callers. Their IDs are of one length.
const (
	calmCallers = 6  // who ask for what cannot go wrong by itself, one request at a time
	wildCallers = 12 // who ask for everything
	freeKey     = "vip-s3cret"
)

func calmID(i int) string { return fmt.Sprintf("calm-%02d", i) }
func wildID(i int) string { return fmt.Sprintf("wild-%02d", i) }

// keyOf is the key of the listed caller.
func keyOf(id string) string { return id + "-s3cret" }

// climate is what all configurations of a run have in common. Bursts come and go
// with the runs alone: what a reservation owes to a limit that its key no longer
// has is lost or not, as the store has forgotten that limit or not yet. So do
// buckets: one that grows keeps its level, and what it then lacks a window would
// take for used.
type climate struct {
	keys, bytes int64 // of the store: one of the two is what a flood comes up against
	burst       bool
	algorithms  []string
}

func climates() []climate {
	windows, buckets := []string{"sliding_window", "fixed_window"}, []string{"token_bucket"}
	return []climate{
		{1000, 256 << 20, true, windows},
		{1_000_000, 2 << 20, true, buckets},
		{1000, 256 << 20, false, buckets},
		{1_000_000, 2 << 20, false, windows},
	}
}

// common are the keys of rate_limiting that stay.
func (c climate) common() string {
	text := fmt.Sprintf("  max_keys: %d\n  max_memory: %d", c.keys, c.bytes)
	if c.burst {
		text += "\n  burst: {multiplier: 3.0, window: 500ms}"
	}
	return text
}

// configuration draws one. In all of them the callers' months are counted, and
// never full; nothing that would let a counter or a request go is in any.
func configuration(rng *rand.Rand, has climate, urls []string) string {
	one := func(of ...string) string { return of[rng.IntN(len(of))] }
	between := func(least, most int) int { return least + rng.IntN(most-least+1) }
	maybe := func(text string) string { return one(text, "") }
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	line("request_timeout: %dms", between(2000, 4000))
	line("shutdown_grace: 1m")
	line("max_body_bytes: %d", maxBody)
	line("max_buffered_bytes: %dMiB", between(16, 64))
	line("log: {decisions: %s}", one("denied", "denied", "all", "sampled"))
	line("estimate: {output: %d, reserve: %s, on_overrun: %s}", between(8, 200), one("learned", "max"), one("continue", "stop"))
	line("pricing: {default: {input: 3, output: 15}}")
	line("%s", known(rng, urls))
	line("%s", policy(rng))
	slots := between(mostSlots-4, mostSlots)
	concurrent := ""
	if rng.IntN(3) == 0 {
		concurrent = fmt.Sprintf("  concurrent: {max_concurrent: %d, queue_timeout: %dms}", slots, between(150, 1500))
	} else {
		line("admission:\n  queue_size: %d\n  queue_timeout: %dms\n  progress: %s", max(between(-20, mostWaiting), 0), between(150, 1500), one("true", "false"))
		line("  refill_per_second: %s", one("0", "0", "200.5", "1000"))
		switch rng.IntN(3) {
		case 0:
			line("  adaptive: {min: %d, max: %d, signal: %s}", between(1, 4), slots, one("auto", "metrics", "queue", "first_token"))
		default:
			line("  max_concurrent_requests: %d", slots)
		}
	}
	line("rate_limiting:")
	line("%s\n  cleanup_interval: %dms", has.common(), between(200, 2000))
	algorithm := one(has.algorithms...)
	line("  algorithm: %s", algorithm)
	if algorithm == "sliding_window" {
		line("%s", maybe("  window: {size: "+one("30s, precision: 1s", "60s, precision: 500ms", "60s, precision: 5s")+"}"))
	}
	// What of the flood counts for a minute fills the store, what counts for a
	// second comes and goes.
	class := func() string { return one("interactive", "default", "bulk") }
	line("  default: {requests_per_%s: %d, concurrent_requests: %d, priority: %s}", one("minute", "second"), between(2, 20)*2, between(1, 40), class())
	month := months(rng)
	line("  roles:\n    user: {%s, requests_per_minute: %d, requests_per_second: %d, tokens_per_minute: %d, concurrent_requests: %d, weight: %d}",
		month, between(10_000, 100_000)*2, between(100, 1000), between(500_000, 5_000_000)*2, between(10, 60), between(1, 1000))
	line("  per_key: {keys: {%s: {requests_per_second: %d, tokens_per_second: %d}, %s: {concurrent_requests: 3, priority: %s}}}",
		wildID(0), between(2, 20), between(200, 2000), wildID(1), class())
	// Of tokens only where it is not a caller's own counter, for the same reason
	// as below.
	line("%s", maybe(fmt.Sprintf("  per_model: %s", one(
		fmt.Sprintf("{scope: all, models: {\"small-*\": {tokens_per_minute: %d}, large: {concurrent_requests: %d}}}", between(20_000, 200_000)*2, between(4, 30)),
		fmt.Sprintf("{models: {\"small-*\": {requests_per_second: %d}, large: {concurrent_requests: %d}}}", between(20, 200), between(4, 30)),
	))))
	line("%s", maybe(fmt.Sprintf("  per_endpoint:\n    - {path: /v1/embeddings, methods: [POST], limits: {requests_per_second: %d}}", between(20, 200))))
	line("  rules:")
	// Of it a counter may be dropped between two charges of one request, so
	// nothing but the amount changes.
	line("    - {name: lengthy, match: {model: large}, per: [caller, model], limit: {output_tokens: %d, per: 10s, algorithm: sliding_window, precision: 1s}, mode: %s}",
		between(1000, 10_000), one("shadow", "enforce"))
	line("    - {name: networks, per: [%s], limit: {requests: %d, per: 10s, algorithm: token_bucket, capacity: %d}, mode: shadow}",
		one("ip", "ip6_48"), between(5, 50), between(5, 100))
	line("    - {name: tenants, per: [tenant], limit: {tokens: %d, per: minute}, candidate: %d}", between(5_000_000, 50_000_000), between(1000, 10_000))
	line("%s", maybe("    - {name: turns, match: {model: small-a}, priority: "+class()+"}"))
	line("  global: {%s, requests_per_second: %d}", month, between(300, 5000))
	line("  error_response: {global: %s}", one("document", "dialect"))
	line("%s", concurrent)
	line("  bypass: {paths: [/echo/free], keys: [the-vip]}")
	line("  headers: {sets: [%s]}", one("", "ietf", "openai, anthropic", "ietf, openai, anthropic"))
	return b.String()
}

// lastConfiguration is the one for the end: everybody who waits is still waiting
// when the gateway stops, and every stream has time to end.
func lastConfiguration(rng *rand.Rand, has climate, urls []string) string {
	return fmt.Sprintf(`
request_timeout: 40s
shutdown_grace: 1m
max_body_bytes: %d
%s
%s
rate_limiting:
%s
  algorithm: %s
  default: {requests_per_second: 10, concurrent_requests: 40}
  roles: {user: {%s, requests_per_second: 100000, concurrent_requests: 100}}
  global: {%[6]s}
  concurrent: {max_concurrent: 8, queue_timeout: 30s}
  bypass: {paths: [/echo/free], keys: [the-vip]}
`, maxBody, known(rng, urls), policy(rng), has.common(), has.algorithms[0], months(rng))
}

// known is the workers and the listed callers.
func known(rng *rand.Rand, urls []string) string {
	var b strings.Builder
	b.WriteString("workers:\n")
	rng.Shuffle(len(urls), func(i, j int) { urls[i], urls[j] = urls[j], urls[i] })
	for _, u := range urls[:len(urls)-rng.IntN(2)] {
		fmt.Fprintf(&b, "  - {url: %s, weight: %d}\n", u, 1+rng.IntN(4))
	}
	b.WriteString("auth:\n  keys:\n")
	for i := range calmCallers {
		fmt.Fprintf(&b, "    - {id: %s, key: %s}\n", calmID(i), keyOf(calmID(i)))
	}
	for i := range wildCallers {
		fmt.Fprintf(&b, "    - {id: %s, key: %s, tenant: %s}\n", wildID(i), keyOf(wildID(i)), []string{"acme", "umbrella"}[rng.IntN(2)])
	}
	fmt.Fprintf(&b, "    - {id: the-vip, key: %s}", freeKey)
	return b.String()
}

// policy is when workers are asked. A dead one that comes back is asked within a
// second.
func policy(rng *rand.Rand) string {
	return fmt.Sprintf("worker_policy:\n  health: {interval: %dms}\n  retries: %d\n  breaker: {failures: %d, open: %dms}",
		400+rng.IntN(600), rng.IntN(mostRetries+1), 5+rng.IntN(20), 100+rng.IntN(400))
}

// months are the limits by the month, which are never reached.
func months(rng *rand.Rand) string {
	return fmt.Sprintf("requests_per_month: %[1]d, tokens_per_month: %[1]d000, input_tokens_per_month: %[1]d000, output_tokens_per_month: %[1]d000, cost_per_month: 1000000",
		1_000_000_000+rng.IntN(1000))
}
