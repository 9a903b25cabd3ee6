package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/standin"
)

// worker runs a stand-in worker.
func worker(ctx context.Context, args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("worker", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:8000", "`ADDRESS` to listen on (default 127.0.0.1:8000)")
	var models, keys config.List
	fs.Var(&models, "models", "`NAMES` of the models it serves (any name when none is said)")
	fs.Var(&keys, "api-keys", "`KEYS` that it asks for, on the paths of OpenAI, Anthropic and Google (none when none is said)")
	o := standin.Options{Output: standin.DefaultOutput()}
	fs.IntVar(&o.Capacity, "capacity", 8, "requests that run at full pace; more slow each other down (default 8)")
	fs.IntVar(&o.MaxRunning, "max-running", 0, "requests that run at all, the others wait (0: four times the capacity)")
	fs.DurationVar(&o.FirstToken, "first-token", 150*time.Millisecond, "time to the first token (default 150ms)")
	fs.DurationVar(&o.PerInputToken, "per-input-token", 100*time.Microsecond, "time to the first token for each token of the prompt (default 100us)")
	fs.DurationVar(&o.PerOutputToken, "per-token", 20*time.Millisecond, "time for each token of the answer (default 20ms)")
	fs.DurationVar(&o.JobTime, "job-time", 4*time.Second, "time that a job of ComfyUI runs (default 4s)")
	fs.Float64Var(&o.BytesPerToken, "bytes-per-token", 0, "bytes of text in a token (0: 4)")
	usage := fs.String("usage", "report", "the usage it reports (default report): report, withhold, garbage:negative, garbage:huge, garbage:string, garbage:float or garbage:null")
	fault := fs.String("fault", "", "a fault that befalls every request: "+standin.FaultNames)
	fs.Float64Var(&o.FaultProbability, "fault-probability", 1, "share of requests that --fault befalls (default 1)")
	fs.Uint64Var(&o.Seed, "seed", 0, "number from which its answers are drawn")
	rest, err := config.ParseArgs(fs, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, "usage: penstock worker [flags]\n\nA stand-in for an inference server with a real pace, which speaks "+standin.Speaks+".\nA request asks for a fault with the header X-Standin-Fault: NAME[=ARGUMENT].\n\n")
		config.PrintFlags(stdout, fs)
		return err
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%q belongs to no flag", rest[0])
	}
	switch {
	case err != nil:
	case o.Capacity < 1:
		err = fmt.Errorf("--capacity is %d: a worker runs at least one request", o.Capacity)
	case o.MaxRunning < 0:
		err = fmt.Errorf("--max-running is %d: a worker runs at least one request; 0 is four times the capacity", o.MaxRunning)
	case min(o.FirstToken, o.PerInputToken, o.PerOutputToken, o.JobTime) < 0:
		err = errors.New("--first-token, --per-input-token, --per-token and --job-time: no time is below 0")
	case !(o.BytesPerToken >= 0) || o.BytesPerToken > 1024:
		err = fmt.Errorf("--bytes-per-token is %v: write a number up to 1024, such as 3.5; 0 is 4", o.BytesPerToken)
	case !(o.FaultProbability >= 0 && o.FaultProbability <= 1):
		err = fmt.Errorf("--fault-probability is %v: a share is from 0 to 1", o.FaultProbability)
	}
	if err != nil {
		return usageError{err}
	}
	if o.Usage, err = standin.ParseUsage(*usage); err != nil {
		return usageError{fmt.Errorf("--usage: %w", err)}
	}
	if *fault != "" {
		if o.Fault, err = standin.ParseFault(*fault); err != nil {
			return usageError{fmt.Errorf("--fault: %w", err)}
		}
	}
	o.Models, o.APIKeys = models, keys

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	srv := &http.Server{Handler: standin.New(o), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	fmt.Fprintf(stdout, "stand-in worker on http://%s, capacity %d, speaks %s\n", l.Addr(), o.Capacity, standin.Speaks)
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
