// Package clientaddr finds a request's client behind trusted proxies, and the
// network that an address is counted as.
package clientaddr

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxEntries is how many entries of X-Forwarded-For are looked at, so that the
// work a request costs does not depend on who wrote it.
const maxEntries = 64

// Trusted is the networks whose proxies are believed. IPv4 networks are
// written as IPv4, never as IPv4-mapped IPv6. A nil Trusted believes nobody.
// It is safe for concurrent use as long as nobody changes it.
type Trusted []netip.Prefix

// Client returns the address of the client that sent r, without a zone and
// never IPv4-mapped. From a trusted peer X-Forwarded-For is read from the
// right: the first address that is not trusted is the client, or the leftmost
// when all are. From anybody else the peer itself is the client.
//
// It is certain unless the address may be a proxy's: forwarding headers came
// from a peer that is not trusted, or only as Forwarded, which is not read; an
// entry was malformed, so that the walk ended at the last good address; or
// there were too many entries. Where the peer has no address (a unix socket)
// the zero Addr is returned, and nothing is certain.
func (t Trusted) Client(r *http.Request) (addr netip.Addr, certain bool) {
	peer, ok := parse(r.RemoteAddr)
	if !ok {
		return netip.Addr{}, false
	}
	lines := r.Header["X-Forwarded-For"]
	if len(lines) > 0 && t.contains(peer) {
		return t.walk(peer, lines)
	}
	return peer, len(lines) == 0 && len(r.Header["Forwarded"]) == 0
}

// Peer reports whether the peer that sent r is itself trusted, so that what it
// says of those behind it counts.
func (t Trusted) Peer(r *http.Request) bool {
	peer, ok := parse(r.RemoteAddr)
	return ok && t.contains(peer)
}

// walk goes from the peer, which is trusted, through the lines from the last
// entry to the first.
func (t Trusted) walk(peer netip.Addr, lines []string) (addr netip.Addr, certain bool) {
	addr = peer
	looked := 0
	for i := len(lines) - 1; i >= 0; i-- {
		line := lines[i]
		for comma := len(line); comma >= 0; {
			if looked == maxEntries {
				return addr, false
			}
			looked++
			line = line[:comma]
			comma = strings.LastIndexByte(line, ',')
			next, ok := parse(strings.Trim(line[comma+1:], " \t"))
			if !ok {
				return addr, false
			}
			addr = next
			if !t.contains(addr) {
				return addr, true
			}
		}
	}
	return addr, true
}

func (t Trusted) contains(addr netip.Addr) bool {
	for _, p := range t {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// parse reads an address with or without a port: 1.2.3.4, 1.2.3.4:567, ::1,
// [::1], [::1]:80. The shape is told apart first, since trying one after the
// other would allocate an error for each that it is not.
func parse(s string) (netip.Addr, bool) {
	var addr netip.Addr
	var err error
	switch bracket := strings.HasPrefix(s, "["); {
	case bracket && strings.HasSuffix(s, "]"):
		addr, err = netip.ParseAddr(s[1 : len(s)-1])
		if addr.Is4() {
			return netip.Addr{}, false
		}
	case bracket || strings.Count(s, ":") == 1:
		var ap netip.AddrPort
		ap, err = netip.ParseAddrPort(s)
		addr = ap.Addr()
	default:
		addr, err = netip.ParseAddr(s)
	}
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}

// CallerKey returns the network that addr is counted as: an IPv4 address
// itself, an IPv6 address its /64, since one customer has at least that many.
// The zero Addr gives the zero Prefix.
func CallerKey(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // fails for the zero Addr only, with the zero Prefix
	return p
}

// AppendCallerKey appends the text of CallerKey(addr) to b: "192.0.2.1",
// "2001:db8:1:2::/64", or "unknown" for the zero Addr.
func AppendCallerKey(b []byte, addr netip.Addr) []byte {
	switch p := CallerKey(addr); {
	case !p.IsValid():
		return append(b, "unknown"...)
	case p.Addr().Is4():
		return p.Addr().AppendTo(b)
	default:
		return p.AppendTo(b)
	}
}
