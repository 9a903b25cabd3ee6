package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

const addressForm = "an address such as 127.0.0.1:3000, [::1]:3000 or :3000"

var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`)

// address reads a host:port to listen on.
func (m *mapping) address(key string, to *string) {
	v, ok := m.get(key)
	if !ok {
		return
	}
	s, ok := v.scalar(addressForm)
	switch {
	case !ok:
	case !isAddress(s.text):
		s.expected(addressForm)
	default:
		*to = s.text
	}
}

// isAddress reports whether s is host:port with a numeric port. The host may
// be empty, an IP address or a name. Port 0 is any free one.
func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	if n, ok := wholeNumber(port); !ok || n > 65535 {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err == nil || host == "" || hostName.MatchString(host) && !allDigits(host[strings.LastIndexByte(host, '.')+1:])
}

// allDigits reports whether the last label of a host is a number: then the
// host was meant as an IPv4 address, and is none.
func allDigits(label string) bool {
	return label != "" && strings.Trim(label, "0123456789") == ""
}

// isLoopback reports whether an address, which isAddress holds for, is one
// that only this machine reaches.
func isLoopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// isSelf reports whether who asks a worker at u asks who listens at an address:
// where both are the same, or u is of this machine alone.
func isSelf(u *url.URL, listen string) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	at := net.JoinHostPort(u.Hostname(), port)
	host, _, _ := net.SplitHostPort(listen)
	return (host == u.Hostname() || isLoopback(at)) && sameSocket(at, listen)
}

// sameSocket reports whether two addresses cannot both be listened on.
func sameSocket(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	every := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	}
	switch {
	case portA != portB || portA == "0":
		return false
	case hostA == "localhost" || hostB == "localhost":
		return isLoopback(a) && isLoopback(b) || every(hostA) || every(hostB)
	}
	return hostA == hostB || every(hostA) || every(hostB)
}
