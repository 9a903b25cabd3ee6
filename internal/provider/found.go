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
	numbers
	all                iterations
	usage              bool // there is a usage that is not null
	noChoices          bool // there are choices, and they are empty
	failed             bool // there is an error that is not null
	finished           bool // there is a reason for its end that is not null or false
	text               jsonpeek.Text
	reasoning, thought jsonpeek.Text
	sequence           int64 // unreported: none
	kind               [captureBytes]byte
	kindLen            int
}

// numbers is the numbers of a usage. Each may be unreported: there was none, or
// none to believe.
type numbers struct {
	input, moreInput, total, cached, writes, longWrites, output, moreOutput int64
}

// iterations is what the numbers of a request's iterations add up to.
type iterations struct{ input, cached, writes, longWrites, output sum }

// sum is a sum of tokens, at most maxTokens.
type sum int32

func (s *sum) add(n int64) { *s = sum(min(int64(*s)+n, maxTokens)) }

var noNumbers = numbers{
	input: unreported, moreInput: unreported, total: unreported, cached: unreported,
	writes: unreported, longWrites: unreported, output: unreported, moreOutput: unreported,
}

// start forgets everything.
func (f *found) start() { *f = found{numbers: noNumbers, sequence: unreported} }

// forgetHoles forgets what the strings of text and the numbers said.
func (f *found) forgetHoles() {
	f.numbers, f.all, f.sequence = noNumbers, iterations{}, unreported
	f.text, f.reasoning, f.thought = jsonpeek.Text{}, jsonpeek.Text{}, jsonpeek.Text{}
}

// begin notes that a wanted value begins with b.
func (f *found) begin(w want, b byte) {
	switch w {
	case wantUsage:
		f.usage, f.numbers, f.all = b != 'n', noNumbers, iterations{}
	case wantChoices:
		f.noChoices = b == '['
	case wantError:
		f.failed = b != 'n'
	case wantFinish:
		f.finished = f.finished || b != 'n' && b != 'f'
	case wantType:
		f.kindLen = 0
	}
}

// add takes in text.
func (f *found) add(w want, t jsonpeek.Text) {
	switch w {
	case wantText:
		f.text.Add(t)
	case wantReasoning:
		f.reasoning.Add(t)
	case wantThought:
		f.thought.Add(t)
	}
}

// noteNumber takes in a number that is written in JSON.
func (f *found) noteNumber(w want, raw []byte) {
	if n, ok := jsonpeek.Whole(raw); ok {
		f.note(w, n)
	}
}

// note takes in a number. Where one has several names the largest counts.
func (f *found) note(w want, n int64) {
	switch {
	case n < 0 || n > maxTokens:
	case w == wantSequence:
		f.sequence = n
	case w == wantInput:
		f.input = max(f.input, n)
	case w == wantMoreInput:
		f.moreInput = max(f.moreInput, n)
	case w == wantTotal:
		f.total = max(f.total, n)
	case w == wantCached:
		f.cached = max(f.cached, n)
	case w == wantWrites:
		f.writes = max(f.writes, n)
	case w == wantLongWrites:
		f.longWrites = max(f.longWrites, n)
	case w == wantOutput:
		f.output = max(f.output, n)
	case w == wantMoreOutput:
		f.moreOutput = max(f.moreOutput, n)
	case w == wantAllInput:
		f.all.input.add(n)
	case w == wantAllCached:
		f.all.cached.add(n)
	case w == wantAllWrites:
		f.all.writes.add(n)
	case w == wantAllLongWrites:
		f.all.longWrites.add(n)
	case w == wantAllOutput:
		f.all.output.add(n)
	}
}

// together adds up two numbers of which either may be unreported.
func together(a, b int64) int64 {
	if a < 0 || b < 0 {
		return max(a, b)
	}
	return a + b
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
