package server

import (
	"net"
	"net/http"
	"testing"
)

// TestAdminConnections: whoever connects to the admin port and says nothing takes
// no place from who asks.
func TestAdminConnections(t *testing.T) {
	r := start(t, "shutdown_grace: 1s\n", http.NotFoundHandler())
	for range 3 * adminConnections {
		c, err := net.Dial("tcp", r.AdminAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if a := r.admin("GET", "/healthz"); a.status != http.StatusOK {
		t.Errorf("answered with %d", a.status)
	}
	r.back.mu.Lock()
	n := len(r.back.open)
	r.back.mu.Unlock()
	if n > adminConnections {
		t.Errorf("%d are connected, want at most %d", n, adminConnections)
	}
	r.log.line(t, "no more may be connected to the admin port")
}
