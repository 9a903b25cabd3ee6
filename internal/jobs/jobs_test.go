package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fake is workers that tell their queues.
type fake struct {
	mu     sync.Mutex
	answer func(r *http.Request) (status int, body string, err error)
	asked  []time.Duration // since the start
	start  time.Time
}

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.asked = append(f.asked, time.Since(f.start))
	answer := f.answer
	f.mu.Unlock()
	status, body, err := answer(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func (f *fake) tells(running, pending string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = func(*http.Request) (int, string, error) {
		return 200, fmt.Sprintf(`{"queue_running": [%s], "queue_pending": [%s]}`, running, pending), nil
	}
}

// times is when it was asked, so far.
func (f *fake) times() []time.Duration {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func entryOf(id string) string { return `[7, "` + id + `", {"1": {"inputs": {}}}, {}, ["9"]]` }

var workerA, workerB = &url.URL{Scheme: "http", Host: "a:8188"}, &url.URL{Scheme: "http", Host: "b:8188", Path: "/base"}

// rig is a watcher of fake workers in a bubble.
type rig struct {
	*fake
	*Watcher
	mu    sync.Mutex
	ended []string
}

func inBubble(t *testing.T, run func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{fake: &fake{start: time.Now()}}
		r.tells("", "")
		r.Watcher = New(r.fake)
		run(t, r)
		r.Stop()
	})
}

func (r *rig) hold(worker *url.URL, id string, most time.Duration) {
	start := time.Now()
	r.Hold(worker, nil, id, most, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended = append(r.ended, fmt.Sprintf("%s %v", id, time.Since(start)))
	})
}

func (r *rig) want(t *testing.T, open int, ended ...string) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.ended)
	if r.Open() != open || !slices.Equal(r.ended, ended) {
		t.Errorf("%d open and ended %q, want %d and %q", r.Open(), r.ended, open, ended)
	}
}

func TestJobEndsWhenItHasLeftTheQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.tells(entryOf("one"), entryOf("two")+","+entryOf("three"))
		r.hold(workerA, "one", time.Hour)
		r.hold(workerA, "two", time.Hour)
		time.Sleep(time.Minute)
		r.want(t, 2)
		r.tells(entryOf("two"), "")
		time.Sleep(latest)
		r.want(t, 1, "one 1m0.1s")
		r.tells("", "")
		time.Sleep(latest)
		r.want(t, 0, "one 1m0.1s", "two 1m0.35s")
		n := len(r.times())
		time.Sleep(time.Hour)
		if len(r.times()) != n {
			t.Error("a worker without jobs is asked")
		}
	})
}

// TestPaces: a new job is looked for soon, an old one less often.
func TestPaces(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.tells(entryOf("one")+","+entryOf("two"), "")
		r.hold(workerA, "one", time.Hour)
		time.Sleep(1200 * time.Millisecond)
		r.hold(workerA, "two", time.Hour)
		time.Sleep(600 * time.Millisecond)
		var got []string
		for _, d := range r.times() {
			got = append(got, d.String())
		}
		want := "50ms 150ms 350ms 600ms 850ms 1.1s 1.25s 1.35s 1.55s 1.8s"
		if text := strings.Join(got, " "); text != want {
			t.Errorf("asked at %s, want %s", text, want)
		}
	})
}

// TestNewJobsPutNothingOff: jobs that come one soon after the other do not keep the
// queue from being read.
func TestNewJobsPutNothingOff(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for i := range 50 {
			r.hold(workerA, fmt.Sprint(i), time.Hour)
			time.Sleep(soonest / 5)
		}
		if got := r.times(); len(got) < 8 || got[0] != soonest {
			t.Errorf("within half a second it was read at %v", got)
		}
		time.Sleep(latest)
		if n := r.Open(); n != 0 {
			t.Errorf("%d jobs are held that no queue has", n)
		}
	})
}

// TestLargeQueues: a queue of many jobs, each with its graph, is not read again and
// again as jobs come: 8 MiB of it a second, and what is larger not for long.
func TestLargeQueues(t *testing.T) {
	for size, want := range map[int]string{
		200 << 10: "50ms 100ms 150ms 200ms 250ms 300ms",
		2 << 20:   "50ms 300ms 550ms 800ms 1.05s 1.3s",
		16 << 20:  "50ms 2.05s 4.05s 6.05s 8.05s 10.05s",
	} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.tells(entryOf("one")+","+entryOf("two"), strings.Repeat(" ", size))
			r.hold(workerA, "one", time.Hour)
			for len(r.times()) < 6 {
				time.Sleep(10 * time.Millisecond)
				r.hold(workerA, "one", time.Hour)
			}
			var got []string
			for _, d := range r.times() {
				got = append(got, d.Truncate(50*time.Millisecond).String())
			}
			if text := strings.Join(got, " "); text != want {
				t.Errorf("of %d KiB it was asked at %s, want %s", size>>10, text, want)
			}
		})
	}
}

func TestUpperBound(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.tells(entryOf("one"), "")
		r.hold(workerA, "one", 5*time.Second)
		time.Sleep(time.Minute)
		r.want(t, 0, "one 5.1s")
	})
}

