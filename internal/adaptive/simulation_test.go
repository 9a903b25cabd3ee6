package adaptive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/internal/adaptive"
	"github.com/penstock-dev/penstock/internal/standin"
)

var update = flag.Bool("update", false, "write the golden table anew")

const ms = time.Millisecond

// gate is a gateway with a line that is never empty: slots, and who takes them.
type gate struct {
	mu              sync.Mutex
	slots, inFlight int
	line            []chan struct{}
	loop            *adaptive.Loop
	start           time.Time
	trace           []point
}

// point is a number of slots, and since when.
type point struct {
	at    time.Duration
	slots int
}

func (g *gate) set(slots int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.slots = slots
	g.trace = append(g.trace, point{time.Since(g.start), slots})
	g.wake()
}

// wake requires that g.mu is held.
func (g *gate) wake() {
	for len(g.line) > 0 && g.inFlight < g.slots {
		close(g.line[0])
		g.line = g.line[1:]
		g.inFlight++
	}
}

func (g *gate) load() (inFlight, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inFlight, len(g.line)
}

func (g *gate) enter(ctx context.Context) error {
	turn := make(chan struct{})
	g.mu.Lock()
	g.line = append(g.line, turn)
	g.wake()
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	g.wake()
}

// fleet is stand-in workers, behind no network. The least busy takes the next.
type fleet struct {
	mu      sync.Mutex
	workers []*standin.Worker
	busy    []int
	serve   int // so many of the first are there, the others have left
	sent    int
	strip   string // metrics that are left out
	silent  bool   // they have neither metrics nor a queue
}

func newFleet(n int, o standin.Options) *fleet {
	f := &fleet{busy: make([]int, n), serve: n}
	for range n {
		f.workers = append(f.workers, standin.New(o))
	}
	return f
}

func (f *fleet) targets() (all []adaptive.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.serve {
		all = append(all, adaptive.Target{URL: &url.URL{Scheme: "http", Host: fmt.Sprint("w", i)}})
	}
	return all
}

func (f *fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	var i int
	if _, err := fmt.Sscanf(r.URL.Host, "w%d", &i); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	if f.silent {
		rec.WriteHeader(http.StatusNotFound)
		return rec.Result(), nil
	}
	f.workers[i].ServeHTTP(rec, r)
	if f.strip != "" {
		b := bytes.ReplaceAll(rec.Body.Bytes(), []byte(f.strip), []byte("other"))
		rec.Body = bytes.NewBuffer(b)
	}
	return rec.Result(), nil
}

// pick returns the least busy worker and the number of the request.
func (f *fleet) pick() (worker, number int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.serve {
		if f.busy[i] < f.busy[worker] {
			worker = i
		}
	}
	f.busy[worker]++
	f.sent++
	return worker, f.sent
}

func (f *fleet) done(worker int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy[worker]--
}

// stream is a client that notes when the first token comes.
type stream struct {
	header http.Header
	first  func()
}

func (s *stream) Header() http.Header { return s.header }
func (s *stream) WriteHeader(int)     {}
func (s *stream) Flush()              {}
func (s *stream) Write(p []byte) (int, error) {
	if s.first != nil {
		s.first()
		s.first = nil
	}
	return len(p), nil
}

// chat sends a chat of the number's length of prompt, and reads the answer.
func (f *fleet) chat(ctx context.Context, loop *adaptive.Loop) {
	i, number := f.pick()
	defer f.done(i)
	rng := rand.New(rand.NewPCG(1, uint64(number)))
	input := int64(16 << rng.IntN(6))
	input += rng.Int64N(input)
	if number > 3000 { // longer prompts from then on are no reason for fewer slots
		input *= 4
	}
	body := fmt.Sprintf(`{"model":"m","stream":true,"messages":[{"role":"user","content":%q}]}`, strings.Repeat("w", int(input)))
	sent := time.Now()
	f.workers[i].ServeHTTP(&stream{http.Header{}, func() { loop.FirstToken(time.Since(sent), input) }},
		httptest.NewRequestWithContext(ctx, "POST", "/v1/chat/completions", strings.NewReader(body)))
}

