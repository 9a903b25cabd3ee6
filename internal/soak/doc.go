// Package soak holds no program, only the test that asks everything of the whole
// program at once, for as long as it is told: every dialect and every fault,
// clients that leave, workers that die, reloads, floods, and a stop in the middle
// of it. What must hold then is counted, and must come out exactly.
package soak
