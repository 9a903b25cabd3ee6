package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// measured is how many callers are taken into a store to see what they take, and
// mostCounters how many counters of theirs, which leaves the fewer callers the
// more each has.
const (
	measured     = 10_000
	mostCounters = 1_000_000
)

// sample is a request that all of them send.
type sample struct {
	to    policy.Target
	model string
	role  string
}

func (s sample) String() string {
	if s.model == "" {
		return s.to.Method + " " + s.to.Path
	}
	return s.to.Method + " " + s.to.Path + " for the model " + s.model
}

// printMemory prints what counters take, as measured with callers who ask once,
// for what most is counted of.
func printMemory(w io.Writer, c *config.Config, p *policy.Policy) error {
	most, counters := sample{}, 0
	var shared map[string]bool
	for _, s := range samples(c, p) {
		keys := s.shared(p)
		if n := len(s.own(p, 0, keys)); n > counters {
			most, counters, shared = s, n, keys
		}
	}
	if counters == 0 {
		return nil
	}
	store := penstock.NewMemoryStore(penstock.MemoryOptions{MaxBytes: math.MaxInt64 / 2})
	limiter := penstock.New(store)
	callers := int64(max(min(measured, mostCounters/counters), 1))
	for i := range callers {
		if _, err := limiter.Reserve(context.Background(), most.own(p, int(i), shared)...); err != nil {
			return err
		}
	}
	stats := store.Stats()
	perCaller := (stats.Keys + callers - 1) / callers
	r := c.RateLimiting
	memory := r.MaxMemory - r.MaxMemory/8 // the rest is never newcomers'
	room := min(r.MaxKeys/perCaller, memory/(stats.Bytes/callers+1))
	_, err := fmt.Fprintf(w, "\nA million callers who have asked once (%s) take about %d MB, as measured with %d.\nmax_keys and max_memory have room for about %d of them.\n",
		most, round(stats.Bytes/callers), callers, round(room))
	return err
}

// samples are requests of all that rules may tell apart, the plainest first.
func samples(c *config.Config, p *policy.Policy) (list []sample) {
	plain := policy.Target{Method: http.MethodPost, Path: "/v1/chat/completions"}
	r := &c.RateLimiting
	roles := []string{traffic.RoleAnonymous}
	if c.Auth.UnknownKeys != "by_address" {
		roles = append(roles, traffic.RoleUser)
	}
	first := func(list []string, or string) string {
		if len(list) == 0 {
			return or
		}
		return strings.ReplaceAll(list[0], "*", "x")
	}
	for _, role := range roles {
		seen := map[string]bool{}
		add := func(paths, methods, models []string) {
			to := policy.Target{Method: first(methods, plain.Method), Path: first(paths, plain.Path)}
			if s := (sample{to, first(models, ""), role}); !seen[s.String()] {
				seen[s.String()], list = true, append(list, s)
			}
		}
		add(nil, nil, nil)
		for _, model := range p.ModelPatterns() {
			add(nil, nil, []string{model})
		}
		for _, e := range r.PerEndpoint {
			add([]string{e.Path}, e.Methods, nil)
		}
		for _, rule := range r.Rules {
			add(rule.Match.Paths, rule.Match.Methods, rule.Match.Models)
		}
	}
	return list
}

// own are the charges of the i-th caller's request on counters that no other
// caller has: the others are few, and may be more than what they share lets pass.
func (s sample) own(p *policy.Policy, i int, shared map[string]bool) []penstock.Charge {
	return slices.DeleteFunc(s.charges(p, i), func(c penstock.Charge) bool { return shared[c.Key] })
}

// shared are the keys of a request of one caller more than are measured: those
// that others have, too, are not their own.
func (s sample) shared(p *policy.Policy) map[string]bool {
	keys := map[string]bool{}
	for _, c := range s.charges(p, measured) {
		keys[c.Key] = true
	}
	return keys
}

func (s sample) charges(p *policy.Policy, i int) []penstock.Charge {
	caller := &traffic.Caller{
		ID:       fmt.Sprintf("addr:%d", i),
		Role:     s.role,
		Verified: s.role != traffic.RoleAnonymous,
		Addr:     netip.AddrFrom4([4]byte{192, byte(i >> 16), byte(i >> 8), byte(i)}),
	}
	ask := &traffic.Ask{Endpoint: traffic.Endpoint{Dialect: traffic.OpenAI, Kind: traffic.ChatCompletions}, Model: s.model, MaxOutput: -1, Answers: 1}
	need := p.Need(caller, ask)
	charges, _ := p.Charges(nil, caller, s.to, ask, &need)
	return charges
}

// round keeps the first two digits.
func round(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
}
