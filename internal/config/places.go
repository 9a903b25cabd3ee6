package config

import (
	"slices"
	"strings"
)

// place is where something was said: in the file, or in a flag.
type place struct {
	line, column int
	flag         string
}

// places is where the keys stand, by path. That of the empty path is the
// beginning of the file, if there is one.
type places map[string]place

// of returns the place of path, or of the nearest key above it that was said.
func (p places) of(path string) place {
	for path != "" {
		if at, ok := p[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return p[""]
}

// finding is what there is to say at p, in the file of that name.
func finding(file string, p place, path, message string) Error {
	if p.flag != "" {
		return Error{File: p.flag, Message: message}
	}
	return Error{File: file, Line: p.line, Column: p.column, Path: path, Message: message}
}

// Says reports whether the file or a flag says something at path, such as
// rate_limiting.default.requests_per_minute.
func (c *Config) Says(path string) bool {
	_, ok := c.places[path]
	return ok
}

// Warning returns a warning of what is said at path: with the place of it, or
// of the nearest key above it that was said. It is for the rooms that can tell
// what a valid configuration comes to; message is as that of an [Error].
func (c *Config) Warning(path, message string) Warning {
	return Warning(finding(c.file, c.places.of(path), path, message))
}

// SortWarnings puts warnings in the order of the file.
func SortWarnings(warnings []Warning) {
	slices.SortStableFunc(warnings, func(a, b Warning) int { return byPlace(Error(a), Error(b)) })
}
