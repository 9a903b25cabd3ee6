package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sdkAsk is what a test asks for, by whichever SDK but OpenAI's, which has tests
// of its own.
type sdkAsk struct {
	model, prompt string
	most          int64  // output tokens
	fault         string // of the stand-in worker; empty: none
	once          bool   // never retry
	cache         bool   // ask for the prompt to be cached, where the API has that
	// each, unless nil, is called with the text so far after each event.
	each func(text string)
}

func (a *sdkAsk) saw(text string) {
	if a.each != nil {
		a.each(text)
	}
}

// sdkAnswer is what an SDK made of an answer.
type sdkAnswer struct {
	text string
	// input and output are the tokens that the SDK tells of, cached ones counted
	// in: those of the last usage that it saw.
	input, output int64
	items         int // vectors or models
}

// sdkError is what an SDK tells of an error by its own class, in its own words. The
// zero sdkError is another one.
type sdkError struct {
	Status  int
	Type    string
	Message string
}

// sdkCall is one way to ask.
type sdkCall struct {
	name    string
	stream  bool
	tokens  bool // it counts as tokens, and takes a slot
	output  bool // it has output
	begin   int  // events of a stream before its first token
	told    bool // the SDK obeys Retry-After
	limited string
	do      func(context.Context, *testing.T, *gateway, *record, string, sdkAsk) (sdkAnswer, error)
	tells   func(error) sdkError
}

// sdkCalls are all of them, and those that stream.
func sdkCalls() []sdkCall { return slices.Concat(anthropicCalls(), googleCalls()) }

func sdkStreams() (all []sdkCall) {
	for _, call := range sdkCalls() {
		if call.stream {
			all = append(all, call)
		}
	}
	return all
}

// denied is what the SDK must tell of a limit that denies.
func (c *sdkCall) denied() sdkError {
	return sdkError{Status: 429, Type: c.limited, Message: "Rate limit exceeded. Please retry after N seconds."}
}

// wantError checks that err is of the SDK's own class and tells this. In the message
// N seconds stands for a number of them, which must be the one that the answer's
// Retry-After has.
func (c *sdkCall) wantError(t *testing.T, err error, a attempt, want sdkError) {
	t.Helper()
	got := c.tells(err)
	if told := a.header.Get("Retry-After"); strings.Contains(want.Message, "N seconds") && seconds.FindString(got.Message) == told+" seconds" {
		got.Message = seconds.ReplaceAllString(got.Message, "N seconds")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: the SDK's error %T (-want +got):\n%s\n%v", c.name, err, diff, err)
	}
}
