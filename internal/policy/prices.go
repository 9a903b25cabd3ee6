package policy

import (
	"fmt"

	"github.com/penstock-dev/penstock/internal/pricing"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
)

// noModel is a name that no model has, whose price is that of all that are not
// listed.
const noModel = "\x00"

// PriceSource says for people where the prices of models come from, and what those
// cost that are listed nowhere; empty when nobody wants to know what requests
// cost.
func (p *Policy) PriceSource() string {
	if !p.Priced() {
		return ""
	}
	table := "the built-in table (" + pricing.Source + ")"
	unlisted, listed := p.Price(noModel)
	if listed {
		return "every model is listed in pricing.models; what that leaves out is as in " + table
	}
	return fmt.Sprintf("models that neither pricing.models nor %s lists cost pricing.default: %s US dollars of input and %s of output per million tokens",
		table, usd.Format(unlisted.Input), usd.Format(unlisted.Output))
}
