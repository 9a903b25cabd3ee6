package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// effort is how thoroughly is measured.
type effort struct {
	rounds, streams int
	benchtime, turn string
}

// measure writes the lines of everything that is measured, round by round, so
// that what the machine does otherwise falls on all alike.
func (e effort) measure(ctx context.Context, lines, stderr io.Writer) error {
	dir, err := os.MkdirTemp("", "penstock-report-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	run := func(in, name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = in, lines, stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s %s: %w", filepath.Base(name), strings.Join(args, " "), err)
		}
		return nil
	}
	decisions, gateway := filepath.Join(dir, "decisions.test"), filepath.Join(dir, "gateway")
	if err := run("", "go", "test", "-c", "-o", decisions, "."); err != nil {
		return fmt.Errorf("this must run in the folder benchmarks: %w", err)
	}
	if err := run("", "go", "build", "-o", gateway, "./gateway"); err != nil {
		return err
	}
	for range e.rounds {
		if err := run("", decisions, "-test.run=^$", "-test.bench=Decision|Four|ThreeKeys", "-test.cpu=1,2", "-test.benchtime="+e.benchtime); err != nil {
			return err
		}
	}
	for range min(e.rounds, 3) {
		if err := run("", decisions, "-test.run=^$", "-test.bench=Keys$", "-test.skip=ThreeKeys", "-test.cpu=1", "-test.benchtime=1x"); err != nil {
			return err
		}
	}
	// Those that penstock's own packages have.
	for _, own := range []string{"queue", "provider"} {
		if err := run("..", "go", "test", "-run=^$", "-bench=^(BenchmarkFree|BenchmarkJoinAndRelease|BenchmarkPeek|BenchmarkMeter)$",
			"-cpu=1", "-count="+strconv.Itoa(e.rounds), "-benchtime="+e.benchtime, "./internal/"+own); err != nil {
			return err
		}
	}
	return run("", gateway, "-rounds", strconv.Itoa(e.rounds), "-time", e.turn, "-streams", strconv.Itoa(e.streams))
}
