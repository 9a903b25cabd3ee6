package accuracy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock"
	"github.com/penstock-dev/penstock/internal/policy"
	"github.com/penstock-dev/penstock/internal/standin"
	"github.com/penstock-dev/penstock/internal/traffic"
)

// ending is how a request ends.
type ending string

// The endings. A client that leaves a stream does so when it has read a chunk
// behind which the worker waits, so that what flowed is what was generated; one
// that leaves at will is the row without such a wait.
const (
	toTheEnd ending = "read to the end"
	left     ending = "the client left"
	died     ending = "the worker died"
)

// outcome is what a row is measured by.
type outcome struct {
	requests, charged, used int64
}

func (o *outcome) add(more outcome) {
	o.requests += more.requests
	o.charged += more.charged
	o.used += more.used
}

func (o outcome) ratio() float64 { return float64(o.charged) / float64(o.used) }

// cell is the requests of one shape that ended in one way.
type cell struct {
	shape string
	ending
}

// reporting is how a worker reports usage: by one of these faults, drawn anew for
// each request. Tokens of another size than penstock takes them for tell what is
// reported from what is counted.
type reporting struct {
	name  string
	by    []string
	bytes float64 // a token
}

func reportings() []reporting {
	return []reporting{
		{"reported", []string{"report"}, 4.1},
		{"withheld", []string{"withhold"}, 4},
		{"garbage", []string{"garbage:negative", "garbage:huge", "garbage:string", "garbage:float", "garbage:null"}, 4},
	}
}

// estimateBar is how far what is charged may be from what was used where no usage
// was reported. Where it was they are the same.
const estimateBar = 0.03

// TestCharged sends requests of every shape, and compares what the limits hold in
// the end with what the worker has counted, which is the truth.
func TestCharged(t *testing.T) {
	measured := map[string]map[cell]outcome{}
	for _, how := range reportings() {
		t.Run(how.name, func(t *testing.T) {
			c := newCharging(t, how, 0)
			c.run(t, *requests*3/10, shapes())
			measured[how.name] = c.measure(t)
			for at, o := range measured[how.name] {
				if how.name == "reported" && at.ending == toTheEnd && o.charged != o.used {
					t.Errorf("%s, %s: %d tokens are charged, %d were used; want the same", at.shape, at.ending, o.charged, o.used)
				}
			}
			for _, s := range shapes() {
				if o := claimed(measured[how.name], s); o.requests > 0 && math.Abs(o.ratio()-1) > estimateBar {
					t.Errorf("%s: %d tokens are charged, %d were used: %.5f", s.name, o.charged, o.used, o.ratio())
				}
			}
		})
	}
	t.Run("at will", func(t *testing.T) {
		how := reportings()[1]
		how.name = "withheld, left at will"
		c := newCharging(t, how, 5*time.Millisecond)
		c.run(t, *requests/10, streams())
		measured[how.name] = c.measure(t)
		for at, o := range measured[how.name] {
			// How much less it is says the machine's load.
			if o.charged > o.used {
				t.Errorf("%s, %s: %d tokens are charged, %d were used", at.shape, at.ending, o.charged, o.used)
			}
		}
	})
	if t.Failed() {
		return
	}
	keep(t, "charged by shape", byShape(measured))
	keep(t, "charged by ending", byEnding(measured))
}

// TestTokenizers sends streams to workers whose tokens are not of the four bytes
// that penstock takes where it knows no better. Nothing is claimed of them: the
// table says what an estimate is worth.
func TestTokenizers(t *testing.T) {
	var b strings.Builder
	b.WriteString("| bytes a token | usage reported | withheld |\n|---|---|---|\n")
	for _, size := range []float64{3.5, 4, 4.5} {
		fmt.Fprintf(&b, "| %.1f |", size)
		for _, how := range reportings()[:2] {
			t.Run(fmt.Sprint(how.name, size), func(t *testing.T) {
				how.bytes = size
				c := newCharging(t, how, 0)
				c.oneModel = true
				c.run(t, *requests/10, streams())
				for _, o := range c.measure(t) {
					fmt.Fprintf(&b, " %s |", shown(o))
				}
			})
		}
		b.WriteString("\n")
	}
	keep(t, "charged by tokenizer", b.String())
}

func streams() []shape {
	return slices.DeleteFunc(shapes(), func(s shape) bool { return s.stream == whole })
}

