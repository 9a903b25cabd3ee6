package client_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/client"
)

// send sends n requests one after the other.
func send(t *testing.T, rt http.RoundTripper, n int) {
	t.Helper()
	for range n {
		resp, err := rt.RoundTrip(post(t, "ask"))
		if err != nil {
			t.Fatal(err)
		}
		finish(t, resp)
	}
}

func TestAdaptiveRates(t *testing.T) {
	const (
		s  = time.Second
		ms = time.Millisecond
	)
	refusedOnce := func(nth int, _ *http.Request) (*http.Response, error) {
		if nth == 1 {
			return answer(429, ""), nil
		}
		return answer(200, ""), nil
	}
	always := func(status int, headers ...string) func(int, *http.Request) (*http.Response, error) {
		return func(int, *http.Request) (*http.Response, error) { return answer(status, "", headers...), nil }
	}
	for _, tt := range []struct {
		name       string
		start, max float64
		answer     func(int, *http.Request) (*http.Response, error)
		at         []time.Duration
		rate       float64
	}{
		{"as the documents have it", 0, 0, refusedOnce, []time.Duration{0, 200 * ms, 381818181}, 5 * 1.1 * 1.1},
		{"up to Max", 95, 100, always(200), []time.Duration{0, 10 * ms, 20 * ms}, 100},
		{"down to one a minute", 0.02, 0, always(429), []time.Duration{0, 60 * s, 120 * s}, 1.0 / 60},
		{"starts at Max", 50, 2, always(404), []time.Duration{0, 500 * ms, s}, 2},
		{"negative", -1, -1, always(404), []time.Duration{0, 100 * ms, 200 * ms}, 10},
		{"infinite", math.Inf(1), math.Inf(1), always(404), []time.Duration{0, 100 * ms, 200 * ms}, 10},
		{"not a number", math.NaN(), math.NaN(), always(404), []time.Duration{0, 100 * ms, 200 * ms}, 10},
		{"redirects are successes", 10, 10.5, always(302), []time.Duration{0, 95238095, 190476190}, 10.5},
		{"503 says nothing of the rate", 10, 0, always(503, "Retry-After", "1"), []time.Duration{0, 100 * ms, 200 * ms}, 10},
		{"nor does a request that is too large", 10, 0, always(429, "x-should-retry", "false"), []time.Duration{0, 100 * ms, 200 * ms}, 10},
		{"a spent budget does", 10, 0, always(429, "x-should-retry", "false", "Retry-After", "3600"), []time.Duration{0, 200 * ms, 600 * ms}, 1.25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &server{answer: tt.answer}
				a := &client.Adaptive{Base: server, Start: tt.start, Max: tt.max}
				send(t, a, 3)
				server.came(t, tt.at...)
				if rate := a.Rate(); math.Abs(rate-tt.rate) > 1e-12 {
					t.Errorf("rate %v, want %v", rate, tt.rate)
				}
			})
		})
	}
}

func TestAdaptiveBegins(t *testing.T) {
	for _, tt := range []struct{ start, most, want float64 }{{0, 0, 10}, {25, 0, 25}, {500, 0, 100}, {0, 2, 2}, {0.001, 0, 0.001}} {
		if rate := (&client.Adaptive{Start: tt.start, Max: tt.most}).Rate(); rate != tt.want {
			t.Errorf("%+v: %v", tt, rate)
		}
	}
}

func TestAdaptiveErrorsLeaveTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &server{answer: func(int, *http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }}
		a := &client.Adaptive{Base: server}
		for range 3 {
			if _, err := a.RoundTrip(post(t, "ask")); err != io.ErrUnexpectedEOF {
				t.Fatal(err)
			}
		}
		server.came(t, 0, 100*time.Millisecond, 200*time.Millisecond)
		if a.Rate() != 10 {
			t.Errorf("rate %v", a.Rate())
		}
	})
}

// TestAdaptiveLine: those who wait go in their order, each when its time has
// come, and who leaves takes no turn.
func TestAdaptiveLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var came []string
		server := &server{answer: func(_ int, req *http.Request) (*http.Response, error) {
			came = append(came, req.URL.Path)
			return answer(404, ""), nil // leaves the rate
		}}
		a := &client.Adaptive{Base: server, Start: 1}
		left := errors.New("left")
		var all sync.WaitGroup
		join := func(path string, leaveAfter time.Duration) {
			ctx, cancel := context.WithCancelCause(t.Context())
			if leaveAfter > 0 {
				time.AfterFunc(leaveAfter, func() { cancel(left) })
			}
			body := &closes{Reader: strings.NewReader("ask")}
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://penstock.test"+path, body)
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				defer cancel(nil)
				start := time.Now()
				_, err := a.RoundTrip(req)
				if leaveAfter > 0 && (!errors.Is(err, left) || time.Since(start) != leaveAfter) || leaveAfter == 0 && err != nil {
					t.Errorf("%s: %v after %v", path, err, time.Since(start))
				}
				if !body.closed {
					t.Errorf("%s: the body is open", path)
				}
			})
			synctest.Wait() // it is in the line
		}
		join("/1", 0)
		join("/2", 500*time.Millisecond) // leaves as the head
		join("/3", 0)
		join("/4", 1500*time.Millisecond) // leaves when it has become the head
		join("/5", 100*time.Millisecond)  // leaves from the middle
		join("/6", 0)
		join("/7", 0)
		all.Wait()
		if want := []string{"/1", "/3", "/6", "/7"}; !slices.Equal(came, want) {
			t.Errorf("came in the order %v, want %v", came, want)
		}
		server.came(t, 0, time.Second, 2*time.Second, 3*time.Second)
	})
}

func TestAdaptiveWithADoneContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := inTurn(says(200))
		a := &client.Adaptive{Base: server}
		for range 100 { // the free turn and the end are seen in either order
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := a.RoundTrip(post(t, "ask").WithContext(ctx)); err != context.Canceled {
				t.Fatal(err)
			}
		}
		server.came(t)
		send(t, a, 1) // at once: none of them has taken a turn
		server.came(t, 0)
		if time.Since(server.start) != 0 {
			t.Errorf("the first one waited %v", time.Since(server.start))
		}
	})
}

// TestAdaptiveChangesUnderTheHead: who waits for its turn goes when the rate
// that it has by then says.
func TestAdaptiveChangesUnderTheHead(t *testing.T) {
	for _, tt := range []struct {
		status int
		second time.Duration
	}{
		{200, 9090909090},       // 10 s at 0.1/s, 9.1 s at 0.11/s
		{429, 20 * time.Second}, // at 0.05/s
		{404, 10 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := &server{answer: func(nth int, _ *http.Request) (*http.Response, error) {
				if nth == 1 {
					time.Sleep(5 * time.Second)
				}
				return answer(tt.status, ""), nil
			}}
			a := &client.Adaptive{Base: server, Start: 0.1}
			var both sync.WaitGroup
			both.Go(func() { send(t, a, 1) })
			synctest.Wait()
			both.Go(func() { send(t, a, 1) })
			both.Wait()
			server.came(t, 0, tt.second)
		})
	}
}

// TestAdaptiveBurst: ten requests under way, of which nine are refused, halve
// the rate once, and the tenth does not take it back.
func TestAdaptiveBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &server{answer: func(nth int, _ *http.Request) (*http.Response, error) {
			time.Sleep(2*time.Second + time.Duration(nth)*time.Millisecond)
			if nth == 10 {
				return answer(200, ""), nil
			}
			return answer(429, ""), nil
		}}
		a := &client.Adaptive{Base: server, Start: 8}
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { send(t, a, 1) })
		}
		all.Wait()
		if a.Rate() != 4 {
			t.Errorf("rate %v, want 4", a.Rate())
		}
		send(t, a, 1) // sent after it, so it speaks
		if a.Rate() != 2 {
			t.Errorf("rate %v, want 2", a.Rate())
		}
	})
}

// TestRetryOverAdaptive: each try waits for its turn, and each refusal counts.
func TestRetryOverAdaptive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := inTurn(says(429, "retry-after-ms", "50"), says(429, "Retry-After", "3"), says(200))
		a := &client.Adaptive{Base: server}
		send(t, client.Retry{Base: a}, 1)
		server.came(t, 0, 200*time.Millisecond, 3200*time.Millisecond)
		if a.Rate() != 2.75 {
			t.Errorf("rate %v, want 10 / 2 / 2 * 1.1", a.Rate())
		}
	})
}

// TestAdaptiveFindsTheRate: fifty callers against a server that takes 20 a
// second settle between what it takes and half of that, and few are refused.
func TestAdaptiveFindsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		level, last := 20.0, time.Time{}
		var refused, taken int
		var mu sync.Mutex
		server := &server{answer: func(int, *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			level = min(20, level+20*now.Sub(last).Seconds())
			last = now
			if level < 1 {
				refused++
				return answer(429, ""), nil
			}
			level--
			taken++
			return answer(200, ""), nil
		}}
		a := &client.Adaptive{Base: server}
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Second)
		defer stop()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for {
					resp, err := a.RoundTrip(post(t, "ask").WithContext(ctx))
					if err != nil {
						return
					}
					finish(t, resp)
				}
			})
		}
		all.Wait()
		t.Logf("%d taken, %d refused in 100 s; the rate is %.1f", taken, refused, a.Rate())
		if taken < 1000 || taken > 2020 || refused*5 > taken {
			t.Errorf("%d taken, %d refused", taken, refused)
		}
	})
}
