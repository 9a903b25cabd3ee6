package workers

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// breaking has a breaker of three failures.
var breaking = Policy{Failures: 3, Open: 30 * seconds}

// answer sets what a host answers.
func (f *farm) answer(name string, h http.HandlerFunc) { f.set(name, func(o *host) { o.answers = h }) }

func TestBreaker(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"ok": nil, "broken": breaksOff, "no answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"400": status(400), "429": status(429, "Retry-After", "60"), "500": status(500), "502": status(502), "503": status(503), "504": status(504),
		"529": status(529), "rest": status(503, "Retry-After", "1"),
	}
	tests := []struct {
		name    string
		answers string // in a row
		want    Breaker
	}{
		{"three", "502 503 504", Open},
		{"two", "502 502", Closed},
		{"broken answers", "broken no answer broken", Open},
		{"a good one between", "502 502 ok 502 502", Closed},
		{"a 400 is good", "502 502 400 502 502", Closed},
		{"a 429 is good", "502 502 429 502", Closed},
		{"a 500 is neither", "502 502 500 529 502", Open},
		{"many 500", "500 500 500 500 500", Closed},
		{"who asks for rest", "502 502 rest", Closed},
		{"no answer to a request", "no answer", Closed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t, breaking, "a")
				for name := range strings.FieldsSeq(strings.ReplaceAll(tt.answers, "no answer", "no_answer")) {
					f.answer("a", answers[strings.ReplaceAll(name, "_", " ")])
					f.ask(Want{})
				}
				f.wantState("then", "a", Up, tt.want)
				if live := tt.want == Closed && !strings.HasSuffix(tt.answers, "rest"); f.Live() != live {
					t.Errorf("live: %t", !live)
				}
			})
		})
	}
}

// TestOwnShortage: where this machine has no connection left to make, that is no
// failure of the workers', neither to requests nor to checks.
func TestOwnShortage(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		synctest.Test(t, func(t *testing.T) {
			f := newFarm(t, Policy{Failures: 3, Open: 30 * seconds, HealthInterval: 10 * seconds}, "a")
			synctest.Wait()
			f.set("a", func(h *host) { h.dead = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", errno)} })
			for range 9 {
				f.wantAsk("none left", Want{}, "workers: no connection to any: dial tcp: socket: "+errno.Error())
			}
			time.Sleep(time.Minute)
			f.wantState("none left", "a", Up, Closed)
			if s := f.stats("a"); s.Failed != 0 || s.Outstanding != 0 {
				t.Errorf("%v: %+v, want no failure", errno, s)
			}
			f.set("a", func(h *host) { h.dead = nil })
			f.wantAsk("there are some again", Want{}, "200 OK a")
		})
	}
}

// TestUnknownName: where a worker's name is not found, the checks say whether it
// works, over the connection that they have; where there are none, the breaker does.
func TestUnknownName(t *testing.T) {
	gone := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "a.test", IsNotFound: true}}
	const unreached = "workers: no connection to any: dial tcp: lookup a.test: no such host"
	for _, tt := range []struct {
		name   string
		policy Policy
		then   func(*host)
		state  State
		want   Breaker
	}{
		{"for a moment", Policy{Failures: 3, Open: 30 * seconds, HealthInterval: 10 * seconds}, func(*host) {}, Up, Closed},
		{"for good", Policy{Failures: 3, Open: 30 * seconds, HealthInterval: 10 * seconds}, func(h *host) { h.health = hangs }, Down, Closed},
		{"unchecked", Policy{Failures: 3, Open: 30 * seconds}, func(*host) {}, Up, Open},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t, tt.policy, "a")
				synctest.Wait()
				f.set("a", func(h *host) { h.dead = gone; tt.then(h) })
				for range 3 {
					f.wantAsk("the name is gone", Want{}, unreached)
				}
				time.Sleep(20 * seconds)
				f.wantState("the name is gone", "a", tt.state, tt.want)
				if got := f.stats("a").Failed; got != 3 {
					t.Errorf("%d requests failed, want 3", got)
				}
				f.set("a", func(h *host) { h.dead, h.health = nil, nil })
				time.Sleep(10 * seconds)
				f.wantAsk("the name is there", Want{}, "200 OK a")
			})
		})
	}
}

