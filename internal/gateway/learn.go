package gateway

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/penstock-dev/penstock/internal/identity"
	"github.com/penstock-dev/penstock/internal/telemetry"
	"github.com/penstock-dev/penstock/internal/workers"
)

// learner learns keys that workers accept. That a worker answers 2xx to a key
// says something only where it answers 401 without one, so it is asked that,
// with an empty request that no worker works on.
type learner struct {
	workers http.RoundTripper // to the one that the URL is of
	learned *identity.Learned
	log     *slog.Logger

	mu     sync.Mutex
	probes map[string]*probe // by method, worker and path
}

type probe struct {
	asked   time.Time
	running bool
	guarded bool // it answers 401 without a key
}

const (
	probeFor   = 10 * time.Minute // how long an answer holds
	probeTime  = 10 * time.Second
	mostProbes = 256
)

func newLearner(w http.RoundTripper, l *identity.Learned, log *slog.Logger) *learner {
	return &learner{workers: w, learned: l, log: log, probes: map[string]*probe{}}
}

// learn takes in how a worker answered the key of the request.
func (x *exchange) learn(resp *http.Response) {
	l, status := x.rules.learner, resp.StatusCode
	if l == nil || x.cred.Header == "" || x.caller.Listed {
		return
	}
	switch {
	case status == http.StatusUnauthorized:
		l.learned.Forget(x.cred.Digest)
	case status/100 == 2 && x.counted && !x.showsMore():
		if worker := workers.From(resp); worker != nil {
			l.accepted(worker, x.r.Method, x.path, x.cred.Digest, time.Now())
		}
	}
}

// showsMore reports whether the worker may have taken something else for the key that
// counted here: it says nothing of that one then, and each new one that somebody made
// up beside his own would have limits of its own.
func (x *exchange) showsMore() bool {
	query, err := url.QueryUnescape(x.r.URL.RawQuery)
	if err != nil || strings.Contains(query, "key=") {
		return true
	}
	return x.cred.Header != "Authorization" && strings.Join(x.r.Header["Authorization"], "") != ""
}

// accepted takes in that a worker answered 2xx to the key.
func (l *learner) accepted(worker *url.URL, method, path string, digest [32]byte, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := method + " " + worker.String() + " " + path
	p := l.probes[name]
	switch {
	case p != nil && p.running:
		return // its next request
	case p != nil && now.Sub(p.asked) < probeFor:
		if p.guarded {
			l.learned.Learn(digest, now)
		}
		return
	case p == nil && len(l.probes) >= mostProbes:
		clear(l.probes)
	}
	p = &probe{asked: now, running: true}
	l.probes[name] = p
	go l.probe(p, worker, method, path, digest)
}

// probe asks the worker without a key.
func (l *learner) probe(p *probe, worker *url.URL, method, path string, digest [32]byte) {
	guarded := l.guarded(worker, method, path)
	l.mu.Lock()
	defer l.mu.Unlock()
	p.running, p.guarded = false, guarded
	if guarded {
		l.learned.Learn(digest, time.Now())
	} else {
		l.log.Warn("unknown keys are not learned here: the worker does not answer 401 without one", "path", telemetry.Shown(path))
	}
}

// percents writes a clean path as a URL has it: but for %2F it was decoded. What
// cannot be parsed JoinPath would leave out, and another path be asked.
var percents = strings.NewReplacer("%2F", "%2F", "%", "%25")

func (l *learner) guarded(worker *url.URL, method, path string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, worker.JoinPath(percents.Replace(path)).String(), strings.NewReader("{}"))
	if err != nil {
		return false
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "penstock")
	resp, err := l.workers.RoundTrip(r)
	if err != nil {
		return false
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusUnauthorized
}
