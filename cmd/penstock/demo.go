package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/demo"
	"github.com/penstock-dev/penstock/internal/standin"
)

// demoCommand shows the gateway at work.
func demoCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	o := demo.Options{Out: stdout, Log: stderr}
	fs.DurationVar(&o.For, "for", 0, "how long to go on, such as 30s (0: until Ctrl-C or the end of the trace)")
	trace := fs.String("trace", "", "play this CSV `FILE` instead of drawn traffic: columns TIMESTAMP,ContextTokens,GeneratedTokens or t_s,client,input_tokens,output_tokens")
	fs.IntVar(&o.Speed, "speed", 1, "how many times as fast as it was recorded the trace plays: a number that divides a minute, up to 60 (default 1)")
	var to config.List
	fs.Var(&to, "to", "play the trace at the servers at these `URLS`, in turn, instead of a gateway of its own, and report by client of the trace")
	patience := fs.Duration("patience", time.Minute, "with --to: how long a client waits for its first token before it gives up, in the trace's time (default 1m; 0: for ever)")
	rest, err := config.ParseArgs(fs, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, "usage: penstock demo [flags]\n\nThe gateway before two stand-in workers, with traffic of several callers, on\nloopback. It prints what happens and where to look, and ends with a summary.\nWith --to it is the traffic alone.\n\n")
		config.PrintFlags(stdout, fs)
		return err
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("%q belongs to no flag", rest[0])
	case err == nil && o.For < 0:
		err = fmt.Errorf("--for: %v is no time: write one such as 30s", o.For)
	case err == nil && *trace == "" && (o.Speed != 1 || len(to) > 0):
		err = errors.New("--speed and --to go with --trace")
	case err == nil && *patience != time.Minute && len(to) == 0:
		err = errors.New("--patience goes with --to")
	case err == nil && *patience < 0:
		err = fmt.Errorf("--patience: %v is no time: write one such as 30s", *patience)
	case err == nil:
		if err = demo.CheckSpeed(o.Speed); err != nil {
			err = fmt.Errorf("--speed: %w", err)
		}
		for i := range to {
			to[i] = strings.TrimRight(to[i], "/")
			u, wrong := url.Parse(to[i])
			if wrong != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
				err = errors.New("--to: expected URLs such as http://127.0.0.1:3000")
			}
		}
	}
	if err != nil {
		return usageError{err}
	}
	if *trace != "" {
		f, err := os.Open(*trace)
		if err != nil {
			return usageError{fmt.Errorf("--trace: %w", err)}
		}
		o.Trace, err = standin.ReadTrace(f)
		_ = f.Close()
		if err == nil && len(o.Trace) == 0 {
			err = errors.New("the trace has no requests; they follow the line of column names, one a line")
		}
		if err != nil {
			return usageError{fmt.Errorf("--trace: %w", err)}
		}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(to) > 0 {
		return demo.Play{Trace: o.Trace, Speed: o.Speed, To: to, For: o.For, Patience: *patience, Out: stdout}.Run(ctx)
	}
	return demo.Run(ctx, o)
}
