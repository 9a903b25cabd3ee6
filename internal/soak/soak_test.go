package soak

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/internal/standin"
)

var (
	length = flag.Duration("soak.time", 2*time.Second, "how long each test asks")
	seeded = flag.Uint64("soak.seed", 0, "of all that is drawn; 0 draws one, which is printed")
)

func TestMain(m *testing.M) {
	// The server lingers for half a second on connections that it cuts.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// patience is how long an event may take before the test fails.
const patience = time.Minute

// soak is the test under way.
type soak struct {
	*program
	t       *testing.T
	seed    uint64
	climate climate
	yard    *yard
	h1      *http.Client
	h2      *http.Client
	calm    []*caller
	wild    []*caller

	serial  atomic.Uint64 // of requests
	streams atomic.Uint64 // of random numbers
	stopped atomic.Bool

	mu       sync.Mutex
	charged  bounds                     // requests of all callers
	outcomes map[string]map[outcome]int // by kind
	faults   int
	reloads  int
	refused  int // reloads of what is wrong
	deaths   int
	depth    float64 // the most that have waited at a time
	figures  []figures
}

// rng returns a source of random numbers of its own.
func (s *soak) rng() *rand.Rand { return rand.New(rand.NewPCG(s.seed, s.streams.Add(1))) }

func (s *soak) stopping() bool { return s.stopped.Load() }

// fault notes what must not be.
func (s *soak) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults++; s.faults <= 20 {
		s.t.Errorf(format, args...)
	}
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, seed: *seeded, outcomes: map[string]map[outcome]int{}}
	if s.seed == 0 {
		s.seed = rand.Uint64()
	}
	t.Logf("seed %d: repeat it by -soak.seed", s.seed)
	return s
}

// TestSoak asks everything at once.
func TestSoak(t *testing.T) {
	d := *length
	if testing.Short() {
		d = time.Second
	}
	s := newSoak(t)
	s.climate = climates()[s.seed%uint64(len(climates()))]
	month := time.Now().UTC().Month()
	s.start(mostSlots, standin.Options{
		Capacity: 32, PerOutputToken: time.Millisecond, JobTime: 10 * time.Millisecond,
		Output: standin.Lengths{Mean: 25, CV: 0.8, Max: 120}, CachedShare: 0.3,
	}, func() string { return configuration(s.rng(), s.climate, s.urls()) })

	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	s.all(ctx, d)
	s.drained()
	s.buffers()
	s.holds(month)
	s.stop()
	s.holds(month)
	if time.Now().Add(aDay).UTC().Month() == month {
		s.ledger.sweep(t)
	}
	s.report(whole, passed, cut, left, denied, queueFull, invalid, largeBody, upstream, stopping, upgraded)
}

// start starts the workers, which should see no more requests at a time than
// most, penstock, and the clients.
func (s *soak) start(most int, as standin.Options, configuration func() string) {
	s.yard = newYard(s.t, s.rng(), 3, most, as)
	var ids []string
	for i := range calmCallers {
		s.calm = append(s.calm, &caller{id: calmID(i)})
		ids = append(ids, calmID(i))
	}
	for i := range wildCallers {
		s.wild = append(s.wild, &caller{id: wildID(i)})
		ids = append(ids, wildID(i))
	}
	s.program = boot(s.t, configuration(), newLedger(ids, s.fault))
	h1 := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	h2 := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	h2.Protocols.SetUnencryptedHTTP2(true)
	s.h1, s.h2 = &http.Client{Transport: h1}, &http.Client{Transport: h2}
	s.t.Cleanup(h1.CloseIdleConnections)
	s.t.Cleanup(h2.CloseIdleConnections)
}

func (s *soak) urls() (urls []string) {
	for _, w := range s.yard.workers {
		urls = append(urls, "http://"+w.address)
	}
	return urls
}

