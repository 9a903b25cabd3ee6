//go:build !race

package e2e

// buildFlags are those that the programs are built with.
var buildFlags []string
