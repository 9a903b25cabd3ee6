package telemetry

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// TestLineFromTheStart: every series is there before the first request counts
// on it, so that rate() sees that one, too.
func TestLineFromTheStart(t *testing.T) {
	m := NewMetrics("penstock_", Gauges{})
	for name, want := range map[string]string{
		"penstock_queue_rejected_total": `
			{reason="full"} 0
			{reason="late"} 0
			{reason="pushed_out"} 0
			{reason="stopped"} 0
			{reason="timeout"} 0`,
		"penstock_class_queue_rejected_total": `
			{class="bulk",reason="full"} 0
			{class="bulk",reason="late"} 0
			{class="bulk",reason="pushed_out"} 0
			{class="bulk",reason="stopped"} 0
			{class="bulk",reason="timeout"} 0
			{class="default",reason="full"} 0
			{class="default",reason="late"} 0
			{class="default",reason="pushed_out"} 0
			{class="default",reason="stopped"} 0
			{class="default",reason="timeout"} 0
			{class="interactive",reason="full"} 0
			{class="interactive",reason="late"} 0
			{class="interactive",reason="pushed_out"} 0
			{class="interactive",reason="stopped"} 0
			{class="interactive",reason="timeout"} 0`,
		"penstock_class_queue_left_total": `
			{class="bulk"} 0
			{class="default"} 0
			{class="interactive"} 0`,
		"penstock_queue_wait_seconds_count": ` 0`,
		"penstock_class_queue_wait_seconds_count": `
			{class="bulk"} 0
			{class="default"} 0
			{class="interactive"} 0`,
		"penstock_http_rate_limit_total": `
			{result="allowed"} 0
			{result="rejected"} 0`,
	} {
		want = strings.TrimSpace(strings.ReplaceAll(want, "\n\t\t\t", "\n"+name))
		if !strings.HasPrefix(want, "penstock_") {
			want = name + " " + want
		}
		if diff := cmp.Diff(want, samples(t, m, name)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// TestLineCountsTwice: what is counted by class is the same as what is counted
// of all.
func TestLineCountsTwice(t *testing.T) {
	m := NewMetrics("penstock_", Gauges{})
	for _, class := range traffic.Classes() {
		m.Waited(class, 250*time.Millisecond)
		m.Left(class)
		for range 1 + int(class) {
			m.Rejected(class, Late)
		}
	}
	m.Left(traffic.ClassBulk)
	m.Waited(traffic.ClassBulk, 500*time.Millisecond)
	for name, want := range map[string]string{
		`penstock_queue_rejected_total{reason="late"}`:                           "6",
		`penstock_class_queue_rejected_total{class="interactive",reason="late"}`: "2",
		`penstock_class_queue_rejected_total{class="default",reason="late"}`:     "1",
		`penstock_class_queue_rejected_total{class="bulk",reason="late"}`:        "3",
		`penstock_class_queue_left_total{class="bulk"}`:                          "2",
		`penstock_class_queue_left_total{class="default"}`:                       "1",
		`penstock_queue_wait_seconds_sum`:                                        "1.25",
		`penstock_class_queue_wait_seconds_sum{class="bulk"}`:                    "0.75",
		`penstock_class_queue_wait_seconds_sum{class="default"}`:                 "0.25",
	} {
		if got := samples(t, m, name); got != name+" "+want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestLineAllocatesNothing(t *testing.T) {
	m := NewMetrics("penstock_", Gauges{})
	if n := testing.AllocsPerRun(1000, func() {
		m.Waited(traffic.ClassBulk, 20*time.Millisecond)
		m.Rejected(traffic.ClassBulk, Full)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestQueueIsReadOnce: the figures of one scrape are of one moment.
func TestQueueIsReadOnce(t *testing.T) {
	reads := 0
	m := NewMetrics("penstock_", Gauges{Queue: func() Queue {
		reads++
		return Queue{Slots: reads, InUse: reads, Depth: reads, Capacity: reads}
	}})
	scrape(t, m, "penstock_", "text/plain")
	got := scrape(t, m, "penstock_", "text/plain")
	for _, name := range []string{"slots", "slots_in_use", "queue_depth", "queue_capacity"} {
		if !strings.Contains(got, "\npenstock_"+name+" 2\n") {
			t.Errorf("%s is not what the second read said:\n%s", name, got)
		}
	}
	if reads != 2 {
		t.Errorf("%d reads in two scrapes", reads)
	}
}