// send sends a request, and notes what becomes of it.
func (s *soak) send(c *call) (*trip, outcome) {
	q := &trip{call: c, id: fmt.Sprint("soak-", s.serial.Add(1)), began: time.Now(), deaths: s.yard.deaths.Load()}
	s.yard.trips.Store(q.id, q)
	defer s.yard.trips.Delete(q.id)
	client := s.h1
	if c.h2 {
		client = s.h2
	}
	q.send(client, "http://"+s.server.Addr().String())
	q.took = time.Since(q.began)
	o, why := q.judge(s)
	s.note(c.kind, o)
	if o == unexpected {
		s.fault("%s: %v", why, q)
	}
	charged := q.charged(o)
	if c.caller != nil {
		c.caller.charge(charged, q.used(o))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.charged.add(charged.least, charged.most)
	return q, o
}

func (s *soak) note(kind string, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outcomes[kind] == nil {
		s.outcomes[kind] = map[outcome]int{}
	}
	s.outcomes[kind][o]++
}

// traffic has clients ask until ctx ends, and returns when each has its answer.
func (s *soak) traffic(ctx context.Context) {
	var clients sync.WaitGroup
	client := func(n int, ask func(rng *rand.Rand, i int)) {
		for i := range n {
			rng := s.rng()
			clients.Go(func() {
				for ctx.Err() == nil && !s.shut() {
					ask(rng, i)
				}
			})
		}
	}
	client(calmCallers, func(rng *rand.Rand, i int) { s.send(calm(rng, s.calm[i])) })
	client(30, func(rng *rand.Rand, _ int) { s.send(wild(rng, s.wild[rng.IntN(wildCallers)])) })
	client(4, func(rng *rand.Rand, _ int) {
		s.send(flood(rng))
		s.bounded()
	})
	client(2, func(rng *rand.Rand, _ int) { s.socket(rng, s.wild[rng.IntN(wildCallers)]) })
	client(2, func(rng *rand.Rand, _ int) { s.noise(rng, s.wild[rng.IntN(wildCallers)]) })
	client(1, func(rng *rand.Rand, _ int) {
		wait(ctx, time.Duration(200+rng.IntN(1500))*time.Millisecond)
		s.stampede(rng)
	})
	clients.Wait()
}

// shut reports whether the gateway is stopping and nobody is let in any more.
func (s *soak) shut() bool {
	if !s.stopping() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, by := range s.outcomes {
		n += by[notLetIn]
	}
	return n > 100
}

// stampede has more ask at once than may wait.
func (s *soak) stampede(rng *rand.Rand) {
	var all sync.WaitGroup
	for range 150 {
		c := s.wild[2+rng.IntN(wildCallers-2)].sign(metered(rng, shapes()[2], 80))
		c.kind = "stampede"
		all.Go(func() { s.send(c) })
	}
	all.Wait()
}

// bounded checks the store's bounds. A newcomer is counted before it is turned
// away.
func (s *soak) bounded() {
	const newcomers = 20
	if st := s.ledger.Stats(); st.Keys > s.climate.keys+newcomers || st.Bytes > s.climate.bytes {
		s.fault("the store has %d keys of %d, %d bytes of %d", st.Keys, s.climate.keys, st.Bytes, s.climate.bytes)
	}
}

// all has clients ask, workers die and configurations change until ctx ends, and
// measures meanwhile.
func (s *soak) all(ctx context.Context, d time.Duration) {
	var beside sync.WaitGroup
	reloads, deaths := s.rng(), s.rng()
	beside.Go(func() { s.reload(ctx, reloads) })
	beside.Go(func() { s.deaths = s.yard.haunt(ctx, deaths) })
	beside.Go(func() { s.watch(ctx) })
	beside.Go(func() { s.measure(ctx, min(time.Minute, d/5)) })
	s.traffic(ctx)
	beside.Wait()
}

// reload changes the configuration a few times a second, sometimes to one that is
// wrong.
func (s *soak) reload(ctx context.Context, rng *rand.Rand) {
	for wait(ctx, time.Duration(50+rng.IntN(400))*time.Millisecond) {
		text := configuration(rng, s.climate, s.urls())
		if rng.IntN(6) == 0 {
			wrong := strings.Replace(text, "max_keys", "max_quays", 1)
			if err := s.configure(rng, wrong); err == nil || !strings.Contains(err.Error(), "max_quays") {
				s.fault("a configuration that is wrong: %v", err)
			}
			s.refused++
			continue
		}
		if err := s.configure(rng, text); err != nil {
			s.fault("a reload: %v\n%s", err, text)
		}
		s.reloads++
	}
}

// watch looks at the gauges a few times a second.
func (s *soak) watch(ctx context.Context) {
	for wait(ctx, 200*time.Millisecond) {
		m, err := s.metrics()
		if err != nil {
			s.fault("the metrics: %v", err)
			continue
		}
		// Who waits stays when the queue becomes smaller.
		if depth, room := m["penstock_queue_depth"], m["penstock_queue_capacity"]; max(depth, room) > mostWaiting {
			s.fault("%v wait in a queue of %v, of at most %d", depth, room, mostWaiting)
		}
		if n := m["penstock_slots_in_use"]; n > mostSlots {
			s.fault("%v slots are in use, of at most %d", n, mostSlots)
		}
		s.depth = max(s.depth, m["penstock_queue_depth"])
	}
}