// TestHostsThatAreGone: their requests end all at once, long after the checks may have
// found who came in their place. Where a worker is checked, that does not open the
// breaker of the one that works.
func TestHostsThatAreGone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy Policy
		want   Breaker
	}{
		{"checked", Policy{Failures: 3, Open: time.Hour, HealthInterval: time.Hour}, Closed},
		{"unchecked", Policy{Failures: 3, Open: time.Hour}, Open},
	} {
		t.Run(tt.name, func(t *testing.T) {
			came, letGo := make(chan struct{}), make(chan struct{})
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if r.URL.Path == "/begins" {
					_ = http.NewResponseController(w).Flush()
				}
				came <- struct{}{}
				<-letGo
			}))
			defer s.Close()
			defer close(letGo)
			p := New(Options{})
			defer p.Update(nil, Policy{})
			p.Update([]Worker{{URL: mustParse(t, s.URL)}}, tt.policy)
			ended := make(chan error)
			requests := []*http.Request{
				httptest.NewRequest(http.MethodPost, "/", nil),
				httptest.NewRequest(http.MethodPost, "/begins", nil),
				httptest.NewRequest(http.MethodPost, "/", strings.NewReader("by http.Transport")),
				httptest.NewRequest(http.MethodPost, "/begins", strings.NewReader("by http.Transport")),
			}
			for _, r := range requests {
				go func() {
					resp, err := p.Send(r, nil, Want{})
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
					ended <- err
				}()
				<-came
			}
			p.dialled.endGone(func(*net.TCPConn) bool { return true })
			for range requests {
				if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%v, want that it has taken too long", err)
				}
			}
			if got := p.Stats()[0]; got.Failed != 4 || got.Breaker != tt.want {
				t.Errorf("%d requests failed, the breaker is %v, want 4 and %v", got.Failed, got.Breaker, tt.want)
			}
		})
	}
}

// TestRequestsOfBefore: those that were with a worker before it was away say nothing
// of it when they break off after it has come back.
func TestRequestsOfBefore(t *testing.T) {
	for _, tt := range []struct {
		name string
		away time.Duration
	}{
		{"for a check", 10 * seconds},
		{"until it was down", 20 * seconds},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t, Policy{Failures: 3, Open: 30 * seconds, HealthInterval: 10 * seconds}, "a")
				synctest.Wait()
				breakOff := make(chan struct{})
				f.answer("a", func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.WriteString(w, "half")
					_ = http.NewResponseController(w).Flush()
					<-breakOff
					panic(http.ErrAbortHandler)
				})
				var asking sync.WaitGroup
				ask := func() {
					for range 3 {
						asking.Go(func() { f.wantAsk("broken off", Want{}, "200 OK half cut: unexpected EOF") })
					}
					synctest.Wait()
				}
				ask()
				f.set("a", func(h *host) { h.health = status(500) })
				time.Sleep(tt.away + seconds)
				f.set("a", func(h *host) { h.health = nil })
				time.Sleep(10 * seconds)
				close(breakOff)
				asking.Wait()
				f.wantState("those of before", "a", Up, Closed)
				if got := f.stats("a").Failed; got != 3 {
					t.Errorf("%d requests failed, want 3", got)
				}
				ask()
				asking.Wait()
				f.wantState("those of now", "a", Up, Open)
			})
		})
	}
}

