package main

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestSizeInDocs: what the operator's page shows of penstock size is what it
// prints.
func TestSizeInDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)\n    penstock size ([^\n]*)\n\n```text\n(.*?)```\n").FindAllStringSubmatch(string(page), -1)
	if len(shown) != 1 {
		t.Fatalf("%d commands are shown, want one", len(shown))
	}
	var b strings.Builder
	if err := size(strings.Fields(shown[0][1]), &b); err != nil {
		t.Fatal(err)
	}
	if b.String() != shown[0][2] {
		t.Errorf("it prints\n%s\nand the page shows\n%s", b.String(), shown[0][2])
	}
}

// TestSizeToNobody: what cannot be printed is an error.
func TestSizeToNobody(t *testing.T) {
	args := strings.Fields("--workers 1 --gpu-memory 16 --latency low --expected-rate 1")
	n := 0
	for {
		err := size(args, &failing{after: n})
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrClosed) {
			t.Fatalf("after %d writes: %v", n, err)
		}
		n++
	}
	if n < 2 {
		t.Errorf("it is printed in %d writes, so the table's or the rest's cannot have failed", n)
	}
}

// failing is a writer that fails after so many writes.
type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, os.ErrClosed
	}
	return len(p), nil
}
