//go:build race

package penstock

// underRace says that the race detector makes everything many times slower.
const underRace = true
