package provider

import "github.com/penstock-dev/penstock/internal/provider/jsonpeek"

const (
	// maxTokens is the largest number of tokens that is believed.
	maxTokens = 100_000_000
	// unreported is the number of tokens that no number was given for.
	unreported = -1
)

// found is what was found in a document.
type found struct {
	input, cached, output int64 // unreported: no number, or none to believe
	usage                 bool  // there is a usage that is not null
	noChoices             bool  // there are choices, and they are empty
	failed                bool  // there is an error that is not null
	text                  jsonpeek.Text
	reasoning, thought    jsonpeek.Text
	sequence              int64 // unreported: none
	kind                  [captureBytes]byte
	kindLen               int
}

// start forgets everything.
func (f *found) start() {
	*f = found{input: unreported, cached: unreported, output: unreported, sequence: unreported}
}

// begin notes that a wanted value begins with b.
func (f *found) begin(w want, b byte) {
	switch w {
	case wantUsage:
		f.usage = b != 'n'
		f.input, f.cached, f.output = unreported, unreported, unreported
	case wantChoices:
		f.noChoices = b == '['
	case wantError:
		f.failed = b != 'n'
	case wantType:
		f.kindLen = 0
	}
}

// note takes in a number. Where one has several names the largest counts.
func (f *found) note(w want, raw []byte) {
	n, ok := jsonpeek.Whole(raw)
	switch {
	case !ok || n < 0 || n > maxTokens:
	case w == wantSequence:
		f.sequence = n
	case w == wantInput:
		f.input = max(f.input, n)
	case w == wantCached:
		f.cached = max(f.cached, n)
	case w == wantOutput:
		f.output = max(f.output, n)
	}
}

// answer returns the text of the answer.
func (f *found) answer() jsonpeek.Text {
	t := f.text
	if weigh(f.reasoning) > weigh(f.thought) {
		t.Add(f.reasoning)
	} else {
		t.Add(f.thought)
	}
	return t
}

// eventType returns the type of the event, if there was one.
func (f *found) eventType() []byte { return f.kind[:f.kindLen] }
