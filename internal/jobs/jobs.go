// Package jobs watches work that goes on at a worker after the worker has
// answered. ComfyUI takes a prompt at once and works on it later: whoever holds
// a place for it must hold that until the job has left the worker's queue.
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// A worker's queue is read soon after a job was added, and less often the
	// longer nothing is added.
	soonest, latest = 50 * time.Millisecond, 250 * time.Millisecond
	// patience is how long a worker may take to tell its queue: one that loads a
	// model tells nothing for that time. Where nothing else comes for so long than
	// errors, and what is no queue, the jobs count as lost; so they do where no
	// connection can be made, which is not the worker's to be busy for.
	patience = 10 * time.Second
	// refusals is after how many reads in a row at which nobody listened they do so
	// at once: the worker is dead, and its jobs with it.
	refusals = 3
	// mostBytes bounds a queue as told: it holds the whole graph of each job. The
	// larger one is the less often it is read: about so many bytes a second.
	mostBytes    = 32 << 20
	bytesASecond = 8 << 20
)

// Watcher watches the jobs of all workers, with one goroutine for each worker
// that has any. All methods may be called from any goroutine.
type Watcher struct {
	by   http.RoundTripper
	ctx  context.Context
	stop context.CancelFunc
	all  sync.WaitGroup

	mu    sync.Mutex
	lines map[string]*line // by the worker's URL
	open  int
}

// line is the jobs of one worker.
type line struct {
	worker *url.URL
	header http.Header
	jobs   []*job        // in the order in which they were added
	added  chan struct{} // one is there when a job was added
}

type job struct {
	id           string
	since, until time.Time
	ended        func()
}

// New returns a watcher that asks workers by the transport. Stop must be called
// when it is no longer used.
func New(by http.RoundTripper) *Watcher {
	w := &Watcher{by: by, lines: map[string]*line{}}
	w.ctx, w.stop = context.WithCancel(context.Background())
	return w
}

// Hold calls ended, once and from another goroutine, when the job has left the
// queue of the worker, when the worker has lost it or tells no queue, after most,
// or when the watcher is stopped. The worker's base URL must not change; the
// header goes with what it is asked, and may be nil. Of several jobs with one id,
// which clients may choose, as many are held as the queue has, the last ones.
func (w *Watcher) Hold(worker *url.URL, header http.Header, id string, most time.Duration, ended func()) {
	now := time.Now()
	j := &job{id: id, since: now, until: now.Add(most), ended: ended}
	w.mu.Lock()
	if w.ctx.Err() != nil {
		w.mu.Unlock()
		ended()
		return
	}
	key := worker.String()
	l := w.lines[key]
	if l == nil {
		l = &line{worker: worker, added: make(chan struct{}, 1)}
		w.lines[key] = l
		w.all.Go(func() { w.watch(key, l) })
	}
	l.header = header
	l.jobs = append(l.jobs, j)
	w.open++
	w.mu.Unlock()
	select {
	case l.added <- struct{}{}:
	default:
	}
}

// Open returns how many jobs are held.
func (w *Watcher) Open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

// Stop ends the watching and all jobs, and returns when that is done.
func (w *Watcher) Stop() {
	w.mu.Lock()
	w.stop()
	w.mu.Unlock()
	w.all.Wait()
}

// watch looks after the jobs of one worker until there are none.
func (w *Watcher) watch(key string, l *line) {
	pause, least := soonest, soonest
	var failing time.Time // since when it tells no queue; zero while it does
	refused := 0          // how many times in a row
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-w.ctx.Done():
		case <-l.added:
			if pause > least { // else it is soon anyway, and must not be put off again and again
				pause = least
				timer.Reset(pause)
			}
			continue
		case <-timer.C:
		}
		asked := time.Now()
		there, size, err := w.ask(l)
		least = max(soonest, time.Duration(size)*time.Second/bytesASecond)
		switch {
		case err == nil, isBusy(err):
			failing = time.Time{}
		case failing.IsZero():
			failing = asked
		}
		if refused++; !errors.Is(err, syscall.ECONNREFUSED) {
			refused = 0
		}
		lost := refused >= refusals || !failing.IsZero() && asked.Sub(failing) >= patience
		if w.end(key, l, func(j *job) bool {
			switch {
			case w.ctx.Err() != nil, lost, !asked.Before(j.until):
				return true
			case err != nil || !j.since.Before(asked):
				return false // not known
			}
			there[j.id]--
			return there[j.id] < 0
		}) {
			return
		}
		pause = max(min(2*pause, latest), least)
		timer.Reset(pause)
	}
}

// end ends those jobs of a worker that are over, and reports whether none is left:
// then its line is gone.
func (w *Watcher) end(key string, l *line, over func(j *job) bool) (none bool) {
	var ended, left []*job
	w.mu.Lock()
	for _, j := range slices.Backward(l.jobs) {
		if over(j) {
			ended = append(ended, j)
		} else {
			left = append(left, j)
		}
	}
	slices.Reverse(left)
	l.jobs = left
	w.open -= len(ended)
	if none = len(l.jobs) == 0; none {
		delete(w.lines, key)
	}
	w.mu.Unlock()
	for _, j := range ended {
		j.ended()
	}
	return none
}

// queue is what a worker tells at /queue. The second element of an entry is the
// job's id.
type queue struct {
	Running *[]entry `json:"queue_running"`
	Pending *[]entry `json:"queue_pending"`
}

type entry []json.RawMessage

// errNoQueue is of an answer that is no queue.
var errNoQueue = errors.New("jobs: the worker tells no queue_running and queue_pending")

// ask returns the jobs that a worker has, by id, and how many bytes it told them in.
func (w *Watcher) ask(l *line) (there map[string]int, size int, err error) {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	w.mu.Lock()
	header := l.header
	w.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.worker.JoinPath("queue").String(), nil)
	if err != nil {
		return nil, 0, fmt.Errorf("jobs: %w", err)
	}
	if header != nil {
		r.Header = header.Clone()
	}
	resp, err := w.by.RoundTrip(r)
	if err != nil {
		return nil, 0, fmt.Errorf("jobs: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostBytes))
	if err != nil {
		return nil, len(body), fmt.Errorf("jobs: %w", err)
	}
	there, err = read(body)
	return there, len(body), err
}

// read reads a queue as told.
func read(body []byte) (there map[string]int, err error) {
	var q queue
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	if q.Running == nil || q.Pending == nil {
		return nil, errNoQueue
	}
	there = map[string]int{}
	for _, list := range [...][]entry{*q.Running, *q.Pending} {
		for _, e := range list {
			var id string
			if len(e) < 2 || json.Unmarshal(e[1], &id) != nil {
				return nil, errNoQueue
			}
			there[id]++
		}
	}
	return there, nil
}

// isBusy reports whether a worker may be too busy to tell its queue: it took the
// connection, and says nothing.
func isBusy(err error) bool {
	var t net.Error
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
