package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// ruleName is what a rule's name looks like: fit for a metric's label.
var ruleName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// candidateSuffix makes the name of a rule's candidate out of its own.
const candidateSuffix = ".candidate"

// rules reads the general form of limits, after algorithm and auth.
func (r *reader) rules(m *mapping, c *RateLimiting) {
	v, ok := m.get("rules")
	if !ok {
		return
	}
	items, ok := v.items()
	if ok && len(items) == 0 {
		v.fail("holds no rule: write one, or remove rules")
	}
	lines := map[string]int{} // by name, candidates' too
	for _, item := range items {
		m, ok := item.mapping()
		if !ok {
			continue
		}
		rule := Rule{Line: m.node.Line}
		r.ruleName(m, &rule, lines)
		m.section("match", func(m *mapping) { r.match(m, &rule.Match) })
		rule.Per = m.per()
		limited := false
		m.section("limit", func(m *mapping) { limited = m.ruleLimit(&rule.Limit, c.Algorithm) })
		if m.word("priority", &rule.Priority, priorities()...) {
			r.turns = append(r.turns, join(m.path, "priority"))
		}
		mode := "enforce"
		m.word("mode", &mode, "enforce", "shadow")
		rule.Shadow = mode == "shadow"
		if m.has("priority") && rule.Shadow {
			r.failAt(join(m.path, "priority"), "a rule in mode: shadow decides nothing, and so sets no priority: write it in a rule of its own")
		}
		if v, ok := m.get("candidate"); ok && limited {
			if s, ok := v.scalar(expectedAmount(rule.Limit.Unit)); ok {
				if rule.Candidate, ok = s.amount(rule.Limit.Unit, false); ok && rule.Candidate == rule.Limit.Amount {
					s.fail("the amount of the limit itself: write another one, or remove it")
				}
			}
		}
		switch {
		case m.has("limit"):
		case !m.has("priority"):
			m.missing("limit", "write what it holds its requests to: limit: {requests: 60, per: 1m}; or a priority")
		default:
			for _, key := range []string{"per", "mode", "candidate"} {
				if m.has(key) {
					r.failAt(join(m.path, key), "means nothing to a rule without a limit: remove it")
				}
			}
		}
		m.done()
		c.Rules = append(c.Rules, rule)
	}
}

// ruleName reads a name that no other rule has, nor a candidate of one.
func (r *reader) ruleName(m *mapping, rule *Rule, lines map[string]int) {
	v, ok := m.get("name")
	if !ok {
		m.missing("name", "write the one that metrics and logs show")
		return
	}
	s, ok := v.text()
	switch {
	case !ok:
		return
	case !ruleName.MatchString(s.text):
		s.fail("a rule's name has 1 to 64 letters, digits and . _ -")
		return
	}
	rule.Name = s.text
	names := []string{rule.Name}
	if m.has("candidate") {
		names = append(names, rule.Name+candidateSuffix)
	}
	for _, name := range names {
		if line, taken := lines[name]; taken {
			s.fail("the rule on line %d has this name, or its candidate has: give each its own", line)
		}
		lines[name] = rule.Line
	}
}

// match reads which requests a rule is for.
func (r *reader) match(m *mapping, to *Match) {
	texts := func(key string, read func(s scalar) bool) (list []string) {
		for _, item := range m.oneOrMore(key) {
			if s, ok := item.text(); ok && read(s) {
				list = append(list, s.text)
			}
		}
		return list
	}
	to.Models = texts("model", func(s scalar) bool { return s.isModel(s.text) })
	for _, item := range m.oneOrMore("path") {
		if p, ok := item.pathPattern(); ok {
			to.Paths = append(to.Paths, p)
		}
	}
	to.Methods = methods(m.oneOrMore("method"))
	to.Roles = texts("role", scalar.isName)
	to.Tenants = texts("tenant", scalar.isName)
	to.Keys = texts("key", r.keys.isID)
	for _, item := range m.oneOrMore("ip") {
		if s, ok := item.scalar(networkForm); ok {
			if p, ok := s.network(networkForm); ok {
				to.IPs = append(to.IPs, p)
			}
		}
	}
	if len(m.node.Content) == 0 {
		m.fail("matches all requests: remove it, or name a model, path, method, role, tenant, key or ip")
	}
}

// isID reports whether a text is the id of one of auth.keys. If not, it has
// said so without the text, which could be a key.
func (k keyring) isID(s scalar) bool {
	if _, ok := k.byID[s.text]; ok {
		return true
	}
	message := "no key of auth.keys has this id: list the key there, or remove it here"
	// Of a key that was not read, the id may be the key itself.
	ids := slices.Sorted(maps.Values(k.id))
	if near := nearest(s.text, ids); near != "" {
		message += "; did you mean " + near + "?"
	}
	s.fail("%s", message)
	return false
}

