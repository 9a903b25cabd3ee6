package config

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rateLimiting reads the section of the same name, after auth.
func (r *reader) rateLimiting(m *mapping, c *RateLimiting) {
	c.Enabled = true
	m.boolean("enabled", &c.Enabled)
	r.plan(m, c)
	m.section("concurrent", func(m *mapping) {
		c.Concurrent.Enabled = true
		m.boolean("enabled", &c.Concurrent.Enabled)
		if !whole(m, "max_concurrent", &c.Concurrent.MaxConcurrent, 1, math.MaxInt32) {
			m.missing("max_concurrent", "how many requests may be in flight at a time")
		}
		m.duration("queue_timeout", &c.Concurrent.QueueTimeout)
	})
	r.roles(m, c)
	m.section("per_key", func(m *mapping) { r.perKey(m, c) })
	m.section("per_model", func(m *mapping) { r.perModel(m, c) })
	r.perEndpoint(m, c)
	c.Global = m.limits("global")
	r.tiers = append(r.tiers, tier{path: globalPath, own: c.Global, plan: c.Global, base: true})
	if !m.laterWord("storage", "redis") {
		m.word("storage", &c.Storage, "memory")
	}
	m.text("state_file", &c.StateFile)
	m.interval("cleanup_interval", &c.CleanupInterval, false)
	m.section("headers", func(m *mapping) { r.headers(m, &c.Headers) })
	m.section("error_response", func(m *mapping) {
		e := &c.ErrorResponse
		whole(m, "status_code", &e.StatusCode, 400, 599)
		m.text("message", &e.Message)
		m.boolean("include_retry_after", &e.IncludeRetryAfter)
		m.word("body", &e.Body, "json", "none")
		m.word("global", &e.Global, "document", "dialect")
	})
	m.word("algorithm", &c.Algorithm, "sliding_window", "fixed_window", "token_bucket")
	m.section("window", func(m *mapping) { r.window(m, c) })
	m.section("burst", func(m *mapping) { r.burst(m, &c.Burst) })
	r.rules(m, c)
	m.section("bypass", func(m *mapping) { r.bypass(m, &c.Bypass) })
	whole(m, "max_keys", &c.MaxKeys, 1, maxAmount)
	m.size("max_memory", &c.MaxMemory)
	if c.MaxMemory < minMemory {
		r.failAt(join(m.path, "max_memory"), "an empty store takes a part of that, and the rest has room for no counter: write at least 1MiB")
	}
	m.later("jwt_claims", "redis", "multi_tenant", "storage_failure")
	for _, name := range limitNames() {
		if e, ok := m.take(name); ok {
			e.name.fail("a limit stands in a section: write it under default, or under global for all callers together")
		}
	}
}

// minMemory leaves room for counters beside what a store takes that has none.
const minMemory = 1 << 20

const globalPath = "rate_limiting.global"

// plan reads default, strategy and limits, which make the plan of every
// caller.
func (r *reader) plan(m *mapping, c *RateLimiting) {
	var def Limits
	if v, ok := m.get("default"); ok {
		def = v.limits(false, &c.Turn)
	}
	if m.word("strategy", &c.Strategy, "requests", "tokens", "cost", "concurrent") && !m.has("limits") {
		r.warnAt("rate_limiting.strategy", "says what limits may hold, and there are none under limits")
	}
	limits := m.limits("limits")
	c.Default = slices.Clone(def)
	for _, l := range limits {
		path := join("rate_limiting.limits", l.Name)
		if !strings.HasSuffix(l.Unit, c.Strategy) { // input_tokens and output_tokens are of the family tokens
			r.failAt(path, "the strategy is %s, which this is not: change the strategy, or move the limit to default", c.Strategy)
		}
		d, both := def.get(l.Name)
		if !both {
			c.Default = append(c.Default, l)
		} else if d.Amount != l.Amount { // 0 where unlimited
			r.failAt(path, "default says another amount on line %d: keep one of them", d.Line)
		}
	}
	r.tiers = append(
		r.tiers,
		tier{path: "rate_limiting.default", own: def, plan: c.Default, base: true},
		tier{path: "rate_limiting.limits", own: limits, plan: c.Default, base: true},
	)
}

