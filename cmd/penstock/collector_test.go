package main

import (
	"errors"
	"math"
	"runtime/debug"
	"testing"
)

func TestSetCollector(t *testing.T) {
	const gib = 1 << 30
	some := func() (uint64, error) { return 10 * gib, nil }
	tests := []struct {
		name    string
		env     map[string]string
		memory  func() (uint64, error)
		percent int
		limit   int64
	}{
		{"nothing said", nil, some, 400, 9 * gib},
		{"percent said", map[string]string{"GOGC": "100"}, some, 100, 9 * gib},
		{"limit said", map[string]string{"GOMEMLIMIT": "1GiB"}, some, 400, math.MaxInt64},
		{"memory unknown", nil, func() (uint64, error) { return 0, errors.New("no cgroup") }, 100, math.MaxInt64},
		{"no memory", nil, func() (uint64, error) { return 0, nil }, 100, math.MaxInt64},
	}
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}()
	for _, tt := range tests {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
		said := setCollector(func(name string) (string, bool) {
			v, ok := tt.env[name]
			return v, ok
		}, tt.memory)
		got, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
		if said != 0 && said != got || said == 0 && got != 100 {
			t.Errorf("%s: it says that %d %% were set, and it is %d %%", tt.name, said, got)
		}
		if got != tt.percent || limit != tt.limit {
			t.Errorf("%s: %d %% and a limit of %d, want %d %% and %d", tt.name, got, limit, tt.percent, tt.limit)
		}
	}
	if n, err := memoryOfProcess(); err != nil || n == 0 {
		t.Errorf("the memory of this process is %d and %v", n, err)
	}
}
