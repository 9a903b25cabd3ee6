package config

// bypass reads who and what skips every limit, after auth.
func (r *reader) bypass(m *mapping, b *Bypass) {
	m.masked = true
	m.paths("paths", &b.Paths, false)
	if v, ok := m.get("keys"); ok {
		items, _ := v.items()
		seen := keySet{}
		for _, item := range items {
			s, ok := item.secretText()
			if !ok {
				continue
			}
			if key, ok := r.keys.refer(s); ok && seen.add(item, key.Digest) {
				b.Keys = append(b.Keys, key)
			}
		}
	}
	m.networks("ips", &b.IPs, false)
}
