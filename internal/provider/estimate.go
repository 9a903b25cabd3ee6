package provider

import (
	"sync"
	"sync/atomic"

	"github.com/penstock-dev/penstock/internal/provider/jsonpeek"
)

// Tokens are estimated from the weight of text: a byte of ASCII weighs 1, any
// other byte 2, and a token is what weighs 4 until a model has shown otherwise.
// What is learned is the weight of a token, one figure a model, so that the two
// sorts of bytes keep their ratio. It is counted in 1/1024.
const (
	weightScale   = 1024
	defaultWeight = 4 * weightScale
	minWeight     = 1 * weightScale
	maxWeight     = 16 * weightScale
	// learnRate is how much of what is new comes into a figure: 1/8.
	learnRate = 8
	// learnBytes is the least text that is learned from: in less, what a worker
	// puts around a message weighs too much.
	learnBytes = 256
	// learnModels bounds the figures that are kept, learnName the names.
	learnModels = 512
	learnName   = 256
	// leastBytes is the most bytes of text that can become one token.
	leastBytes = 128
)

func weigh(t jsonpeek.Text) int64 { return t.ASCII + 2*t.Other }

// tokens returns how many tokens text of this weight is, rounded up.
func tokens(weight, tokenWeight int64) int64 {
	return ceilDiv(times(weight, weightScale), tokenWeight)
}

// ceilDiv returns a/b rounded up; a is not negative and b is positive.
func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b > 0 {
		q++
	}
	return q
}

// learned is the weights of the tokens of the models that were learned from
// last. The zero learned is empty. It is safe for concurrent use.
type learned struct {
	mu     sync.RWMutex
	models map[string]*figure
	turn   atomic.Int64 // counts what was learned; the time that used is in
}

// figure is what is known of a model.
type figure struct {
	model  string
	weight atomic.Int64 // of a token
	used   atomic.Int64 // the turn in which it was last asked for or learned
}

// find returns the figure of a model, nil when there is none.
func (l *learned) find(model []byte) *figure {
	l.mu.RLock()
	f := l.models[string(model)]
	l.mu.RUnlock()
	if f != nil {
		f.use(l.turn.Load())
	}
	return f
}

// use writes only what changes, as many read the same figure at once.
func (f *figure) use(turn int64) {
	if f.used.Load() != turn {
		f.used.Store(turn)
	}
}

// learn takes in that text of this weight was so many tokens to the model. The
// model that was used least recently makes room for a new one.
func (l *learned) learn(model string, weight, tokens int64) {
	sample := min(max(times(weight, weightScale)/tokens, minWeight), maxWeight)
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.models[model]
	if f == nil {
		if l.models == nil {
			l.models = map[string]*figure{}
		}
		if len(l.models) == learnModels {
			l.forgetOne()
		}
		f = &figure{model: model}
		f.weight.Store(defaultWeight)
		l.models[model] = f
	}
	f.weight.Add(part(sample - f.weight.Load()))
	f.use(l.turn.Add(1))
}

// part returns how far a figure follows what differs from it: rounded away from
// zero, so that it gets there.
func part(difference int64) int64 {
	if difference < 0 {
		return -ceilDiv(-difference, learnRate)
	}
	return ceilDiv(difference, learnRate)
}

func (l *learned) forgetOne() {
	var oldest *figure
	for _, f := range l.models {
		if oldest == nil || f.used.Load() < oldest.used.Load() {
			oldest = f
		}
	}
	delete(l.models, oldest.model)
}
