package clientaddr_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/clientaddr"
)

// trusted is who is believed in every test here.
var trusted = clientaddr.Trusted{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.1/32"),
	netip.MustParsePrefix("fd00::/8"),
	netip.MustParsePrefix("::1/128"),
}

func request(remote string, header http.Header) *http.Request {
	if header == nil {
		header = http.Header{}
	}
	return &http.Request{RemoteAddr: remote, Header: header}
}

func forwarded(lines ...string) http.Header {
	return http.Header{"X-Forwarded-For": lines}
}

func TestClient(t *testing.T) {
	for _, c := range []struct {
		name    string
		remote  string
		header  http.Header
		want    string // "" is the zero Addr
		certain bool
	}{
		{"direct", "192.0.2.1:1234", nil, "192.0.2.1", true},
		{"direct, IPv6", "[2001:db8::1]:1234", nil, "2001:db8::1", true},
		{"direct, zone", "[fe80::1%eth0]:1234", nil, "fe80::1", true},
		{"direct, mapped", "[::ffff:192.0.2.1]:1234", nil, "192.0.2.1", true},
		{"direct, no port", "192.0.2.1", nil, "192.0.2.1", true},
		{"unix socket", "@", nil, "", false},
		{"unix socket, forwarded", "@", forwarded("192.0.2.1"), "", false},
		{"empty remote", "", nil, "", false},
		{"trusted peer, nothing forwarded", "10.0.0.1:1", nil, "10.0.0.1", true},

		{"untrusted peer forwards", "192.0.2.1:1", forwarded("198.51.100.7"), "192.0.2.1", false},
		{"untrusted peer forwards nothing", "192.0.2.1:1", forwarded(""), "192.0.2.1", false},
		{"untrusted peer, Forwarded", "192.0.2.1:1", http.Header{"Forwarded": {"for=198.51.100.7"}}, "192.0.2.1", false},
		{"trusted peer, Forwarded alone", "10.0.0.1:1", http.Header{"Forwarded": {"for=198.51.100.7"}}, "10.0.0.1", false},
		{
			"trusted peer, both", "10.0.0.1:1",
			http.Header{"Forwarded": {"for=198.51.100.7"}, "X-Forwarded-For": {"192.0.2.1"}},
			"192.0.2.1", true,
		},

		{"one entry", "10.0.0.1:1", forwarded("192.0.2.1"), "192.0.2.1", true},
		{"rightmost untrusted wins", "10.0.0.1:1", forwarded("1.1.1.1, 192.0.2.1"), "192.0.2.1", true},
		{"trusted are skipped", "10.0.0.1:1", forwarded("1.1.1.1, 192.0.2.1, 10.9.9.9, 127.0.0.1"), "192.0.2.1", true},
		{"all trusted: leftmost", "10.0.0.1:1", forwarded("10.1.1.1,10.2.2.2"), "10.1.1.1", true},
		{"lines in order", "10.0.0.1:1", forwarded("1.1.1.1", "192.0.2.1, 10.2.2.2"), "192.0.2.1", true},
		{"lines go on leftwards", "10.0.0.1:1", forwarded("1.1.1.1, 192.0.2.1", "10.2.2.2"), "192.0.2.1", true},
		{"port", "10.0.0.1:1", forwarded("192.0.2.1:567"), "192.0.2.1", true},
		{"IPv6", "10.0.0.1:1", forwarded("2001:db8::5"), "2001:db8::5", true},
		{"IPv6 and port", "10.0.0.1:1", forwarded("[2001:db8::5]:80"), "2001:db8::5", true},
		{"IPv6 in brackets", "10.0.0.1:1", forwarded("[2001:db8::5]"), "2001:db8::5", true},
		{"IPv6, zone", "10.0.0.1:1", forwarded("fe80::5%eth0"), "fe80::5", true},
		{"trusted IPv6 peer", "[fd00::1]:1", forwarded("192.0.2.1"), "192.0.2.1", true},
		{"trusted peer, mapped", "[::ffff:10.0.0.1]:1", forwarded("192.0.2.1"), "192.0.2.1", true},
		{"trusted entry, mapped", "10.0.0.1:1", forwarded("192.0.2.1, ::ffff:10.0.0.2"), "192.0.2.1", true},
		{"mapped client", "10.0.0.1:1", forwarded("::ffff:192.0.2.1"), "192.0.2.1", true},
		{"spaces and tabs", "10.0.0.1:1", forwarded(" \t192.0.2.1 \t,\t 10.1.1.1  "), "192.0.2.1", true},

		{"empty", "10.0.0.1:1", forwarded(""), "10.0.0.1", false},
		{"empty last entry", "10.0.0.1:1", forwarded("192.0.2.1,"), "10.0.0.1", false},
		{"empty middle entry", "10.0.0.1:1", forwarded("192.0.2.1,,10.1.1.1"), "10.1.1.1", false},
		{"empty first entry, not reached", "10.0.0.1:1", forwarded(",192.0.2.1"), "192.0.2.1", true},
		{"empty line between", "10.0.0.1:1", forwarded("192.0.2.1", "", "10.1.1.1"), "10.1.1.1", false},
		{"word", "10.0.0.1:1", forwarded("unknown, 10.1.1.1"), "10.1.1.1", false},
		{"quoted", "10.0.0.1:1", forwarded(`"192.0.2.1"`), "10.0.0.1", false},
		{"IPv4 in brackets", "10.0.0.1:1", forwarded("[192.0.2.1]"), "10.0.0.1", false},
		{"IPv4 in brackets and port", "10.0.0.1:1", forwarded("[192.0.2.1]:80"), "10.0.0.1", false},
		{"open bracket", "10.0.0.1:1", forwarded("["), "10.0.0.1", false},
		{"empty brackets", "10.0.0.1:1", forwarded("[]"), "10.0.0.1", false},
		{"no port after colon", "10.0.0.1:1", forwarded("192.0.2.1:"), "10.0.0.1", false},
		{"port too large", "10.0.0.1:1", forwarded("192.0.2.1:65536"), "10.0.0.1", false},
		{"IPv4 with zone", "10.0.0.1:1", forwarded("192.0.2.1%eth0"), "10.0.0.1", false},
		{"octal", "10.0.0.1:1", forwarded("192.0.02.1"), "10.0.0.1", false},
		{"two in one entry", "10.0.0.1:1", forwarded("1.1.1.1 192.0.2.1"), "10.0.0.1", false},

		{"64 entries", "10.0.0.1:1", forwarded("192.0.2.1" + strings.Repeat(",10.1.1.1", 63)), "192.0.2.1", true},
		{"65 entries", "10.0.0.1:1", forwarded("192.0.2.1" + strings.Repeat(",10.1.1.1", 64)), "10.1.1.1", false},
		{"64 trusted entries", "10.0.0.1:1", forwarded("10.3.3.3" + strings.Repeat(",10.1.1.1", 63)), "10.3.3.3", true},
		{"many lines", "10.0.0.1:1", forwarded(strings.Split(strings.Repeat("10.1.1.1 ", 100), " ")[:100]...), "10.1.1.1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want netip.Addr
			if c.want != "" {
				want = netip.MustParseAddr(c.want)
			}
			addr, certain := trusted.Client(request(c.remote, c.header))
			if addr != want || certain != c.certain {
				t.Errorf("got %v, certain %t; want %v, %t", addr, certain, want, c.certain)
			}
		})
	}
}

