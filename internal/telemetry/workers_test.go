package telemetry

import (
	"fmt"
	"strings"
	"testing"
)

// TestWorkerLabels: a hundred workers are shown each, of more the sums.
func TestWorkerLabels(t *testing.T) {
	n := 0
	m := NewMetrics("penstock_", Gauges{Workers: func() (all []Worker) {
		for i := range n {
			all = append(all, Worker{
				Name: fmt.Sprintf("http://w%d:8000", i), Healthy: i%2 == 0, BreakerOpen: i%2 == 1,
				Outstanding: i, Requests: uint64(10 * i), Failures: uint64(i),
			})
		}
		return all
	}})
	names := []string{"healthy", "breaker_open", "outstanding", "requests_total", "failures_total"}
	for _, tt := range []struct {
		workers, series int
		other           []string // by name; nil: there is none
	}{
		{workers: 0, series: 0},
		{workers: 1, series: 1},
		{workers: 100, series: 100},
		{workers: 101, series: 101, other: []string{"1", "0", "100", "1000", "100"}},
		{workers: 103, series: 101, other: []string{"2", "1", "303", "3030", "303"}},
	} {
		n = tt.workers
		for i, name := range names {
			got := samples(t, m, "penstock_worker_"+name)
			if lines := strings.Count(got, "{"); lines != tt.series {
				t.Errorf("%d workers: %d series of %s", n, lines, name)
			}
			_, other, found := strings.Cut(got+"\n", `{worker="other"} `)
			other, _, _ = strings.Cut(other, "\n")
			if found != (tt.other != nil) || found && other != tt.other[i] {
				t.Errorf("%d workers: %s of the others is %q, want %v", n, name, other, tt.other)
			}
		}
	}
	if got := samples(t, m, `penstock_worker_outstanding{worker="http://w99:8000"}`); !strings.HasSuffix(got, " 99") {
		t.Errorf("the hundredth: %q", got)
	}
}

// TestWorkersOfOneName are shown as one, and hide no other figure.
func TestWorkersOfOneName(t *testing.T) {
	m := NewMetrics("penstock_", Gauges{Workers: func() []Worker {
		return []Worker{{Name: "http://w", Outstanding: 1, Healthy: true}, {Name: "http://w", Outstanding: 2}}
	}})
	if got, want := samples(t, m, "penstock_worker_outstanding"), `penstock_worker_outstanding{worker="http://w"} 3`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
