package config

import (
	"errors"
	"fmt"
	"net/netip"
)

// loopbackNetworks and privateNetworks are what the words loopback and
// private stand for.
func loopbackNetworks() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func privateNetworks() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("fc00::/7"),
	}
}

// networks reads a list of networks and addresses, and of the two words
// where they are allowed.
func (m *mapping) networks(key string, to *[]netip.Prefix, words bool) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	items, _ := v.items()
	*to = nil
	form := networkForm
	if words {
		form += ", or loopback or private"
	}
	for _, item := range items {
		s, ok := item.scalar(form)
		switch {
		case !ok:
		case words && s.text == "loopback":
			*to = append(*to, loopbackNetworks()...)
		case words && s.text == "private":
			*to = append(*to, privateNetworks()...)
		default:
			p, ok := s.network(form)
			if !ok {
				continue
			}
			if p.Bits() == 0 {
				m.r.warn(item.place(), item.path, "every address there is: what is said of this list holds for all clients")
			}
			*to = append(*to, p)
		}
	}
}

const networkForm = "an address such as 10.0.0.7 or a network such as 10.0.0.0/8"

// network reads an address or a network; form says what else could stand
// there.
func (s scalar) network(form string) (netip.Prefix, bool) {
	p, err := parseNetwork(s.text)
	if errors.Is(err, errNoNetwork) {
		s.expected(form)
	} else if err != nil {
		s.fail("%v", err)
	}
	return p, err == nil
}

var errNoNetwork = errors.New("neither an address nor a network")

// parseNetwork reads an address as the network of that one address. An
// IPv4-mapped IPv6 address is its IPv4 address. Bits beyond the prefix are
// an error: which of the two was meant is not ours to guess.
func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, errors.New("an address with a zone: remove the % and what follows")
		}
		p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return netip.Prefix{}, errNoNetwork
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, errors.New("a network of IPv4-mapped addresses: write it as an IPv4 network")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf("bits are set beyond the /%d: write %s for the network, or %s for the one address", p.Bits(), p.Masked(), p.Addr())
	}
	return p, nil
}