// claimed is what is measured of a shape without the endings of which nothing is
// claimed: where an answer is no stream, nobody can know what was generated for
// one that did not come.
func claimed(got map[cell]outcome, s shape) outcome {
	o := got[cell{s.name, toTheEnd}]
	o.add(brokenOff(got, s))
	return o
}

// brokenOff is of streams.
func brokenOff(got map[cell]outcome, s shape) (o outcome) {
	if s.stream != whole {
		o.add(got[cell{s.name, left}])
		o.add(got[cell{s.name, died}])
	}
	return o
}

// charging is requests that are sent to be charged.
type charging struct {
	*rig
	reporting
	atWill   bool // is when clients leave
	oneModel bool // is asked, and not one for each cell
	asked    map[cell]int64
}

// daily is more than is used in the test.
const daily = 1_000_000_000_000

// newCharging starts a worker that takes so long for a token, and penstock before
// it.
func newCharging(t *testing.T, how reporting, pace time.Duration) *charging {
	t.Helper()
	var text strings.Builder
	text.WriteString("auth: {keys: [")
	for i := range callers {
		fmt.Fprintf(&text, "{id: caller%d, key: %q},", i, key(i))
	}
	fmt.Fprintf(&text, `]}
estimate: {output: 128}
pricing: {default: {input: 1, cached_input: 1, cache_writes: 1, output: 3}}
rate_limiting:
  default: {requests_per_day: %[1]d, tokens_per_day: %[1]d, input_tokens_per_day: %[1]d, output_tokens_per_day: %[1]d, cost_per_day: 1000000}
  global: {requests_per_day: %[1]d, tokens_per_day: %[1]d, input_tokens_per_day: %[1]d, output_tokens_per_day: %[1]d, cost_per_day: 1000000}
  concurrent: {max_concurrent: %[2]d, queue_timeout: 60s}
  rules:
    - {name: in-flight, per: [caller], limit: {concurrent: 1000}}
    - {name: model, per: [model], limit: {tokens: %[1]d, per: day}}
`, int64(daily), callers)
	return &charging{
		rig: start(t, text.String(), standin.Options{
			Capacity: callers, PerOutputToken: pace, BytesPerToken: how.bytes, CachedShare: 0.3, Seed: seed,
		}),
		reporting: how, atWill: pace > 0, asked: map[cell]int64{},
	}
}

func key(caller int) string { return fmt.Sprintf("key-%d", caller) }

// model is the name of the model that a cell has for itself, by which the worker
// counts and a rule charges.
func (at cell) model() string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == ',' {
			return '-'
		}
		return r
	}, at.shape+"-"+string(at.ending))
}

// request is one of those that are sent.
type request struct {
	shape shape
	ending
	path, fault string
	body        []byte
	ask         *ask
	chunks      int64 // after which its client leaves
}