func TestNobodyTrusted(t *testing.T) {
	addr, certain := clientaddr.Trusted(nil).Client(request("127.0.0.1:1", forwarded("192.0.2.1")))
	if addr != netip.MustParseAddr("127.0.0.1") || certain {
		t.Errorf("got %v, certain %t; want the peer, not certain", addr, certain)
	}
}

func TestCallerKey(t *testing.T) {
	for _, c := range []struct{ addr, prefix, text string }{
		{"192.0.2.1", "192.0.2.1/32", "192.0.2.1"},
		{"::ffff:192.0.2.1", "192.0.2.1/32", "192.0.2.1"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64", "fe80::/64"},
		{"::1", "::/64", "::/64"},
	} {
		addr := netip.MustParseAddr(c.addr)
		if got := clientaddr.CallerKey(addr); got != netip.MustParsePrefix(c.prefix) {
			t.Errorf("CallerKey(%s) = %v, want %s", c.addr, got, c.prefix)
		}
		if got := string(clientaddr.AppendCallerKey([]byte("addr:"), addr)); got != "addr:"+c.text {
			t.Errorf("AppendCallerKey(%s) = %q, want %q", c.addr, got, "addr:"+c.text)
		}
	}
	if got := clientaddr.CallerKey(netip.Addr{}); got != (netip.Prefix{}) {
		t.Errorf("CallerKey of the zero Addr = %v", got)
	}
	if got := string(clientaddr.AppendCallerKey(nil, netip.Addr{})); got != "unknown" {
		t.Errorf("AppendCallerKey of the zero Addr = %q", got)
	}
}

// reference says the same as Client in the plainest words: all entries first,
// then the answer.
func reference(remote string, header http.Header) (netip.Addr, bool) {
	peer, ok := referenceParse(remote)
	switch {
	case !ok:
		return netip.Addr{}, false
	case len(header["X-Forwarded-For"]) == 0:
		return peer, len(header["Forwarded"]) == 0
	case !referenceTrusts(peer):
		return peer, false
	}
	path := []netip.Addr{peer}
	entries := strings.Split(strings.Join(header["X-Forwarded-For"], ","), ",")
	for len(entries) > 0 && len(path) <= 64 && referenceTrusts(path[len(path)-1]) {
		addr, ok := referenceParse(strings.Trim(entries[len(entries)-1], " \t"))
		if !ok {
			return path[len(path)-1], false
		}
		path, entries = append(path, addr), entries[:len(entries)-1]
	}
	last := path[len(path)-1]
	return last, len(entries) == 0 || !referenceTrusts(last)
}

func referenceTrusts(a netip.Addr) bool {
	s := a.String()
	return a.Is4() && strings.HasPrefix(s, "10.") || s == "127.0.0.1" || a.Is6() && strings.HasPrefix(s, "fd") && len(strings.Split(s, ":")[0]) == 4 || s == "::1"
}

func referenceParse(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		ap, portErr := netip.ParseAddrPort(s)
		addr, err = ap.Addr(), portErr
	}
	if err != nil && len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' && strings.Contains(s, ":") {
		addr, err = netip.ParseAddr(s[1 : len(s)-1])
	}
	if err != nil {
		return netip.Addr{}, false
	}
	addr = addr.WithZone("")
	if addr.Is4In6() {
		addr = netip.AddrFrom4(addr.As4())
	}
	return addr, true
}

