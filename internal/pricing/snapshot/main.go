// Command snapshot makes the built-in price table from the npm package
// @pydantic/genai-prices, unpacked in a directory. docs/pricing.md says how it is
// used.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "snapshot:", err)
		os.Exit(1)
	}
}

const usage = "usage: snapshot -date 2026-01-31 DIRECTORY, where the date is the day on which that version was published"

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("snapshot", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	day := flags.String("date", "", "")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return errors.New(usage)
	}
	date, err := time.Parse(time.DateOnly, *day)
	if err != nil {
		return errors.New(usage)
	}
	dir := flags.Arg(0)
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return err
	}
	var about struct{ Name, Version, License string }
	if err := json.Unmarshal(text, &about); err != nil {
		return fmt.Errorf("package.json: %w", err)
	}
	if text, err = os.ReadFile(filepath.Join(dir, "dist", "index.js")); err != nil {
		return err
	}
	providers, err := read(string(text))
	if err != nil {
		return fmt.Errorf("index.js: %w", err)
	}
	list, err := choose(providers, date)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, header, about.Name, about.Version, *day, about.License, strings.Join(order(), ", "), list.unpriced)
	for _, l := range list.lines {
		fmt.Fprintln(&b, l)
	}
	_, err = io.WriteString(stdout, b.String())
	return err
}

const header = `# Prices of text tokens in US dollars per million. Made by internal/pricing/snapshot: do not edit.
# Source: npm package %s %s, published %s, licence %s (LICENSE.genai-prices).
# Where several providers list a name, the first of these counts: %s.
# A * stands for any letters; a name stands for its dated and latest versions, too. An empty price is not stated.
# A request with more input tokens than "above" costs, all of it, what the columns behind that say.
# Of prices by time of day the highest is here; of those by date the one of that day.
# Left out: other providers; %d models without a price of input tokens; prices of audio, images, video, documents,
# searches, requests and citations; regular expressions, which tell dated versions.
# name	provider	input	output	cached_input	cache_writes	long_cache_writes	above	input	output	cached_input	cache_writes	long_cache_writes
`
