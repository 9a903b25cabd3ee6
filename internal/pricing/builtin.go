package pricing

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"

	"github.com/penstock-dev/penstock/internal/modelname"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
)

// Source names the snapshot that the built-in table is: package, version, day.
const Source = "@pydantic/genai-prices 0.1.8 of 2026-09-23"

// prices is the built-in table: lines of name, provider, and the prices of
// input, output, cached input and cache writes in US dollars per million tokens,
// empty where none is stated. Lines that begin with # are for people.
//
//go:embed prices.tsv
var prices string

// builtin returns the built-in table, which is read when it is first asked for.
var builtin = sync.OnceValue(func() *modelname.Set[Stated] { return mustRead(prices) })

// mustRead reads a table that tests have read.
func mustRead(text string) *modelname.Set[Stated] {
	models, err := parse(text)
	if err != nil {
		panic("pricing: the built-in table: " + err.Error())
	}
	set := &modelname.Set[Stated]{}
	for _, m := range models {
		set.Add(m.Name, m.Stated)
	}
	return set
}

// parse reads a table like the built-in one.
func parse(text string) (models []Model, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 6 {
			return nil, fmt.Errorf("line %d: %d fields, not 6", n, len(fields))
		}
		m := Model{Name: fields[0]}
		for i, to := range [...]**int64{&m.Input, &m.Output, &m.CachedInput, &m.CacheWrites} {
			if fields[2+i] == "" {
				continue
			}
			nano, err := usd.Parse(fields[2+i])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			*to = &nano
		}
		if m.Input == nil {
			return nil, fmt.Errorf("line %d: no price of input", n)
		}
		models = append(models, m)
	}
	return models, nil
}
