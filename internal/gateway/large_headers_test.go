package gateway

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/workers"
)

// TestLargeHeaders: a worker that speaks HTTP/2 says what it takes of headers. Who
// sends more is told so. It is charged as one request, of which nothing was used.
func TestLargeHeaders(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.MaxHeaderBytes = 8 << 10
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	r := newRigFor(t, hostileLimits)
	ca := x509.NewCertPool()
	ca.AddCert(s.Certificate())
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	r.Workers.Update([]workers.Worker{{URL: u, CA: ca}}, workers.Policy{})
	if a := r.send("GET", "/a", ""); a.status != 200 { // the worker says it
		t.Fatalf("a small request gets %d, want 200", a.status)
	}
	before := r.tally()
	a := r.send("POST", complete, question, "X-A", strings.Repeat("a", 20<<10))
	const want = "The request's headers are larger than the worker takes. Send fewer."
	if a.status != 400 || !strings.Contains(a.body, want) {
		t.Errorf("a large request gets %d %s", a.status, a.body)
	}
	if got := r.tally().since(before); got != "1/0/0" {
		t.Errorf("it costs %q, want one request", got)
	}
	if a := r.send("GET", "/a", ""); a.status != 200 {
		t.Errorf("the next one gets %d, want 200", a.status)
	}
}
