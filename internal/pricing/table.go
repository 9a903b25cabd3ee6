package pricing

import (
	"cmp"
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/penstock-dev/penstock/internal/modelname"
)

// Stated are the prices that are stated of a model, in nano-USD per million
// tokens; nil is one that is not.
type Stated struct {
	Input, Output, CachedInput, CacheWrites *int64
}

// A Model is what a configuration states of the models that a name stands for:
// itself and its dated and latest versions, or all that match it as a glob.
type Model struct {
	Name string
	Stated
}

// A Table knows the price of every model. [New] makes one. It does not change,
// and any number of goroutines may ask it.
type Table struct {
	stated   modelname.Set[Stated]
	builtin  *modelname.Set[Stated]
	fallback Price
	seed     maphash.Seed
	resolved [resolvedModels]atomic.Pointer[resolved]
}

// What has been resolved is kept in a place that the name's hash says, and gives
// way to the next one there: a flood of names that nobody has costs the others a
// search each, and no memory.
const (
	resolvedModels = 1 << 10
	resolvedLength = 256 // of the longest name that is kept
)

type resolved struct {
	model  string
	price  Price
	listed bool
}

// New returns a table of the built-in prices under those that models state. An
// unlisted model costs fallback, of which an unstated Input is 0. Of two models
// with one name the first counts.
func New(fallback Stated, models []Model) *Table {
	t := &Table{builtin: builtin(), fallback: fallback.price(0), seed: maphash.MakeSeed()}
	for _, m := range models {
		t.stated.Add(m.Name, m.Stated)
	}
	return t
}

// Of returns the price of a model, and whether it is listed: by the
// configuration, or in the built-in table. In each the name itself comes first,
// then the longest of the names of which it is a version and the globs that match
// it. What the configuration does not state of a model is as in the built-in
// table; if that does not list the model, Input is the fallback's and the others
// are as Input.
func (t *Table) Of(model string) (p Price, listed bool) {
	place := &t.resolved[maphash.String(t.seed, model)%resolvedModels]
	if r := place.Load(); r != nil && r.model == model {
		return r.price, r.listed
	}
	p, listed = t.resolve(model)
	if len(model) <= resolvedLength {
		// The name may be part of a whole request: that is not kept with it.
		place.Store(&resolved{strings.Clone(model), p, listed})
	}
	return p, listed
}

func (t *Table) resolve(model string) (p Price, listed bool) {
	stated, isStated := t.stated.Of(model)
	builtin, isBuiltin := t.builtin.Of(model)
	if !isStated && !isBuiltin {
		return t.fallback, false
	}
	return stated.or(builtin).price(t.fallback.Input), true
}

// or returns s with what it does not state as in other.
func (s Stated) or(other Stated) Stated {
	return Stated{
		Input:       cmp.Or(s.Input, other.Input),
		Output:      cmp.Or(s.Output, other.Output),
		CachedInput: cmp.Or(s.CachedInput, other.CachedInput),
		CacheWrites: cmp.Or(s.CacheWrites, other.CacheWrites),
	}
}

// price returns s whole: with an input at that price if it states none, and the
// others as the input if it does not state them. Nothing costs less by a guess.
func (s Stated) price(input int64) Price {
	if s.Input != nil {
		input = *s.Input
	}
	s = s.or(Stated{Output: &input, CachedInput: &input, CacheWrites: &input})
	return Price{input, *s.Output, *s.CachedInput, *s.CacheWrites}
}
