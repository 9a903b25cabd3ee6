package workers

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// streams answers "begun ", and "ended" when it may.
func streams(goOn <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begun ")
		_ = http.NewResponseController(w).Flush()
		<-goOn
		_, _ = io.WriteString(w, "ended")
	}
}

// TestDrainAndRemove does both while an answer streams.
func TestDrainAndRemove(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		for _, remove := range []bool{false, true} {
			var watch connWatch
			goOn := make(chan struct{})
			a, b := newWatchedWorker(t, &watch, streams(goOn)), newWorker(t, echo)
			p := newPool(t, a, b)
			resp, err := p.RoundTrip(newRequest(t, http.MethodGet, nil))
			if err != nil {
				t.Fatal(err)
			}
			change := p.Drain
			if remove {
				change = p.Remove
			}
			if err := change(a.URL.String()); err != nil {
				t.Fatal(err)
			}
			if s := p.Stats()[0]; s.State != Draining || s.Outstanding != 1 {
				t.Errorf("%+v, want it draining with one outstanding", s)
			}
			for range 3 {
				get(t, p)
			}
			if s := p.Stats()[1]; s.Sent != 3 {
				t.Errorf("%d of 3 requests went to the other", s.Sent)
			}
			close(goOn)
			wantBody(t, resp, "begun ended")
			_ = resp.Body.Close()
			if !remove {
				if s := p.Stats()[0]; s.State != Draining || s.Outstanding != 0 {
					t.Errorf("%+v, want it draining and idle", s)
				}
				continue
			}
			if stats := p.Stats(); len(stats) != 1 || stats[0].URL != b.URL.String() {
				t.Errorf("%+v, want the other alone", stats)
			}
			waitFor(t, "its connection is closed", func() bool {
				made, closed := watch.counts()
				return made == 1 && closed == 1
			})
		}
	})
}

// TestAdd takes a worker that is draining or being removed back.
func TestAdd(t *testing.T) {
	goOn := make(chan struct{})
	a := newWorker(t, streams(goOn))
	p := newPool(t)
	if err := p.Add(a); err != nil {
		t.Fatal(err)
	}
	resp, err := p.RoundTrip(newRequest(t, http.MethodGet, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, leave := range []func(string) error{p.Drain, p.Remove} {
		if err := leave(a.URL.String()); err != nil || p.Live() {
			t.Fatalf("%v, live %t", err, p.Live())
		}
		a.Weight, a.Models = 7, []string{"m"}
		if err := p.Add(a); err != nil {
			t.Fatal(err)
		}
		want := []Stats{{URL: a.URL.String(), Weight: 7, Models: []string{"m"}, Outstanding: 1, Tokens: 1, Sent: 1}}
		if d := cmp.Diff(want, p.Stats()); d != "" {
			t.Errorf("taken back (-want +got):\n%s", d)
		}
	}
	close(goOn)
	wantBody(t, resp, "begun ended")
	if len(p.Stats()) != 1 {
		t.Error("it was forgotten, though it had been taken back")
	}
	if err := p.Drain(a.URL.String()); err != nil {
		t.Fatal(err)
	}
	p.Update([]Worker{a}, Policy{})
	if s := p.Stats()[0]; s.State != Up {
		t.Errorf("%v after a reload, want up", s.State)
	}
	if err := p.Remove(a.URL.String()); err != nil || len(p.Stats()) != 0 {
		t.Errorf("%v, and %d workers; want none at once", err, len(p.Stats()))
	}
}

// TestOneWorkerHoweverWritten: a worker is one worker by all its URLs.
func TestOneWorkerHoweverWritten(t *testing.T) {
	for _, same := range [][]string{
		{"http://a.test", "http://a.test/", "HTTP://A.test:80", "http://a.test:80//"},
		{"https://a.test/base", "https://a.test:443/base/", "https://A.TEST/base"},
	} {
		for _, first := range same {
			p := newPool(t)
			if err := p.Add(Worker{URL: mustParse(t, first)}); err != nil {
				t.Fatal(err)
			}
			for _, again := range same {
				err := p.Add(Worker{URL: mustParse(t, again)})
				if want := "this worker is there already: drain it first, or change it in the configuration and reload"; err == nil || err.Error() != want {
					t.Errorf("%s after %s: %v, want %s", again, first, err, want)
				}
				if err := p.Drain(again); err != nil {
					t.Errorf("drain %s: %v", again, err)
				}
				if err := p.Add(Worker{URL: mustParse(t, again)}); err != nil {
					t.Errorf("%s is not taken back: %v", again, err)
				}
				p.Update([]Worker{{URL: mustParse(t, again)}, {URL: mustParse(t, first)}}, Policy{})
				if s := p.Stats(); len(s) != 1 || s[0].URL != mustParse(t, first).String() {
					t.Errorf("%+v after an update, want the one that was there", s)
				}
			}
			if err := p.Remove(same[len(same)-1]); err != nil || len(p.Stats()) != 0 {
				t.Errorf("%v, and %d workers are left", err, len(p.Stats()))
			}
		}
	}
}

func TestUnknownWorkers(t *testing.T) {
	p := newPool(t, dead(t, 1)...)
	for _, url := range []string{"", "http://other.test", "http://%zz", p.Stats()[0].URL + "/base"} {
		for _, change := range []func(string) error{p.Drain, p.Remove} {
			err := change(url)
			if want := "no worker has this URL: GET /workers lists them"; err == nil || err.Error() != want {
				t.Errorf("%q: %v, want %s", url, err, want)
			}
		}
	}
	if len(p.Stats()) != 1 || p.Stats()[0].State == Draining {
		t.Errorf("%+v after errors", p.Stats())
	}
}

// TestManyUpdates changes the list and the policy a thousand times under load.
func TestManyUpdates(t *testing.T) {
	bothWays(t, func(t *testing.T, newPool newPoolFunc) {
		var workers []Worker
		for range 3 {
			workers = append(workers, newWorker(t, echo))
		}
		p := newPool(t, workers...)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					want := fmt.Sprint("prompt ", i)
					resp, err := p.Send(newRequest(t, http.MethodPost, nil), holding([]byte(want)), Want{Model: "m", Tokens: int64(i % 7)})
					if err != nil {
						t.Errorf("a request was lost: %v", err)
						return
					}
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || string(got) != want {
						t.Errorf("an answer was lost: %q, %v", got, err)
						return
					}
				}
			})
		}
		for i := range 1000 {
			list := []Worker{workers[i%3], workers[(i+1)%3]}
			list[0].Weight, list[1].Models = i%4, []string{"m", fmt.Sprint(i)}
			p.Update(list, Policy{Retries: i % 3, Failures: i % 2})
		}
		close(stop)
		wg.Wait()
		for _, s := range p.Stats() {
			if s.Outstanding != 0 || s.Tokens != 0 || s.Failed != 0 {
				t.Errorf("at the end: %+v", s)
			}
		}
	})
}
