package adaptive

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// scrapeTimeout is how long a worker has for its answer, all of it.
	scrapeTimeout = Tick * 4 / 5
	// askAgain is how many ticks a silent worker is left in peace.
	askAgain = 30
)

// Target is a worker to be asked.
type Target struct {
	// URL is the worker's base, to which the pages' paths are added.
	URL *url.URL
	// Header is sent along, for the worker's key. Nil: nothing.
	Header http.Header
}

// Config is what a Loop stands between.
type Config struct {
	Options Options
	// Targets returns the workers there are now, none twice.
	Targets func() []Target
	// Transport takes the questions to them. It does not follow redirects.
	Transport http.RoundTripper
	// Load returns how many requests are in flight and wait at the gateway.
	Load func() (inFlight, waiting int)
	// Set is told the slots at the start, and whenever they have changed. It must
	// not call the Loop.
	Set func(slots int)
	// Log is told once of each worker whose load cannot be seen. Nil: nobody is.
	Log *slog.Logger
}

// Loop asks the workers every Tick, and sets the slots. Its methods may be called by
// many goroutines.
type Loop struct {
	config   Config
	times    recorder
	mu       sync.Mutex // held for a step, not while workers are asked
	control  *Controller
	options  Options
	slots    atomic.Int64
	observed Times // by the goroutine that runs
	ways     map[string]way
}

// way is what is known of how to ask a worker.
type way struct {
	signal Signal // for which it is known
	page   string // that tells its load; empty: none is known
	idle   int    // ticks for which it is not asked, since it is silent
	blind  string // why its load cannot be seen; empty: it can, or it is away
}

const metricsPage, queuePage = "/metrics", "/queue"

// New returns a loop that is not running yet. It has told nobody the slots so far.
func New(c Config) *Loop {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l := &Loop{config: c, control: NewController(c.Options), options: c.Options}
	l.slots.Store(int64(l.control.Slots()))
	return l
}

// Slots returns how many there are now.
func (l *Loop) Slots() int { return int(l.slots.Load()) }

// FirstToken counts how long a stream took to its first token, from when it was
// sent to the worker, and the tokens of its input, 0 where they are not known. It
// is for streams alone: what comes whole comes at its end. It takes no lock and
// does not allocate.
func (l *Loop) FirstToken(d time.Duration, input int64) { l.times.add(d, input) }

// Configure changes the options from the next tick on, and the slots at once if
// they are out of bounds.
func (l *Loop) Configure(o Options) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.options = o
	l.control.Configure(o)
	l.set(l.control.Slots())
}

// set tells the slots if they have changed. It requires that l.mu is held.
func (l *Loop) set(slots int) {
	if l.slots.Swap(int64(slots)) != int64(slots) {
		l.config.Set(slots)
	}
}

// Run asks and sets until ctx ends. It is called once.
func (l *Loop) Run(ctx context.Context) {
	l.mu.Lock()
	l.config.Set(l.Slots())
	l.mu.Unlock()
	tick := time.NewTicker(Tick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.step(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (l *Loop) step(ctx context.Context) {
	l.mu.Lock()
	signal := l.options.Signal
	l.mu.Unlock()
	var workers []Signals
	if signal != FirstToken {
		workers = l.ask(ctx, signal)
	}
	if ctx.Err() != nil {
		return // nobody could be asked
	}
	l.times.take(&l.observed)
	l.mu.Lock()
	defer l.mu.Unlock()
	o := Observation{Workers: workers, FirstToken: &l.observed}
	o.InFlight, o.Waiting = l.config.Load()
	l.set(l.control.Step(o))
}

// ask asks all workers at once.
func (l *Loop) ask(ctx context.Context, signal Signal) []Signals {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	targets := l.config.Targets()
	workers, ways := make([]Signals, len(targets)), make([]way, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		ways[i] = l.ways[t.URL.String()]
		all.Go(func() {
			workers[i], ways[i] = l.askWorker(ctx, t, ways[i], signal)
			workers[i].Worker = t.URL.String()
		})
	}
	all.Wait()
	before := l.ways
	l.ways = make(map[string]way, len(targets)) // of those there are
	for i := range targets {
		name, is := workers[i].Worker, ways[i]
		was := before[name]
		l.ways[name] = is
		if is.blind != "" && (was.blind == "" || was.signal != is.signal) {
			level := slog.LevelWarn
			if signal == Auto && workers[i].State == Silent {
				level = slog.LevelInfo // there are its streams
			}
			l.config.Log.Log(ctx, level, "adaptive slots cannot see the load of the worker", "worker", name, "why", is.blind)
		}
	}
	return workers
}

// askWorker asks one, and returns how to ask it next time.
func (l *Loop) askWorker(ctx context.Context, t Target, w way, signal Signal) (Signals, way) {
	if w.signal != signal {
		w = way{signal: signal}
	}
	if w.idle > 0 {
		w.idle--
		return Signals{State: Silent}, w
	}
	pages := []string{metricsPage, queuePage}
	switch {
	case signal == Metrics:
		pages = pages[:1]
	case signal == Queue:
		pages = pages[1:]
	case w.page != "":
		pages = []string{w.page}
	}
	for _, page := range pages {
		switch s, err := l.read(ctx, t, page); {
		case errors.Is(err, errAway):
			return Signals{}, w
		case err != nil:
			w.blind = err.Error()
			return Signals{}, w
		case s.State == Told:
			return s, way{signal: signal, page: page}
		}
	}
	if w.page != "" { // it has been exchanged for another: look anew
		return Signals{}, way{signal: signal}
	}
	return Signals{State: Silent}, way{signal: signal, idle: askAgain, blind: silence[signal]}
}

// silence is what it means that a worker tells nothing.
var silence = [...]string{
	Auto:    "it has no vLLM's or SGLang's metrics at /metrics and no ComfyUI's queue at /queue: slots follow the time to the first token of its streams, and stay as they are where nothing is streamed",
	Metrics: "it has no vLLM's or SGLang's metrics at /metrics: turn them on there, or set admission.adaptive.signal to auto; until then slots stay as they are",
	Queue:   "it has no ComfyUI's queue at /queue: set admission.adaptive.signal to auto; until then slots stay as they are",
}

// errAway is of a worker that is not there, or too busy: others say so in the log.
var errAway = errors.New("adaptive: the worker cannot say now")

// read reads a page of a worker. Who refuses to show it is silent.
func (l *Loop) read(ctx context.Context, t Target, page string) (Signals, error) {
	u := t.URL.JoinPath(page)
	u.RawQuery = ""
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Signals{}, err
	}
	if h := t.Header.Clone(); h != nil {
		r.Header = h
	}
	resp, err := l.config.Transport.RoundTrip(r)
	if err != nil {
		return Signals{}, errAway
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // read to its end, the connection is used again
		_ = resp.Body.Close()
	}()
	switch {
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests:
		return Signals{}, errAway
	case resp.StatusCode != http.StatusOK:
		return Signals{State: Silent}, nil
	case page == metricsPage:
		return readMetrics(resp.Body)
	}
	return readQueue(resp.Body)
}
