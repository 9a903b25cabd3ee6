package policy

import (
	"container/list"
	"sync"
)

const (
	learnedCallers = 4096 // (caller, model) pairs that are remembered
	learnedAnswers = 256  // the last answers of each
	learnedFrom    = 20   // answers from which on they count
	learnedName    = 256  // the longest name of a model, in bytes: clients choose them
)

// Learned remembers how long the last answers were that a verified caller had
// from a model. It is bounded: the pair that was used least recently makes room
// for a new one. It may be used by any number of goroutines.
type Learned struct {
	mu    sync.Mutex
	pairs map[pair]*list.Element
	used  list.List // of *answers, the least recently used first
}

type pair struct{ caller, model string }

type answers struct {
	pair
	tokens [learnedAnswers]int32
	next   int // where the next answer goes
	count  int
	p99    int64
	stale  bool // p99 is older than the newest answer
}

// NewLearned returns what knows nothing yet.
func NewLearned() *Learned { return &Learned{pairs: map[pair]*list.Element{}} }

// P99 is the number of output tokens that 99 of a hundred answers kept within;
// not known before there were 20.
func (l *Learned) P99(caller, model string) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.pairs[pair{caller, model}]
	if e == nil || e.Value.(*answers).count < learnedFrom {
		return 0, false
	}
	l.used.MoveToBack(e)
	a := e.Value.(*answers)
	if a.stale {
		a.p99, a.stale = a.find(), false
	}
	return a.p99, true
}

// find returns what 99 of a hundred of the answers keep within: one in a hundred is
// longer, so that it is the longest, or one of the next, for which nothing has to be
// sorted each time that an answer has come.
func (a *answers) find() int64 {
	var longest [learnedAnswers/100 + 1]int32 // the longest first
	for _, n := range a.tokens[:a.count] {
		for i := len(longest) - 1; i >= 0 && n > longest[i]; i-- {
			if i+1 < len(longest) {
				longest[i+1] = longest[i]
			}
			longest[i] = n
		}
	}
	return int64(longest[a.count/100])
}

// Learn adds the length of one answer, in output tokens. Of models with a name
// of more than 256 bytes nothing is learned.
func (l *Learned) Learn(caller, model string, tokens int64) {
	if len(model) > learnedName {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := pair{caller, model}
	e := l.pairs[p]
	if e == nil {
		a := &answers{}
		if l.used.Len() >= learnedCallers {
			oldest := l.used.Front()
			a = l.used.Remove(oldest).(*answers)
			delete(l.pairs, a.pair)
			*a = answers{}
		}
		a.pair = p
		e = l.used.PushBack(a)
		l.pairs[p] = e
	}
	l.used.MoveToBack(e)
	a := e.Value.(*answers)
	a.tokens[a.next] = int32(min(max(tokens, 0), 1<<31-1))
	a.next = (a.next + 1) % learnedAnswers
	a.count = min(a.count+1, learnedAnswers)
	a.stale = true
}
