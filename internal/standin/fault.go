package standin

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Fault is one or several ways in which an answer breaks. The zero Fault breaks
// nothing. ParseFault makes one.
type Fault struct {
	parts []fault
}

// fault is one named way with its argument, of which the name says the kind.
type fault struct {
	name  string
	count int64
	pause time.Duration
	usage Usage
}

// FaultNames is what ParseFault takes, for messages and help texts.
const FaultNames = "status=CODE, die-before-headers, die-within-headers, die-after=N, hang, hang-after=N, slow-headers=DUR, " +
	"trickle=DUR, no-done, garbage, huge-line, early-answer, trailers, informational=N, wrong-length, usage=HOW, output=N, gzip"

// MaxAnswer is the most tokens that output=N takes.
const MaxAnswer = maxFaultCount

// maxFaultCount bounds the N of a fault.
const maxFaultCount = 1 << 20

// ParseFault reads faults as the header X-Standin-Fault, the part of a model's
// name behind "!" and the command line have them: NAME or NAME=ARG, several
// separated by commas. No text is no fault. Every endpoint takes them, as far as
// they have a meaning there. Of two with one name the header's counts, then that
// of Options.Fault, then the model's.
//
//	status=CODE         answers this status, 200 to 599, with an error in the
//	                    dialect's shape; 429 and 503 with Retry-After: 1
//	die-before-headers  closes the connection without an answer
//	die-within-headers  closes it in the middle of the headers
//	die-after=N         closes it after N chunks, without the chunk that ends a
//	                    body; an answer of known length is cut in its middle
//	hang                never answers, until the client leaves; the request keeps
//	                    its place
//	hang-after=N        hangs where die-after=N would cut
//	slow-headers=DUR    has the headers wait for so long
//	trickle=DUR         sends the body byte by byte, one a DUR
//	no-done             ends a stream cleanly, but without what marks its end:
//	                    [DONE], message_stop, the finishReason, done
//	garbage             sends bytes that are neither JSON nor SSE
//	huge-line           has a line of 2 MiB in a stream
//	early-answer        answers 400 before the body is read
//	trailers            sends the trailer X-Standin-Bytes: the size of the body
//	informational=N     sends N answers 103 before the real one
//	wrong-length        declares a body longer than it is, then closes
//	usage=HOW           reports usage as ParseUsage's HOW
//	output=N            has answers of N tokens, where the request does not ask for
//	                    less
//	gzip                compresses the answer, whatever the client accepts
func ParseFault(s string) (Fault, error) {
	var f Fault
	if s == "" {
		return f, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		name, arg, hasArg := strings.Cut(strings.TrimSpace(word), "=")
		part := fault{name: name}
		var err error
		switch name {
		case "status":
			part.count, err = parseCount(arg, 200, 599)
		case "die-after", "hang-after":
			part.count, err = parseCount(arg, 0, maxFaultCount)
		case "informational", "output":
			part.count, err = parseCount(arg, 1, maxFaultCount)
		case "slow-headers", "trickle":
			part.pause, err = parsePause(arg)
		case "usage":
			part.usage, err = ParseUsage(arg)
		case "die-before-headers", "die-within-headers", "hang", "no-done", "garbage", "huge-line",
			"early-answer", "trailers", "wrong-length", "gzip":
			if hasArg {
				err = errors.New("takes no argument")
			}
		default:
			return Fault{}, fmt.Errorf("unknown fault %.40q; there are %s", name, FaultNames)
		}
		if err != nil {
			return Fault{}, fmt.Errorf("fault %s: %w", name, err)
		}
		if _, twice := f.get(name); twice {
			return Fault{}, fmt.Errorf("fault %s: given twice; give it once", name)
		}
		f.parts = append(f.parts, part)
	}
	return f, nil
}

func parseCount(s string, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%.40q is no number from %d to %d", s, least, most)
	}
	return n, nil
}

func parsePause(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%.40q is no duration; write one such as 20ms", s)
	}
	return d, nil
}

func (f Fault) none() bool { return len(f.parts) == 0 }

// get returns the named fault, if f has it.
func (f Fault) get(name string) (fault, bool) {
	for _, part := range f.parts {
		if part.name == name {
			return part, true
		}
	}
	return fault{}, false
}

func (f Fault) has(name string) bool {
	_, ok := f.get(name)
	return ok
}

// and returns f with those faults of g that f does not have.
func (f Fault) and(g Fault) Fault {
	all := Fault{parts: append([]fault(nil), f.parts...)}
	for _, part := range g.parts {
		if !f.has(part.name) {
			all.parts = append(all.parts, part)
		}
	}
	return all
}
