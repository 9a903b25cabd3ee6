package workers

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const seconds = time.Second

// watching is a policy with checks.
var watching = Policy{StartupTimeout: 30 * seconds, HealthInterval: 10 * seconds}

// hangs answers when the one who asks has gone.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestChecks(t *testing.T) {
	type step struct {
		at      time.Duration
		set     func(*host) // at that time; nil: nothing
		want    State       // just after it
		why     string
		nchecks int // so far
	}
	answers := func(code int) func(*host) { return func(h *host) { h.health = status(code) } }
	refuses := func(h *host) { h.refuses = true }
	lives := func(h *host) { h.refuses = false }
	const refused = "dial tcp: connection refused"
	tests := []struct {
		name   string
		policy Policy
		steps  []step
		log    string
	}{
		{"well", watching, []step{
			{0, nil, Up, "", 1},
			{10 * seconds, nil, Up, "", 2},
			{20 * seconds, nil, Up, "", 3},
		}, `level=INFO msg="the worker is up" worker=http://a.test
`},
		{"a route that it does not have", watching, []step{
			{0, answers(404), Up, "", 1},
			{10 * seconds, answers(501), Up, "", 2},
			{20 * seconds, nil, Up, "", 3},
			{30 * seconds, nil, Up, "", 4},
		}, `level=INFO msg="the worker is up" worker=http://a.test
`},
		{"one failure is none", watching, []step{
			{0, nil, Up, "", 1},
			{5 * seconds, answers(500), Up, "", 1},
			{10 * seconds, nil, Up, "", 2},
			{15 * seconds, answers(200), Up, "", 2},
			{20 * seconds, nil, Up, "", 3},
			{25 * seconds, answers(500), Up, "", 3},
			{30 * seconds, nil, Up, "", 4},
			{40 * seconds, nil, Down, "/health is answered with 500", 5},
			{41*seconds - 1, answers(502), Down, "/health is answered with 500", 5},
			{41 * seconds, nil, Down, "/health is answered with 502", 6}, // each second, while it is down
			{43*seconds - 1, answers(401), Down, "/health is answered with 502", 7},
			{43 * seconds, nil, Up, "", 8},
			{53*seconds - 1, nil, Up, "", 8}, // and each ten, since it is up
			{53 * seconds, nil, Up, "", 9},
		}, `level=INFO msg="the worker is up" worker=http://a.test
level=WARN msg="the worker is down: it is not asked until it answers a check" worker=http://a.test why="/health is answered with 500"
level=INFO msg="the worker is up" worker=http://a.test
`},
		{"it never starts", watching, []step{
			{0, refuses, Starting, refused, 0},
			{29 * seconds, nil, Starting, refused, 0},
			{30 * seconds, nil, Down, refused, 0},
			{35*seconds - 1, lives, Down, refused, 0},
			{35 * seconds, nil, Up, "", 1},
		}, `level=INFO msg="the worker is starting: it does not answer yet" worker=http://a.test why="dial tcp: connection refused"
level=ERROR msg="the worker did not start within worker_policy.startup_timeout: look at the worker's own log, or allow it more time; it is asked as soon as it answers a check" worker=http://a.test why="dial tcp: connection refused"
level=INFO msg="the worker is up" worker=http://a.test
`},
		{"it takes its time", watching, []step{
			{0, answers(503), Starting, "/health is answered with 503", 1},
			{3 * seconds, nil, Starting, "/health is answered with 503", 4},
			{3500 * time.Millisecond, answers(200), Starting, "/health is answered with 503", 4},
			{4 * seconds, nil, Up, "", 5},
			{14 * seconds, nil, Up, "", 6},
		}, `level=INFO msg="the worker is starting: it does not answer yet" worker=http://a.test why="/health is answered with 503"
level=INFO msg="the worker is up" worker=http://a.test
`},
		{"it hangs", watching, []step{
			{0, nil, Up, "", 1},
			{1 * seconds, func(h *host) { h.health = hangs }, Up, "", 1},
			{15 * seconds, nil, Up, "", 2},                                               // asked at 10 s, given up now
			{30*seconds - 1, nil, Up, "", 3},                                             // asked at 25 s
			{30 * seconds, nil, Down, "/health is not answered within 5s", 3},            //
			{31*seconds - 1, answers(200), Down, "/health is not answered within 5s", 3}, //
			{31 * seconds, nil, Up, "", 4},                                               //
		}, `level=INFO msg="the worker is up" worker=http://a.test
level=WARN msg="the worker is down: it is not asked until it answers a check" worker=http://a.test why="/health is not answered within 5s"
level=INFO msg="the worker is up" worker=http://a.test
`},
		{"an interval below the timeout", Policy{HealthInterval: 2 * seconds}, []step{
			{0, func(h *host) { h.health = hangs }, Starting, "", 1},
			{2 * seconds, nil, Down, "/health is not answered within 2s", 1}, // it has no time to start in
		}, `level=ERROR msg="the worker did not start within worker_policy.startup_timeout: look at the worker's own log, or allow it more time; it is asked as soon as it answers a check" worker=http://a.test why="/health is not answered within 2s"
`},
		{"an interval below a second", Policy{StartupTimeout: seconds, HealthInterval: 200 * time.Millisecond}, []step{
			{0, nil, Up, "", 1},
			{300 * time.Millisecond, answers(500), Up, "", 2},
			{600 * time.Millisecond, nil, Down, "/health is answered with 500", 4},
			{700 * time.Millisecond, answers(200), Down, "/health is answered with 500", 4},
			{800 * time.Millisecond, nil, Up, "", 5},
		}, `level=INFO msg="the worker is up" worker=http://a.test
level=WARN msg="the worker is down: it is not asked until it answers a check" worker=http://a.test why="/health is answered with 500"
level=INFO msg="the worker is up" worker=http://a.test
`},
		{"no checks", Policy{StartupTimeout: seconds}, []step{
			{0, refuses, Up, "", 0},
			{time.Hour, nil, Up, "", 0},
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newIdleFarm(t, tt.policy, "a")
				began := time.Now()
				for i, s := range tt.steps {
					time.Sleep(time.Until(began.Add(s.at)))
					if s.set != nil {
						f.set("a", s.set)
					}
					if i == 0 {
						f.watch() // not before the host is as the step says
					}
					synctest.Wait()
					got := f.stats("a")
					checks, _, _ := f.read("a")
					if got.State != s.want || got.Why != s.why || len(checks) != s.nchecks {
						t.Errorf("step %d: %v %q after %d checks, want %v %q after %d", i, got.State, got.Why, len(checks), s.want, s.why, s.nchecks)
					}
					if live := s.want != Down; f.Live() != live {
						t.Errorf("step %d: live %t, want %t", i, !live, live)
					}
				}
				if d := cmp.Diff(tt.log, f.log.String()); d != "" {
					t.Errorf("log (-want +got):\n%s", d)
				}
			})
		})
	}
}

