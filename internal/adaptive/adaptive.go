// Package adaptive moves the number of slots with what the workers can take: from
// what they say themselves, or from the time to the first token, never from how
// long answers take, which is how long answers are.
//
// A Controller is the arithmetic, a Loop what asks the workers and tells the gateway.
package adaptive

import (
	"math"
	"time"
)

// Tick is the time from one step to the next.
const Tick = time.Second

// Signal is what the slots follow.
type Signal int

const (
	// Auto takes of each worker the first that it has of Metrics, Queue and
	// FirstToken.
	Auto Signal = iota
	// Metrics are those of vLLM or SGLang at /metrics: requests that run and that
	// wait, and the use of the KV cache.
	Metrics
	// Queue is ComfyUI's /queue: jobs that run and that wait.
	Queue
	// FirstToken is the time to the first token of streams.
	FirstToken
)

// Options bound the slots. Of the zero Options there is one slot.
type Options struct {
	// Start is how many slots there are at first; out of bounds it is Min.
	Start int
	// Min is the fewest slots. It must be what
	// the workers can surely take. Below 1 it is 1.
	Min int
	// Max is the most slots. Below Min it is Min.
	Max int
	// Signal is what the slots follow.
	Signal Signal
}

func (o Options) bounded() Options {
	o.Min = max(o.Min, 1)
	o.Max = max(o.Max, o.Min)
	if o.Start < o.Min || o.Start > o.Max {
		o.Start = o.Min
	}
	return o
}

// State is what is known of a worker in one tick.
type State int

const (
	// Unread: it could not be asked, so nothing is known.
	Unread State = iota
	// Silent: it answers, but says nothing of its load.
	Silent
	// Told: it has told its load.
	Told
)

// Signals are what one worker says in one tick.
type Signals struct {
	// Worker tells it from the others.
	Worker string
	State  State
	// Running and Waiting are the requests in the worker; of all gateways, if
	// there are several.
	Running, Waiting int
	// KVUse is the share of its KV cache that is in use, from 0 to 1. 0 where it
	// has none.
	KVUse float64
}

// Observation is what is seen in one tick.
type Observation struct {
	// InFlight and Waiting are the requests at the gateway now.
	InFlight, Waiting int
	// Workers are all there are. Unused with the signal FirstToken.
	Workers []Signals
	// FirstToken are the times to the first token since the tick before. Nil: none.
	FirstToken *Times
}

const (
	// fullKV is the use of the KV cache beyond which vLLM and SGLang are about to
	// preempt what runs.
	fullKV = 0.9
	// passing is which part of those who run may wait, one in so many, without being
	// too many: a request waits for a moment before it runs in any case.
	passing = 32
	// The times to the first token, in multiples of the baseline: up to which there
	// is much room, and some; beyond which there is too much, and far too much. What
	// lies between is where the slots come to rest, and from 5 slots on one more is
	// less than that wide.
	freePace, easyPace, restPace, slowPace, gravePace = 1.1, 1.25, 1.37, 1.5, 2
	// settling is how many ticks requests may need to leave a worker that had too
	// many of them for another.
	settling = 60
	// patience is how many ticks an unread worker may hold up growth. It is
	// starting, or gone, after that.
	patience = 10
	// The ticks between the last that was too much and the next attempt to grow.
	// The pause doubles while attempts fail.
	minPause, maxPause = 2, 8
)

// Controller decides how many slots there are. It best starts with the fewest, since
// too few are found out within seconds and too many may harm, and doubles them
// until the first sign of too much. How much is too much the workers say: it
// shrinks to what runs, in one step. From there it tries one slot more now and
// then, and doubles the step while that goes well, as TCP does (Jacobson, 1988).
//
// It has no clock and does no I/O. Its methods are for one goroutine at a time.
type Controller struct {
	options Options
	slots   int
	step    int // by which it grows next
	jump    int // the same, once, since workers have joined
	grown   int // times, since it was last too much
	pause   int // ticks between the last that was too much and growth
	rest    int // ticks of that left
	since   int // ticks since the slots changed
	workers map[string]told
	tokens  firstTokens
}

// told is what a worker said in the tick before.
type told struct {
	waiting int
	kvUse   float64
	unread  int // ticks since it last said something
}

// NewController returns a controller with the slots to start with.
func NewController(o Options) *Controller {
	o = o.bounded()
	return &Controller{options: o, slots: o.Start, step: o.Start, grown: 2, pause: minPause}
}

// Configure changes the options. The slots stay as they are within the new bounds.
func (c *Controller) Configure(o Options) {
	c.options = o.bounded()
	c.tokens.draining = c.tokens.draining || c.slots > c.options.Max
	c.slots = min(max(c.slots, c.options.Min), c.options.Max)
	c.step = min(c.step, c.slots)
}

// Slots returns how many there are.
func (c *Controller) Slots() int { return c.slots }

