package workers

import (
	"errors"
	"net/url"
	"slices"
	"time"
)

// errUnknown is of a URL that no worker has.
var errUnknown = errors.New("no worker has this URL: GET /workers lists them")

// Add adds a worker to those that there are, until the next Update. One that is
// drained or removed and still there is taken back, as it is given here. Its error
// is for the operator to read.
func (p *Pool) Add(add Worker) error {
	p.mu.Lock()
	defer p.unlock()
	w := p.find(add.URL.String())
	switch {
	case w == nil:
		w = p.newWorker(add)
		p.workers = append(p.workers, w)
		p.reachedAt = time.Time{}
	case !w.draining:
		return errors.New("this worker is there already: drain it first, or change it in the configuration and reload")
	}
	w.draining, w.forget = false, false
	w.configure(add, &p.options)
	p.obey(w)
	wake(p.changed)
	return nil
}

// Drain lets a worker end the requests that it has, and gives it no new ones,
// until it is added again or the next Update. It is known by its URL as Stats
// has it.
func (p *Pool) Drain(u string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.find(u)
	if w == nil {
		return errUnknown
	}
	w.draining = true
	return nil
}

// Remove drains a worker and forgets it when its last request has ended, and
// nobody keeps it.
func (p *Pool) Remove(u string) error {
	p.mu.Lock()
	w := p.find(u)
	if w == nil {
		p.mu.Unlock()
		return errUnknown
	}
	w.draining, w.forget = true, true
	idle := p.forgetIdle(w)
	p.mu.Unlock()
	if idle {
		w.retire()
	}
	return nil
}

// find returns the worker with a URL, however written; nil if there is none. The
// lock is held.
func (p *Pool) find(s string) *worker {
	u, err := url.Parse(s)
	if err != nil {
		return nil
	}
	key := keyOf(u)
	i := slices.IndexFunc(p.workers, func(w *worker) bool { return w.key == key })
	if i < 0 {
		return nil
	}
	return p.workers[i]
}

// forgetIdle takes a worker that was removed out of the list once nothing is
// outstanding and nobody keeps it, and reports whether it can be retired. The lock
// is held.
func (p *Pool) forgetIdle(w *worker) bool {
	if w.outstanding > 0 || w.kept > 0 {
		return false
	}
	if w.forget && !w.removed {
		w.removed = true
		p.workers = slices.DeleteFunc(p.workers, func(o *worker) bool { return o == w })
		wake(p.changed)
	}
	if w.removed && len(p.kept) > 0 {
		p.letGo(w)
	}
	return w.removed
}