// TestChecksAreSpread: a tenth sooner or later, as the jitter says.
func TestChecksAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, Policy{}, "a")
		jitters := []time.Duration{0, 2 * seconds, seconds, 0}
		f.options.jitter = func(most time.Duration) time.Duration {
			if most != 2*seconds {
				t.Errorf("a jitter of up to %s", most)
			}
			j := jitters[0]
			jitters = append(jitters[1:], j)
			return j
		}
		f.Update(f.list("a"), watching)
		time.Sleep(35 * seconds)
		checks, _, _ := f.read("a")
		if d := cmp.Diff([]time.Duration{0, 9 * seconds, 20 * seconds, 30 * seconds}, checks); d != "" {
			t.Errorf("checks (-want +got):\n%s", d)
		}
	})
}

// TestCheckAtOnce: a failed connection asks for a check, and is granted one a
// second. One that is refused twice in a row makes the worker down.
func TestCheckAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, watching, "a", "b")
		synctest.Wait()
		f.set("a", func(h *host) { h.dead = errNoRoute })
		_, _, before := f.read("a")
		time.Sleep(3 * seconds)
		f.next = 0
		f.wantAsk("no route", Want{}, "200 OK b")
		synctest.Wait()
		f.next = 0
		f.wantAsk("no route", Want{}, "200 OK b")
		f.next = 0
		f.wantAsk("no route", Want{}, "200 OK b")
		synctest.Wait()
		// The connection of the first check lives: it is the requests that dial.
		if checks, _, dialled := f.read("a"); len(checks) != 2 || dialled != before+3 {
			t.Errorf("%d checks and %d dials within a second, want 2 and 3", len(checks), dialled-before)
		}
		time.Sleep(seconds)
		synctest.Wait()
		if checks, _, _ := f.read("a"); len(checks) != 3 || checks[1] != 3*seconds || checks[2] != 4*seconds {
			t.Errorf("checked at %v, want another a second later", checks)
		}
		f.wantState("no route, and it answers checks", "a", Up, Closed)

		f.set("a", func(h *host) {
			h.refuses, h.dead = true, nil
			h.health = status(500)
		})
		f.next = 0
		f.wantAsk("refused", Want{}, "200 OK b")
		f.wantState("refused once", "a", Up, Closed)
		f.next = 0
		f.wantAsk("refused", Want{}, "200 OK b")
		f.wantState("refused twice", "a", Down, Closed)
		_, _, before = f.read("a")
		f.wantAsk("down", Want{}, "200 OK b")
		if _, _, dialled := f.read("a"); dialled != before {
			t.Error("a worker that is down was asked")
		}
		f.set("a", func(h *host) { h.refuses, h.health = false, nil })
		time.Sleep(seconds)
		synctest.Wait()
		f.wantState("it answers", "a", Up, Closed)
	})
}

// TestCheckAtOnceIsNoLater: a failed connection does not put the next check off.
func TestCheckAtOnceIsNoLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, Policy{HealthInterval: 200 * time.Millisecond}, "a", "b")
		time.Sleep(50 * time.Millisecond)
		f.set("a", func(h *host) { h.dead = errNoRoute })
		f.next = 0
		f.wantAsk("no route", Want{}, "200 OK b")
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		checks, _, _ := f.read("a")
		if d := cmp.Diff([]time.Duration{0, 200 * time.Millisecond}, checks); d != "" {
			t.Errorf("checks (-want +got):\n%s", d)
		}
	})
}

