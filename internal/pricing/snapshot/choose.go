package main

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/modelname"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
)

// order returns the providers that are taken, the makers of models before those
// who serve the models of others.
func order() []string {
	return []string{
		"openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "cohere", "perplexity", "moonshotai", "minimax", "zai", "zhipuai", "voyageai",
		"groq", "together", "fireworks", "azure", "aws", "openrouter",
	}
}

type list struct {
	lines    []string // sorted by name
	unpriced int      // models without a price of input tokens
}

// choose makes the lines of the table from the prices that hold on a day.
func choose(providers []provider, day time.Time) (list, error) {
	var (
		l     list
		known modelname.Set[bool] // all of the providers before
		named = map[string]bool{}
	)
	for _, id := range order() {
		i := slices.IndexFunc(providers, func(p provider) bool { return p.ID == id })
		if i < 0 {
			return l, fmt.Errorf("there is no provider %s", id)
		}
		var own []string
		for _, m := range providers[i].Models {
			patterns, err := m.Match.patterns()
			if err != nil {
				return l, fmt.Errorf("%s: %s: %w", id, m.ID, err)
			}
			stated, err := m.Prices.on(day)
			if err != nil {
				return l, fmt.Errorf("%s: %s: %w", id, m.ID, err)
			}
			if stated["input_mtok"].base == nil {
				l.unpriced++
				continue
			}
			columns, err := columns(stated)
			if err != nil {
				return l, fmt.Errorf("%s: %s: %w", id, m.ID, err)
			}
			for _, p := range patterns {
				if p, ok := unclaimed(p, id, &known); ok && !named[p] {
					named[p] = true
					own = append(own, p)
					l.lines = append(l.lines, p+"\t"+id+columns)
				}
			}
		}
		for _, p := range own {
			known.Add(p, true)
		}
	}
	slices.Sort(l.lines) // a tab sorts before all that is in names
	return l, nil
}

// unclaimed returns what a pattern of a provider stands for beside the patterns
// of the providers before; false when that is nothing. Amazon has the models of
// others under its own names, like us.anthropic.claude-3-haiku, and tells them by
// what they contain: that is narrowed to what follows a dot.
func unclaimed(pattern, provider string, known *modelname.Set[bool]) (string, bool) {
	if claimed, _ := known.Of(strings.ReplaceAll(pattern, "*", "")); !claimed {
		return pattern, true
	}
	if rest, ok := strings.CutPrefix(pattern, "*"); ok && provider == "aws" {
		return "*." + rest, true
	}
	return "", false
}

// columns writes the prices of a line of the table; those of a long input behind
// the others, if any has its own.
func columns(stated map[string]price) (string, error) {
	var base, long strings.Builder
	start := int64(0)
	for _, kind := range []string{"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok"} {
		p := stated[kind]
		base.WriteString("\t" + text(p.base))
		long.WriteString("\t" + text(p.long))
		switch {
		case start == 0:
			start = p.start
		case p.start != 0 && p.start != start:
			return "", fmt.Errorf("tiers from %d and from %d tokens on: teach this program and the table what they mean", start, p.start)
		}
	}
	if start == 0 {
		return base.String(), nil
	}
	return fmt.Sprintf("%s\t%d%s", &base, start, &long), nil
}

// text writes a price, rounded up to a whole nano-USD per million tokens; nothing
// if it is not stated.
func text(price *big.Rat) string {
	if price == nil {
		return ""
	}
	nano := new(big.Rat).Mul(price, big.NewRat(usd.Dollar, 1))
	up := new(big.Int).Add(nano.Num(), nano.Denom())
	up.Sub(up, big.NewInt(1)).Div(up, nano.Denom())
	return usd.Format(up.Int64())
}
