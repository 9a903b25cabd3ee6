package e2e

import (
	"bufio"
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

// metrics scrapes the admin port.
func (g *gateway) metrics(t *testing.T) samples {
	t.Helper()
	resp, err := http.Get(g.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /metrics: %s, %v", resp.Status, err)
	}
	s := samples{}
	lines := bufio.NewScanner(strings.NewReader(string(body)))
	for lines.Scan() {
		name, value, found := strings.Cut(strings.TrimPrefix(lines.Text(), "penstock_"), "} ")
		if found {
			name += "}"
		} else {
			name, value, found = strings.Cut(name, " ")
		}
		if !found || strings.HasPrefix(name, "#") {
			continue
		}
		if s[name], err = strconv.ParseFloat(value, 64); err != nil {
			t.Fatalf("GET /metrics: %q: %v", lines.Text(), err)
		}
	}
	return s
}

// await returns when the series has the value; metrics tell of nothing by
// themselves, so they are asked again and again.
func (g *gateway) await(t *testing.T, series string, value float64) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		got := g.metrics(t)[series]
		if got == value {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%s is %v, want %v", series, got, value)
		}
	}
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
