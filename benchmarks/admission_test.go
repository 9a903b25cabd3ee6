package benchmarks

import (
	"sync"
	"testing"
	"time"
)

// TestAdmission holds every subject to the same traffic: of 150 asks of each
// of 200 keys, from 4 goroutines, exactly the 100 of its quota pass. A figure
// of one that let more or fewer through would say nothing.
func TestAdmission(t *testing.T) {
	const keys, goroutines, quotaOfKey, asks = 200, 4, 100, 150
	names := callers(keys)
	now := time.Now()
	for _, s := range all()[2:] {
		t.Run(s.name, func(t *testing.T) {
			fork, end := s.open(quota{quotaOfKey, lifetime})
			defer end()
			var wg sync.WaitGroup
			admitted := make([][keys]int, goroutines)
			for g := range goroutines {
				wg.Go(func() {
					decide := fork()
					for i := g; i < asks*keys; i += goroutines {
						if decide(names[i%keys], now) {
							admitted[g][i%keys]++
						}
					}
				})
			}
			wg.Wait()
			for k := range keys {
				sum := 0
				for g := range goroutines {
					sum += admitted[g][k]
				}
				if sum != quotaOfKey {
					t.Fatalf("%s: %d of %d admitted, want %d", names[k], sum, asks, quotaOfKey)
				}
			}
		})
	}
}
