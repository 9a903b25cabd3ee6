//go:build race

package e2e

// buildFlags make the programs look for races where the tests do.
var buildFlags = []string{"-race"}
