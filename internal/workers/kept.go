package workers

import (
	"net/http"
	"net/url"
	"slices"
)

// Kept is a worker that goes on to be reached by Own, though it is removed
// meanwhile: it has more to end than requests. What the request was is outstanding
// until then.
type Kept struct {
	pool   *Pool
	worker *worker
	tokens int64 // that were the request's
}

// Keep keeps the worker that gave an answer which Send has returned and whose
// body is as it was then; nil where that is not known, as of an answer without a
// body. It must be released. Of several of one answer the first has its work.
func Keep(resp *http.Response) *Kept {
	x, ok := resp.Body.(*exchange)
	if !ok {
		return nil
	}
	p, w := x.pool, x.worker
	p.mu.Lock()
	defer p.mu.Unlock()
	w.kept++
	if w.removed && w.kept == 1 {
		p.kept = append(p.kept, w)
	}
	k := &Kept{p, w, x.tokens}
	x.tokens = 0 // it is not the request's end that gives them back
	return k
}

// URL returns the worker's, which must not be changed.
func (k *Kept) URL() *url.URL { return k.worker.url }

// Release lets go of the worker. It is called once.
func (k *Kept) Release() {
	p, w := k.pool, k.worker
	p.mu.Lock()
	w.kept--
	w.tokens -= k.tokens
	retire := p.forgetIdle(w)
	p.mu.Unlock()
	if retire {
		w.retire()
	}
}

// keepRemoved notes those that were removed and are kept. The lock is held.
func (p *Pool) keepRemoved(gone []*worker) {
	for _, w := range gone {
		if w.kept > 0 {
			p.kept = append(p.kept, w)
		}
	}
}

// letGo forgets a worker that was removed. The lock is held.
func (p *Pool) letGo(w *worker) {
	p.kept = slices.DeleteFunc(p.kept, func(o *worker) bool { return o == w })
}
