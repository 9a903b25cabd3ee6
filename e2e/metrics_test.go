package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// samples are what /metrics says, by name and labels as they are written there,
// without the prefix: http_rate_limit_total{result="allowed"}. A series that is
// not there is 0.
type samples map[string]float64

// get returns the body of a page.
func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}

// metrics scrapes the admin port.
func (g *gateway) metrics(t *testing.T) samples {
	t.Helper()
	s := samples{}
	for line := range strings.Lines(get(t, g.admin+"/metrics")) {
		line = strings.TrimSpace(line)
		name, value, found := strings.Cut(strings.TrimPrefix(line, "penstock_"), "} ")
		if found {
			name += "}"
		} else {
			name, value, found = strings.Cut(name, " ")
		}
		if !found || strings.HasPrefix(name, "#") {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("GET /metrics: %q: %v", line, err)
		}
		s[name] = n
	}
	return s
}

// poll returns when what it asks is so. It is for what tells of nothing by itself:
// metrics and readiness. got is for the message when it does not come to be.
func poll(t *testing.T, what string, ask func() (got any, so bool)) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		got, so := ask()
		if so {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("want %s, got %v", what, got)
		}
	}
}

// await returns when the series has the value.
func (g *gateway) await(t *testing.T, series string, value float64) {
	t.Helper()
	poll(t, fmt.Sprintf("%s to be %v", series, value), func() (any, bool) {
		got := g.metrics(t)[series]
		return got, got == value
	})
}

// idle returns when no request is in flight any more: all are settled and
// counted.
func (g *gateway) idle(t *testing.T) {
	t.Helper()
	g.await(t, "inflight_requests", 0)
}

// counted waits until nothing is in flight and compares the series of the named
// families with want, of which none may be missing and to which none may be
// added. Names are as in samples.
func (g *gateway) counted(t *testing.T, want samples) {
	t.Helper()
	g.idle(t)
	got := g.metrics(t)
	families := map[string]bool{}
	for name, value := range want {
		family, _, _ := strings.Cut(name, "{")
		families[family] = true
		if got[name] != value {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
	}
	for name, value := range got {
		family, _, _ := strings.Cut(name, "{")
		if _, known := want[name]; families[family] && !known && value != 0 {
			t.Errorf("%s is %v, want nothing", name, value)
		}
	}
}
