package pricing

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/penstock-dev/penstock/internal/modelname"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
)

// Source names the snapshot that the built-in table is: package, version, day.
const Source = "@pydantic/genai-prices 0.1.8 of 2026-09-23"

// prices is the built-in table. A line has seven fields: a name, its provider, and
// the prices of input, output, cached input, cache writes and cache writes for an
// hour in US dollars per million tokens, empty where none is stated. It may have
// six more: so many input tokens, and the prices of whole requests with more.
// Lines that begin with # are for people.
//
//go:embed prices.tsv
var prices string

// A model is a line of the built-in table.
type model struct {
	name string
	entry
}

// builtin returns the built-in table, which is read when it is first asked for.
var builtin = sync.OnceValue(func() *modelname.Set[entry] { return mustRead(prices) })

// mustRead reads a table that tests have read.
func mustRead(text string) *modelname.Set[entry] {
	models, err := parse(text)
	if err != nil {
		panic("pricing: the built-in table: " + err.Error())
	}
	set := &modelname.Set[entry]{}
	for _, m := range models {
		set.Add(m.name, m.entry)
	}
	return set
}

// parse reads a table like the built-in one.
func parse(text string) (models []model, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		m, err := parseLine(strings.Split(line, "\t"))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		models = append(models, m)
	}
	return models, nil
}

func parseLine(fields []string) (m model, err error) {
	if len(fields) != 7 && len(fields) != 13 {
		return m, fmt.Errorf("%d fields, not 7 or 13", len(fields))
	}
	m.name = fields[0]
	if m.base, err = parsePrices(fields[2:7]); err != nil || len(fields) == 7 {
		return m, err
	}
	if m.above, err = strconv.ParseInt(fields[7], 10, 64); err != nil || m.above <= 0 {
		return m, fmt.Errorf("%q is no number of tokens above which other prices hold", fields[7])
	}
	m.long, err = parsePrices(fields[8:])
	return m, err
}

func parsePrices(fields []string) (l listed, err error) {
	for i, to := range [...]**int64{&l.Input, &l.Output, &l.CachedInput, &l.CacheWrites, &l.LongCacheWrites} {
		if fields[i] == "" {
			continue
		}
		nano, err := usd.Parse(fields[i])
		if err != nil {
			return l, err
		}
		*to = &nano
	}
	if l.Input == nil {
		return l, errors.New("no price of input")
	}
	return l, nil
}