// verdict is what the signals of one tick say.
type verdict struct {
	// fit is how many slots would not have been too many; unbounded where none were.
	fit int
	// room is how many slots there may be by the next tick: no more than there are
	// where that is not known.
	room int
}

const unbounded = math.MaxInt

func (v verdict) and(w verdict) verdict { return verdict{min(v.fit, w.fit), min(v.room, w.room)} }

// Step takes what was seen in a tick and returns how many slots there are from now
// on. It is to be called every Tick.
func (c *Controller) Step(o Observation) int {
	c.since++
	v, silent := c.askWorkers(o)
	if c.options.Signal == FirstToken || c.options.Signal == Auto && silent {
		v = v.and(c.askTokens(o))
	}
	switch {
	case v.fit < unbounded:
		c.shrink(max(v.fit, c.options.Min))
	case c.rest > 0:
		c.rest--
	case o.InFlight == c.slots && o.Waiting > 0: // nothing but the slots holds requests up
		c.grow(min(v.room, c.options.Max))
	}
	return c.slots
}

func (c *Controller) shrink(fit int) {
	switch {
	case c.grown == 1: // what was last tried was too much
		c.pause = min(2*c.pause, maxPause)
	case c.grown > 1:
		c.pause = minPause
	}
	c.step, c.jump, c.grown, c.rest = 1, 0, 0, c.pause
	if fit < c.slots {
		c.slots, c.since = fit, 0
		c.tokens.draining = true
	}
}

func (c *Controller) grow(most int) {
	if most <= c.slots {
		return
	}
	c.slots = min(c.slots+max(c.step, c.jump), most)
	c.jump = 0
	if c.grown++; c.grown > 1 { // two steps of one tell more surely than one that it is not too much
		c.step = min(2*c.step, c.slots)
	}
	c.since = 0
	c.tokens.deafen(0)
}

// askWorkers returns what those workers say that tell their load, and whether
// some do not, or there are none.
func (c *Controller) askWorkers(o Observation) (v verdict, silent bool) {
	v = verdict{fit: unbounded, room: unbounded}
	if c.options.Signal == FirstToken {
		return v, true
	}
	silent = len(o.Workers) == 0
	var (
		before        = c.workers
		there         []Signals // those that tell, with what waits and is too many
		joined        int
		outstanding   int
		unread, waits bool
		kvUse, lasts  float64
		spare         = unbounded // requests more that the fullest has room for
	)
	c.workers = make(map[string]told, len(o.Workers))
	for _, w := range o.Workers {
		last, met := before[w.Worker]
		switch w.State {
		case Unread:
			last = told{unread: last.unread + 1}
			c.workers[w.Worker] = last
			unread = unread || last.unread < patience
			continue
		case Silent:
			silent = true
			continue
		}
		c.workers[w.Worker] = told{waiting: w.Waiting, kvUse: w.KVUse}
		if !met || last.unread >= patience {
			joined++
		}
		outstanding += w.Running + w.Waiting
		pass := w.Running / passing
		waits = waits || w.Waiting > pass
		kvUse = max(kvUse, w.KVUse)
		lasts = max(lasts, min(w.KVUse, last.kvUse))
		if w.Running > 0 && w.KVUse > 0 { // what runs takes alike
			spare = min(spare, int(float64(w.Running)*max(fullKV/w.KVUse-1, 0)))
		}
		// What was so in two ticks lasts. A single look may meet a request on its way
		// from the line to the batch.
		w.Waiting = max(min(w.Waiting, last.waiting)-pass, 0)
		there = append(there, w)
	}
	if known := len(there) - joined; joined > 0 && known > 0 { // what was too much is not any more
		c.rest, c.pause = 0, minPause
		c.jump = c.slots * joined / known
	}

	// From what is in flight, since the slots may have shrunk already, and those
	// beyond them not left yet.
	if n := c.excess(there); n > 0 {
		ours := min(o.InFlight, outstanding) // others may send to the workers too, and have their part
		v.fit = o.InFlight - (n*ours+outstanding-1)/outstanding
	}
	if lasts > fullKV {
		v.fit = min(v.fit, int(float64(o.InFlight)*fullKV/lasts))
	}
	switch {
	case unread, waits, kvUse > fullKV:
		v.room = 0
	case len(there) == 0:
		if c.options.Signal != Auto || !silent {
			v.room = 0
		} // else the first tokens decide
	case spare < unbounded:
		v.room = c.slots + spare*len(there)
	}
	return v, silent
}

// excess returns how many requests the workers have too many of, of those that
// wait.
func (c *Controller) excess(workers []Signals) int {
	waiting, least := 0, unbounded
	for _, w := range workers {
		if w.Waiting > 0 {
			waiting += w.Waiting
			least = min(least, w.Running)
		}
	}
	if waiting > 0 && c.since < settling {
		// Where more were sent before, some still stand behind others while there is
		// room elsewhere. That will pass, and fewer slots would leave the room empty.
		for _, w := range workers {
			waiting -= max(least-w.Running-w.Waiting, 0)
		}
	}
	return waiting
}
