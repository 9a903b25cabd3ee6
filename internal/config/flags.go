package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"
)

// Flags are what the command line says; each that is nil was not given.
type Flags struct {
	Listen, AdminListen *string
	// WorkerURLs takes the place of the file's workers.
	WorkerURLs                    []string
	RequestTimeout, ShutdownGrace *time.Duration
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
	seconds := func(to **time.Duration) func(string) error {
		return func(s string) error {
			n, ok := wholeNumber(s)
			if !ok || n < 1 || n > int64(maxDuration/time.Second) {
				return fmt.Errorf("expected a whole number of seconds from 1 to %d, got %s", maxDuration/time.Second, quoted(s))
			}
			d := time.Duration(n) * time.Second
			*to = &d
			return nil
		}
	}
	fs.Func("listen", "the gateway's `ADDRESS` (default 127.0.0.1:3000)", text(&f.Listen))
	fs.Func("admin-listen", "the `ADDRESS` of metrics and the admin API (default 127.0.0.1:3001)", text(&f.AdminListen))
	fs.Var((*List)(&f.WorkerURLs), "worker-urls", "the inference servers, one `URL` or several with spaces between")
	fs.Func("request-timeout-secs", "the longest a request may take, in `SECONDS` (default 1800)", seconds(&f.RequestTimeout))
	fs.Func("shutdown-grace-secs", "how long streams may finish after a stop, in `SECONDS` (default 180)", seconds(&f.ShutdownGrace))

	rest, err := ParseArgs(fs, args)
	var unknown unknownFlagError
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(w, "usage: penstock serve [flags]\n\n")
		PrintFlags(w, fs)
	case errors.As(err, &unknown) && slices.Contains(laterFlags(), unknown.Name):
		err = fmt.Errorf("--%s: %s", unknown.Name, notYet)
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("unexpected word %s: serve takes flags alone, see --help", quoted(rest[0]))
	}
	return path, f, err
}

// laterFlags are flags of the design that this version does not have.
func laterFlags() []string {
	return []string{
		"max-concurrent-requests", "queue-size", "queue-timeout-secs",
		"rate-limit-tokens-per-second", "worker-startup-timeout-secs",
	}
}

// flags puts f over what the file said.
func (r *reader) flags(f Flags, c *Config) {
	address := func(key, name string, from, to *string) {
		if from == nil {
			return
		}
		r.places[key] = place{flag: name}
		if !isAddress(*from) {
			r.failAt(key, "expected %s, got %s", addressForm, quoted(*from))
			return
		}
		*to = *from
	}
	address("listen", "--listen", f.Listen, &c.Listen)
	address("admin_listen", "--admin-listen", f.AdminListen, &c.AdminListen)
	duration := func(key, name string, from, to *time.Duration) {
		if from == nil {
			return
		}
		r.places[key] = place{flag: name}
		if *from <= 0 || *from > maxDuration {
			r.failAt(key, "a whole number of seconds from 1 to %d", maxDuration/time.Second)
			return
		}
		*to = *from
	}
	duration("request_timeout", "--request-timeout-secs", f.RequestTimeout, &c.RequestTimeout)
	duration("shutdown_grace", "--shutdown-grace-secs", f.ShutdownGrace, &c.ShutdownGrace)
	if f.WorkerURLs == nil {
		return
	}
	c.Workers = nil
	seen := workerSet{}
	for i, s := range f.WorkerURLs {
		if u, err := seen.parse(s); err != nil {
			r.fail(place{flag: "--worker-urls"}, "", "word %d: %v", i+1, err)
		} else {
			c.Workers = append(c.Workers, Worker{URL: u})
		}
	}
}
