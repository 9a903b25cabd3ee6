package jsonpeek

import (
	"bytes"
	"errors"
	"testing"
)

// TestLevels has arrays and objects in each other in turn, of which one is
// closed by the wrong bracket.
func TestLevels(t *testing.T) {
	for _, depth := range []int{1, 2, 63, 64, 65, 127, 128, 129, MaxDepth - 1} {
		for _, every := range []int{1, 2, 3, 7} { // so many arrays, then an object
			var opening, closing []byte
			for i := range depth {
				if i%(every+1) == every {
					opening = append(opening, `{"k":{},"a":`...)
					closing = append([]byte("}"), closing...)
				} else {
					opening = append(opening, '[')
					closing = append([]byte("]"), closing...)
				}
			}
			for wrong := range depth + 1 { // the last one: none is
				document := bytes.Join([][]byte{opening, []byte("[]"), closing, []byte(padding)}, nil)
				at := len(opening) + len("[]") + wrong
				if wrong < depth {
					document[at] ^= '}' ^ ']'
				}
				c := New(document)
				c.Skip()
				err := c.End()
				var e *Error
				if wrong == depth && err != nil || wrong < depth && (!errors.As(err, &e) || e.Offset != at) {
					t.Fatalf("%s: error %v; want one at byte %d: %v", bytes.TrimSpace(document), err, at, wrong < depth)
				}
			}
		}
	}
}
