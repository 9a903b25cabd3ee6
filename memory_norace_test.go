//go:build !race

package penstock

const underRace = false
