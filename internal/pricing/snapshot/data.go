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
	// price is what a million tokens cost in US dollars: base, and in a request
	// with more than start input tokens, all of it, long. They are the same, and
	// start is 0, where the price has no tiers.
	price struct {
		base, long *big.Rat
		start      int64
	}
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

// UnmarshalJSON reads either a number, or a base with a tier.
func (p *price) UnmarshalJSON(text []byte) (err error) {
	if !bytes.HasPrefix(text, []byte("{")) {
		p.base, err = dollars(text)
		p.long = p.base
		return err
	}
	var t struct {
		Base  json.RawMessage
		Tiers []struct{ Start, Price json.RawMessage }
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return err
	}
	if len(t.Tiers) != 1 {
		return fmt.Errorf("%s has %d tiers, not one: teach this program and the table what they mean", text, len(t.Tiers))
	}
	if p.base, err = dollars(t.Base); err != nil {
		return err
	}
	if p.long, err = dollars(t.Tiers[0].Price); err != nil {
		return err
	}
	start, ok := new(big.Rat).SetString(string(t.Tiers[0].Start)) // perhaps 2e5
	if !ok || start.Sign() <= 0 || !start.IsInt() || !start.Num().IsInt64() {
		return fmt.Errorf("%s has a tier that starts at no number of tokens", text)
	}
	p.start = start.Num().Int64()
	if p.long.Cmp(p.base) < 0 { // a smaller estimate would no longer cost less
		return fmt.Errorf("%s has a tier that is cheaper than its base", text)
	}
	return nil
}

func dollars(text []byte) (*big.Rat, error) {
	usd, ok := new(big.Rat).SetString(string(text))
	if !ok || usd.Sign() < 0 {
		return nil, fmt.Errorf("%q is no price", text)
	}
	return usd, nil
}

// higher returns the higher of two prices of the same tokens at two times of the
// day, for inputs of each length; a may be none. Of two starts the nearer one
// counts.
func higher(a, b price) price {
	if a.base == nil {
		return b
	}
	if a.start == 0 || b.start != 0 && b.start < a.start {
		a.start = b.start
	}
	if b.base.Cmp(a.base) > 0 {
		a.base = b.base
	}
	if b.long.Cmp(a.long) > 0 {
		a.long = b.long
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
