package standin

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// engine shares the worker's capacity among the running requests. It keeps one
// work clock for all of them, which runs at the pace of real time while at most
// capacity requests run, and capacity/running as fast with more: since all share
// alike, what one has still to do is a distance on that clock. A request sleeps
// on a timer of its own until the moment the clock is going to show its mark,
// and looks again when the pace turns.
type engine struct {
	mu               sync.Mutex
	capacity, places int
	stats            Stats
	models           map[string]*Counts
	line             list.List // of *run, those without a place, in order of arrival

	since  time.Time     // when the pace last turned
	clock  time.Duration // what the work clock showed then
	turned chan struct{} // closed when the pace turns
}

// newEngine makes an engine of so much capacity and so many places, by the rules
// of Options for either.
func newEngine(capacity, places int) *engine {
	e := &engine{models: map[string]*Counts{}, since: time.Now(), turned: make(chan struct{})}
	e.resize(capacity, places)
	return e
}

// resize changes the capacity and the places. Whoever runs goes on, at the new
// pace, also where there are fewer places than that now.
func (e *engine) resize(capacity, places int) {
	if capacity <= 0 {
		capacity = 16
	}
	if places <= 0 {
		places = 4 * capacity
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.turn(time.Now())
	e.capacity, e.places = capacity, places
	e.admit(e.stats.Running)
}

// run is one request in the engine. It belongs to the goroutine that submitted
// it, which must call leave once.
type run struct {
	engine  *engine
	model   *Counts
	place   *list.Element // in the line; nil once it runs
	granted chan struct{} // closed when it gets a place
	mark    time.Duration // of the work clock, at which its work so far is done
	timer   *time.Timer
}

// outcome is how a run ended.
type outcome int

const (
	finished outcome = iota
	cancelled
	faulted
)

// submit counts a request as started and gives it a place, or one in the line.
// It does not block.
func (e *engine) submit(model string) *run {
	r := &run{engine: e, granted: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	r.model = e.model(model)
	e.stats.Started++
	r.model.Started++
	r.place = e.line.PushBack(r)
	e.admit(e.stats.Running)
	return r
}

// wait blocks until the run has a place, or returns ctx's error.
func (r *run) wait(ctx context.Context) error {
	select {
	case <-r.granted:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work blocks until another d of work is done, or returns ctx's error. The work
// is counted from where the last ended: who comes late, since its client reads
// slowly, catches up, as the tokens of a real worker pile up meanwhile.
func (r *run) work(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	r.mark += d
	for {
		wait, turned := r.engine.until(r.mark)
		if wait <= 0 {
			return ctx.Err()
		}
		if r.timer == nil {
			r.timer = time.NewTimer(wait)
		} else {
			r.timer.Reset(wait)
		}
		select {
		case <-r.timer.C:
		case <-turned:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read counts the input tokens as processed.
func (r *run) read(tokens int64) {
	r.engine.mu.Lock()
	defer r.engine.mu.Unlock()
	r.engine.stats.InputTokens += tokens
	r.model.InputTokens += tokens
}

// wrote counts output tokens as generated.
func (r *run) wrote(tokens int64) {
	r.engine.mu.Lock()
	defer r.engine.mu.Unlock()
	r.engine.stats.OutputTokens += tokens
	r.model.OutputTokens += tokens
}

// leave gives the run's place, in the engine or in the line, to the next.
func (r *run) leave(how outcome) {
	if r.timer != nil {
		r.timer.Stop()
	}
	e := r.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.count(how)
	r.model.count(how)
	if r.place != nil {
		e.line.Remove(r.place)
		e.stats.Waiting = int64(e.line.Len())
		return
	}
	e.admit(e.stats.Running - 1)
}

// admit lets the line into what places are left beside running requests, and
// turns the pace. It requires that e.mu is held.
func (e *engine) admit(running int64) {
	was, now := e.stats.Running, time.Now()
	first := e.line.Front()
	for ; first != nil && running < int64(e.places); first = e.line.Front() {
		r := e.line.Remove(first).(*run)
		r.place = nil
		r.mark = e.at(now)
		close(r.granted)
		running++
	}
	if full := int64(e.capacity); max(was, full) != max(running, full) {
		e.turn(now)
	}
	e.stats.Running = running
	e.stats.Waiting = int64(e.line.Len())
	e.stats.MaxRunning = max(e.stats.MaxRunning, running)
}

// turn ends the present pace. It requires that e.mu is held.
func (e *engine) turn(now time.Time) {
	e.clock, e.since = e.at(now), now
	close(e.turned)
	e.turned = make(chan struct{})
}

// at returns what the work clock shows at now. It requires that e.mu is held.
func (e *engine) at(now time.Time) time.Duration {
	d := now.Sub(e.since)
	if k := e.stats.Running; k > int64(e.capacity) {
		d = d * time.Duration(e.capacity) / time.Duration(k)
	}
	return e.clock + d
}

// until returns how long it is until the work clock shows mark, at the present
// pace, and what is closed when that pace turns.
func (e *engine) until(mark time.Duration) (time.Duration, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := mark - e.clock
	if k, c := time.Duration(e.stats.Running), time.Duration(e.capacity); k > c {
		d = (d*k + c - 1) / c
	}
	return d - time.Since(e.since), e.turned
}

// Counts are of requests and tokens. When nothing is in flight, Started is the
// sum of Finished, Cancelled and Faulted.
type Counts struct {
	// Started are the generation requests that were accepted, running or
	// waiting, or that a fault befell before that. Refused ones (400, 401,
	// 404) are none.
	Started int64
	// Finished were answered to the end.
	Finished int64
	// Cancelled ended because the client had gone.
	Cancelled int64
	// Faulted were ended by a fault.
	Faulted int64
	// InputTokens were processed: counted when the first token is due.
	InputTokens int64
	// OutputTokens were generated, also for a client that left later.
	OutputTokens int64
}

// Stats is what a worker has counted. At every moment Started is the sum of
// Finished, Cancelled, Faulted, Running and Waiting.
type Stats struct {
	// Requests is everything that arrived, on any path.
	Requests int64
	Counts
	// Running and Waiting are the requests in the engine and in its line now.
	Running, Waiting int64
	// MaxRunning is the most that ran at once so far.
	MaxRunning int64
	// PerModel has the counts of each model, without the faults that came
	// before the model was known. Past 100 names the rest share "other".
	PerModel map[string]Counts
	// Jobs are ComfyUI's. The request that brought one has ended by then, and is
	// counted above.
	Jobs JobCounts
}

// maxModels bounds the models counted apart, since clients name them.
const maxModels = 100

// model returns the counts of the named model. It requires that e.mu is held.
func (e *engine) model(name string) *Counts {
	if c, ok := e.models[name]; ok {
		return c
	}
	if len(e.models) >= maxModels {
		name = "other"
	}
	if e.models[name] == nil {
		e.models[name] = new(Counts)
	}
	return e.models[name]
}

func (c *Counts) count(how outcome) {
	switch how {
	case finished:
		c.Finished++
	case cancelled:
		c.Cancelled++
	case faulted:
		c.Faulted++
	}
}

// arrived counts a request on any path.
func (e *engine) arrived() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Requests++
}

// ended counts a request that never ran and has ended so: a fault befell it, or
// it is answered at once. The model is empty where there is none, or it was not
// yet known.
func (e *engine) ended(model string, how outcome) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := []*Counts{&e.stats.Counts}
	if model != "" {
		all = append(all, e.model(model))
	}
	for _, c := range all {
		c.Started++
		c.count(how)
	}
}

// gauges returns how many run and wait as vLLM counts them, and the share of the
// places that is taken. Those who run beyond the places, since there are fewer
// than when they began, are preempted there, and wait.
func (e *engine) gauges() (running, waiting int64, taken float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	running = min(e.stats.Running, int64(e.places))
	return running, e.stats.Waiting + e.stats.Running - running, float64(running) / float64(e.places)
}

func (e *engine) snapshot() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.PerModel = make(map[string]Counts, len(e.models))
	for name, c := range e.models {
		s.PerModel[name] = *c
	}
	return s
}