func FuzzClient(f *testing.F) {
	f.Add("10.0.0.1:1", "192.0.2.1, 10.1.1.1", "")
	f.Add("10.0.0.1:1", "1.2.3.4:567", "[::1]:80, ::1")
	f.Add("192.0.2.1:1", "1.2.3.4", "")
	f.Add("[fd00::1]:1", "fe80::1%eth0,[::ffff:10.0.0.1]", "10.0.0.9:8")
	f.Add("@", "", "")
	f.Add("10.0.0.1:1", strings.Repeat("10.1.1.1,", 70)+"10.1.1.1", ",")
	f.Add("::1", "[1.2.3.4], []", "[")
	f.Fuzz(func(t *testing.T, remote, line1, line2 string) {
		for _, h := range []http.Header{{}, forwarded(line1), forwarded(line1, line2), {"Forwarded": {line1}}} {
			addr, certain := trusted.Client(request(remote, h))
			wantAddr, wantCertain := reference(remote, h)
			if addr != wantAddr || certain != wantCertain {
				t.Errorf("%q %q: got %v, certain %t; want %v, %t", remote, h, addr, certain, wantAddr, wantCertain)
			}
			if addr.Is4In6() || addr.Zone() != "" {
				t.Errorf("%q %q: %v is mapped or has a zone", remote, h, addr)
			}
		}
	})
}

// requests are the common paths.
func requests() map[string]*http.Request {
	return map[string]*http.Request{
		"direct":  request("192.0.2.1:1234", nil),
		"proxied": request("10.0.0.1:1234", forwarded("192.0.2.1, 10.2.2.2")),
		"port":    request("10.0.0.1:1234", forwarded("192.0.2.1:567")),
		"ipv6":    request("[fd00::1]:1234", forwarded("2001:db8::5", "[fd00::2]:80")),
	}
}

func TestClientDoesNotAllocate(t *testing.T) {
	for name, r := range requests() {
		if n := testing.AllocsPerRun(100, func() { trusted.Client(r) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkClient(b *testing.B) {
	for name, r := range requests() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				trusted.Client(r)
			}
		})
	}
}

func TestPeer(t *testing.T) {
	trusted := clientaddr.Trusted{netip.MustParsePrefix("10.0.0.0/8")}
	for addr, want := range map[string]bool{"10.1.2.3:4": true, "[::ffff:10.1.2.3]:4": true, "11.1.2.3:4": false, "@": false} {
		if got := trusted.Peer(&http.Request{RemoteAddr: addr}); got != want {
			t.Errorf("Peer of %s = %v", addr, got)
		}
	}
}
