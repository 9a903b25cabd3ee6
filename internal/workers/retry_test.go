package workers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// asked is how often each of two hosts was asked.
func (f *farm) asked() [2]int {
	_, a, _ := f.read("a")
	_, b, _ := f.read("b")
	return [2]int{a, b}
}

// TestWhatIsRepeated sends requests whose first worker answers in some way.
func TestWhatIsRepeated(t *testing.T) {
	again := Want{Repeat: true}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   Want
		body   func() io.Reader // instead of one that is held
		got    string
		asked  [2]int
	}{
		{"502", status(502), again, nil, "200 b", [2]int{1, 1}},
		{"503", status(503), again, nil, "200 b", [2]int{1, 1}},
		{"504", status(504), again, nil, "200 b", [2]int{1, 1}},
		{"500", status(500), again, nil, "500 Internal Server Error", [2]int{1, 0}},
		{"501", status(501), again, nil, "501 Not Implemented", [2]int{1, 0}},
		{"429", status(429, "Retry-After", "1"), again, nil, "429 Too Many Requests", [2]int{1, 0}},
		{"400", status(400), again, nil, "400 Bad Request", [2]int{1, 0}},
		{"not to be repeated", status(502), Want{}, nil, "502 Bad Gateway", [2]int{1, 0}},
		{"after the first byte", breaksOff, again, nil, "200 half cut", [2]int{1, 0}},
		{"a body that passes", status(502), again, func() io.Reader { return newOnce("prompt") }, "502 Bad Gateway", [2]int{1, 0}},
		{"a body that can be made again", status(502), again, func() io.Reader { return strings.NewReader("prompt") }, "200 b", [2]int{1, 1}},
		{"no body", status(502), again, func() io.Reader { return nil }, "200 b", [2]int{1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t, Policy{Retries: 2}, "a", "b")
				f.answer("a", tt.answer)
				f.answer("b", func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					if want := "prompt"; tt.name != "no body" && string(body) != want {
						t.Errorf("the second worker got %q, want %q", body, want)
					}
					_, _ = io.WriteString(w, "b")
				})
				req, held := newRequest(t, http.MethodPost, nil), holding([]byte("prompt"))
				if tt.body != nil {
					req, held = newRequest(t, http.MethodPost, tt.body()), nil
				}
				began := time.Now()
				resp, err := f.Send(req, held, tt.want)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				got := resp.Status[:3] + " " + string(body)
				if err != nil {
					got += " cut"
				}
				if got != tt.got || f.asked() != tt.asked || time.Since(began) != 0 {
					t.Errorf("%q after %s, they were asked %v; want %q at once, %v", got, time.Since(began), f.asked(), tt.got, tt.asked)
				}
				for _, s := range f.Stats() {
					if s.Outstanding != 0 || s.Tokens != 0 {
						t.Errorf("outstanding at the end: %+v", s)
					}
				}
			})
		})
	}
}

// TestWaits: the first retry goes to another worker at once; where there is none,
// and for all that follow, there are waits, of which half is the farm's jitter.
func TestWaits(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name    string
		workers []string
		retries int
		asked   [2]int
		waited  time.Duration
	}{
		{"none", []string{"a"}, 0, [2]int{1, 0}, 0},
		{"alone", []string{"a"}, 1, [2]int{2, 0}, 25 * ms},
		{"alone, twice", []string{"a"}, 2, [2]int{3, 0}, (25 + 50) * ms},
		{"alone, often", []string{"a"}, 7, [2]int{8, 0}, (25 + 50 + 100 + 200 + 400 + 500 + 500) * ms},
		{"two", []string{"a", "b"}, 1, [2]int{1, 1}, 0},
		{"two, twice", []string{"a", "b"}, 2, [2]int{2, 1}, 25 * ms},
		{"two, three times", []string{"a", "b"}, 3, [2]int{2, 2}, (25 + 50) * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t, Policy{Retries: tt.retries}, "a", "b")
				f.Update(f.list(tt.workers...), Policy{Retries: tt.retries})
				f.answer("a", status(502))
				f.answer("b", status(502))
				began := time.Now()
				f.wantAsk("in the end", Want{Repeat: true}, "502 Bad Gateway Bad Gateway")
				if waited := time.Since(began); waited != tt.waited || f.asked() != tt.asked {
					t.Errorf("asked %v in %s, want %v in %s", f.asked(), waited, tt.asked, tt.waited)
				}
				retried := uint64(0)
				for _, s := range f.Stats() {
					retried += s.Retries
				}
				if retried != uint64(tt.retries) {
					t.Errorf("%d retries counted, want %d", retried, tt.retries)
				}
			})
		})
	}
}

