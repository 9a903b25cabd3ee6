package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// penstock is the path of the program under test, which TestMain sets.
var penstock string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	// Nothing of this machine may decide what the SDKs do.
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		owner, _, _ := strings.Cut(name, "_")
		if slices.Contains([]string{"OPENAI", "ANTHROPIC", "GOOGLE", "GEMINI"}, owner) {
			if err := os.Unsetenv(name); err != nil {
				return 0, err
			}
		}
	}
	// Most of a test's time is spent waiting as a client is told to, which
	// needs no processor.
	parallel := false
	flag.Visit(func(f *flag.Flag) { parallel = parallel || f.Name == "test.parallel" })
	if !parallel {
		if err := flag.Set("test.parallel", "16"); err != nil {
			return 0, err
		}
	}
	dir, err := os.MkdirTemp("", "penstock-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	penstock = filepath.Join(dir, "penstock")
	args := append([]string{"build", "-C", "..", "-o", penstock}, buildFlags...)
	if out, err := exec.Command("go", append(args, "./cmd/penstock")...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return m.Run(), nil
}
