// Package accuracy holds no program, only the tests that measure what the limits
// are worth: what they hold of what workers really used, and what they admit of
// what they allow. docs/accuracy.md keeps the tables of a long run.
package accuracy