func TestLostJobs(t *testing.T) {
	refused := fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	for name, c := range map[string]struct {
		answer func(r *http.Request) (int, string, error)
		want   []string
	}{
		"dead": {func(*http.Request) (int, string, error) { return 0, "", refused }, []string{"one 350ms"}},
		"out of reach": {func(*http.Request) (int, string, error) {
			time.Sleep(5 * time.Second)
			return 0, "", &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
		}, []string{"one 15.35s"}},
		"no queue": {func(*http.Request) (int, string, error) { return 404, `{"detail": "Not Found"}`, nil }, []string{"one 10.1s"}},
		"no JSON":  {func(*http.Request) (int, string, error) { return 200, `<html>`, nil }, []string{"one 10.1s"}},
		"no ids": {func(*http.Request) (int, string, error) {
			return 200, `{"queue_running": [[1]], "queue_pending": []}`, nil
		}, []string{"one 10.1s"}},
		"half a queue":     {func(*http.Request) (int, string, error) { return 200, `{"queue_running": []}`, nil }, []string{"one 10.1s"}},
		"busy for a while": {func(r *http.Request) (int, string, error) { <-r.Context().Done(); return 0, "", r.Context().Err() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.answer = c.answer
				r.hold(workerA, "one", time.Hour)
				time.Sleep(time.Minute)
				r.want(t, 1-len(c.want), c.want...)
			})
		})
	}
}

// TestTroubleIsNoLoss: a worker that tells its queue again has kept the jobs, and
// so has one of whose queue a proxy in front of it says nothing for a while.
func TestTroubleIsNoLoss(t *testing.T) {
	for name, answer := range map[string]func() (int, string, error){
		"reset":     func() (int, string, error) { return 0, "", errors.New("connection reset") },
		"a gateway": func() (int, string, error) { return 502, "<html>Bad Gateway</html>", nil },
		"nobody":    nobodyThenReset(),
		"an error":  func() (int, string, error) { return 500, "{}", nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				start := time.Now()
				r.answer = func(*http.Request) (int, string, error) {
					if time.Since(start)%(patience+2*latest) < patience {
						return answer()
					}
					return 200, `{"queue_running": [` + entryOf("one") + `], "queue_pending": []}`, nil
				}
				r.hold(workerA, "one", time.Hour)
				time.Sleep(time.Minute)
				r.want(t, 1)
			})
		})
	}
}

// nobodyThenReset is a worker at which, of three times, nobody listens twice.
func nobodyThenReset() func() (int, string, error) {
	n := 0
	return func() (int, string, error) {
		if n++; n%refusals == 0 {
			return 0, "", errors.New("connection reset")
		}
		return 0, "", syscall.ECONNREFUSED
	}
}

func TestWorkersAreWatchedApart(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.answer = func(req *http.Request) (int, string, error) {
			switch req.URL.String() {
			case "http://a:8188/queue":
				return 200, `{"queue_running": [` + entryOf("one") + `], "queue_pending": []}`, nil
			case "http://b:8188/base/queue":
				return 200, `{"queue_running": [], "queue_pending": []}`, nil
			}
			t.Errorf("asked %s", req.URL)
			return 404, "", nil
		}
		r.hold(workerA, "one", time.Hour)
		r.hold(workerB, "one", time.Hour)
		time.Sleep(time.Second)
		r.want(t, 1, "one 50ms")
	})
}

func TestStopEndsAll(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.tells(entryOf("one"), "")
		r.hold(workerA, "one", time.Hour)
		time.Sleep(time.Minute)
		r.Stop()
		r.want(t, 0, "one 1m0s")
		r.hold(workerA, "two", time.Hour)
		r.want(t, 0, "one 1m0s", "two 0s")
	})
}

// TestHeldTwice: of jobs with one id, as many are held as the queue has.
func TestHeldTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.tells(entryOf("one"), entryOf("one"))
		r.hold(workerA, "one", time.Hour)
		time.Sleep(time.Second)
		r.hold(workerA, "one", time.Hour)
		time.Sleep(time.Minute)
		r.want(t, 2)
		r.tells(entryOf("one"), "")
		time.Sleep(time.Second)
		r.want(t, 1, "one 1m1.1s")
		r.tells("", "")
		time.Sleep(time.Second)
		r.want(t, 0, "one 1m1.1s", "one 1m1.1s")
	})
}

func TestHeaderIsSent(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var got string
		r.answer = func(req *http.Request) (int, string, error) {
			got = req.Header.Get("Authorization")
			return 200, `{"queue_running": [], "queue_pending": []}`, nil
		}
		done, end := context.WithCancel(t.Context())
		r.Hold(workerA, http.Header{"Authorization": {"Bearer k"}}, "one", time.Hour, end)
		<-done.Done()
		if got != "Bearer k" {
			t.Errorf("asked with %q", got)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add(`{"queue_running": [` + entryOf("one") + `], "queue_pending": []}`)
	f.Add(`{"queue_running": [[1]], "queue_pending": []}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, body string) {
		there, err := read([]byte(body))
		if (err == nil) != (there != nil) {
			t.Errorf("%q: %v, %v", body, there, err)
		}
	})
}
