package workers

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// verdict is what an answer's status says of the worker.
type verdict uint8

const (
	// neither is of a 500 and its like, which a single bad prompt can bring
	// about again and again: one caller would open the breaker for all.
	neither verdict = iota
	good            // below 500, a 429 among them
	bad             // 502, 503, 504
)

// how says how a stay with a worker ended.
type how uint8

const (
	left      how = iota // the client did
	whole                // the answer was read to its end
	broken               // there was no answer, or half of one
	unreached            // there was no connection
)

// judge takes in the status of an answer. What can wait for the answer's end
// does: then the lock is taken anyway.
func (x *exchange) judge(resp *http.Response) {
	switch {
	case resp.StatusCode < 500:
		x.verdict = good
	case isBusy(resp):
		x.verdict = bad
	}
	if x.probe == 0 && !x.young && x.verdict != bad {
		return
	}
	p, w := x.pool, x.worker
	now := time.Now()
	p.mu.Lock()
	defer p.unlock()
	switch x.verdict {
	case good:
		if w.state == Starting {
			p.isUp(w)
		}
		// The failures so far are forgotten once an answer has come whole.
		if x.probes() {
			w.breaker = Closed
			p.note(slog.LevelInfo, "the worker's breaker is closed: it answers again", w)
		}
	case bad:
		if rest := retryAfter(resp, now); rest > 0 {
			w.resting = true
			if until := now.Add(rest); until.After(w.restUntil) {
				w.restUntil = until
			}
		} else {
			p.fail(x, "it answered "+strconv.Itoa(resp.StatusCode))
		}
	}
	x.endProbe()
}

// fail counts a failure of the worker's. The lock is held.
func (p *Pool) fail(x *exchange, why string) {
	w := x.worker
	most := p.policy.Failures
	if most <= 0 || w.state == Starting || w.breaker != Closed && !x.probes() {
		return
	}
	w.failures++
	if w.failures < most && !x.probes() {
		return
	}
	// When it closes again, it is on probation until an answer has come whole.
	w.failures = most - 1
	if w.breaker == Closed {
		p.note(slog.LevelWarn, "the worker's breaker is open: too many requests in a row have failed", w,
			slog.String("why", why), slog.String("for", p.policy.Open.String()))
	}
	w.breaker, w.openUntil = Open, time.Now().Add(p.policy.Open)
	wake(w.poke) // has it gone?
}

// probes reports whether the request is the one that is to see whether the worker
// works again. The lock is held.
func (x *exchange) probes() bool { return x.probe != 0 && x.probe == x.worker.probe }

// endProbe ends that, whether or not it has seen. The lock is held.
func (x *exchange) endProbe() {
	if x.probes() {
		x.worker.probe = 0
	}
}

// end counts the request as no longer outstanding, the first time it is
// called. err is why there was no connection or no answer.
func (x *exchange) end(how how, err error) {
	if x.ended.Swap(true) {
		return
	}
	p, w := x.pool, x.worker
	p.mu.Lock()
	w.outstanding--
	w.tokens -= x.tokens
	x.tokens = 0
	switch how {
	case whole:
		if x.verdict == good && w.breaker == Closed {
			w.failures = 0
		}
	case broken:
		w.failed++
		if x.verdict != bad { // else it was counted
			p.brokeOff(x, err)
		}
	case unreached:
		if !ownShortage(err) {
			w.failed++
			p.notReached(x, err)
		}
	}
	x.endProbe()
	retire := p.forgetIdle(w)
	p.unlock()
	if retire {
		w.retire()
	}
}

// ownShortage reports whether there was no connection since this machine has none
// left to make, which says nothing of the worker: a flood of clients would open the
// breakers of all.
func ownShortage(err error) bool {
	for _, e := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// isUnknown reports whether there was no connection since the worker's name was not
// found. That is said of names, and a moment of it would open the breakers of all
// workers at once, though those connections that there are serve. Checks tell
// whether a worker does.
func isUnknown(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// brokeOff takes in that an answer has not come, or not whole. Where a host went
// without a word, that shows on all of its connections at once, up to a minute and
// a half later, or when who has come in its place refuses them. It says nothing of
// that one. The lock is held.
func (p *Pool) brokeOff(x *exchange, err error) {
	gone := errors.Is(err, os.ErrDeadlineExceeded) // see endGone
	if x.returns != x.worker.returns || gone && p.policy.HealthInterval > 0 {
		return // the checks tell
	}
	p.fail(x, "it broke off")
}

// notReached takes in that there was no connection. The lock is held.
func (p *Pool) notReached(x *exchange, err error) {
	w := x.worker
	checked := p.policy.HealthInterval > 0
	if !checked || !isUnknown(err) {
		p.fail(x, err.Error())
	}
	if !checked {
		return
	}
	wake(w.poke)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		w.refused = 0
		return
	}
	if w.refused++; w.refused >= 2 && w.state == Up {
		p.isDown(w, slog.LevelWarn, err.Error())
	}
}

// longestRest is the most that a worker can ask for.
const longestRest = 5 * time.Minute

// retryAfter is how long a worker that answered 503 wants to be left alone.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	if resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	return parseRetryAfter(resp.Header.Get("Retry-After"), now)
}

// parseRetryAfter parses the header of RFC 9110, section 10.2.3: seconds or a
// date. It is 0 where it is neither or has passed, and at most longestRest.
func parseRetryAfter(s string, now time.Time) time.Duration {
	s = strings.Trim(s, " \t")
	if s == "" {
		return 0
	}
	if strings.Trim(s, "0123456789") == "" {
		seconds, err := strconv.Atoi(s)
		if err != nil || seconds > int(longestRest/time.Second) {
			return longestRest // so large that it does not fit
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), longestRest)
}
