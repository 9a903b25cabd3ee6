// Package soak holds no program, only the tests that ask everything of the whole
// program at once, for as long as they are told: every dialect and every fault,
// clients that leave, workers that die, reloads, floods, and a stop in the middle
// of it; and more than the workers can take, for all of that time. What must hold
// then is counted, and must come out exactly.
package soak
