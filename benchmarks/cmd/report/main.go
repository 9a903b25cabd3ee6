// Command report runs everything that is measured and prints one table: what a
// decision costs beside the peers, what the gateway costs beside a bare proxy,
// and each budget of the design beside what was reached. It runs in the folder
// benchmarks:
//
//	go run ./cmd/report             about twenty minutes
//	go run ./cmd/report -o new.txt  keeps the lines, in Go's benchmark format
//	go run ./cmd/report new.txt     prints the table of lines that were kept
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// Run is the program.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("report", flag.ContinueOnError)
	fs.SetOutput(stderr)
	keep := fs.String("o", "", "keep the benchmark lines in this file")
	var o effort
	fs.IntVar(&o.rounds, "rounds", 5, "how many rounds are measured; medians are printed")
	fs.StringVar(&o.benchtime, "benchtime", "150ms", "how long a benchmark runs in a round")
	fs.StringVar(&o.turn, "time", "2s", "how long a proxy is loaded in a round")
	fs.IntVar(&o.streams, "streams", 8000, "how many streams are held open to weigh one")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var lines bytes.Buffer
	if fs.NArg() > 0 {
		for _, name := range fs.Args() {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			lines.Write(text)
		}
	} else {
		to := io.MultiWriter(&lines, stderr)
		if *keep != "" {
			f, err := os.Create(*keep)
			if err != nil {
				return err
			}
			defer f.Close()
			to = io.MultiWriter(to, f)
		}
		if err := o.measure(ctx, to, stderr); err != nil {
			return err
		}
	}
	r, err := parse(&lines)
	if err != nil {
		return err
	}
	return show(stdout, r)
}