// TestBreakerInTime walks a breaker around.
func TestBreakerInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const open = "workers: none may be asked now: 0 down, 0 draining, 1 with an open breaker, 0 resting"
		f := newFarm(t, breaking, "a")
		f.answer("a", status(502))
		for range 3 {
			f.wantAsk("failing", Want{}, "502 Bad Gateway Bad Gateway")
		}
		f.wantAsk("open", Want{}, open)
		time.Sleep(30*seconds - 1)
		f.wantAsk("still open", Want{}, open)
		time.Sleep(time.Nanosecond)
		f.wantState("to be tried", "a", Up, HalfOpen)
		f.wantAsk("tried", Want{}, "502 Bad Gateway Bad Gateway")
		f.wantAsk("open again", Want{}, open)
		time.Sleep(30 * seconds)
		f.answer("a", status(500))
		f.wantAsk("a 500 says neither", Want{}, "500 Internal Server Error Internal Server Error")
		f.wantState("a 500 says neither", "a", Up, HalfOpen)
		f.answer("a", breaksOff)
		f.wantAsk("a good beginning closes it", Want{}, "200 OK half cut: unexpected EOF")
		f.wantAsk("but it broke off while on probation", Want{}, open)
		time.Sleep(30 * seconds)
		f.answer("a", nil)
		f.wantAsk("it works", Want{}, "200 OK a")
		f.wantState("it works", "a", Up, Closed)
		f.answer("a", status(502))
		for range 2 {
			f.wantAsk("the count begins anew", Want{}, "502 Bad Gateway Bad Gateway")
		}
		f.wantState("the count begins anew", "a", Up, Closed)
		f.set("a", func(h *host) { h.refuses = true })
		f.ask(Want{})
		f.wantState("a refused connection counts", "a", Up, Open)
		f.Update(f.list("a"), Policy{})
		f.wantState("without a breaker", "a", Up, Closed)
		want := `level=WARN msg="the worker's breaker is open: too many requests in a row have failed" worker=http://a.test why="it answered 502" for=30s
level=INFO msg="the worker's breaker is closed: it answers again" worker=http://a.test
level=WARN msg="the worker's breaker is open: too many requests in a row have failed" worker=http://a.test why="it broke off" for=30s
level=INFO msg="the worker's breaker is closed: it answers again" worker=http://a.test
level=WARN msg="the worker's breaker is open: too many requests in a row have failed" worker=http://a.test why="dial tcp: connection refused" for=30s
`
		if d := cmp.Diff(want, f.log.String()); d != "" {
			t.Errorf("log (-want +got):\n%s", d)
		}
	})
}

// TestBreakerOfOneThatIsBack: what broke off when a worker went away says nothing of
// the one that is there in its place. The first good check after a bad one lets a
// request through, whether or not the worker was down in between.
func TestBreakerOfOneThatIsBack(t *testing.T) {
	for _, tt := range []struct {
		name    string
		health  http.HandlerFunc // while it is away
		refuses bool
		away    time.Duration
		state   State
		back    time.Duration // when it is asked again
	}{
		{"it never went", nil, false, 0, Up, 30 * seconds},
		{"back before it was down", status(502), true, 500 * time.Millisecond, Up, 2 * seconds},
		{"back before it was down, and nobody was refused", status(502), false, 500 * time.Millisecond, Up, 2 * seconds},
		{"back when it was down", status(502), true, 4500 * time.Millisecond, Down, 5 * seconds},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t, Policy{Failures: 3, Open: 30 * seconds, HealthInterval: 2 * seconds, StartupTimeout: seconds}, "a")
				time.Sleep(seconds)
				f.answer("a", breaksOff)
				for range 2 {
					f.wantAsk("it goes", Want{}, "200 OK half cut: unexpected EOF")
				}
				gone := time.Now()
				f.set("a", func(h *host) { h.refuses, h.health = tt.refuses, tt.health })
				f.ask(Want{})
				synctest.Wait()
				f.wantState("it has gone", "a", Up, Open)
				time.Sleep(tt.away)
				f.answer("a", nil)
				f.set("a", func(h *host) { h.refuses, h.health = false, nil })
				synctest.Wait()
				if s := f.stats("a"); s.State != tt.state {
					t.Errorf("it is %v, want %v", s.State, tt.state)
				}
				time.Sleep(time.Until(gone.Add(tt.back - 1)))
				synctest.Wait()
				if got := f.ask(Want{}); got == "200 OK a" {
					t.Errorf("asked before %s", tt.back)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				f.wantState("it is back", "a", Up, HalfOpen)
				f.wantAsk("it is back", Want{}, "200 OK a")
				f.wantState("it has answered", "a", Up, Closed)
			})
		})
	}
}

