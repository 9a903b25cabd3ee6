package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/penstock-dev/penstock/internal/config"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/pricing"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
)

// byName stands for a price that each model that a glob matches has of its own.
const byName = "by name"

// printPrices prints what is paid for each model that the configuration names, if
// anybody wants to know.
func printPrices(w io.Writer, c *config.Config, p *policy.Policy) error {
	source := p.PriceSource()
	if source == "" {
		return nil
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PRICE OF A MILLION TOKENS\tINPUT\tOUTPUT\tCACHED INPUT\tCACHE WRITES")
	row := func(name string, r pricing.Rates) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", name, usd.Format(r.Input), usd.Format(r.Output), usd.Format(r.CachedInput), usd.Format(r.CacheWrites))
	}
	for _, name := range pricedNames(c, p) {
		if strings.Contains(name, "*") {
			fmt.Fprintf(table, "%s\t%s\n", name, strings.Join(stated(c, name), "\t"))
			continue
		}
		price, listed := p.Price(name)
		if !listed {
			name += " (pricing.default)"
		}
		row(name, price.Rates)
		if price.Above > 0 {
			row(fmt.Sprintf("%s above %d input tokens", name, price.Above), price.Long)
		}
	}
	// A name that no model has.
	if price, listed := p.Price("\x00"); !listed {
		row("what is listed nowhere (pricing.default)", price.Rates)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s%s.\n", strings.ToUpper(source[:1]), strings.Replace(source[1:], ": ", ":\n", 1))
	return err
}

// pricedNames are the models' names that the configuration gives, then its globs,
// each once.
func pricedNames(c *config.Config, p *policy.Policy) (names []string) {
	var globs []string
	add := func(name string) {
		list := &names
		if strings.Contains(name, "*") {
			list = &globs
		}
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	for _, name := range p.ModelPatterns() {
		add(name)
	}
	for _, m := range c.Pricing.Models {
		add(m.Name)
	}
	return append(names, globs...)
}

// stated are the prices that pricing.models says of a glob.
func stated(c *config.Config, glob string) []string {
	prices := []string{byName, byName, byName, byName}
	for _, m := range c.Pricing.Models {
		if m.Name != glob {
			continue
		}
		for i, nano := range []*int64{m.Price.Input, m.Price.Output, m.Price.CachedInput, m.Price.CacheWrites} {
			if nano != nil {
				prices[i] = usd.Format(*nano)
			}
		}
	}
	return prices
}
