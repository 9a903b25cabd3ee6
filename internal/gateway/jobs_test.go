package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-dev/penstock/internal/queue"
	"github.com/penstock-dev/penstock/internal/standin"
	"github.com/penstock-dev/penstock/internal/traffic"
	"github.com/penstock-dev/penstock/internal/workers"
)

const (
	graph     = `{"prompt":{"1":{"class_type":"SaveImage","inputs":{}}}}`
	jobLimits = "rate_limiting: {default: {requests_per_hour: 99, concurrent_requests: 9}}"
)

// holds checks how many slots are held, and jobs open, and what of
// concurrent_requests is charged.
func (r *rig) holds(when string, want int) {
	r.t.Helper()
	slots, open, used := r.Queue.Stats().InFlight, r.Jobs.Open(), r.usedBy(r.caller(""), "")["concurrent_requests"]
	if slots != want || open != want || used != int64(want) {
		r.t.Errorf("%s %d slots are held, %d jobs are open and %d requests are charged as concurrent, want %d of each", when, slots, open, used, want)
	}
}

// freed waits until all of these are none.
func (r *rig) freed() {
	r.t.Helper()
	eventually(r.t, "jobs end", func() bool { return r.Jobs.Open() == 0 && r.Queue.Stats().InFlight == 0 })
	r.holds("in the end", 0)
}

// submit has a job taken.
func (r *rig) submit(path string) {
	r.t.Helper()
	if a := r.send("POST", path, graph); a.status != 200 || !strings.Contains(a.body, "prompt_id") {
		r.t.Fatalf("answer %d %s, want a job", a.status, a.body)
	}
}

// TestJobsHoldTheirSlots: a job keeps its slot, and its caller's, until it has left
// the worker's queue. What jobs are watched and called off by needs none while there
// are jobs, and one else.
func TestJobsHoldTheirSlots(t *testing.T) {
	r := newRig(t, jobLimits, standin.New(standin.Options{JobTime: time.Hour}))
	r.slots(2, 0, 0)
	for range 2 {
		r.submit("/prompt")
		r.submit("/api/prompt")
		r.holds("with two jobs", 2)
		for path, status := range map[string]int{"/prompt": 429, "/v1/completions": 429} {
			if a := r.send("POST", path, graph); a.status != status {
				t.Errorf("POST %s with all slots held: answer %d, want %d", path, a.status, status)
			}
		}
		for path, status := range map[string]int{
			"/queue": 200, "/api/queue": 200, "/history": 200, "/history/x": 200, "/system_stats": 404,
			"/echo": 429, "/./queue": 429, "/history/..%2F..%2Fecho": 429, // nothing loosens what is not clean
		} {
			granted := r.Queue.Stats().Granted
			if a := r.send("GET", path, ""); a.status != status || r.Queue.Stats().Granted != granted {
				t.Errorf("GET %s with all slots held: answer %d with %d slots taken, want %d and none", path, a.status, r.Queue.Stats().Granted-granted, status)
			}
		}
		r.holds("after those", 2)
		// The one that waits is deleted, the one that runs interrupted.
		if a := r.send("POST", "/queue", `{"clear":true}`); a.status != 200 {
			t.Fatalf("answer %d %s", a.status, a.body)
		}
		eventually(t, "one job ends", func() bool { return r.Jobs.Open() == 1 && r.Queue.Stats().InFlight == 1 })
		if a := r.send("POST", "/interrupt", ""); a.status != 200 {
			t.Fatalf("answer %d %s", a.status, a.body)
		}
		r.freed()
	}
	r.wantUsed("concurrent_requests 0, requests_per_hour 18")

	var slots []queue.Slot
	for range 2 {
		slot, err := r.Queue.Enter(t.Context(), queue.Ask{})
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, slot)
	}
	if a := r.send("GET", "/queue", ""); a.status != 429 {
		t.Errorf("GET /queue with all slots held and no job: answer %d, want 429", a.status)
	}
	for _, slot := range slots {
		slot.Release()
	}
}

