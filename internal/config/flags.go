package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"
)

// maxSeconds is the longest duration that a flag takes.
const maxSeconds = int64(maxDuration / time.Second)

// Flags are what the command line says; each that is nil was not given.
type Flags struct {
	Listen, AdminListen *string
	// WorkerURLs takes the place of the file's workers.
	WorkerURLs                                    []string
	RequestTimeout, ShutdownGrace, StartupTimeout *time.Duration
	// MaxConcurrent, Refill, QueueSize and QueueTimeout are those of admission.
	MaxConcurrent, Refill, QueueSize *string
	QueueTimeout                     *time.Duration
}

// ParseServeFlags reads the arguments of the serve command. path is the
// configuration file's, empty when there is none. For -h and --help it writes
// the usage to w and returns flag.ErrHelp. Values are checked when they are
// loaded, except that seconds must be whole.
func ParseServeFlags(args []string, w io.Writer) (path string, f Flags, err error) {
	fs := flag.NewFlagSet("penstock serve", flag.ContinueOnError)
	fs.StringVar(&path, "config", "", "the configuration `FILE`; without it, flags alone count")
	text := func(to **string) func(string) error {
		return func(s string) error {
			*to = &s
			return nil
		}
	}
	seconds := func(least int64, to **time.Duration) func(string) error {
		return func(s string) error {
			n, ok := wholeNumber(s)
			if !ok || n < least || n > maxSeconds {
				return fmt.Errorf("expected a whole number of seconds from %d to %d, got %s", least, maxSeconds, quoted(s))
			}
			d := time.Duration(n) * time.Second
			*to = &d
			return nil
		}
	}
	fs.Func("listen", "the gateway's `ADDRESS` (default 127.0.0.1:3000)", text(&f.Listen))
	fs.Func("admin-listen", "the `ADDRESS` of metrics and the admin API (default 127.0.0.1:3001)", text(&f.AdminListen))
	fs.Var((*List)(&f.WorkerURLs), "worker-urls", "the inference servers, one `URL` or several with spaces between")
	fs.Func("request-timeout-secs", "the longest a request may take, in `SECONDS` (default 1800)", seconds(1, &f.RequestTimeout))
	fs.Func("shutdown-grace-secs", "how long streams may finish after a stop, in `SECONDS` (default 180)", seconds(1, &f.ShutdownGrace))
	fs.Func("worker-startup-timeout-secs", "the longest a worker may take until it answers at first, in `SECONDS` (default 1800)", seconds(1, &f.StartupTimeout))
	fs.Func("max-concurrent-requests", "the most requests in flight, and the capacity of the bucket, `N`; 0 and less is no limit of either (default -1)", text(&f.MaxConcurrent))
	fs.Func("rate-limit-tokens-per-second", "how many tokens a second refill the bucket, `RATE`, such as 50 or 0.5; 0 is no bucket (default N)", text(&f.Refill))
	fs.Func("queue-size", "how many `REQUESTS` may wait at a time; 0 is no queue (default 100)", text(&f.QueueSize))
	fs.Func("queue-timeout-secs", "the longest a request may wait, in `SECONDS` (default 60)", seconds(0, &f.QueueTimeout))

	rest, err := ParseArgs(fs, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(w, "usage: penstock serve [flags]\n\n")
		PrintFlags(w, fs)
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("unexpected word %s: serve takes flags alone, see --help", quoted(rest[0]))
	}
	return path, f, err
}

// flags puts f over what the file said.
func (r *reader) flags(f Flags, c *Config) {
	text := func(key, name string, from *string, form string, set func(string) bool) {
		if from == nil {
			return
		}
		r.places[key] = place{flag: name}
		if !set(*from) {
			r.failAt(key, "expected %s, got %s", form, quoted(*from))
		}
	}
	address := func(key, name string, from, to *string) {
		text(key, name, from, addressForm, func(s string) bool {
			if !isAddress(s) {
				return false
			}
			*to = s
			return true
		})
	}
	address("listen", "--listen", f.Listen, &c.Listen)
	address("admin_listen", "--admin-listen", f.AdminListen, &c.AdminListen)
	duration := func(key, name string, least int64, from, to *time.Duration) {
		if from == nil {
			return
		}
		r.places[key] = place{flag: name}
		if *from < time.Duration(least) || *from > maxDuration {
			r.failAt(key, "a whole number of seconds from %d to %d", least, maxSeconds)
			return
		}
		*to = *from
	}
	duration("request_timeout", "--request-timeout-secs", 1, f.RequestTimeout, &c.RequestTimeout)
	duration("shutdown_grace", "--shutdown-grace-secs", 1, f.ShutdownGrace, &c.ShutdownGrace)
	duration("worker_policy.startup_timeout", "--worker-startup-timeout-secs", 1, f.StartupTimeout, &c.WorkerPolicy.StartupTimeout)

	a := &c.Admission
	text(maxConcurrentPath, "--max-concurrent-requests", f.MaxConcurrent, maxConcurrentForm, a.setMaxConcurrent)
	text("admission.refill_per_second", "--rate-limit-tokens-per-second", f.Refill, rateForm, a.setRefill)
	text(queueSizePath, "--queue-size", f.QueueSize, wholeForm(0, maxSlots), func(s string) bool {
		n, ok := wholeNumber(s)
		if !ok || n > maxSlots {
			return false
		}
		a.QueueSize = n
		return true
	})
	duration(queueTimeoutPath, "--queue-timeout-secs", 0, f.QueueTimeout, &a.QueueTimeout)
	if f.WorkerURLs == nil {
		return
	}
	c.Workers = nil
	seen := workerSet{}
	for i, s := range f.WorkerURLs {
		r.places[fmt.Sprintf("workers[%d]", i)] = place{flag: "--worker-urls"}
		if u, err := seen.parse(s); err != nil {
			r.fail(place{flag: "--worker-urls"}, "", "word %d: %v", i+1, err)
		} else {
			c.Workers = append(c.Workers, Worker{URL: u, Weight: 1})
		}
	}
}
