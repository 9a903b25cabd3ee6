package standin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const ms = time.Millisecond

// client is one request of a pace test and what became of it.
type client struct {
	at    time.Duration // when it comes
	gone  time.Duration // when it leaves; zero: never
	input int           // tokens
	more  string        // of its body
	want  []time.Duration
	got   []time.Duration // of its tokens
}

// clock is a ResponseWriter that notes when the tokens come.
type clock struct {
	http.ResponseWriter
	start time.Time
	c     *client
}

func (w clock) Write(p []byte) (int, error) {
	if strings.Contains(string(p), `"delta":{"content"`) || strings.Contains(string(p), `"message":`) {
		w.c.got = append(w.c.got, time.Since(w.start))
	}
	return w.ResponseWriter.Write(p)
}

// play sends the clients' requests at their times and returns the worker when
// all have ended. It must run in a bubble.
func play(o Options, clients []*client) *Worker {
	w, start := New(o), time.Now()
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			time.Sleep(c.at)
			ctx := context.Background()
			if c.gone > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithDeadline(ctx, start.Add(c.gone))
				defer cancel()
			}
			defer func() { _ = recover() }() // http.ErrAbortHandler of those that left
			r := httptest.NewRequestWithContext(ctx, "POST", "/v1/chat/completions", strings.NewReader(chatBody(4*c.input, c.more)))
			w.ServeHTTP(clock{httptest.NewRecorder(), start, c}, r)
		})
	}
	all.Wait()
	return w
}

