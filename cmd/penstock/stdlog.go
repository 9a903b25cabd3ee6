package main

import (
	"io"
	"log"
	"strings"
)

// quietStandardLog has the standard log, which net/http writes to when a worker
// speaks unasked, say so without what was said: that may be an answer.
func quietStandardLog(w io.Writer) {
	log.SetFlags(0)
	log.SetOutput(cutQuotes{w})
}

// cutQuotes passes lines on up to the first quotation mark.
type cutQuotes struct{ w io.Writer }

func (c cutQuotes) Write(p []byte) (int, error) {
	line, _, _ := strings.Cut(strings.TrimSpace(string(p)), `"`)
	_, err := io.WriteString(c.w, "penstock: "+strings.TrimSpace(line)+"\n")
	return len(p), err
}
