package server

import (
	"context"
	"io"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
)

func TestPercentOfAll(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		percent        int
		live, counters int64 // MiB
		want           int
	}{
		{400, 10, 0, 400},
		{400, 100, 0, 400},
		{400, 20, 10, 200},
		{400, 260, 250, 15}, // 40 MiB of garbage
		{400, 300, 256, 58},
		{400, 30, 60, 53}, // it grows
		{400, 0, 0, 400},
		{400, 0, 100, 400}, // before the first collection
		{400, 10_000, 9_999, 1},
		{100, 20, 10, 50},
	} {
		if got := percentOfAll(tt.percent, tt.live*mib, tt.counters*mib); got != tt.want {
			t.Errorf("%d %% beside %d of %d MiB: %d, want %d", tt.percent, tt.counters, tt.live, got, tt.want)
		}
	}
}

// TestPace: with many counters less garbage may pile up, and as much as ever when
// they are gone.
func TestPace(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	bytes := int64(0)
	p := pace{percent: 400, counters: func() int64 { return bytes }, now: 400}
	counters := make([]byte, 64<<20)
	runtime.GC()
	for _, tt := range []struct {
		bytes       int64
		least, most int
	}{{0, 400, 400}, {64 << 20, 1, 200}, {63 << 20, 1, 200}, {0, 400, 400}} {
		bytes = tt.bytes
		p.set()
		got := debug.SetGCPercent(400)
		debug.SetGCPercent(got)
		if got < tt.least || got > tt.most {
			t.Errorf("with %d bytes of counters: %d %%, want %d to %d", tt.bytes, got, tt.least, tt.most)
		}
	}
	runtime.KeepAlive(counters)
}

// TestPaceFromTheStart: counters that were restored are there before the first
// collection that comes, which would be that of five times as much.
func TestPaceFromTheStart(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	counters := make([]byte, 64<<20)
	runtime.GC()
	p := pace{percent: 400, counters: func() int64 { return int64(len(counters)) }}
	ended, end := context.WithCancel(t.Context())
	end() // so that no collection has a part in it
	p.keep(ended)
	if got := debug.SetGCPercent(400); got > 200 {
		t.Errorf("with counters from the start: %d %%, want at most 200", got)
	}
	runtime.KeepAlive(counters)
}

// TestKeepsPace: the percentage is looked after at every collection until the end.
func TestKeepsPace(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	asked := make(chan struct{}, 1000)
	p := pace{percent: 400, counters: func() int64 {
		asked <- struct{}{}
		return 0
	}}
	ctx, stop := context.WithCancel(t.Context())
	p.keep(ctx)
	for range 3 {
		runtime.GC()
		<-asked
	}
	stop()
	done := make(chan struct{})
	runtime.GC() // who was to be told of this one, if anybody, is
	afterCollection(func() { close(done) })
	runtime.GC()
	<-done
	for len(asked) > 0 {
		<-asked
	}
	runtime.GC()
	if n := len(asked); n > 0 {
		t.Errorf("asked %d times after the end", n)
	}
}

// TestServerKeepsPace: the percentage that a server is told follows its counters.
func TestServerKeepsPace(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	s, err := New(Options{Log: io.Discard, GCPercent: 400, Load: func() (*config.Config, []config.Warning, error) {
		const text = "listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nworkers: [http://127.0.0.1:9]\n"
		return config.Parse("penstock.yaml", []byte(text), config.Flags{}, func(string) (string, bool) { return "", false })
	}})
	if err != nil {
		t.Fatal(err)
	}
	charges := penstock.MustLimits(penstock.PerDay(penstock.Requests, 10)).Charges("", penstock.Amounts{penstock.Requests: 1})
	for i := range 150_000 {
		charges[0].Key = strconv.Itoa(i)
		if _, err := s.store.Take(t.Context(), noon(), charges); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	ctx, stop := context.WithCancel(t.Context())
	stop() // it begins, and ends at once
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := debug.SetGCPercent(400); got >= 400 {
		t.Errorf("%d %% with %d bytes of counters", got, s.store.Stats().Bytes)
	}
}