// TestWaitersGoOnWhenJobsEnd: the slot of a job that has ended is the next one's.
func TestWaitersGoOnWhenJobsEnd(t *testing.T) {
	r := newRig(t, jobLimits, standin.New(standin.Options{JobTime: time.Hour}))
	r.slots(1, 9, time.Minute)
	r.submit("/prompt")
	next := r.ask(r.client, "POST", "/prompt", graph)
	r.waits(1)
	r.send("POST", "/interrupt", "")
	if a := readAll(next.headers()); a.status != 200 || a.header.Get("X-Queue-Position") != "1" {
		t.Errorf("answer %d %v %s, want a job that waited", a.status, a.header, a.body)
	}
	r.holds("with the next job", 1)
	r.send("POST", "/interrupt", "")
	r.freed()
}

// TestJobsOfTheDead: a worker that dies has no jobs any more.
func TestJobsOfTheDead(t *testing.T) {
	worker := httptest.NewServer(standin.New(standin.Options{JobTime: time.Hour}))
	defer worker.Close()
	r := newRigFor(t, jobLimits, worker.URL)
	r.slots(2, 0, 0)
	r.submit("/prompt")
	r.submit("/prompt")
	r.holds("while it lives", 2)
	worker.CloseClientConnections()
	worker.Close()
	r.freed()
}

// TestJobsOfTheRemoved: a worker that is no longer one ends the jobs that it has.
func TestJobsOfTheRemoved(t *testing.T) {
	remove := map[string]func(r *rig, url string){
		"by a reload": func(r *rig, _ string) { r.serveWorkers("http://" + closedAddr(t)) },
		"by hand": func(r *rig, url string) {
			if err := r.Workers.Remove(url); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, remove := range remove {
		t.Run(name, func(t *testing.T) {
			p := newPrompted()
			asked := make(chan struct{}, 1)
			worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				p.ServeHTTP(w, r)
				if r.URL.Path == "/queue" {
					select {
					case asked <- struct{}{}:
					default:
					}
				}
			}))
			defer worker.Close()
			r := newRigFor(t, jobLimits, worker.URL)
			r.slots(1, 0, 0)
			a := r.ask(r.client, "POST", "/prompt", graph)
			<-p.asked
			p.says <- "abc"
			if a := readAll(a.headers()); a.status != 200 {
				t.Fatalf("answer %d %s", a.status, a.body)
			}
			remove(r, worker.URL)
			for range 4 { // more than have to fail for its jobs to be lost
				select {
				case <-asked:
				case <-time.After(patience):
					t.Fatal("its queue is no longer asked for")
				}
			}
			r.holds("while the job is in the queue of the removed", 1)
			p.works()
			r.freed()
			for _, s := range r.Workers.Stats() {
				if s.URL == worker.URL {
					t.Errorf("it is still there: %+v", s)
				}
			}
		})
	}
}

// TestJobsHaveATime: request_timeout bounds a job, too.
func TestJobsHaveATime(t *testing.T) {
	r := newRig(t, jobLimits, standin.New(standin.Options{JobTime: time.Hour}))
	rules := r.rulesOf(jobLimits)
	rules.RequestTimeout = 100 * time.Millisecond
	r.SetRules(rules)
	r.slots(1, 0, 0)
	r.submit("/prompt")
	r.freed()
}