func TestPace(t *testing.T) {
	const stream = `,"stream":true`
	base := Options{
		Capacity: 2, FirstToken: 100 * ms, PerInputToken: ms, PerOutputToken: 10 * ms, Output: fixed(3),
	}
	with := func(change func(*Options)) Options { o := base; change(&o); return o }
	tests := []struct {
		name    string
		o       Options
		clients []*client
		stats   Stats
	}{
		{
			"alone", base,
			[]*client{{input: 50, more: stream, want: []time.Duration{150 * ms, 160 * ms, 170 * ms}}},
			Stats{Counts: Counts{Finished: 1, InputTokens: 50, OutputTokens: 3}, MaxRunning: 1},
		},
		{
			"not streamed, it comes with the last token", base,
			[]*client{{input: 50, want: []time.Duration{170 * ms}}},
			Stats{Counts: Counts{Finished: 1, InputTokens: 50, OutputTokens: 3}, MaxRunning: 1},
		},
		{
			"n answers advance together", base,
			[]*client{{more: stream + `,"n":2`, want: []time.Duration{100 * ms, 100 * ms, 110 * ms, 110 * ms, 120 * ms, 120 * ms}}},
			Stats{Counts: Counts{Finished: 1, OutputTokens: 6}, MaxRunning: 1},
		},
		{
			"cached input costs no time", with(func(o *Options) { o.CachedShare = 0.5 }),
			[]*client{{input: 50, more: stream, want: []time.Duration{125 * ms, 135 * ms, 145 * ms}}},
			Stats{Counts: Counts{Finished: 1, InputTokens: 50, OutputTokens: 3}, MaxRunning: 1},
		},
		{
			"up to the capacity nobody is slower", base,
			[]*client{
				{more: stream, want: []time.Duration{100 * ms, 110 * ms, 120 * ms}},
				{at: 5 * ms, more: stream, want: []time.Duration{105 * ms, 115 * ms, 125 * ms}},
			},
			Stats{Counts: Counts{Finished: 2, OutputTokens: 6}, MaxRunning: 2},
		},
		{
			"three on two take half as long again", base,
			[]*client{
				{more: stream, want: []time.Duration{150 * ms, 165 * ms, 180 * ms}},
				{more: stream, want: []time.Duration{150 * ms, 165 * ms, 180 * ms}},
				{more: stream, want: []time.Duration{150 * ms, 165 * ms, 180 * ms}},
			},
			Stats{Counts: Counts{Finished: 3, OutputTokens: 9}, MaxRunning: 3},
		},
		{
			"a token is never early, and late by the rounding only",
			Options{Capacity: 2, FirstToken: 1, PerOutputToken: 1, Output: fixed(3)},
			[]*client{
				{more: stream, want: []time.Duration{2, 3, 5}},
				{more: stream, want: []time.Duration{2, 3, 5}},
				{more: stream, want: []time.Duration{2, 3, 5}},
			},
			Stats{Counts: Counts{Finished: 3, OutputTokens: 9}, MaxRunning: 3},
		},
		{
			// The third comes when the others have done 40 of 100ms of work, and all
			// go on at 2/3 of the pace. 111ms later, or 74ms of work, the first leaves,
			// and the rest are at full pace again.
			"the pace turns with those who come and leave", base,
			[]*client{
				{more: stream, gone: 151 * ms, want: []time.Duration{130 * ms, 145 * ms}},
				{more: stream, want: []time.Duration{130 * ms, 145 * ms, 157 * ms}},
				{at: 40 * ms, more: stream, want: []time.Duration{177 * ms, 187 * ms, 197 * ms}},
			},
			Stats{Counts: Counts{Finished: 2, Cancelled: 1, OutputTokens: 8}, MaxRunning: 3},
		},
		{
			"first come, first served", with(func(o *Options) { o.Capacity, o.MaxRunning = 1, 1 }),
			[]*client{
				{more: stream, want: []time.Duration{100 * ms, 110 * ms, 120 * ms}},
				{at: 2 * ms, more: stream, want: []time.Duration{340 * ms, 350 * ms, 360 * ms}},
				{at: 1 * ms, more: stream, want: []time.Duration{220 * ms, 230 * ms, 240 * ms}},
			},
			Stats{Counts: Counts{Finished: 3, OutputTokens: 9}, MaxRunning: 1},
		},
		{
			"who leaves the line holds up nobody", with(func(o *Options) { o.Capacity, o.MaxRunning = 1, 1 }),
			[]*client{
				{more: stream, want: []time.Duration{100 * ms, 110 * ms, 120 * ms}},
				{at: 1 * ms, gone: 50 * ms, more: stream},
				{at: 2 * ms, more: stream, want: []time.Duration{220 * ms, 230 * ms, 240 * ms}},
			},
			Stats{Counts: Counts{Finished: 2, Cancelled: 1, OutputTokens: 6}, MaxRunning: 1},
		},
		{
			"who leaves a place gives it to the next at once", with(func(o *Options) { o.Capacity, o.MaxRunning = 1, 1 }),
			[]*client{
				{input: 7, gone: 105 * ms, more: stream},
				{at: 1 * ms, more: stream, want: []time.Duration{205 * ms, 215 * ms, 225 * ms}},
			},
			Stats{Counts: Counts{Finished: 1, Cancelled: 1, OutputTokens: 3}, MaxRunning: 1},
		},
		{
			"a place is worth a place, whoever had it", with(func(o *Options) { o.MaxRunning = 3 }),
			[]*client{
				{more: stream, want: []time.Duration{150 * ms, 165 * ms, 180 * ms}},
				{more: stream, want: []time.Duration{150 * ms, 165 * ms, 180 * ms}},
				{more: stream, want: []time.Duration{150 * ms, 165 * ms, 180 * ms}},
				{at: 1 * ms, more: stream, want: []time.Duration{280 * ms, 290 * ms, 300 * ms}},
			},
			Stats{Counts: Counts{Finished: 4, OutputTokens: 12}, MaxRunning: 3},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := play(tc.o, tc.clients).Stats()
				for i, c := range tc.clients {
					if !slices.Equal(c.got, c.want) {
						t.Errorf("client %d had tokens at %v, want %v", i, c.got, c.want)
					}
				}
				want := tc.stats
				want.Requests, want.Started = int64(len(tc.clients)), int64(len(tc.clients))
				want.PerModel = map[string]Counts{"m": want.Counts}
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("stats (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestSlowReader has a client that reads late: it finds the tokens that were
// due meanwhile, and no later one comes later for it.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(Options{PerOutputToken: 10 * ms, Output: fixed(6)})
		start := time.Now()
		c := &client{}
		slow := stall{clock{httptest.NewRecorder(), start, c}, c}
		r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(chatBody(1, `,"stream":true`)))
		w.ServeHTTP(slow, r)
		want := []time.Duration{0, 10 * ms, 45 * ms, 45 * ms, 45 * ms, 50 * ms}
		if !slices.Equal(c.got, want) {
			t.Errorf("tokens at %v, want %v", c.got, want)
		}
	})
}