// perKey reads the overrides of single keys. The names are keys, so that no
// message shows one: entries go by their number.
func (r *reader) perKey(m *mapping, c *RateLimiting) {
	m.masked = true
	c.PerKey.Enabled = true
	m.boolean("enabled", &c.PerKey.Enabled)
	v, ok := m.get("keys")
	if !ok {
		m.missing("keys", "name a key and its limits")
		return
	}
	given, ok := v.entries(func(i int, _ string) string { return v.path + "[" + strconv.Itoa(i) + "]" })
	if ok && len(v.node.Content) == 0 {
		v.fail("names no key: name one, or remove per_key")
	}
	seen := keySet{}
	for _, e := range given {
		r.places[e.path] = e.name.place()
		var turn Turn
		limits := e.limits(true, &turn)
		below := c.Default
		if strings.Contains(e.key, "${") {
			e.name.fail("a name is not expanded: write env:NAME in its place")
		} else if key, ok := r.keys.refer(secretText{e.name, e.key, e.key}); ok && seen.add(e.name, key.Digest) {
			c.PerKey.Keys = append(c.PerKey.Keys, KeyLimits{key, limits, turn})
			below = c.roleOf(key).over(c.Default)
		}
		r.tiers = append(r.tiers, tier{path: e.path, own: limits, plan: limits.over(below)})
	}
}

// perModel reads the limits by model.
func (r *reader) perModel(m *mapping, c *RateLimiting) {
	c.PerModel.Enabled = true
	m.boolean("enabled", &c.PerModel.Enabled)
	m.word("scope", &c.PerModel.Scope, "caller", "all")
	v, ok := m.get("models")
	if !ok {
		m.missing("models", "name a model and its limits")
		return
	}
	for _, e := range v.named("names no model: name one, or remove per_model") {
		r.places[e.path] = e.name.place()
		limits := e.limits(false, nil)
		r.tiers = append(r.tiers, tier{path: e.path, own: limits, plan: limits})
		if !e.name.isModel(e.key) {
			continue
		}
		c.PerModel.Models = append(c.PerModel.Models, ModelLimits{e.key, limits})
	}
}

// named returns the entries of a mapping whose names are the file's own.
// empty says what is wrong when there are none.
func (v value) named(empty string) []entry {
	given, ok := v.entries(func(i int, name string) string {
		if len(name) > maxModelName { // an error, whose path need not be long
			return v.path + "[" + strconv.Itoa(i) + "]"
		}
		return v.path + "[" + strconv.Quote(name) + "]"
	})
	if ok && len(given) == 0 && len(v.node.Content) == 0 {
		v.fail("%s", empty)
	}
	return given
}

const maxModelName = 128

// modelProblem says what is wrong with a model's name or glob.
func modelProblem(name string) string {
	switch {
	case name == "":
		return "a model without a name: write * for every model"
	case len(name) > maxModelName:
		return "a model's name has at most 128 bytes"
	case strings.Contains(name, "${"):
		return "a name is not expanded: write it out"
	case strings.TrimSpace(name) != name:
		return "a space before or after the name: no model is called that"
	}
	return ""
}

// isModel reports whether a name or glob, which stands at v, may be a model's.
// If not, it has said so; of one that looks like another kind of pattern, as
// which it would match nothing, it warns.
func (v value) isModel(name string) bool {
	if problem := modelProblem(name); problem != "" {
		v.fail("%s", problem)
		return false
	}
	if i := strings.IndexAny(name, `?[]{}|^$\`); i >= 0 {
		v.r.warn(v.place(), v.path, "the %c is taken as it is written: only * stands for other letters", name[i])
	}
	return true
}

// window.size lies between these. A limit's counter goes by its name, so a
// per-minute limit measured over a second and a per-second one are still two.
const (
	minWindow = time.Second
	maxWindow = 24 * time.Hour
	maxSteps  = 120
)

// window reads over what the per-minute limits are measured, after
// algorithm.
func (r *reader) window(m *mapping, c *RateLimiting) {
	w := &c.Window
	m.duration("size", &w.Size)
	m.duration("precision", &w.Precision)
	switch {
	case w.Size < minWindow || w.Size > maxWindow:
		r.failAt(m.path+".size", "a per-minute limit is measured over 1s to 24h: beyond that write per-second or per-day limits")
		w.Size = time.Minute
	case w.Precision == 0:
	case c.Algorithm != "sliding_window":
		r.failAt(m.path+".precision", "means nothing to a %s: remove it", c.Algorithm)
	case w.Size%w.Precision != 0 || w.Size/w.Precision > maxSteps:
		r.failAt(m.path+".precision", "window.size, %s, must be 1 to %d steps of it: write %s",
			durationText(w.Size), maxSteps, durationText(nearestStep(w.Size, w.Precision)))
	}
}

// nearestStep returns the divisor of size nearest to step, in whole
// microseconds, that makes at most maxSteps of it.
func nearestStep(size, step time.Duration) time.Duration {
	best := size
	for n := time.Duration(1); n <= maxSteps; n++ {
		if d := size / n; size%(n*time.Microsecond) == 0 && (d-step).Abs() < (best-step).Abs() {
			best = d
		}
	}
	return best
}