// TestNoJob: where no job came of it the slot is back when the client has the
// answer; and when the client leaves before there is one.
func TestNoJob(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"refused":    func(w http.ResponseWriter) { w.WriteHeader(400); _, _ = io.WriteString(w, `{"prompt_id":"x"}`) },
		"no id":      func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"number":1}`) },
		"an empty":   func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"prompt_id":""}`) },
		"half":       func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"prompt_id":"x"`) },
		"no body":    func(http.ResponseWriter) {},
		"no content": func(w http.ResponseWriter) { w.WriteHeader(204) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, jobLimits, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				answer(w)
			}))
			r.slots(1, 0, 0)
			bothProtocols(t, r, func(t *testing.T, client *http.Client) {
				for range 10 {
					if a := r.sendOn(client, "POST", "/prompt", graph); a.status == 429 {
						t.Error("the slot of the one before was not back")
					}
				}
			})
			r.holds("then", 0)
		})
	}
}

// prompted is a ComfyUI that answers a prompt when the test says what.
type prompted struct {
	asked  chan struct{}
	says   chan string // the id under which it takes the job; empty: it takes none
	gone   chan struct{}
	begins string // what it says before that; then says is all of the rest
	mu     sync.Mutex
	queued []string
}

func newPrompted() *prompted {
	return &prompted{asked: make(chan struct{}, 1), says: make(chan string), gone: make(chan struct{}, 1)}
}

func (p *prompted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/queue" {
		p.mu.Lock()
		defer p.mu.Unlock()
		running := make([]string, len(p.queued))
		for i, id := range p.queued {
			running[i] = fmt.Sprintf("[%d, %q]", i, id)
		}
		_, _ = fmt.Fprintf(w, `{"queue_running": [%s], "queue_pending": []}`, strings.Join(running, ","))
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	if p.begins != "" {
		_, _ = io.WriteString(w, p.begins)
		_ = http.NewResponseController(w).Flush()
	}
	p.asked <- struct{}{}
	select {
	case id := <-p.says:
		if p.begins != "" {
			_, _ = io.WriteString(w, id)
			return
		}
		if id == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		p.works(id)
		_, _ = fmt.Fprintf(w, `{"prompt_id": %q}`, id)
	case <-r.Context().Done():
		p.gone <- struct{}{}
	}
}

// works says what is in its queue from now on.
func (p *prompted) works(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queued = ids
}

// TestLeavingBeforeTheJobIsKnown: the worker has the prompt of a client that does
// not wait for the answer, and works on it: its slot is held until the job has ended,
// as if the client had stayed.
func TestLeavingBeforeTheJobIsKnown(t *testing.T) {
	p := newPrompted()
	r := newRig(t, jobLimits, p)
	r.slots(1, 0, 0)
	bothProtocols(t, r, func(t *testing.T, client *http.Client) {
		a := r.ask(client, "POST", "/prompt", graph)
		<-p.asked
		r.leaves(a)
		p.says <- "abc"
		r.until("it is over", func() bool { return r.running == 0 })
		r.holds("when the client has left", 1)
		p.works()
		r.freed()

		a = r.ask(client, "POST", "/prompt", graph)
		<-p.asked
		r.leaves(a)
		p.says <- "" // it refuses
		r.until("it is over", func() bool { return r.running == 0 })
		r.holds("when there is no job", 0)
	})
}

// TestLeavingWithinTheAnswer: so it is where the client has the beginning of the
// answer, but not the id. What is no answer of ComfyUI's is not read for ever.
func TestLeavingWithinTheAnswer(t *testing.T) {
	p := newPrompted()
	p.begins = `{"prompt_id": `
	r := newRig(t, jobLimits, p)
	r.slots(1, 0, 0)
	bothProtocols(t, r, func(t *testing.T, client *http.Client) {
		for _, rest := range []string{`"abc"}`, strings.Repeat(" ", 2*mostSubmitted) + `"abc"}`} {
			p.works("abc")
			a := r.ask(client, "POST", "/prompt", graph)
			<-p.asked
			reads(t, a.headers().Body, p.begins)
			r.leaves(a)
			p.says <- rest
			r.until("it is over", func() bool { return r.running == 0 })
			if rest[0] == '"' {
				r.holds("when the client has left", 1)
			}
			p.works()
			r.freed()
		}
	})
}

// leaves has a client leave, and waits until the gateway knows it.
func (r *rig) leaves(a *asking) {
	r.t.Helper()
	r.mu.Lock()
	before := r.gone
	r.mu.Unlock()
	a.leave()
	r.until("the client has left", func() bool { return r.gone > before })
}

// TestLeavingAndNoAnswer: the worker does not have for ever to say what became of
// a prompt; the slot is given back then, and the log says so.
func TestLeavingAndNoAnswer(t *testing.T) {
	p := newPrompted()
	r := newRig(t, jobLimits, p)
	r.slots(1, 0, 0)
	rules := r.rulesOf(jobLimits)
	rules.RequestTimeout = 300 * time.Millisecond
	r.SetRules(rules)
	a := r.ask(r.client, "POST", "/prompt", graph)
	<-p.asked
	a.leave()
	<-p.gone
	r.until("it is over", func() bool { return r.running == 0 })
	r.holds("when it is over", 0)
	if log := r.log.String(); !strings.Contains(log, "before the worker said whether it took the job") {
		t.Errorf("nothing of it is in the log:\n%s", log)
	}
}

// TestHowLongAnAnswerIsAwaited: a prompt is given up answerPatience after its client has
// left, and nothing is left over of one that was answered.
func TestHowLongAnAnswerIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, leave := context.WithCancel(t.Context())
		submits := func() *exchange {
			x := &exchange{r: httptest.NewRequestWithContext(client, "POST", "/prompt", nil), counted: true, read: true}
			x.endpoint.Kind = traffic.ComfyPrompt
			return x
		}
		other := submits()
		other.endpoint.Kind = traffic.ChatCompletions
		ctx, end := submits().untilAnswered()
		answered, endAnswered := submits().untilAnswered()
		others, endOthers := other.untilAnswered()
		defer end(nil)
		defer endOthers(nil)
		time.Sleep(time.Hour)
		leave()
		synctest.Wait()
		if ctx.Err() != nil || others.Err() == nil {
			t.Errorf("when the client has left: %v for a prompt, %v for another request", ctx.Err(), others.Err())
		}
		endAnswered(nil)
		time.Sleep(answerPatience - 1)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Errorf("it was given up too early: %v", context.Cause(ctx))
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if context.Cause(ctx) != errUnanswered {
			t.Errorf("it ended with %v, want %v", context.Cause(ctx), errUnanswered)
		}
		if context.Cause(answered) != context.Canceled {
			t.Errorf("the one that was answered ended with %v", context.Cause(answered))
		}
	})
}

// TestStopEndsJobs: when the watcher is stopped, as the server does in the end,
// everything is given back at once.
func TestStopEndsJobs(t *testing.T) {
	r := newRig(t, jobLimits, standin.New(standin.Options{JobTime: time.Hour}))
	r.slots(2, 0, 0)
	r.submit("/prompt")
	r.submit("/prompt")
	r.Stop()
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.holds("after Wait", 2)
	r.Jobs.Stop()
	r.holds("after Stop", 0)
}

// TestJobsAreAskedForWithTheWorkersKey, and never with a client's.
func TestJobsAreAskedForWithTheWorkersKey(t *testing.T) {
	keys := make(chan string, 9)
	r := newRig(t, jobLimits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/base/queue" {
			keys <- r.Header.Get("Authorization")
			_, _ = io.WriteString(w, `{"queue_running": [], "queue_pending": []}`)
			return
		}
		_, _ = io.WriteString(w, `{"prompt_id":"x"}`)
	}))
	for _, want := range []string{"Bearer worker-key", ""} {
		u := *r.worker()
		u.Path = "/base"
		key := strings.TrimPrefix(want, "Bearer ")
		r.Workers.Update([]workers.Worker{{URL: &u, Key: key}}, workers.Policy{})
		if a := r.send("POST", "/prompt", graph, "Authorization", "Bearer client-key"); a.status != 200 {
			t.Fatalf("answer %d %s", a.status, a.body)
		}
		if got := <-keys; got != want {
			t.Errorf("/queue was asked for with %q, want %q", got, want)
		}
		r.idle()
	}
}
