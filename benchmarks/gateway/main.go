//go:build linux

// Command gateway measures the penstock binary beside a bare
// httputil.ReverseProxy in front of the same worker. Worker, proxies and load
// generator are processes of their own, so that what a proxy costs is what the
// system says of its process alone. The proxies take turns, a round each, and
// the medians of the rounds are compared.
//
// Its output is lines of Go's benchmark format, for benchstat and for the
// program report. It reads /proc and runs on Linux only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := Run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// Run is the program. Its first word may name what one of its processes is:
// worker, bare or load. Without one it starts the others and compares.
func Run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "worker":
			return runWorker(ctx, stdout)
		case "bare":
			return runBare(ctx, args[1:], stdout)
		case "load":
			return runLoad(ctx, args[1:], stdout)
		}
	}
	o := options{out: stdout}
	fs := flag.NewFlagSet("gateway", flag.ContinueOnError)
	fs.IntVar(&o.rounds, "rounds", 5, "how many turns each proxy has with each workload")
	fs.DurationVar(&o.turn, "time", 2*time.Second, "how long a turn is")
	fs.IntVar(&o.streams, "streams", 8000, "how many streams are held open to weigh one; 0 leaves it out")
	fs.StringVar(&o.binary, "penstock", "", "the penstock binary (default: built from this checkout)")
	only := fs.String("workloads", "", "comma-separated workloads (default: all)")
	proxies := fs.String("proxies", "", "comma-separated proxies (default: all)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 || o.rounds < 1 || o.turn <= 0 {
		return errors.New("rounds and time must be positive, and nothing follows the flags")
	}
	var err error
	if o.workloads, err = chosen(workloads, *only, func(w workload) string { return w.name }); err != nil {
		return err
	}
	if o.proxies, err = chosen(variants, *proxies, func(v variant) string { return v.name }); err != nil {
		return err
	}
	return compare(ctx, o)
}

// chosen returns those that a comma-separated list names, all for none.
func chosen[T any](all []T, list string, name func(T) string) (some []T, err error) {
	if list == "" {
		return all, nil
	}
	for word := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(t T) bool { return name(t) == word })
		if i < 0 {
			var known []string
			for _, t := range all {
				known = append(known, name(t))
			}
			return nil, fmt.Errorf("%q is none of %s", word, strings.Join(known, ", "))
		}
		some = append(some, all[i])
	}
	return some, nil
}
