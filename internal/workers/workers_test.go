package workers

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// named starts n workers that answer with their number, each when it is told
// to go on.
func named(t *testing.T, n int) (workers []Worker, arrived chan int, goOn chan struct{}) {
	t.Helper()
	arrived, goOn = make(chan int, 1000), make(chan struct{})
	for i := range n {
		workers = append(workers, newWorker(t, func(w http.ResponseWriter, r *http.Request) {
			arrived <- i
			select {
			case <-goOn:
			case <-r.Context().Done():
			}
			_, _ = fmt.Fprint(w, i)
		}))
	}
	return workers, arrived, goOn
}

func TestTiesGoRound(t *testing.T) {
	workers, _, goOn := named(t, 3)
	close(goOn)
	p := newPool(t, workers...)
	var got string
	for range 7 {
		got += get(t, p)
	}
	if got != "0120120" {
		t.Errorf("went to %s", got)
	}
	wantCounts(t, p, counts{Sent: 3}, counts{Sent: 2}, counts{Sent: 2})
}

func TestLeastOutstanding(t *testing.T) {
	workers, arrived, goOn := named(t, 3)
	p := newPool(t, workers...)
	var wg sync.WaitGroup
	begin := func() int {
		wg.Go(func() { get(t, p) })
		return <-arrived
	}
	for i := range 6 {
		if at := begin(); at != i%3 {
			t.Fatalf("request %d went to worker %d", i, at)
		}
	}
	wantCounts(t, p, counts{Outstanding: 2, Sent: 2}, counts{Outstanding: 2, Sent: 2}, counts{Outstanding: 2, Sent: 2})

	// Two answers: whoever has fewer gets the next, whosever turn it is.
	goOn <- struct{}{}
	goOn <- struct{}{}
	waitFor(t, "two are answered", func() bool {
		n := 0
		for _, s := range p.Stats() {
			n += s.Outstanding
		}
		return n == 4
	})
	begin()
	begin()
	for i, s := range p.Stats() {
		if s.Outstanding != 2 {
			t.Errorf("worker %d has %d outstanding", i, s.Outstanding)
		}
	}
	close(goOn)
	wg.Wait()
	for i, s := range p.Stats() {
		if s.Outstanding != 0 || s.Failed != 0 {
			t.Errorf("worker %d at the end: %+v", i, s)
		}
	}
}

// TestExactSpread sends many requests at once: no two of them may take the
// same worker for the least busy one.
func TestExactSpread(t *testing.T) {
	workers, arrived, goOn := named(t, 4)
	p := newPool(t, workers...)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() { get(t, p) })
	}
	got := make([]int, 4)
	for range 64 {
		got[<-arrived]++
	}
	if d := cmp.Diff([]int{16, 16, 16, 16}, got); d != "" {
		t.Errorf("requests per worker (-want +got):\n%s", d)
	}
	close(goOn)
	wg.Wait()
}

// connWatch counts a server's connections.
type connWatch struct {
	mu           sync.Mutex
	made, closed int
}

func (c *connWatch) see(_ net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case http.StateNew:
		c.made++
	case http.StateClosed, http.StateHijacked:
		c.closed++
	}
}

func (c *connWatch) counts() (made, closed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made, c.closed
}

func TestUpdate(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		goOn := make(chan struct{})
		var watches [3]connWatch
		var workers []Worker
		for i := range 3 {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprint(w, i)
				if i == 1 {
					_ = http.NewResponseController(w).Flush()
					<-goOn
				}
			}))
			srv.Config.ConnState = watches[i].see
			srv.Start()
			t.Cleanup(srv.Close)
			workers = append(workers, Worker{URL: mustParse(t, srv.URL)})
		}
		p := newPool(t, workers[0], workers[1])
		if got := get(t, p); got != "0" {
			t.Fatalf("went to %s", got)
		}
		resp, err := p.RoundTrip(newRequest(t, http.MethodGet, nil))
		if err != nil {
			t.Fatal(err)
		}

		// 1 goes while it answers, 0 stays, 2 is new. A second 0 is the same one.
		p.Update([]Worker{workers[2], workers[0], {URL: mustParse(t, workers[0].URL.String())}}, Policy{})
		wantCounts(t, p, counts{}, counts{Sent: 1})
		if got := get(t, p) + get(t, p); got != "20" && got != "02" {
			t.Errorf("went to %s", got)
		}
		wantCounts(t, p, counts{Sent: 1}, counts{Sent: 2})
		if made, closed := watches[0].counts(); made != 1 || closed != 0 {
			t.Errorf("the worker that stayed: %d connections made, %d closed", made, closed)
		}
		if _, closed := watches[1].counts(); closed != 0 {
			t.Error("the removed worker lost the connection that is in use")
		}
		close(goOn)
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "1" {
			t.Errorf("the removed worker's answer: %q, %v", body, err)
		}
		waitFor(t, "the removed worker's connection is closed", func() bool {
			_, closed := watches[1].counts()
			return closed == 1
		})

		// It comes back as a new one.
		p.Update([]Worker{workers[1]}, Policy{})
		wantCounts(t, p, counts{})
		for i := range watches {
			waitFor(t, "idle connections of removed workers are closed", func() bool {
				made, closed := watches[i].counts()
				return made == closed
			})
		}
		if got := get(t, p); got != "1" {
			t.Errorf("went to %s", got)
		}
		stats := p.Stats()
		if want := []Stats{{URL: workers[1].URL.String(), Weight: 1, Sent: 1}}; !cmp.Equal(want, stats) {
			t.Errorf("stats %+v, want %+v", stats, want)
		}
	})
}

// TestStatsHideSecrets checks that a password in the configured URL stays
// there.
func TestStatsHideSecrets(t *testing.T) {
	p := newPool(t, Worker{URL: mustParse(t, "http://user:secret@worker.test")})
	if got := p.Stats()[0].URL; got != "http://user:xxxxx@worker.test" {
		t.Errorf("URL %q", got)
	}
}
