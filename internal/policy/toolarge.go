package policy

import (
	"fmt"

	"github.com/penstock-dev/penstock"
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
// every one of the charges.
func tooLarge(r *Rule, charges []penstock.Charge, a *traffic.Ask, n *Need) string {
	var most penstock.Amounts
	for u := range most {
		most[u] = penstock.MaxAmount
	}
	for i := range charges {
		l := charges[i].Limit()
		most[l.Unit] = min(most[l.Unit], l.Most())
	}
	words := map[penstock.Unit]string{
		penstock.InputTokens:  "input tokens",
		penstock.OutputTokens: "output tokens",
		penstock.Tokens:       "tokens",
	}[r.Limit.Unit]
	text := fmt.Sprintf("This request needs at least %d %s; at most %d can pass at once. ", n.Least[r.Limit.Unit], words, r.Limit.Most())

	input, output := n.Least[penstock.InputTokens], n.Least[penstock.OutputTokens]
	// What there is room for of one while the other stays as it is.
	inputRoom := min(most[penstock.InputTokens], most[penstock.Tokens]-output)
	outputRoom := min(most[penstock.OutputTokens], most[penstock.Tokens]-input)
	answers := max(a.Answers, 1)
	switch {
	case input <= most[penstock.InputTokens] && outputRoom >= answers:
		return text + "Ask for at most " + outputWords(outputRoom, answers) + "."
	case output <= most[penstock.OutputTokens] && inputRoom > 0:
		return text + "Send at most " + inputWords(inputRoom, a) + "."
	case input <= most[penstock.InputTokens] && outputRoom > 0:
		return text + "Ask for at most " + outputWords(outputRoom, answers) + "."
	}
	// Both are too large: they share what there is.
	outputRoom = min(most[penstock.OutputTokens], most[penstock.Tokens]/2)
	if outputRoom >= answers {
		outputRoom -= outputRoom % answers
	}
	inputRoom = min(most[penstock.InputTokens], most[penstock.Tokens]-outputRoom)
	outputRoom = min(most[penstock.OutputTokens], most[penstock.Tokens]-inputRoom)
	return text + "Send at most " + inputWords(inputRoom, a) + ", and ask for at most " + outputWords(outputRoom, answers) + "."
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