// oneOrMore returns the values of a key that holds one or a list.
func (m *mapping) oneOrMore(key string) []value {
	v, ok := m.get(key)
	if !ok {
		return nil
	}
	if v.node.Kind != yaml.SequenceNode {
		return []value{v}
	}
	items, ok := v.items()
	if ok && len(items) == 0 {
		v.fail("an empty list matches nothing: name one, or remove it for all")
	}
	return items
}

// per reads what a rule has a counter each for.
func (m *mapping) per() (list []string) {
	v, ok := m.get("per")
	if !ok {
		return nil
	}
	items, _ := v.items()
	for _, item := range items {
		var word string
		if item.node.Kind == yaml.ScalarNode && item.node.Value == "tier" {
			item.fail("tier: %s", notYet)
			continue
		}
		switch ok := item.word(&word, []string{"caller", "key", "tenant", "role", "model", "path", "ip", "ip6_48"}); {
		case !ok:
		case slices.Contains(list, word):
			item.fail("%s stands here already: remove one", word)
		case word == "ip6_48" && slices.Contains(list, "ip"), word == "ip" && slices.Contains(list, "ip6_48"):
			item.fail("ip and ip6_48 are two ways to count an address: remove one")
		default:
			list = append(list, word)
		}
	}
	return list
}

// ruleLimit reads what a rule holds its requests to. algorithm is that of the
// section. It reports whether it came to a unit and an amount.
func (m *mapping) ruleLimit(l *RuleLimit, algorithm string) (ok bool) {
	units := []string{"requests", "tokens", "input_tokens", "output_tokens", "cost", "concurrent"}
	said := 0
	for _, unit := range units {
		v, given := m.get(unit)
		if !given {
			continue
		}
		said++
		l.Unit = unit
		if s, isScalar := v.scalar(expectedAmount(unit)); isScalar {
			l.Amount, ok = s.amount(unit, false)
		}
	}
	if said != 1 {
		m.fail("%d units: a limit has exactly one of %s", said, strings.Join(units, ", "))
		ok = false
	}
	per, hasPer := m.get("per")
	if l.Unit == "concurrent" {
		for _, key := range []string{"per", "algorithm", "capacity", "precision"} {
			if m.get(key); m.has(key) {
				m.r.failAt(join(m.path, key), "means nothing to requests in flight: remove it")
			}
		}
		return ok
	}
	switch {
	case hasPer:
		l.Window, l.Month = per.window()
	case said == 1:
		m.missing("per", "write the window: second, minute, hour, day, month or a duration such as 30s")
	}
	l.Algorithm = algorithm
	if l.Month {
		l.Algorithm = "fixed_window"
	}
	if m.word("algorithm", &l.Algorithm, "sliding_window", "fixed_window", "token_bucket") && l.Month && l.Algorithm != "fixed_window" {
		m.r.failAt(join(m.path, "algorithm"), "a calendar month is a fixed_window: remove it")
	}
	if whole(m, "capacity", &l.Capacity, 1, maxAmount) && l.Algorithm != "token_bucket" {
		m.r.failAt(join(m.path, "capacity"), "means nothing to a %s: remove it, or say algorithm: token_bucket", l.Algorithm)
	}
	m.duration("precision", &l.Precision)
	switch {
	case l.Precision == 0:
	case l.Algorithm != "sliding_window":
		m.r.failAt(join(m.path, "precision"), "means nothing to a %s: remove it", l.Algorithm)
	case l.Window > 0 && (l.Window%l.Precision != 0 || l.Window/l.Precision > maxSteps):
		m.r.failAt(join(m.path, "precision"), "the window, %s, must be 1 to %d steps of it: write %s",
			durationText(l.Window), maxSteps, durationText(nearestStep(l.Window, l.Precision)))
	}
	return ok
}

// window reads a word for a window, or a duration.
func (v value) window() (size time.Duration, month bool) {
	const form = "second, minute, hour, day, month or a duration such as 30s"
	s, ok := v.scalar(form)
	if !ok {
		return 0, false
	}
	if slices.Contains(windowWords(), s.text) {
		if s.text == "month" {
			return 0, true
		}
		return Limit{Per: s.text}.longest(), false
	}
	size, ok = parseDuration(s.text)
	switch {
	case !ok || size == 0:
		s.expected(form)
	case size > maxDuration:
		s.fail("longer than %s", durationText(maxDuration))
	default:
		return size, false
	}
	return 0, false
}
