package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong, and where.
type Error struct {
	// File is the file's name, or the flag that was wrong, such as --listen.
	File string
	// Line and Column count from 1; Line is 0 for what is in no file.
	Line, Column int
	// Path is the key, such as rate_limiting.window.size; empty for the
	// whole file and for flags.
	Path string
	// Message says what was expected and what to do. It never holds a
	// secret, nor what a variable expanded to.
	Message string
}

// Error returns the place, the key and the message, on one line.
func (e Error) Error() string {
	var parts []string
	for _, part := range []string{e.place(), e.Path, e.Message} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// place is the file and the line, or the flag; empty where there is neither.
func (e Error) place() string {
	if e.Line == 0 {
		return e.File
	}
	return fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
}

// Errors is everything that is wrong, by line. It is never empty where it is
// an error.
type Errors []Error

// Error returns the errors, one per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Warning is something that is valid and probably not meant.
type Warning Error

// String returns the place, the key and the message, on one line.
func (w Warning) String() string { return Error(w).Error() }

// maxFindings bounds what a hostile or mistaken file can make us hold and
// print. No file that a person wrote comes near.
const maxFindings = 1000

// findings collects errors or warnings.
type findings struct {
	list    []Error
	dropped int
}

func (f *findings) add(e Error) {
	if len(f.list) == maxFindings {
		f.dropped++
		return
	}
	f.list = append(f.list, e)
}

func byPlace(a, b Error) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

// sorted returns the findings by place. The last one says how many more
// there were, when there were too many.
func (f *findings) sorted() []Error {
	slices.SortStableFunc(f.list, byPlace)
	if f.dropped == 0 {
		return f.list
	}
	last := f.list[len(f.list)-1]
	return append(f.list, Error{
		File: last.File, Line: last.Line, Column: last.Column,
		Message: fmt.Sprintf("and %d more like these: mend the first ones and look again", f.dropped),
	})
}