// stall blocks for 35ms behind the second token.
type stall struct {
	clock
	client *client
}

func (s stall) Write(p []byte) (int, error) {
	before := len(s.client.got)
	n, err := s.clock.Write(p)
	if len(s.client.got) == 2 && before == 1 {
		time.Sleep(35 * ms)
	}
	return n, err
}

// TestSetCapacity changes the capacity under two requests of 100 ms: they do 40 ms
// at full pace, 10 ms in 20 ms at half of it, and the rest at full pace again.
func TestSetCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, start := newEngine(2, 2), time.Now()
		ended := make([]time.Duration, 3)
		var all sync.WaitGroup
		for i := range ended {
			all.Go(func() {
				time.Sleep(time.Duration(i)) // the order in which they come
				r := e.submit("m")
				if err := errors.Join(r.wait(t.Context()), r.work(t.Context(), 100*ms-time.Duration(i))); err != nil {
					t.Error(err)
				}
				ended[i] = time.Since(start)
				r.leave(finished)
			})
		}
		gauges := func(wantRunning, wantWaiting int64, wantTaken float64) {
			t.Helper()
			synctest.Wait()
			if running, waiting, taken := e.gauges(); running != wantRunning || waiting != wantWaiting || taken != wantTaken {
				t.Errorf("%d running, %d waiting, %g taken; want %d, %d, %g", running, waiting, taken, wantRunning, wantWaiting, wantTaken)
			}
		}
		time.Sleep(40 * ms)
		gauges(2, 1, 1)
		e.resize(1, 1)
		gauges(1, 2, 1) // one of the two that run has lost its place
		time.Sleep(20 * ms)
		e.resize(2, 4)
		gauges(3, 0, 0.75) // the third has one now, and three share two
		all.Wait()
		gauges(0, 0, 0)
		// 50 ms of work were left to two, beside a third: 75 ms; the third has done as
		// much, and is alone with the other half.
		want := []time.Duration{135 * ms, 135 * ms, 185 * ms}
		if !slices.EqualFunc(ended, want, func(a, b time.Duration) bool { return (a - b).Abs() < 100 }) { // roundings
			t.Errorf("ended at %v, want %v", ended, want)
		}
	})
}