// TestLastAnswer: of several it is the last one that passes, whole; a worker that
// could not be reached in between gives none.
func TestLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("long ", 1e4)
		f := newFarm(t, Policy{Retries: 1}, "a", "b")
		tells := func(code int, text string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(code)
				_, _ = io.WriteString(w, text)
			}
		}
		f.answer("a", tells(502, long+"a"))
		f.answer("b", tells(504, long+"b"))
		f.wantAsk("the second", Want{Repeat: true}, "504 Gateway Timeout "+long+"b")
		f.set("b", func(h *host) { h.refuses = true })
		f.next = 0
		f.wantAsk("the only one", Want{Repeat: true}, "502 Bad Gateway "+long+"a")

		// One that takes the request and breaks off has the last word.
		f.set("b", func(h *host) {
			h.refuses = false
			h.answers = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		})
		f.next = 0
		if got := f.ask(Want{Repeat: true}); !strings.Contains(got, "EOF") {
			t.Errorf("%q, want what became of the second", got)
		}

		// An answer without end does not keep its retry waiting.
		f.answer("a", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(503)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		f.answer("b", nil)
		f.next = 0
		began := time.Now()
		f.wantAsk("another", Want{Repeat: true}, "200 OK b")
		if waited := time.Since(began); waited != discardWait {
			t.Errorf("waited %s, want %s", waited, discardWait)
		}
	})
}

// TestRetryWithoutConnection: where nobody can be reached, the same worker is
// tried again, and then nothing was sent.
func TestRetryWithoutConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, Policy{Retries: 2}, "a", "b")
		refuse := func(yes bool) func(*host) { return func(h *host) { h.refuses = yes } }
		f.set("a", refuse(true))
		f.set("b", refuse(true))
		body := newOnce("prompt")
		_, err := f.Send(newRequest(t, http.MethodPost, body), nil, Want{})
		wantUnsent(t, err)
		_, _, a := f.read("a")
		_, _, b := f.read("b")
		if a+b != 4 || body.closed != 1 {
			t.Errorf("%d connections tried and the body closed %d times, want 4 and 1", a+b, body.closed)
		}
		time.AfterFunc(20*time.Millisecond, func() { f.set("a", refuse(false)); f.set("b", refuse(false)) })
		resp, err := f.Send(newRequest(t, http.MethodPost, newOnce("prompt")), nil, Want{})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	})
}

// TestLeavingWhileWaiting ends the wait, and no worker is asked again.
func TestLeavingWhileWaiting(t *testing.T) {
	late := errors.New("too late")
	for name, set := range map[string]func(*host){
		"an answer":     func(h *host) { h.answers = status(502) },
		"no connection": func(h *host) { h.refuses = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t, Policy{Retries: 2}, "a")
				f.set("a", set)
				ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, late)
				defer cancel()
				began := time.Now()
				_, err := f.Send(newRequest(t, http.MethodPost, nil).WithContext(ctx), holding([]byte("x")), Want{Repeat: true})
				if !errors.Is(err, late) || time.Since(began) != 10*time.Millisecond {
					t.Errorf("%v after %s, want %v after 10ms", err, time.Since(began), late)
				}
				var unsent *ConnectError
				if errors.As(err, &unsent) != (name == "no connection") {
					t.Errorf("%v: was something sent?", err)
				}
				if _, _, dialled := f.read("a"); dialled != 1 || f.stats("a").Outstanding != 0 {
					t.Errorf("dialled %d times, and %+v", dialled, f.stats("a"))
				}
			})
		})
	}
}

