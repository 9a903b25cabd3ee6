package e2e

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// attempt is one request that an SDK has sent, and what came back.
type attempt struct {
	sent, answered time.Time // before the request, and after the answer's header
	request        http.Header
	status         int // 0: there was no answer
	header         http.Header
}

// number is what a header of the answer says.
func (a *attempt) number(t *testing.T, name string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(a.header.Get(name), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v; the header is %v", name, err, a.header)
	}
	return n
}

// wait is how long the answer told to wait.
func (a *attempt) wait(t *testing.T) time.Duration {
	t.Helper()
	ms, seconds := a.number(t, "Retry-After-Ms"), a.number(t, "Retry-After")
	if ms < 1 || seconds != (ms+999)/1000 {
		t.Errorf("Retry-After is %d beside a retry-after-ms of %d", seconds, ms)
	}
	return time.Duration(ms) * time.Millisecond
}

// record is the transport of an SDK's HTTP client: it sends what it is given, and
// keeps a record of it.
type record struct {
	// answered is called with the number of the attempt, from 0, before the SDK
	// learns of its answer. Nil is nothing.
	answered func(n int)

	transport http.Transport
	mu        sync.Mutex
	attempts  []attempt
}

// newRecord returns a record whose connections are closed when the test ends.
func newRecord(t *testing.T) *record {
	r := &record{}
	t.Cleanup(r.transport.CloseIdleConnections)
	return r
}

// RoundTrip implements http.RoundTripper.
func (r *record) RoundTrip(req *http.Request) (*http.Response, error) {
	a := attempt{sent: time.Now(), request: req.Header.Clone()}
	resp, err := r.transport.RoundTrip(req)
	a.answered = time.Now()
	if err == nil {
		a.status, a.header = resp.StatusCode, resp.Header.Clone()
	}
	r.mu.Lock()
	n := len(r.attempts)
	r.attempts = append(r.attempts, a)
	r.mu.Unlock()
	if r.answered != nil {
		r.answered(n)
	}
	return resp, err
}

// sent returns the attempts so far.
func (r *record) sent() []attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attempts[:len(r.attempts):len(r.attempts)]
}

// only returns the one attempt that there must be.
func (r *record) only(t *testing.T) attempt {
	t.Helper()
	sent := r.sent()
	if len(sent) != 1 {
		t.Fatalf("%d requests were sent, want 1", len(sent))
	}
	return sent[0]
}

// waited checks that exactly two requests were sent: one that was denied with
// this status and a wait, and one that was not sent before the wait was over,
// which passed.
func (r *record) waited(t *testing.T, status int) (denied, passed attempt) {
	t.Helper()
	sent := r.sent()
	if len(sent) != 2 {
		t.Fatalf("%d requests were sent, want 2: %+v", len(sent), sent)
	}
	denied, passed = sent[0], sent[1]
	if denied.status != status || passed.status != http.StatusOK {
		t.Errorf("the answers were %d and %d, want %d and 200", denied.status, passed.status, status)
	}
	if told, waited := denied.wait(t), passed.sent.Sub(denied.answered); waited < told {
		t.Errorf("it was told to wait %v and sent the next request after %v", told, waited)
	}
	return denied, passed
}

// obeyed is waited, of an SDK that counts its retries.
func (r *record) obeyed(t *testing.T, status int) (denied, passed attempt) {
	t.Helper()
	denied, passed = r.waited(t, status)
	if n := passed.request.Get("X-Stainless-Retry-Count"); n != "1" {
		t.Errorf("X-Stainless-Retry-Count is %q, want 1", n)
	}
	return denied, passed
}
