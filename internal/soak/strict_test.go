//go:build !race

package soak

const strict = true
