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
	builtin  *modelname.Set[entry]
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
	t := &Table{builtin: builtin(), fallback: entry{}.price(fallback, 0), seed: maphash.MakeSeed()}
	for _, m := range models {
		t.stated.Add(m.Name, m.Stated)
	}
	return t
}

// Of returns the price of a model, and whether it is listed: by the
// configuration, or in the built-in table. In each the name itself comes first,
// then the longest of the names of which it is a version and the globs that match
// it. What the configuration states of a model is for input of any length, its
// CacheWrites for those of an hour, too. What it does not state is as in the
// built-in table; if that does not list the model, Input is the fallback's and
// the others are as Input.
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
	return builtin.price(stated, t.fallback.Input), true
}

// An entry is what the built-in table says of a model.
type entry struct {
	base  listed
	above int64 // the input tokens above which long is for the whole request; 0: never
	long  listed
}

// listed are prices of the built-in table, which has one that no configuration
// states.
type listed struct {
	Stated
	LongCacheWrites *int64
}

// price returns the price of a model of which that is stated: with an input at
// that price if nobody states one.
func (e entry) price(stated Stated, input int64) Price {
	p := Price{Rates: e.base.rates(stated, input)}
	if e.above == 0 {
		return p
	}
	if long := e.long.rates(stated, input); long != p.Rates {
		p.Above, p.Long = e.above, long
	}
	return p
}

// rates returns s, and what it does not state as in l. What neither has is as
// the input, and cache writes of an hour as the others: nothing costs less by a
// guess.
func (l listed) rates(s Stated, input int64) Rates {
	input = *cmp.Or(s.Input, l.Input, &input)
	writes := cmp.Or(s.CacheWrites, l.CacheWrites, &input)
	return Rates{
		Input:           input,
		Output:          *cmp.Or(s.Output, l.Output, &input),
		CachedInput:     *cmp.Or(s.CachedInput, l.CachedInput, &input),
		CacheWrites:     *writes,
		LongCacheWrites: *cmp.Or(s.CacheWrites, l.LongCacheWrites, writes),
	}
}
