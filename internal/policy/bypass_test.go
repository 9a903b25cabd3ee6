package policy

import (
	"net/netip"
	"testing"

	"github.com/penstock-dev/penstock/internal/traffic"
)

func TestBypass(t *testing.T) {
	p := compile(t, example(t, "16-bypass"))
	plain := compile(t, example(t, "01-basic"))
	tests := []struct {
		what     string
		key      bool
		path     string
		exact    bool
		addr     string
		certain  bool
		bypassed bool
	}{
		{"nothing of it", false, "/v1/models", true, "192.0.2.1", true, false},
		{"the path", false, "/metrics", true, "192.0.2.1", true, true},
		{"the other path", false, "/health", true, "192.0.2.1", true, true},
		{"the path, but not as it was sent", false, "/metrics", false, "192.0.2.1", true, false},
		{"below the path", false, "/metrics/x", true, "192.0.2.1", true, false},
		{"above the path", false, "/", true, "192.0.2.1", true, false},
		{"the path in another case", false, "/Metrics", true, "192.0.2.1", true, false},
		{"the key", true, "/v1/models", false, "192.0.2.1", false, true},
		{"the network", false, "/v1/models", true, "10.255.0.1", true, true},
		{"the first of the network", false, "/v1/models", true, "10.0.0.0", true, true},
		{"the other network", false, "/v1/models", false, "192.168.1.1", true, true},
		{"beside the network", false, "/v1/models", true, "192.167.255.255", true, false},
		{"the network, said by anyone", false, "/v1/models", true, "10.255.0.1", false, false},
		{"an address of IPv6", false, "/v1/models", true, "fd00::1", true, false},
		{"no address", false, "/v1/models", true, "", true, false},
	}
	for _, tt := range tests {
		c := &traffic.Caller{ID: "x", Bypass: tt.key, AddrCertain: tt.certain}
		if tt.addr != "" {
			c.Addr = netip.MustParseAddr(tt.addr)
		}
		if got := p.Bypass(c, tt.path, tt.exact); got != tt.bypassed {
			t.Errorf("%s: %v", tt.what, got)
		}
		if plain.Bypass(c, tt.path, tt.exact) != tt.key {
			t.Errorf("%s: bypassed by a policy that names no bypass", tt.what)
		}
	}
}
