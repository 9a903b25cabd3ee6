package provider

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// stateVersion begins the state of a Peeker. It changes when what follows does,
// or what is learned means something else.
const stateVersion = "peek1"

// errState is of a state that RestoreState does not take.
var errState = errors.New("provider: the learned weights of tokens are not of this version or damaged; without them they are learned anew")

// AppendState appends to dst what the peeker has learned, for RestoreState, and
// returns the extended buffer. It is bounded: at most 512 models with names of
// at most 256 bytes. It holds no more than models' names and figures.
func (p *Peeker) AppendState(dst []byte) []byte {
	l := &p.learned
	l.mu.RLock()
	defer l.mu.RUnlock()
	// The least recently used first, so that what is restored is in turn.
	figures := make([]*figure, 0, len(l.models))
	used := make(map[*figure]int64, len(l.models)) // it may change while they are sorted
	for _, f := range l.models {
		figures = append(figures, f)
		used[f] = f.used.Load()
	}
	slices.SortFunc(figures, func(a, b *figure) int {
		return cmp.Or(cmp.Compare(used[a], used[b]), cmp.Compare(a.model, b.model))
	})
	dst = binary.AppendUvarint(append(dst, stateVersion...), uint64(len(figures)))
	for _, f := range figures {
		dst = binary.AppendUvarint(dst, uint64(len(f.model)))
		dst = append(dst, f.model...)
		dst = binary.AppendUvarint(dst, uint64(f.weight.Load()))
	}
	return dst
}

// RestoreState makes the peeker know what AppendState gave, and forget what it
// has learned since it was made. Of a state that is not whole, or of another
// version, nothing is taken, and it is an error.
func (p *Peeker) RestoreState(b []byte) error {
	if len(b) < len(stateVersion) || string(b[:len(stateVersion)]) != stateVersion {
		return errState
	}
	r := stateReader{rest: b[len(stateVersion):]}
	models := map[string]*figure{}
	turn := int64(0)
	for range r.number(0, learnModels) {
		f := &figure{model: r.name()}
		f.weight.Store(r.number(minWeight, maxWeight))
		turn++
		f.used.Store(turn)
		r.bad = r.bad || models[f.model] != nil
		if r.bad {
			return errState
		}
		models[f.model] = f
	}
	if r.bad || len(r.rest) > 0 {
		return errState
	}
	p.learned.mu.Lock()
	defer p.learned.mu.Unlock()
	p.learned.models = models
	p.learned.turn.Store(turn)
	return nil
}

// stateReader reads a state. What it returns after it went bad is of no use.
type stateReader struct {
	rest []byte
	bad  bool
}

// number reads a number from least to most.
func (r *stateReader) number(least, most int64) int64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n < uint64(least) || n > uint64(most) {
		r.bad = true
		return 0
	}
	r.rest = r.rest[size:]
	return int64(n)
}

// name reads the name of a model.
func (r *stateReader) name() string {
	size := r.number(1, learnName)
	if r.bad || size > int64(len(r.rest)) {
		r.bad = true
		return ""
	}
	name := string(r.rest[:size])
	r.rest = r.rest[size:]
	return name
}
