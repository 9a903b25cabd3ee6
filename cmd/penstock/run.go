package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/server"
	"github.com/penstock-dev/penstock/internal/telemetry"
)

const usage = `penstock meters requests, tokens, money and concurrency into AI inference servers.

  penstock serve --config penstock.yaml   run the gateway
  penstock check penstock.yaml            validate a configuration and print its rules
  penstock demo                           gateway, two stand-in workers and traffic, on loopback
  penstock worker                         a stand-in worker alone
  penstock size                           how many requests to let in, from workers and expected traffic
  penstock version                        print the version

penstock COMMAND --help tells the flags of a command.
`

// A usageError is a wrong command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Run is the program: it does what args say until it is done or ctx ends. What
// it returns is for exitCode.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return usageError{errors.New("say a command: serve, check, demo, worker, size or version")}
	}
	command, args := args[0], args[1:]
	var err error
	switch command {
	case "serve":
		err = serve(ctx, args, stdout, stderr)
	case "check":
		err = check(args, stdout, stderr)
	case "demo":
		err = demoCommand(ctx, args, stdout, stderr)
	case "worker":
		err = worker(ctx, args, stdout)
	case "size":
		err = size(args, stdout)
	case "version", "--version", "-version":
		_, err = fmt.Fprintln(stdout, "penstock", telemetry.Version())
	case "help", "--help", "-help", "-h":
		_, err = fmt.Fprint(stdout, usage)
	default:
		err = usageError{fmt.Errorf("%q is no command: serve, check, demo, worker, size or version", command)}
	}
	if errors.Is(err, flag.ErrHelp) {
		return nil // it was printed
	}
	return err
}

// exitCode says on stderr what went wrong, and returns the exit code: 0 fine, 1
// failed, 2 wrong usage or configuration.
func exitCode(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	var wrong config.Errors
	if errors.As(err, &wrong) {
		fmt.Fprintln(stderr, wrong)
		return 2
	}
	fmt.Fprintln(stderr, "penstock:", err)
	var use usageError
	var file *config.FileError
	if errors.As(err, &use) || errors.As(err, &file) {
		return 2
	}
	return 1
}

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	path, flags, err := config.ParseServeFlags(args, stdout)
	if err != nil {
		return usageOf(err)
	}
	load := func() (*config.Config, []config.Warning, error) {
		return config.Load(path, flags, os.LookupEnv)
	}
	percent := setCollector(os.LookupEnv, memoryOfProcess)
	signal.Ignore(syscall.SIGPIPE) // requests are served on though nobody reads the log any more
	log := newLogWriter(stderr)
	defer log.Close()
	quietStandardLog(log)
	s, err := server.New(server.Options{Load: load, Log: log, GCPercent: percent})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// usageOf makes an error of the command line one of its use.
func usageOf(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	return usageError{err}
}
