package workers

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestReachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := Worker{URL: &url.URL{Scheme: "http", Host: l.Addr().String()}}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	live := newWorker(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	ctx := t.Context()
	if newPool(t).Reachable(ctx) {
		t.Error("an empty pool is reachable")
	}
	if newPool(t, refused).Reachable(ctx) {
		t.Error("a worker that refuses connections is reachable")
	}
	if !newPool(t, refused, live).Reachable(ctx) {
		t.Error("one of two is live, and the pool is not reachable")
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if newPool(t, live).Reachable(ctx) {
		t.Error("reachable after the end of the context")
	}
}

// TestReachableIsRemembered: whoever asks again and again takes no port each time, which
// is lost for a minute when the connection was closed.
func TestReachableIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards what follows
		dials := 0
		var fail error
		set := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			fail, dials = err, 0
		}
		p := New(Options{dial: func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			dials++
			c, other := net.Pipe()
			_ = other.Close()
			return c, fail
		}})
		list := []Worker{{URL: mustParse(t, "http://w1")}}
		p.Update(list, Policy{})
		ask := func(want bool, dialled int) {
			t.Helper()
			for range 20 {
				if got := p.Reachable(t.Context()); got != want {
					t.Errorf("reachable: %v, want %v", got, want)
				}
			}
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if dials != dialled {
				t.Errorf("dialled %d times, want %d", dials, dialled)
			}
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { p.Reachable(t.Context()) })
		}
		all.Wait()
		ask(true, 1)
		set(errors.New("refused"))
		time.Sleep(time.Second)
		ask(false, 1)
		set(nil)
		ask(false, 0)
		p.Update(append(list, Worker{URL: mustParse(t, "http://w1/other")}), Policy{})
		ask(true, 2)
		time.Sleep(time.Second)
		over, end := context.WithCancel(t.Context())
		end()
		p.Reachable(over) // says nothing of the workers
		time.Sleep(time.Millisecond)
		set(nil)
		if !p.Reachable(t.Context()) {
			t.Error("who did not wait for the answer has it remembered")
		}
		p.Update(nil, Policy{})
	})
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"http://w1": "w1:80", "https://w1": "w1:443", "http://w1:8000/v1": "w1:8000", "https://[::1]:9": "[::1]:9", "http://[::1]": "[::1]:80",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := address(u); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