// TestRefusedInARow: what comes between two refusals breaks the row.
func TestRefusedInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, watching, "a", "b")
		synctest.Wait()
		refuse := func(yes bool) { f.set("a", func(h *host) { h.refuses = yes }) }
		ask := func(want string) {
			f.next = 0
			f.wantAsk("", Want{}, want)
		}
		refuse(true)
		ask("200 OK b")
		refuse(false)
		ask("200 OK a") // there is a connection
		refuse(true)
		ask("200 OK b")
		refuse(false)
		f.set("a", func(h *host) { h.dead = errNoRoute })
		ask("200 OK b") // something else
		f.set("a", func(h *host) { h.dead = nil })
		refuse(true)
		ask("200 OK b")
		f.wantState("never twice in a row", "a", Up, Closed)
		ask("200 OK b")
		f.wantState("twice in a row", "a", Down, Closed)
	})
}

// TestStarting: a worker that has not answered yet is asked where none is up, is
// up by a good answer to a request, and its failures are none.
func TestStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := watching
		policy.Failures, policy.Open = 1, time.Minute
		f := newFarm(t, Policy{}, "a", "b")
		f.set("a", func(h *host) { h.health, h.answers = status(503), status(503) })
		f.set("b", func(h *host) { h.health = status(503) })
		f.Update(nil, policy)
		f.Update(f.list("a", "b"), policy)
		synctest.Wait()
		f.wantState("added", "a", Starting, Closed)
		f.wantAsk("none is up", Want{}, "503 Service Unavailable Service Unavailable")
		f.set("a", func(h *host) { h.refuses = true })
		f.next = 0
		f.wantAsk("one refuses", Want{}, "200 OK b")
		f.wantState("its failures are none", "a", Starting, Closed)
		f.wantState("it has answered well", "b", Up, Closed)
		f.set("a", func(h *host) { h.refuses, h.answers = false, nil })
		for range 4 {
			f.wantAsk("one is up", Want{}, "200 OK b")
		}
		f.set("b", func(h *host) { h.refuses = true })
		f.wantAsk("the one that is up cannot be reached", Want{}, "200 OK a")
	})
}

// TestWatchFollows: workers that come are checked, those that go are not, and
// what the policy says of checks counts at once.
func TestWatchFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, Policy{}, "a", "b")
		f.start("c")
		count := func(name string) int {
			checks, _, _ := f.read(name)
			return len(checks)
		}
		want := func(when string, a, b, c int) {
			t.Helper()
			synctest.Wait()
			if count("a") != a || count("b") != b || count("c") != c {
				t.Errorf("%s: %d, %d and %d checks, want %d, %d and %d", when, count("a"), count("b"), count("c"), a, b, c)
			}
		}
		time.Sleep(time.Hour)
		want("no checks", 0, 0, 0)
		f.set("b", func(h *host) { h.health = hangs })
		f.Update(f.list("a", "b"), watching)
		want("checks", 1, 1, 0)
		f.wantState("one that stays begins as it was", "a", Up, Closed)
		f.Update(f.list("a", "c"), watching) // in the middle of the check of b
		want("another worker", 1, 1, 1)
		if err := f.Remove("http://c.test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * seconds)
		want("one was removed", 2, 1, 1)
		if err := f.Add(f.list("b")[0]); err != nil {
			t.Fatal(err)
		}
		want("one was added", 2, 2, 1)
		f.wantState("it hangs", "b", Starting, Closed)
		time.Sleep(3 * seconds)
		f.Update(f.list("a", "b"), Policy{StartupTimeout: time.Hour, HealthInterval: 4 * seconds})
		want("another interval, and so a check at once", 3, 2, 1)
		time.Sleep(4 * seconds)
		want("by the new interval", 4, 3, 1)
		f.Update(f.list("a", "b"), Policy{})
		f.wantState("no checks", "b", Up, Closed)
		time.Sleep(time.Hour)
		want("no checks", 4, 3, 1)
	})
}

// TestCheckAsksAsRequestsDo takes the worker's path, its key and a path of the
// policy's, and reads no more of an answer than it must.
func TestCheckAsksAsRequestsDo(t *testing.T) {
	got := make(chan string, 10)
	w := newWorker(t, func(w http.ResponseWriter, r *http.Request) {
		got <- fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Header["Authorization"], " ", r.Host)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
				return
			}
		}
	})
	w.URL = mustParse(t, w.URL.String()+"/base")
	w.Key = "secret"
	p := New(Options{})
	p.Update([]Worker{w}, Policy{StartupTimeout: time.Minute, HealthInterval: time.Hour, HealthPath: "/v1/models?x=1"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Watch(ctx)
	}()
	waitFor(t, "the worker is up", func() bool { return p.Stats()[0].State == Up })
	if got, want := <-got, "GET /base/v1/models?x=1 [Bearer secret] "+w.URL.Host; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	cancel()
	<-ended
	p.Update(nil, Policy{})
}