// job has a picture made, and looks now and then whether it is ready.
func (f *fleet) job(ctx context.Context, _ *adaptive.Loop) {
	i, number := f.pick()
	defer f.done(i)
	ask := func(method, path, body string) string {
		rec := httptest.NewRecorder()
		f.workers[i].ServeHTTP(rec, httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body)))
		return rec.Body.String()
	}
	var put struct {
		ID string `json:"prompt_id"`
	}
	graph := fmt.Sprintf(`{"prompt":{"1":{"class_type":"SaveImage","inputs":{"seed":%d}}}}`, number)
	if err := json.Unmarshal([]byte(ask("POST", "/prompt", graph)), &put); err != nil || put.ID == "" {
		panic(fmt.Sprintf("no job: %v", err))
	}
	for ctx.Err() == nil && ask("GET", "/history/"+put.ID, "") == "{}" {
		select {
		case <-time.After(199 * ms):
		case <-ctx.Done():
		}
	}
}

// The capacity is 16, is 4 from the second minute on, and 16 again from the fourth
// on, for more than ten minutes. It changes between two ticks.
const (
	fall = 2*time.Minute + 500*ms
	rise = 4*time.Minute + 500*ms
	end  = rise + 10*time.Minute + 30*time.Second
)

// simulation is a load of four times the capacity on workers whose capacity
// changes.
type simulation struct {
	name, workers string
	signal        adaptive.Signal
	fleet         func() *fleet
	capacity      func(f *fleet, capacity int)
	send          func(*fleet, context.Context, *adaptive.Loop)
}

var chats = standin.Options{
	Capacity: 8, MaxRunning: 8, FirstToken: 50 * ms, PerInputToken: 101 * time.Microsecond, PerOutputToken: 49_993 * time.Microsecond,
	Output: standin.Lengths{Mean: 20, CV: 0.4, Max: 60}, BytesPerToken: 1,
}

func simulations() []simulation {
	return []simulation{
		{
			name: "metrics, with KV use", workers: "1 of vLLM", signal: adaptive.Auto,
			fleet: func() *fleet {
				o := chats
				o.Capacity, o.MaxRunning = 16, 16
				return newFleet(1, o)
			},
			capacity: func(f *fleet, c int) { f.workers[0].SetCapacity(c, c) },
			send:     (*fleet).chat,
		},
		{
			name: "metrics, without", workers: "2", signal: adaptive.Metrics,
			fleet: func() *fleet {
				f := newFleet(2, chats)
				f.strip = "vllm:kv_cache_usage_perc"
				return f
			},
			capacity: func(f *fleet, c int) {
				for _, w := range f.workers {
					w.SetCapacity(c/2, c/2)
				}
			},
			send: (*fleet).chat,
		},
		{
			name: "queue", workers: "16 of ComfyUI, then 4, then 16", signal: adaptive.Queue,
			fleet: func() *fleet { return newFleet(16, standin.Options{JobTime: 3907 * ms}) },
			capacity: func(f *fleet, c int) {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.serve = c
			},
			send: (*fleet).job,
		},
		{
			name: "first token", workers: "1 that says nothing", signal: adaptive.Auto,
			fleet: func() *fleet {
				o := chats
				o.Capacity, o.MaxRunning = 16, 64
				f := newFleet(1, o)
				f.silent = true
				return f
			},
			capacity: func(f *fleet, c int) { f.workers[0].SetCapacity(c, 64) },
			send:     (*fleet).chat,
		},
	}
}

// run returns the slots over time.
func (s simulation) run(t *testing.T) []point {
	var g *gate
	synctest.Test(t, func(t *testing.T) {
		f := s.fleet()
		g = &gate{start: time.Now()}
		g.loop = adaptive.New(adaptive.Config{
			Options: adaptive.Options{Min: 1, Max: 64, Signal: s.signal},
			Targets: f.targets, Transport: f, Load: g.load, Set: g.set,
		})
		ctx, cancel := context.WithTimeout(t.Context(), end)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() { g.loop.Run(ctx) })
		for i := range 64 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 3 * ms)
				for g.enter(ctx) == nil {
					send(s, f, ctx, g.loop)
					g.leave()
				}
			})
		}
		time.Sleep(fall)
		s.capacity(f, 4)
		time.Sleep(rise - fall)
		s.capacity(f, 16)
		all.Wait()
	})
	return g.trace
}