// TestBudget: of a fleet that is dead there are ten retries, and then one for
// five requests. Whoever was not reached costs none.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, Policy{Retries: 2}, "a", "b")
		f.answer("a", status(502))
		f.answer("b", status(502))
		sum := func() int { return f.asked()[0] + f.asked()[1] }
		for i, want := range []int{3, 6, 9, 12, 15, 18} { // 55 fifths, of which 10 a request
			f.ask(Want{Repeat: true})
			if i < 5 && sum() != want {
				t.Errorf("after request %d: %d sent, want %d", i, sum(), want)
			}
		}
		// Full at 50: it lost 10 and gained 1 (but the first time: it was full)
		// for each request: 40 31 22 13 4 and at the sixth 5: one retry.
		if sum() != 17 {
			t.Errorf("%d sent for 6 requests, want 17", sum())
		}
		before := sum()
		for range 100 {
			f.ask(Want{Repeat: true})
		}
		if retries := sum() - before - 100; retries != 20 {
			t.Errorf("%d retries of 100 requests, want 20", retries)
		}
		// Requests that go well fill it.
		f.answer("a", nil)
		f.answer("b", nil)
		for range 1000 {
			f.ask(Want{Repeat: true})
		}
		f.answer("a", status(502))
		f.answer("b", status(502))
		before = sum()
		for range 5 {
			f.ask(Want{Repeat: true})
		}
		if got := sum() - before; got != 5+10 {
			t.Errorf("%d sent for 5 requests, want 15", got)
		}
		// Fail-overs are for nothing.
		f.set("a", func(h *host) { h.refuses = true })
		f.answer("b", nil)
		for range 20 {
			f.wantAsk("fail-over", Want{}, "200 OK b")
		}
	})
}

// TestFailOverEnds: a request goes on to the next worker for half a minute, however
// many there are. Those that refuse take no time of it.
func TestFailOverEnds(t *testing.T) {
	names := make([]string, 40)
	for i := range names {
		names[i] = "w" + strconv.Itoa(i)
	}
	for _, tt := range []struct {
		silent  time.Duration
		dialled int
	}{
		{0, 40},
		{5 * time.Second, 7}, // they show it at 5, 10 … 35 s
		{40 * time.Second, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFarm(t, Policy{}, names...)
			for _, name := range names {
				f.set(name, func(h *host) { h.dead, h.silent = errors.New("no route"), tt.silent })
			}
			_, err := f.Send(newRequest(t, http.MethodPost, nil), holding([]byte("prompt")), Want{})
			if _, none := errors.AsType[*ConnectError](err); !none {
				t.Errorf("%v, want a ConnectError", err)
			}
			dialled := 0
			for _, name := range names {
				dialled += f.hosts[name].dialled
			}
			if dialled != tt.dialled {
				t.Errorf("%d workers that each take %s were tried, want %d", dialled, tt.silent, tt.dialled)
			}
		})
	}
}

// TestRetriedConnectionServesAgain: what is not passed on is read, where it is
// short, so that its connection is kept.
func TestRetriedConnectionServesAgain(t *testing.T) {
	var watch connWatch
	busy := newWatchedWorker(t, &watch, status(502))
	p := New(Options{})
	p.Update([]Worker{busy, newWorker(t, echo)}, Policy{Retries: 1})
	t.Cleanup(func() { p.Update(nil, Policy{}) })
	for range 3 {
		p.mu.Lock()
		p.next = 0
		p.mu.Unlock()
		resp, err := p.Send(newRequest(t, http.MethodPost, nil), holding([]byte("prompt")), Want{Repeat: true})
		if err != nil {
			t.Fatal(err)
		}
		wantBody(t, resp, "prompt")
		_ = resp.Body.Close()
	}
	if made, _ := watch.counts(); made != 1 {
		t.Errorf("%d connections for 3 requests, want 1", made)
	}
	if d := cmp.Diff([]uint64{3, 0, 3, 3}, []uint64{p.Stats()[0].Sent, p.Stats()[0].Retries, p.Stats()[1].Sent, p.Stats()[1].Retries}); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
}

// TestAloneAfterARetry: whoever sent a request to the worker before may hold on to
// it, even when another way has the answer.
func TestAloneAfterARetry(t *testing.T) {
	for name, byTransport := range map[string]bool{"http1": false, "Transport": true} {
		t.Run(name, func(t *testing.T) {
			busy := newWorker(t, status(http.StatusServiceUnavailable))
			fine := newWorker(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
			p := newPool(t)
			p.Update([]Worker{busy, fine}, Policy{Retries: 1})
			if byTransport {
				p.workers[0].http1 = nil // as with TLS
			}
			resp, err := p.Send(newRequest(t, http.MethodGet, nil), nil, Want{Repeat: true})
			if err != nil {
				t.Fatal(err)
			}
			alone := Alone(resp)
			wantBody(t, resp, "ok")
			if sent := p.Stats()[0].Sent; sent != 1 {
				t.Fatalf("the busy worker was asked %d times, want once", sent)
			}
			if alone == byTransport {
				t.Errorf("alone: %t", alone)
			}
		})
	}
}
