package policy

import (
	"encoding/binary"
	"errors"
)

// What was learned is written down as a version, how many pairs there are, and
// of each, the least recently used first, caller and model (their lengths and
// bytes), how many answers, and their tokens, the oldest first. All numbers are
// unsigned varints.
const learnedVersion = 1

// AppendState appends to dst what RestoreState reads. Others go on learning
// meanwhile: every pair is as it was at one moment. It has the callers' IDs in
// it, so it is not for everybody's eyes.
func (l *Learned) AppendState(dst []byte) []byte {
	l.mu.Lock()
	pairs := make([]pair, 0, l.used.Len())
	for e := l.used.Front(); e != nil; e = e.Next() {
		pairs = append(pairs, e.Value.(*answers).pair)
	}
	l.mu.Unlock()
	dst = binary.AppendUvarint(dst, learnedVersion)
	dst = binary.AppendUvarint(dst, uint64(len(pairs)))
	for _, p := range pairs {
		dst = l.appendPair(dst, p)
	}
	return dst
}

func (l *Learned) appendPair(dst []byte, p pair) []byte {
	for _, name := range [...]string{p.caller, p.model} {
		dst = binary.AppendUvarint(dst, uint64(len(name)))
		dst = append(dst, name...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.pairs[p]
	if e == nil { // it has made room meanwhile
		return append(dst, 0)
	}
	a := e.Value.(*answers)
	dst = binary.AppendUvarint(dst, uint64(a.count))
	for i := range a.count {
		oldest := a.next - a.count + learnedAnswers
		dst = binary.AppendUvarint(dst, uint64(a.tokens[(oldest+i)%learnedAnswers]))
	}
	return dst
}

var errLearned = errors.New("these are no lengths of answers that this version of penstock can read")

// RestoreState forgets what was learned and takes what AppendState wrote
// instead. On an error, which says that state is not that, nothing has changed.
func (l *Learned) RestoreState(state []byte) error {
	ok := true
	number := func(most int) int {
		n, size := binary.Uvarint(state)
		if ok = ok && size > 0 && n <= uint64(most); !ok {
			return 0
		}
		state = state[size:]
		return int(n)
	}
	name := func(most int) string {
		n := number(min(most, len(state)))
		s := string(state[:min(n, len(state))])
		state = state[len(s):]
		ok = ok && len(s) == n
		return s
	}
	ok = number(learnedVersion) == learnedVersion
	next := map[pair]bool{}
	var order []*answers
	for range number(learnedCallers) {
		a := &answers{pair: pair{name(len(state)), name(learnedName)}, stale: true}
		a.count = number(learnedAnswers)
		for i := range a.count {
			a.tokens[i] = int32(number(1<<31 - 1))
		}
		a.next = a.count % learnedAnswers
		if ok = ok && !next[a.pair]; !ok {
			return errLearned
		}
		next[a.pair] = true
		if a.count > 0 {
			order = append(order, a)
		}
	}
	if !ok || len(state) > 0 {
		return errLearned
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.pairs)
	l.used.Init()
	for _, a := range order {
		l.pairs[a.pair] = l.used.PushBack(a)
	}
	return nil
}
