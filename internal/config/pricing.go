package config

import "github.com/penstock-dev/penstock/internal/pricing/usd"

// pricing reads what tokens cost.
func (r *reader) pricing(m *mapping, p *Pricing) {
	m.section("default", func(m *mapping) { m.price(&p.Default) })
	v, ok := m.get("models")
	if !ok {
		return
	}
	for _, e := range v.named("names no model: name one, or remove models") {
		r.places[e.path] = e.name.place()
		price := Price{}
		if sub, ok := e.mapping(); ok {
			sub.price(&price)
			sub.done()
		}
		if !e.name.isModel(e.key) {
			continue
		}
		p.Models = append(p.Models, ModelPrice{e.key, price})
	}
}

// price reads what a million tokens of each kind cost.
func (m *mapping) price(p *Price) {
	if len(m.node.Content) == 0 {
		m.fail("an empty price: name input, output, cached_input or cache_writes, in US dollars per million tokens")
	}
	for _, of := range []struct {
		key string
		to  **int64
	}{
		{"input", &p.Input},
		{"output", &p.Output},
		{"cached_input", &p.CachedInput},
		{"cache_writes", &p.CacheWrites},
	} {
		v, ok := m.get(of.key)
		if !ok {
			continue
		}
		if s, ok := v.scalar(expectedAmount("cost")); ok {
			if nano, ok := s.dollars(); ok {
				*of.to = &nano
			}
		}
	}
}

// dollars reads an amount of US dollars, in nano-USD.
func (s scalar) dollars() (nano int64, ok bool) {
	if !s.plain() {
		s.expected(expectedAmount("cost"))
		return 0, false
	}
	nano, err := usd.Parse(s.text)
	if err != nil {
		s.fail("%v; got %s", err, s.got())
	}
	return nano, err == nil
}