// run sends n requests of these shapes, and waits until all are over.
func (c *charging) run(t *testing.T, n int, of []shape) {
	t.Helper()
	todo := make(chan request)
	var sending sync.WaitGroup
	for i := range callers {
		sending.Go(func() {
			for q := range todo {
				if err := c.send(t.Context(), &q, key(i)); err != nil {
					t.Errorf("%s, %s (%s): %v", q.shape.name, q.ending, q.fault, err)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, uint64(len(c.by))))
	load := standin.Load{Callers: make([]standin.Caller, 1), Seed: seed}
	for traced := range load.All() {
		if n--; n < 0 {
			break
		}
		q, err := c.draw(rng, of[n%len(of)], traced.InputTokens)
		if err != nil {
			t.Fatal(err)
		}
		c.asked[c.cell(&q)]++
		todo <- q
	}
	close(todo)
	sending.Wait()
	c.over(t)
}

// cell is where a request is measured.
func (c *charging) cell(q *request) cell {
	if c.oneModel {
		return cell{"all", "however it ended"}
	}
	return cell{q.shape.name, q.ending}
}

// draw draws a request: 20 % of clients leave, 2 % of workers die within the
// answer.
func (c *charging) draw(rng *rand.Rand, s shape, input int64) (request, error) {
	q := request{shape: s, ending: toTheEnd, chunks: 1 + rng.Int64N(200)}
	fault := []string{"usage=" + c.by[rng.IntN(len(c.by))]}
	switch p := rng.IntN(100); {
	case p < 20:
		q.ending = left
		if !c.atWill {
			fault = append(fault, fmt.Sprintf("hang-after=%d", q.chunks))
		}
	case p < 22:
		q.ending = died
		fault = append(fault, fmt.Sprintf("die-after=%d", q.chunks))
	}
	q.fault = strings.Join(fault, ",")
	a := &ask{model: c.cell(&q).model(), texts: prompt(rng, input), most: []int64{0, 256, 1024, 4096}[rng.IntN(4)]}
	if rng.IntN(10) == 0 {
		a.answers = 2
	}
	q.ask = a
	q.path = strings.Replace(s.path, "MODEL", a.model, 1)
	var err error
	q.body, err = json.Marshal(s.body(a))
	return q, err
}

// send sends a request and reads the answer, as far as its client does.
func (c *charging) send(ctx context.Context, q *request, key string) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	resp, err := c.post(ctx, q.path, q.body, http.Header{"Authorization": {"Bearer " + key}, "X-Standin-Fault": {q.fault}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("status %d %s", resp.StatusCode, text)
	}
	switch q.ending {
	case left:
		return q.ask.readChunks(resp.Body, q.shape.stream, q.chunks)
	case died:
		if _, err := io.Copy(io.Discard, resp.Body); err == nil && q.shape.stream == whole {
			return errors.New("the answer is whole")
		}
		return nil // a stream may have ended before
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// measure returns what is charged and what was used, and checks that the limits
// hold nothing else.
func (c *charging) measure(t *testing.T) map[cell]outcome {
	t.Helper()
	all := c.settled(t)
	p, err := policy.New(c.config, policy.NewLearned())
	if err != nil {
		t.Fatal(err)
	}
	got := map[cell]outcome{}
	var sum, truth int64
	counts := c.worker.Stats().PerModel
	for at, n := range c.asked {
		ask := traffic.Ask{Endpoint: traffic.Endpoint{Kind: traffic.ChatCompletions}, Model: at.model()}
		need := p.Need(&traffic.Caller{}, &ask)
		charges, _ := p.Charges(nil, &traffic.Caller{}, policy.Target{}, &ask, &need)
		i := slices.IndexFunc(charges, func(c penstock.Charge) bool { return p.Rule(&c).Name == "rules.model" })
		if i < 0 {
			t.Fatalf("no rule charges the model %s", at.model())
		}
		counted := counts[at.model()]
		if counted.Started != n {
			t.Errorf("%s: the worker has counted %d requests, %d were sent", at.model(), counted.Started, n)
		}
		o := outcome{n, c.used(t, charges[i]), counted.InputTokens + counted.OutputTokens}
		got[at] = o
		sum += o.charged
		truth += o.used
	}
	if sum != all[penstock.Tokens] {
		t.Errorf("the models' limits hold %d tokens, the callers' %d", sum, all[penstock.Tokens])
	}
	if s := c.worker.Stats(); truth != s.InputTokens+s.OutputTokens {
		t.Errorf("the worker has counted %d tokens, and %d of the models that were asked", s.InputTokens+s.OutputTokens, truth)
	}
	return got
}

// settled checks that nothing is reserved any more: every counter holds what was
// settled, and all that count the same hold the same. It returns that by unit.
func (c *charging) settled(t *testing.T) penstock.Amounts {
	t.Helper()
	type limit struct {
		of    *penstock.Limits
		index int
	}
	sums := map[limit]int64{}
	for a, e := range c.accounts {
		l := e.charge.Limit()
		used := c.used(t, e.charge)
		if used != e.sum {
			t.Errorf("%s of %s is %d, settled were %d", l.Name, a.key, used, e.sum)
		}
		if l.Unit == penstock.Concurrent && used != 0 {
			t.Errorf("%s of %s is %d, want 0", l.Name, a.key, used)
		}
		sums[limit{a.limits, a.index}] += used
	}
	all, seen := penstock.Amounts{}, [penstock.NumUnits]int{}
	for l, sum := range sums {
		u := l.of.At(l.index).Unit
		if seen[u] > 0 && sum != all[u] {
			t.Errorf("limits on %s hold %d and %d", u, sum, all[u])
		}
		all[u] = sum
		seen[u]++
	}
	var n int64
	for _, asked := range c.asked {
		n += asked
	}
	if all[penstock.Requests] != n {
		t.Errorf("the limits hold %d requests, want %d", all[penstock.Requests], n)
	}
	input, output := all[penstock.InputTokens], all[penstock.OutputTokens]
	if all[penstock.Tokens] != input+output {
		t.Errorf("the limits hold %d tokens, %d of input and %d of output", all[penstock.Tokens], input, output)
	}
	if cost := 1000*input + 3000*output; all[penstock.Cost] != cost {
		t.Errorf("the limits hold %d nano-USD, want %d", all[penstock.Cost], cost)
	}
	return all
}