// send lets a request end as the client leaves, at the end of the simulation.
func send(s simulation, f *fleet, ctx context.Context, loop *adaptive.Loop) {
	defer func() {
		if r := recover(); r != nil {
			if err, ok := r.(error); !ok || !errors.Is(err, http.ErrAbortHandler) || ctx.Err() == nil {
				panic(r)
			}
		}
	}()
	s.send(f, ctx, loop)
}

// phases returns, for each phase, the fewest and the most slots in its last minute,
// and the second from which on they are within one of one number.
func phases(trace []point) (least, most, seconds [3]int) {
	bounds := []time.Duration{0, fall, rise, end}
	for p := range 3 {
		from, to := bounds[p], bounds[p+1]
		at := func(d time.Duration) int { // the slots then
			i, _ := slices.BinarySearchFunc(trace, d, func(q point, d time.Duration) int {
				if q.at <= d {
					return -1
				}
				return 1
			})
			return trace[i-1].slots
		}
		seen := func(from time.Duration) (least, most int) {
			least = at(from)
			most = least
			for d := from; d < to; d += time.Second {
				least, most = min(least, at(d+ms)), max(most, at(d+ms))
			}
			return least, most
		}
		least[p], most[p] = seen(to - 60*time.Second)
		for d := to - time.Second; d >= from; d -= time.Second {
			if l, m := seen(d); m-l > 2 {
				break
			}
			seconds[p] = int((d - from) / time.Second)
		}
	}
	return least, most, seconds
}

// TestSimulation runs all of them, and compares the table in the document.
func TestSimulation(t *testing.T) {
	table := new(strings.Builder)
	fmt.Fprintln(table, "| signal | workers | slots for 16 | after | for 4 | after | for 16 again | after |")
	fmt.Fprintln(table, "|---|---|---|---|---|---|---|---|")
	for _, s := range simulations() {
		t.Run(s.name, func(t *testing.T) {
			trace := s.run(t)
			for _, p := range trace {
				t.Logf("%6.1f s: %d", p.at.Seconds(), p.slots)
			}
			least, most, seconds := phases(trace)
			for p, within := range [3]int{60, 30, 30} {
				if seconds[p] > within {
					t.Errorf("phase %d: the slots were not within one of one number until second %d", p, seconds[p])
				}
			}
			fmt.Fprintf(table, "| %s | %s |", s.name, s.workers)
			for p := range 3 {
				fmt.Fprintf(table, " %s | %d s |", span(least[p], most[p]), seconds[p])
			}
			fmt.Fprintln(table)
		})
	}
	if strings.Count(table.String(), "\n") == 2+len(simulations()) { // all of them ran
		golden(t, "../../docs/adaptive.md", table.String())
	}
}

func span(least, most int) string {
	if least == most {
		return fmt.Sprint(least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

var digits = regexp.MustCompile(`\d+`)

// alike reports whether two texts differ in nothing but numbers, and in these by
// no more than so much.
func alike(a, b string, off int) bool {
	if digits.ReplaceAllString(a, "0") != digits.ReplaceAllString(b, "0") {
		return false
	}
	others := digits.FindAllString(b, -1)
	for i, text := range digits.FindAllString(a, -1) {
		n, _ := strconv.Atoi(text)
		m, _ := strconv.Atoi(others[i])
		if n-m > off || m-n > off {
			return false
		}
	}
	return true
}

// golden compares the first table of a page that begins with this one's first
// line. A number may be off by two: what happens at one moment of simulated time
// happens in the scheduler's order, and a probe that comes a moment later is one
// second.
func golden(t *testing.T, page, table string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(table, "\n")
	old := regexp.MustCompile(regexp.QuoteMeta(head) + `\n(\|.*\n)*`)
	if alike(string(old.Find(text)), table, 2) && !*update {
		return
	}
	if !*update {
		t.Fatalf("%s has not this table; -update writes it:\n%s", page, table)
	}
	if err := os.WriteFile(page, old.ReplaceAllLiteral(text, []byte(table)), 0o644); err != nil {
		t.Fatal(err)
	}
}
