package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/pricing"
	"github.com/penstock-dev/penstock/internal/pricing/usd"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// TooLarge is why a request can never pass: even the least that it can use is
// more than a limit lets through at once.
type TooLarge struct {
	// Rule is the tightest of those that it is too large for.
	Rule *Rule
	// Message is for the client, and names the largest value that passes.
	Message string
}

// bytesPerToken is what the least input is reckoned at: no token stands for
// more text.
const bytesPerToken = 128

// tooLarge tells the client of a request that can never pass what would pass
// every one of the charges. price is what its tokens cost at the least.
func tooLarge(r *Rule, charges []penstock.Charge, a *traffic.Ask, n *Need, price pricing.Price) string {
	var most room
	for u := range most.Amounts {
		most.Amounts[u] = penstock.MaxAmount
	}
	most.price = price
	for i := range charges {
		if !charges[i].Shadow {
			l := charges[i].Limit()
			most.Amounts[l.Unit] = min(most.Amounts[l.Unit], l.Most())
		}
	}
	text := fmt.Sprintf("This request needs at least %s; at most %s can pass at once. ", amountWords(r.Limit.Unit, n.Least[r.Limit.Unit]), amountText(r.Limit.Unit, r.Limit.Most()))

	input, output := n.Least[penstock.InputTokens], n.Least[penstock.OutputTokens]
	// What there is room for of one while the other stays as it is.
	inputRoom, outputRoom := most.input(output), most.output(input)
	answers := max(a.Answers, 1)
	switch {
	case input <= most.input(0) && outputRoom >= answers:
		return text + "Ask for at most " + outputWords(outputRoom, answers) + "."
	case output <= most.output(0) && inputRoom > 0:
		return text + "Send at most " + inputWords(inputRoom, a) + "."
	case input <= most.input(0) && (outputRoom > 0 || most.output(0) == 0):
		return text + "Ask for at most " + outputWords(outputRoom, answers) + "."
	}
	// Both are too large: they share what there is.
	half := most
	half.Amounts[penstock.Tokens] /= 2
	if half.Amounts[penstock.Cost] < penstock.MaxAmount {
		half.Amounts[penstock.Cost] /= 2
	}
	outputRoom = half.output(0)
	if outputRoom >= answers {
		outputRoom -= outputRoom % answers
	}
	if inputRoom = most.input(outputRoom); inputRoom == 0 { // no output leaves room for input
		inputRoom = most.input(0)
	}
	if inputRoom == 0 { // not even one token can be paid
		return text + "No request to this model is as small as that."
	}
	outputRoom = most.output(inputRoom)
	return text + "Send at most " + inputWords(inputRoom, a) + ", and ask for at most " + outputWords(outputRoom, answers) + "."
}

// room is what can pass at once, at a price.
type room struct {
	penstock.Amounts
	price pricing.Price
}

// input is how many input tokens can pass beside so many output tokens.
func (m *room) input(output int64) int64 {
	return m.paid(min(m.Amounts[penstock.InputTokens], m.Amounts[penstock.Tokens]-output), func(n int64) traffic.Usage {
		return traffic.Usage{Input: n, Output: output}
	})
}

// output is how many output tokens can pass beside so many input tokens.
func (m *room) output(input int64) int64 {
	return m.paid(min(m.Amounts[penstock.OutputTokens], m.Amounts[penstock.Tokens]-input), func(n int64) traffic.Usage {
		return traffic.Usage{Input: input, Output: n}
	})
}

// paid is how many tokens, at most so many, there is money for: a usage costs the
// more, the larger it is.
func (m *room) paid(most int64, usage func(n int64) traffic.Usage) int64 {
	if most <= 0 || m.Amounts[penstock.Cost] == penstock.MaxAmount {
		return max(most, 0)
	}
	paid := int64(0)
	for paid < most {
		more := most - (most-paid)/2 // of what lies above, the middle
		if m.price.Cost(usage(more)) <= m.Amounts[penstock.Cost] {
			paid = more
		} else {
			most = more - 1
		}
	}
	return paid
}

// amountText and amountWords write an amount of a unit for people.
func amountText(u penstock.Unit, n int64) string {
	if u == penstock.Cost {
		return usd.Format(n)
	}
	return strconv.FormatInt(n, 10)
}

func amountWords(u penstock.Unit, n int64) string {
	if u == penstock.Cost {
		return usd.Format(n) + " US dollars"
	}
	return amountText(u, n) + " " + strings.ReplaceAll(u.String(), "_", " ")
}

// outputWords says n output tokens as the request asks for them: in each of its
// answers.
func outputWords(n, answers int64) string {
	switch {
	case answers == 1:
		return fmt.Sprintf("%d output tokens", n)
	case n < answers:
		return fmt.Sprintf("%d output tokens in all answers together", n)
	}
	return fmt.Sprintf("%d output tokens in each of the %d answers", n/answers, answers)
}

// inputWords says n input tokens as the request sends them: as text, beside the
// token ids that it has.
func inputWords(n int64, a *traffic.Ask) string {
	ids := a.LeastInput - (a.TextBytes+bytesPerToken-1)/bytesPerToken
	if a.TextBytes == 0 || ids >= n {
		return fmt.Sprintf("%d input tokens", n)
	}
	return fmt.Sprintf("%d bytes of text", (n-ids)*bytesPerToken)
}
