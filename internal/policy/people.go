package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// person is a caller as a configuration knows it.
type person struct {
	key, role, tenant string
	plan              *group
}

// is reports whether the person is in all of the lists; an empty one has
// everybody.
func (p *person) is(roles, tenants, keys []string) bool {
	return one(roles, p.role) && one(tenants, p.tenant) && one(keys, p.key)
}

type people []person

// people are the callers that a configuration names, but those whose keys skip
// every limit, and those whom it does not need to name.
func (p *Policy) people(c *config.Config, bypass map[[32]byte]bool) (who people) {
	add := func(k config.Key, role string, listed bool) {
		caller := traffic.Caller{ID: CallerID(k), Role: role, Listed: listed}
		who = append(who, person{k.ID, role, k.Tenant, p.planOf(&caller).group})
	}
	add(config.Key{}, traffic.RoleAnonymous, false)
	if c.Auth.UnknownKeys != "by_address" {
		add(config.Key{}, traffic.RoleUser, false)
	}
	listed := slices.Clone(c.Auth.Keys)
	if c.RateLimiting.PerKey.Enabled {
		for _, k := range c.RateLimiting.PerKey.Keys {
			listed = append(listed, k.Key)
		}
	}
	for _, k := range listed {
		if !bypass[k.Digest] {
			add(k, cmp.Or(k.Role, traffic.RoleUser), true)
		}
	}
	return who
}

// matching are those whom a rule is for.
func (who people) matching(m *config.Match) people { return who.of(m.Roles, m.Tenants, m.Keys) }

// match reports whether a rule is for all of them, and there is somebody if it is
// not for everybody.
func (who people) match(m *config.Match) bool {
	if len(m.Roles)+len(m.Tenants)+len(m.Keys) == 0 {
		return true
	}
	return len(who) > 0 && !slices.ContainsFunc(who, func(p person) bool { return !p.is(m.Roles, m.Tenants, m.Keys) })
}

// of are those who are in all of the lists.
func (who people) of(roles, tenants, keys []string) (some people) {
	for _, p := range who {
		if p.is(roles, tenants, keys) {
			some = append(some, p)
		}
	}
	return some
}

// plans is people by what is looked up for each plan: looking through all of them
// for each would take the square of their number.
type plans struct {
	having map[*group]people // those who have the plan
	on     map[string]people // those whose plan has a rule of that name
	roles  map[string]bool   // that somebody has
}

func (who people) byPlan() plans {
	by := plans{map[*group]people{}, map[string]people{}, map[string]bool{}}
	for _, p := range who {
		by.roles[p.role] = true
		if p.plan == nil {
			continue
		}
		by.having[p.plan] = append(by.having[p.plan], p)
		for i := range p.plan.rules {
			name := p.plan.rules[i].Name
			by.on[name] = append(by.on[name], p)
		}
	}
	return by
}

// nobody says why no caller matches, when none does.
func (who people) nobody(m *config.Match) string {
	switch {
	case len(who.of(m.Roles, nil, nil)) == 0:
		return "nobody has the role " + strings.Join(m.Roles, " or ") + "; auth.keys says who does"
	case len(who.of(nil, m.Tenants, nil)) == 0:
		return "nobody is of the tenant " + strings.Join(m.Tenants, " or ") + "; auth.keys says who is"
	case len(who.of(nil, nil, m.Keys)) == 0:
		return "every key that it names is one of bypass.keys, and skips every limit"
	}
	return "no caller is all that it names of role, tenant and key"
}

// agree reports whether all have the same value; nobody has none.
func (who people) agree(value func(p *person) string) bool {
	for i := range who {
		if value(&who[i]) != value(&who[0]) {
			return false
		}
	}
	return len(who) > 0
}
