package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxDepth is far beyond what any key of ours needs.
const maxDepth = 32

// document parses the file into one tree. What makes it no document at all
// is an error of its own, after which there is nothing more to look at.
func (r *reader) document() (root value, ok bool) {
	if len(r.data) > maxFileBytes {
		r.fail(place{line: 1, column: 1}, "", "the file is larger than 4 MiB: no configuration needs that")
		return value{}, false
	}
	if at, bad := badByte(r.data); bad {
		r.fail(placeOf(r.data, at), "", "neither text nor UTF-8: save the file as UTF-8, without control characters")
		return value{}, false
	}
	var doc, second yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(r.data), yaml.WithPlugin(depthLimit{}))
	if err == nil {
		err = loader.Load(&doc)
	}
	switch {
	case errors.Is(err, io.EOF):
		r.fail(place{line: 1, column: 1}, "", "the file is empty: leave --config out to run on flags alone")
		return value{}, false
	case err != nil:
		r.syntax(err)
		return value{}, false
	}
	switch err := loader.Load(&second); {
	case err == nil:
		r.fail(place{line: second.Line, column: second.Column}, "", "a second document begins here: one file holds one configuration")
		return value{}, false
	case !errors.Is(err, io.EOF):
		r.syntax(err)
		return value{}, false
	}
	root = value{r: r, node: doc.Content[0]}
	if root.node.ShortTag() == "!!null" {
		r.fail(place{line: 1, column: 1}, "", "the file is empty: leave --config out to run on flags alone")
		return value{}, false
	}
	return root, true
}

// syntax reports what the YAML parser says. Its messages are fixed texts but
// for two kinds, which are replaced: one quotes the file, one is a tab.
func (r *reader) syntax(err error) {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		load = &yaml.LoadError{Message: "it cannot be parsed"}
	}
	at := place{line: max(load.Mark.Line, 1), column: max(load.Mark.Column, 1)}
	message := "not valid YAML: " + load.Message
	switch {
	case load.Stage == yaml.ComposerStage:
		message = noAliases
	case r.byteAt(at) == '\t':
		message = "a tab: YAML is indented with spaces"
	case load.ContextMsg != "" && load.ContextMark.Line != at.line:
		message += fmt.Sprintf(" (%s that begins on line %d)", load.ContextMsg, load.ContextMark.Line)
	case bytes.Contains(r.line(at.line), []byte("${")):
		message += "; inside {} and [] write \"${VAR}\" with its quotes"
	}
	r.fail(at, "", "%s", message)
}

// line returns a line of the file, counted from 1, without its end.
func (r *reader) line(n int) []byte {
	rest := r.data
	for ; n > 1; n-- {
		_, rest, _ = bytes.Cut(rest, []byte("\n"))
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return line
}

func (r *reader) byteAt(p place) byte {
	line := r.line(p.line)
	if p.column > len(line) {
		return 0
	}
	return line[p.column-1]
}

// badByte finds the first byte that is not UTF-8 or is a control character
// other than tab, line feed and carriage return.
func badByte(data []byte) (at int, bad bool) {
	for at < len(data) {
		c, n := utf8.DecodeRune(data[at:])
		if c == utf8.RuneError && n == 1 || c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return at, true
		}
		at += n
	}
	return 0, false
}

// placeOf returns the place of the byte at offset at.
func placeOf(data []byte, at int) place {
	before := data[:at]
	line := bytes.Count(before, []byte("\n")) + 1
	start := bytes.LastIndexByte(before, '\n') + 1
	return place{line: line, column: utf8.RuneCount(before[start:]) + 1}
}

// depthLimit is the parser's bound on nesting. Aliases need none: they are
// refused, and nothing here expands them.
type depthLimit struct{}

// CheckDepth refuses what is nested deeper than maxDepth.
func (depthLimit) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	return nil
}

// CheckAlias allows every count: see the type.
func (depthLimit) CheckAlias(int, int) error { return nil }
