package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/sizing"
)

// size computes how many requests to let in, and prints the flags that say so.
func size(args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("size", flag.ContinueOnError)
	var f sizing.Fleet
	var memory, perWorker int64
	tolerant := false
	fs.Func("workers", "`NUMBER` of workers", whole(&f.Workers, sizing.Most))
	fs.Func("gpu-memory", "`GB` of memory of a worker's GPU: 16, 40 or 80; another counts as the largest of them that is not larger", whole(&memory, 1_000_000))
	fs.Func("requests-per-worker", "`NUMBER` of requests that a worker takes at a time, in place of --gpu-memory", whole(&perWorker, sizing.Most))
	fs.Func("latency", "how long a request may take to begin, a `TOLERANCE`: low (interactive), medium (batch) or high (asynchronous)", func(s string) error {
		for _, l := range sizing.Latencies() {
			if l.String() == s {
				f.Latency, tolerant = l, true
				return nil
			}
		}
		return fmt.Errorf("expected low (interactive), medium (batch) or high (asynchronous), got %q", s)
	})
	fs.Func("expected-rate", "`REQUESTS` a second that are expected, such as 50 or 12.5", func(s string) (err error) {
		f.Rate, err = sizing.ParseRate(s)
		return err
	})
	rest, err := config.ParseArgs(fs, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, "usage: penstock size --workers NUMBER --gpu-memory GB --latency TOLERANCE --expected-rate REQUESTS\n\nComputes how many requests to let in at a time, how many to let wait and how\nmany a second, and prints the flags to start with.\n\n")
		config.PrintFlags(stdout, fs)
		return err
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%q belongs to no flag", rest[0])
	}
	switch {
	case err != nil:
	case f.Workers == 0:
		err = errors.New("--workers is missing: say how many workers there are")
	case memory == 0 && perWorker == 0:
		err = errors.New("--gpu-memory is missing: say how many GB the GPU of a worker has, such as 16, 40 or 80; or say --requests-per-worker")
	case !tolerant:
		err = errors.New("--latency is missing: say low (interactive), medium (batch) or high (asynchronous)")
	case f.Rate == 0:
		err = errors.New("--expected-rate is missing: say how many requests a second you expect, such as 50 or 12.5")
	}
	if err != nil {
		return usageError{err}
	}
	why := "--requests-per-worker"
	f.PerWorker = sizing.Range{Low: perWorker, High: perWorker}
	if perWorker == 0 {
		if f.PerWorker, why, err = onGPU(memory); err != nil {
			return usageError{err}
		}
	}
	return printSize(stdout, f, why)
}

// whole reads a whole number from 1 to most.
func whole(to *int64, most int64) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 || n > most {
			return fmt.Errorf("expected a whole number from 1 to %d, got %q", most, s)
		}
		*to = n
		return nil
	}
}

// onGPU returns how many requests at a time a worker with such a GPU takes, and
// why.
func onGPU(memory int64) (each sizing.Range, why string, err error) {
	counted, each, ok := sizing.PerWorker(memory)
	switch {
	case !ok:
		return each, "", fmt.Errorf("--gpu-memory: the guidelines begin at 16 GB, and this is %d: say --requests-per-worker, how many requests a worker takes at a time", memory)
	case counted != memory:
		return each, fmt.Sprintf("a GPU of %d GB, which counts as %d GB", memory, counted), nil
	}
	return each, fmt.Sprintf("a GPU of %d GB", memory), nil
}

// printSize prints the ranges, where they come from, and the flags to start
// with; why says where the number of requests for each worker comes from.
func printSize(to io.Writer, f sizing.Fleet, why string) error {
	s := f.Size()
	depth := f.Latency.DepthHalves()
	seconds := int64(s.Timeout.Seconds())
	t := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "requests at a time\t%v\t%d (workers) x %v (each: %s)\n", s.Slots, f.Workers, f.PerWorker, why)
	fmt.Fprintf(t, "requests that wait\t%v\t%d x %s to %d x %s (%v tolerance of latency), rounded up\n",
		s.Queue, s.Slots.Low, halves(depth.Low), s.Slots.High, halves(depth.High), f.Latency)
	fmt.Fprintf(t, "the longest wait\t%d s\t%s\n", seconds, whyWait[f.Latency])
	fmt.Fprintf(t, "requests a second\t%d\t%v (expected) x 1.2 (room for bursts), rounded up\n", s.Refill, f.Rate)
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(to, `
To start with, %s:

penstock serve --worker-urls %s \
  --max-concurrent-requests %d --queue-size %d --queue-timeout-secs %d \
  --rate-limit-tokens-per-second %d
`, whyStart[f.Latency], urls(f.Workers), s.Start.Slots, s.Start.Queue, seconds, s.Refill)
	return err
}

var (
	whyWait = [...]string{
		sizing.Low:    "as in the guidelines' interactive example",
		sizing.Medium: "as in the guidelines' batch example",
		sizing.High:   "twice that of batches, as twice as many wait; the guidelines give none",
	}
	whyStart = [...]string{
		sizing.Low:    "the low end of each range, as fewer at a time are answered sooner",
		sizing.Medium: "the middle of what a worker takes, and 3 that wait for each",
		sizing.High:   "the high end of each range, as more at a time get more done",
	}
)

// halves is a number of halves.
func halves(n int64) string {
	if n%2 == 1 {
		return fmt.Sprintf("%d.5", n/2)
	}
	return strconv.FormatInt(n/2, 10)
}

// urls are the workers' URLs as one writes them; the operator knows the names.
func urls(workers int64) string {
	switch workers {
	case 1:
		return "http://w1:8000"
	case 2:
		return "http://w1:8000 http://w2:8000"
	default:
		return fmt.Sprintf("http://w1:8000 ... http://w%d:8000", workers)
	}
}
