package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
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
		fmt.Fprint(stdout, "usage: penstock check FILE\n\nValidates a configuration, prints its rules in the order in which they apply,\nand warns of what can never match, count or deny.\n\n")
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
	if err != nil {
		warn(stderr, warnings)
		return err
	}
	p, err := policy.New(c, nil)
	if err != nil {
		return err
	}
	warn(stderr, server.Warnings(warnings, c, p))
	if err := printRules(stdout, c, p); err != nil {
		return err
	}
	printGate(stdout, c.Gate())
	if err := printTurns(stdout, p); err != nil {
		return err
	}
	if err := printPrices(stdout, c, p); err != nil {
		return err
	}
	if err := printMemory(stdout, c, p); err != nil {
		return err
	}
	printUnmetered(stdout, p)
	workers := ""
	if len(c.Workers) == 0 {
		workers = " It names no workers: serve needs --worker-urls."
	}
	_, err = fmt.Fprintf(stdout, "\n%s is valid.%s\n", rest[0], workers)
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
		shadow := ""
		if r.Shadow {
			shadow = "; shadow: denies nothing"
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s%s", r.Name, r.Match, r.Per, amount(r.Limit), algorithm(r.Limit), shadow))
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
	unit, number := strings.ReplaceAll(l.Unit.String(), "_", " "), func(n int64) string { return strconv.FormatInt(n, 10) }
	if l.Unit == penstock.Cost {
		unit, number = "US dollars", usd.Format
	}
	size := number(l.Size()) + " " + unit
	switch {
	case l.Unit == penstock.Concurrent:
		return fmt.Sprintf("%d in flight", l.Amount)
	case l.Window == penstock.Month:
		return size + " a calendar month"
	case l.Algorithm == penstock.FixedWindow:
		return size + " in each " + span(l.Window)
	case l.Algorithm == penstock.TokenBucket:
		return size + ", refilled by " + number(l.Amount) + " in " + span(l.Window)
	}
	return size + " in any " + span(l.Window)
}

// counts reports whether a rule counts one of the units.
func counts(p *policy.Policy, units ...penstock.Unit) bool {
	return slices.ContainsFunc(p.Rules(), func(r policy.Rule) bool { return slices.Contains(units, r.Limit.Unit) })
}

// printUnmetered says what is not counted of, if anything counts tokens or money.
func printUnmetered(w io.Writer, p *policy.Policy) {
	if counts(p, penstock.Tokens, penstock.InputTokens, penstock.OutputTokens, penstock.Cost) {
		fmt.Fprintln(w, "\nCharged as requests alone, as nothing there is read: every path of another shape, such as")
		for routes := range slices.Chunk(server.Unmetered(), 8) {
			fmt.Fprintln(w, strings.Join(routes, " "))
		}
	}
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
