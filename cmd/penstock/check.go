package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/server"
)

// check validates a configuration, and prints its rules and what is probably
// not meant.
func check(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	path := fs.String("config", "", "the configuration `FILE`, which may also stand alone")
	rest, err := config.ParseArgs(fs, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, "usage: penstock check FILE\n\nValidates a configuration, prints its rules in the order in which they apply,\nand warns of what can never match or never deny.\n\n")
		config.PrintFlags(stdout, fs)
		return err
	case err != nil:
		return usageError{err}
	case *path != "":
		rest = append(rest, *path)
	}
	if len(rest) != 1 {
		return usageError{errors.New("check takes one configuration file: penstock check penstock.yaml")}
	}
	c, warnings, err := config.Load(rest[0], config.Flags{}, os.LookupEnv)
	warn(stderr, warnings)
	if err != nil {
		return err
	}
	p, err := policy.New(c, nil)
	if err != nil {
		return err
	}
	idle := server.Warnings(c, p)
	for i := range idle {
		idle[i].File = rest[0]
	}
	warn(stderr, idle)
	if err := printRules(stdout, c, p); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "\n%s is valid.\n", rest[0])
	return err
}

func warn(w io.Writer, warnings []config.Warning) {
	for _, warning := range warnings {
		fmt.Fprintln(w, "warning:", warning)
	}
}

func printRules(w io.Writer, c *config.Config, p *policy.Policy) error {
	var rows []string
	for _, r := range p.Rules() {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", r.Name, r.Match, r.Per, amount(r.Limit), algorithm(r.Limit)))
	}
	if k := c.RateLimiting.Concurrent; c.RateLimiting.Enabled && k.Enabled {
		rows = append(rows, fmt.Sprintf("concurrent\tany\tgateway\t%d in flight\tqueue of 100, first come first served, %s", k.MaxConcurrent, span(k.QueueTimeout)))
	}
	if len(rows) == 0 {
		fmt.Fprintln(w, "There are no rules.")
	} else {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "RULE\tFOR\tCOUNTED PER\tLIMIT\tALGORITHM")
		fmt.Fprintln(table, strings.Join(rows, "\n"))
		if err := table.Flush(); err != nil {
			return err
		}
	}
	b := c.RateLimiting.Bypass
	if n := len(b.Paths) + len(b.Keys) + len(b.IPs); c.RateLimiting.Enabled && n > 0 {
		var parts []string
		if len(b.Paths) > 0 {
			parts = append(parts, "paths "+strings.Join(b.Paths, " "))
		}
		if len(b.Keys) > 0 {
			parts = append(parts, fmt.Sprintf("%d of the listed keys", len(b.Keys)))
		}
		for _, ip := range b.IPs {
			parts = append(parts, ip.String())
		}
		fmt.Fprintln(w, "\nNot limited at all:", strings.Join(parts, ", "))
	}
	return nil
}

func amount(l penstock.Limit) string {
	unit := strings.ReplaceAll(l.Unit.String(), "_", " ")
	switch {
	case l.Unit == penstock.Concurrent:
		return fmt.Sprintf("%d in flight", l.Amount)
	case l.Window == penstock.Month:
		return fmt.Sprintf("%d %s a calendar month", l.Amount, unit)
	case l.Algorithm == penstock.FixedWindow:
		return fmt.Sprintf("%d %s in each %s", l.Amount, unit, span(l.Window))
	case l.Algorithm == penstock.TokenBucket:
		return fmt.Sprintf("%d %s, refilled by %d in %s", l.Capacity, unit, l.Amount, span(l.Window))
	}
	return fmt.Sprintf("%d %s in any %s", l.Amount, unit, span(l.Window))
}

func algorithm(l penstock.Limit) string {
	switch {
	case l.Unit == penstock.Concurrent:
		return "denied at once"
	case l.Algorithm == penstock.SlidingWindow:
		return fmt.Sprintf("%s, %d steps of %s", l.Algorithm, l.Window/l.Precision, span(l.Precision))
	case l.Algorithm == penstock.FixedWindow:
		return l.Algorithm.String() + ", in UTC"
	}
	return l.Algorithm.String()
}

// span writes a duration without its zeros.
func span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
