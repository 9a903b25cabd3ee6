package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/modelname"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// dimension is what a rule has a counter each for.
type dimension uint8

// The dimensions, in the order in which they stand in keys.
const (
	perCaller dimension = iota
	perKey
	perTenant
	perRole
	perModel
	perPath
	perIP
	perIP48
)

var dimensions = []string{"caller", "key", "tenant", "role", "model", "path", "ip", "ip6_48"}

// rule is one of the general rules: which requests it is for, and what it counts
// them per. An empty list is for all.
type rule struct {
	group          *group // the limit, and its candidate; nil for none
	key            string
	models, paths  []string
	methods        []string
	roles, tenants []string
	callers        []string // their IDs
	ips            []netip.Prefix
	per            []dimension
	early          bool // what it matches and counts per is known before the body
	class          traffic.Class
	few, all       bool // its counters, of listed callers or of all, are a known few
}

// rule compiles one of rate_limiting.rules.
func (b *builder) rule(c *config.Rule) rule {
	r := rule{
		key:     ruleKey + c.Name,
		models:  c.Match.Models,
		paths:   c.Match.Paths,
		methods: c.Match.Methods,
		roles:   c.Match.Roles,
		tenants: c.Match.Tenants,
		ips:     c.Match.IPs,
	}
	for _, id := range c.Match.Keys {
		r.callers = append(r.callers, CallerID(config.Key{ID: id}))
	}
	if c.Priority != "" {
		r.class = classes[c.Priority]
		b.policy.turns = append(b.policy.turns, Turn{Name: "rules." + c.Name, Match: matchText(&c.Match), Class: r.class})
	}
	if c.Limit.Unit == "" {
		return r
	}
	var per []string
	for d, name := range dimensions {
		if slices.Contains(c.Per, name) {
			r.per, per = append(r.per, dimension(d)), append(per, name)
		}
	}
	r.few, r.all = r.kept(1) > 0, r.kept(0) > 0
	r.early = len(r.models) == 0 && !slices.Contains(r.per, perModel)

	l := penstock.Limit{
		Name:      c.Name,
		Unit:      units[c.Limit.Unit],
		Amount:    c.Limit.Amount,
		Window:    c.Limit.Window,
		Algorithm: algorithms[c.Limit.Algorithm],
		Capacity:  c.Limit.Capacity,
		Precision: c.Limit.Precision,
	}
	if c.Limit.Month {
		l.Window = penstock.Month
	}
	if l.Unit != penstock.Concurrent && l.Algorithm == penstock.SlidingWindow && l.Precision == 0 {
		l.Precision = b.precision(l.Window)
	}
	one := Rule{
		Name:   "rules." + c.Name,
		Shown:  "rules." + c.Name,
		Match:  matchText(&c.Match),
		Per:    listText(per, " and ", "all"),
		Limit:  l,
		Shadow: c.Shadow,
		most:   l.Most(),
	}
	rules := []Rule{one}
	if c.Candidate != 0 {
		other := one
		other.Name, other.Shown, other.Shadow = one.Name+".candidate", one.Shown+".candidate", true
		other.Limit.Name, other.Limit.Amount = l.Name+".candidate", c.Candidate
		other.most = other.Limit.Most()
		rules = append(rules, other)
	}
	if r.group = b.counted(rules, r.key); r.group != nil {
		if len(r.per) == 0 {
			r.group.only(r.key)
		}
	}
	return r
}

// matchText says for people which requests a rule is for.
func matchText(m *config.Match) string {
	var ips []string
	for _, ip := range m.IPs {
		ips = append(ips, ip.String())
	}
	var parts []string
	for _, of := range []struct {
		what string
		list []string
	}{
		{"model", m.Models}, {"path", m.Paths}, {"method", m.Methods}, {"role", m.Roles}, {"tenant", m.Tenants}, {"key", m.Keys}, {"ip", ips},
	} {
		if len(of.list) > 0 {
			parts = append(parts, of.what+" "+strings.Join(of.list, "|"))
		}
	}
	return listText(parts, ", ", "any")
}

func listText(list []string, between, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, between)
}

// matches reports whether a request is one that the rule is for.
func (r *rule) matches(c *traffic.Caller, t *Target, a *traffic.Ask) bool {
	return one(r.methods, t.Method) && one(r.roles, c.Role) && one(r.tenants, c.Tenant) &&
		(len(r.callers) == 0 || c.Listed && slices.Contains(r.callers, c.ID)) &&
		(len(r.ips) == 0 || within(r.ips, c.Addr)) &&
		(len(r.paths) == 0 || slices.ContainsFunc(r.paths, t.isOf)) &&
		(len(r.models) == 0 || a.Metered() && match(r.models, a.Model) != "")
}

// one reports whether the list has the text, or has nothing at all.
func one(list []string, text string) bool { return len(list) == 0 || slices.Contains(list, text) }

func within(networks []netip.Prefix, addr netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// match returns the pattern that a model's name belongs to, one that is no glob
// before the others; empty when there is none.
func match(patterns []string, name string) (found string) {
	for _, p := range patterns {
		if modelname.Matches(p, name) {
			if !modelname.IsGlob(p) {
				return p
			}
			found = p
		}
	}
	return found
}

// keyOf returns the key of the counter that a request has under the rule. What a
// request has no value of is one value, which all such requests share.
func (r *rule) keyOf(k *keys, c *traffic.Caller, t *Target, a *traffic.Ask) string {
	if len(r.per) == 0 {
		return r.key
	}
	var room [256]byte
	key := append(room[:0], r.key...)
	for _, d := range r.per {
		switch d {
		case perCaller:
			key = appendValue(key, c.ID)
		case perKey:
			if c.Verified {
				key = appendValue(key, c.ID)
			} else {
				key = appendValue(key, "")
			}
		case perTenant:
			key = appendValue(key, c.Tenant)
		case perRole:
			key = appendValue(key, c.Role)
		case perModel:
			key = appendValue(key, r.modelValue(a))
		case perPath:
			key = appendValue(key, t.Path[:min(len(t.Path), maxText)])
		case perIP:
			key = appendNetwork(key, c.Addr, 64)
		case perIP48:
			key = appendNetwork(key, c.Addr, 48)
		}
	}
	return k.text(key)
}

// modelValue is what a model counts as: the name by which the rule knows it, or
// the client's own word.
func (r *rule) modelValue(a *traffic.Ask) string {
	if !a.Metered() {
		return ""
	}
	if name := match(r.models, a.Model); name != "" && !modelname.IsGlob(name) {
		return name
	}
	return a.Model[:min(len(a.Model), maxText)]
}

// appendNetwork appends an address, of an IPv6 one its first bits.
func appendNetwork(key []byte, addr netip.Addr, bits int) []byte {
	if !addr.IsValid() {
		return appendValue(key, "")
	}
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.WithZone("").Prefix(bits) // so many bits it has
	var room [64]byte
	return appendValue(key, string(p.AppendTo(room[:0])))
}

// kept is how many counters of a known few the rule can have, with so many
// listed callers. Models are few where the rule lists their names.
func (r *rule) kept(listed int) int {
	n, models := 1, 1
	for _, d := range r.per {
		switch d {
		case perTenant, perRole:
			if n == 1 {
				n = listed + 2 // and the two roles of those that are not listed
			}
		case perCaller, perKey:
			n = listed
		case perModel:
			if models = len(r.models); slices.ContainsFunc(r.models, modelname.IsGlob) {
				return 0
			}
		default:
			return 0
		}
	}
	return n * models
}