// TestHalfOpenLetsOneThrough sends fifty at once, three times: the one that was
// let through leaves, sees that it works, and the rest may follow.
func TestHalfOpenLetsOneThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, breaking, "a")
		f.answer("a", status(502))
		for range 3 {
			f.ask(Want{})
		}
		time.Sleep(30 * seconds)
		release := make(chan struct{})
		f.answer("a", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
		fifty := func() (leave func(), answers func() map[string]int) {
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			var mu sync.Mutex
			got := map[string]int{}
			for range 50 {
				wg.Go(func() {
					resp, err := f.RoundTrip(newRequest(t, http.MethodGet, nil).WithContext(ctx))
					what := "answer"
					switch err.(type) {
					case nil:
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					case *UnavailableError:
						what = "unavailable"
					default:
						what = err.Error()
					}
					mu.Lock()
					got[what]++
					mu.Unlock()
				})
			}
			synctest.Wait()
			return cancel, func() map[string]int { wg.Wait(); return got }
		}
		const before = 3
		leave, answers := fifty()
		if _, asked, _ := f.read("a"); asked != before+1 {
			t.Errorf("%d were let through", asked-before)
		}
		f.wantState("one is under way", "a", Up, HalfOpen)
		if f.Live() {
			t.Error("live while the one is under way")
		}
		leave()
		if d := cmp.Diff(map[string]int{"unavailable": 49, "context canceled": 1}, answers()); d != "" {
			t.Errorf("when it left (-want +got):\n%s", d)
		}
		f.wantState("it left and has not seen", "a", Up, HalfOpen)
		leave, answers = fifty()
		defer leave()
		if _, asked, _ := f.read("a"); asked != before+2 {
			t.Errorf("%d were let through", asked-before-1)
		}
		close(release)
		if d := cmp.Diff(map[string]int{"unavailable": 49, "answer": 1}, answers()); d != "" {
			t.Errorf("when it was answered (-want +got):\n%s", d)
		}
		f.wantState("it has seen", "a", Up, Closed)
		leave, answers = fifty()
		defer leave()
		if d := cmp.Diff(map[string]int{"answer": 50}, answers()); d != "" {
			t.Errorf("closed (-want +got):\n%s", d)
		}
	})
}

// TestRest: a worker that answers 503 with a Retry-After is left alone for so
// long, which is not a failure; where all are, the answer passes as it came.
func TestRest(t *testing.T) {
	for _, tt := range []struct {
		header string
		rest   time.Duration
	}{
		{"7", 7 * seconds},
		{"Sat, 01 Jan 2000 00:00:42 GMT", 42 * seconds}, // a bubble begins at midnight
		{"3600", 5 * time.Minute},
	} {
		t.Run(tt.header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t, Policy{Failures: 1, Open: time.Hour, Retries: 2}, "a", "b")
				f.answer("a", status(503, "Retry-After", tt.header))
				f.wantAsk("another one takes it", Want{Repeat: true}, "200 OK b")
				if s := f.stats("a"); s.Resting != tt.rest || s.Breaker != Closed || s.Failed != 0 {
					t.Errorf("%+v, want a rest of %s and no failure", s, tt.rest)
				}
				for range 3 {
					f.wantAsk("it rests", Want{}, "200 OK b")
				}
				f.answer("b", status(503, "Retry-After", tt.header))
				began := time.Now()
				f.wantAsk("both rest", Want{Repeat: true}, "503 Service Unavailable Service Unavailable")
				if waited := time.Since(began); waited != 0 {
					t.Errorf("waited %s for nobody", waited)
				}
				time.Sleep(seconds)
				_, err := f.RoundTrip(newRequest(t, http.MethodGet, nil))
				want := &UnavailableError{Resting: 2, RetryAfter: tt.rest - seconds}
				if d := cmp.Diff(error(want), err); d != "" {
					t.Errorf("the next one (-want +got):\n%s", d)
				}
				f.answer("a", nil)
				time.Sleep(tt.rest - seconds - 1)
				if f.Live() {
					t.Error("live a moment too early")
				}
				time.Sleep(time.Nanosecond)
				f.wantAsk("rested", Want{}, "200 OK a")
			})
		})
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": seconds, " 2 ": 2 * seconds, "007": 7 * seconds, "300": longestRest, "301": longestRest,
		"9223372036854775807": longestRest, "99999999999999999999999": longestRest,
		"-1": 0, "+1": 0, "1.5": 0, "1s": 0, "soon": 0, "1, 2": 0, "٣": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT":  10 * seconds,
		"Friday, 02-Jan-26 03:04:15 GMT": 10 * seconds,
		"Fri Jan  2 03:04:15 2026":       10 * seconds,
		"Fri, 02 Jan 2026 03:04:05 GMT":  0,
		"Fri, 02 Jan 2026 03:04:00 GMT":  0,
		"Fri, 02 Jan 2099 03:04:00 GMT":  longestRest,
	} {
		if got := parseRetryAfter(s, now); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "301", "Fri, 02 Jan 2026 03:04:15 GMT", "-1"} {
		f.Add(s, int64(0))
	}
	f.Fuzz(func(t *testing.T, s string, now int64) {
		if got := parseRetryAfter(s, time.Unix(now, 0)); got < 0 || got > longestRest {
			t.Errorf("%q: %s", s, got)
		}
	})
}