// TestGauges looks at a worker with a full house.
func TestGauges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(Options{Capacity: 1, MaxRunning: 2, FirstToken: time.Second, Output: fixed(1)})
		for range 5 {
			go post(w, "/v1/chat/completions", chatBody(1, ""))
		}
		synctest.Wait()
		if s := w.Stats(); s.Running != 2 || s.Waiting != 3 || s.Started != 5 {
			t.Errorf("%+v", s)
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		for _, line := range []string{
			`vllm:num_requests_running{engine="0",model_name="standin"} 2`,
			`vllm:num_requests_waiting{engine="0",model_name="standin"} 3`,
			`vllm:kv_cache_usage_perc{engine="0",model_name="standin"} 1`,
		} {
			if !strings.Contains(rec.Body.String(), line+"\n") {
				t.Errorf("no %s in\n%s", line, rec.Body)
			}
		}
		time.Sleep(time.Minute)
		if s := w.Stats(); s.Finished != 5 || s.Running != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// visit is a request of the model below: it comes, works, and leaves when its
// work is done or its patience at an end.
type visit struct {
	At, Work, Patience time.Duration
	left               time.Duration // when it left, by the engine or by the model
}

// simulate is the slow and obvious model of the engine: it goes from one event to
// the next and gives everyone who runs an equal share of the time in between.
func simulate(capacity, places int, visits []visit) {
	type guest struct {
		*visit
		rest float64 // of work, in ns
	}
	var running, line []*guest
	now, came := 0.0, 0
	for came < len(visits) || len(running)+len(line) > 0 {
		for len(running) < places && len(line) > 0 {
			running, line = append(running, line[0]), line[1:]
		}
		pace := math.Min(1, float64(capacity)/float64(len(running)))
		next := math.Inf(1)
		if came < len(visits) {
			next = float64(visits[came].At)
		}
		for _, g := range running {
			next = min(next, now+g.rest/pace)
		}
		for _, g := range slices.Concat(running, line) {
			next = min(next, float64(g.At+g.Patience))
		}
		for _, g := range running {
			g.rest -= (next - now) * pace
		}
		now = next
		stays := func(g *guest) bool {
			if g.rest > 0.01 && now < float64(g.At+g.Patience) {
				return true
			}
			g.left = time.Duration(math.Round(now))
			return false
		}
		running = slices.DeleteFunc(running, func(g *guest) bool { return !stays(g) })
		line = slices.DeleteFunc(line, func(g *guest) bool { return !stays(g) })
		for came < len(visits) && float64(visits[came].At) <= now {
			line = append(line, &guest{&visits[came], float64(visits[came].Work)})
			came++
		}
	}
}

// TestEngineAgainstModel plays random visits to the engine and to the model. Times
// may differ by the roundings: a nanosecond for each change of the pace.
func TestEngineAgainstModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noDeadline := struct{ rapid.TB }{t} // which a test in a bubble must not be asked for
		rapid.Check(noDeadline, func(t *rapid.T) {
			capacity := rapid.IntRange(1, 4).Draw(t, "capacity")
			places := rapid.IntRange(1, 8).Draw(t, "places")
			visits := make([]visit, rapid.IntRange(1, 20).Draw(t, "visits"))
			at := time.Duration(0)
			for i := range visits {
				// Odd times, so that no two things happen at once whose order
				// would matter.
				at += time.Duration(rapid.IntRange(1, 50).Draw(t, "gap"))*ms + time.Duration(i*1009)*time.Nanosecond
				visits[i] = visit{
					At:       at,
					Work:     time.Duration(rapid.IntRange(1, 200).Draw(t, "work"))*ms + time.Duration(i*10007),
					Patience: time.Duration(rapid.IntRange(1, 1000).Draw(t, "patience"))*ms + time.Duration(i*100003),
				}
			}
			want := slices.Clone(visits)
			simulate(capacity, places, want)

			e, start := newEngine(capacity, places), time.Now()
			var all sync.WaitGroup
			for i := range visits {
				v := &visits[i]
				all.Go(func() {
					time.Sleep(v.At)
					ctx, cancel := context.WithTimeout(context.Background(), v.Patience)
					defer cancel()
					r := e.submit("m")
					err := r.wait(ctx)
					if err == nil {
						if err = r.work(ctx, v.Work/3); err == nil {
							err = r.work(ctx, v.Work-v.Work/3)
						}
					}
					v.left = time.Since(start)
					if err != nil {
						r.leave(cancelled)
					} else {
						r.leave(finished)
					}
				})
			}
			all.Wait()
			for i := range visits {
				if d := visits[i].left - want[i].left; d.Abs() > 100 {
					t.Errorf("visit %d left at %v, by the model at %v", i, visits[i].left, want[i].left)
				}
			}
			s := e.snapshot()
			if s.Running != 0 || s.Waiting != 0 || s.Finished+s.Cancelled != int64(len(visits)) || s.MaxRunning > int64(places) {
				t.Errorf("%+v", s)
			}
		})
	})
}

func BenchmarkToken(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("running=%d", clients), func(b *testing.B) {
			w := New(Options{Capacity: 1000, Output: fixed(float64(b.N)/float64(clients) + 1)})
			done := make(chan struct{})
			b.ReportAllocs()
			for i := range clients {
				go func() {
					defer func() { done <- struct{}{} }()
					r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(chatBody(i, `,"stream":true`)))
					w.ServeHTTP(discard{http.Header{}}, r)
				}()
			}
			for range clients {
				<-done
			}
		})
	}
}

// discard is a client that reads nothing.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
func (d discard) Flush()                      {}
