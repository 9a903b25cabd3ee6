package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// The package's data, as far as it is of use here.
type (
	provider struct {
		ID     string
		Models []model
	}
	model struct {
		ID     string
		Match  match
		Prices prices
	}
	match struct {
		Equals     string
		StartsWith string `json:"starts_with"`
		EndsWith   string `json:"ends_with"`
		Contains   string
		Regex      string
		Or, And    []match
	}
	// prices are those of a model in the order of the data: the last one whose
	// constraint holds counts.
	prices []conditional

	conditional struct {
		Constraint *struct {
			Type      string
			StartDate string `json:"start_date"`
		}
		Prices map[string]price
	}
	// price is the highest of its tiers, in US dollars per million tokens.
	price struct{ usd *big.Rat }
)

// read returns the data from the text of the package's dist/index.js, which
// begins with it.
func read(text string) ([]provider, error) {
	declaration, _, _ := strings.Cut(text, "[")
	if !strings.HasPrefix(declaration, "const ") || !strings.HasSuffix(declaration, " = ") {
		return nil, errors.New("does not begin with the list of providers")
	}
	data, err := toJSON(text[len(declaration):])
	if err != nil {
		return nil, err
	}
	var providers []provider
	return providers, json.Unmarshal(data, &providers)
}

// UnmarshalJSON reads either a list of prices with constraints, or the prices
// alone.
func (p *prices) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte("[")) {
		return json.Unmarshal(text, (*[]conditional)(p))
	}
	*p = make(prices, 1)
	return json.Unmarshal(text, &(*p)[0].Prices)
}

// UnmarshalJSON reads either a number, or a base with tiers.
func (p *price) UnmarshalJSON(text []byte) error {
	if !bytes.HasPrefix(text, []byte("{")) {
		var ok bool
		if p.usd, ok = new(big.Rat).SetString(string(text)); !ok || p.usd.Sign() < 0 {
			return fmt.Errorf("%s is no price", text)
		}
		return nil
	}
	var t struct {
		Base  price
		Tiers []struct{ Price price }
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return err
	}
	if t.Base.usd == nil || len(t.Tiers) == 0 {
		return fmt.Errorf("%s has no base or no tiers", text)
	}
	*p = t.Base
	for _, tier := range t.Tiers {
		if tier.Price.usd == nil {
			return fmt.Errorf("%s has a tier without a price", text)
		}
		*p = higher(*p, tier.Price)
	}
	return nil
}

// higher returns the higher of two prices; either may be none.
func higher(a, b price) price {
	if a.usd == nil || b.usd != nil && b.usd.Cmp(a.usd) > 0 {
		return b
	}
	return a
}

// on returns the highest prices that hold at some time of a day.
func (p prices) on(day time.Time) (map[string]price, error) {
	highest := map[string]price{}
	for i := len(p) - 1; i >= 0; i-- {
		allDay := true
		if c := p[i].Constraint; c != nil {
			switch c.Type {
			case "start_date":
				start, err := time.Parse(time.DateOnly, c.StartDate)
				if err != nil {
					return nil, err
				}
				if day.Before(start) {
					continue
				}
			case "time_of_date":
				allDay = false
			default:
				return nil, fmt.Errorf("a constraint of type %q: teach this program what it means", c.Type)
			}
		}
		for kind, v := range p[i].Prices {
			highest[kind] = higher(highest[kind], v)
		}
		if allDay {
			return highest, nil
		}
	}
	return nil, fmt.Errorf("no price holds on %s", day.Format(time.DateOnly))
}

// patterns returns the names and globs that a match stands for. Regular
// expressions stand for none. Of an and, which narrows what its first part says,
// it is the first part.
func (m match) patterns() ([]string, error) {
	for _, s := range []string{m.Equals, m.StartsWith, m.EndsWith, m.Contains} {
		if strings.ContainsAny(s, "*\t\r\n") {
			return nil, fmt.Errorf("%q cannot stand in the table", s)
		}
	}
	switch {
	case m.Equals != "":
		return []string{m.Equals}, nil
	case m.StartsWith != "":
		return []string{m.StartsWith + "*"}, nil
	case m.EndsWith != "":
		return []string{"*" + m.EndsWith}, nil
	case m.Contains != "":
		return []string{"*" + m.Contains + "*"}, nil
	case m.Regex != "":
		return nil, nil
	case len(m.And) > 0:
		return m.And[0].patterns()
	case len(m.Or) == 0:
		return nil, errors.New("a match of no known kind")
	}
	var all []string
	for _, part := range m.Or {
		some, err := part.patterns()
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}
