package gateway

import (
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/workers"
)

// picky is a worker that refuses what it does not know.
type picky struct {
	status  int
	refusal string
	mu      sync.Mutex
	asked   []string // the bodies that came
}

func (p *picky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, string(body))
	if strings.Contains(string(body), `"include_usage":true`) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(p.status)
		_, _ = io.WriteString(w, p.refusal)
		return
	}
	w.Header().Set("Content-Type", sse)
	_, _ = io.WriteString(w, firstEvent+event(3)+lastEvent)
}

const extraForbidden = `{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted","input":{"include_usage":true}}]}`

// TestWishThatIsRefused has workers that know no stream_options. A client that has
// not asked for any does not hear of them: what it has sent goes to the worker as
// it is, and is counted.
func TestWishThatIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		refusal string
		body    string
	}{
		"422":              {422, extraForbidden, prompt(40, `"stream":true,`)},
		"400":              {400, `{"error":"Unrecognized request argument supplied: stream_options"}`, prompt(40, `"stream":true,`)},
		"other options":    {422, extraForbidden, prompt(40, `"stream":true,"stream_options":{"x":1},`)},
		"no options":       {422, extraForbidden, prompt(40, `"stream":true,"stream_options":{},`)},
		"options of null":  {422, extraForbidden, prompt(40, `"stream":true,"stream_options":null,`)},
		"declined":         {422, extraForbidden, prompt(40, `"stream":true,"stream_options":{"include_usage":false},`)},
		"declined by null": {422, extraForbidden, prompt(40, `"stream":true,"stream_options":{"include_usage":null},`)},
	} {
		for how, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer} {
			t.Run(name+" by "+how, func(t *testing.T) {
				p := &picky{status: c.status, refusal: c.refusal}
				s := start(p)
				t.Cleanup(s.Close)
				r := newRigFor(t, tokenLimits, s.URL)
				if s.TLS != nil {
					roots := x509.NewCertPool()
					roots.AddCert(s.Certificate())
					r.Workers.Update([]workers.Worker{{URL: r.worker(), CA: roots}}, workers.Policy{})
				}
				a := r.send("POST", "/v1/chat/completions", c.body)
				if a.status != 200 || a.body != firstEvent+event(3)+lastEvent || a.err != nil {
					t.Errorf("answer %d %q %v", a.status, a.body, a.err)
				}
				if len(p.asked) != 2 || p.asked[1] != c.body {
					t.Errorf("the worker got %q, want at last\n%s", p.asked, c.body)
				}
				r.wantUsed(charged(1, 10, 3))
			})
		}
	}
}

// TestOtherRefusals has errors of workers that pass as they come, and are not asked
// again.
func TestOtherRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		status        int
		refusal, body string
	}{
		"of something else":       {400, `{"error":"no such model"}`, prompt(40, `"stream":true,`)},
		"of nothing":              {400, "", prompt(40, `"stream":true,`)},
		"of another status":       {403, extraForbidden, prompt(40, `"stream":true,`)},
		"of what the client says": {422, extraForbidden, prompt(40, `"stream":true,"stream_options":{"include_usage":true},`)},
		"larger than is read":     {422, strings.Repeat("x", refusalBytes) + extraForbidden, prompt(40, `"stream":true,`)},
	} {
		t.Run(name, func(t *testing.T) {
			p := &picky{status: c.status, refusal: c.refusal}
			r := newRig(t, tokenLimits, p)
			a := r.send("POST", "/v1/chat/completions", c.body)
			if a.status != c.status || a.body != c.refusal || a.err != nil || len(p.asked) != 1 {
				t.Errorf("answer %d %q %v after %d requests, want %d %q after one", a.status, a.body, a.err, len(p.asked), c.status, c.refusal)
			}
			r.wantUsed(charged(1, 0, 0))
		})
	}
}

// TestRefusalThatBreaksOff has a worker that does not end its error: nor does it for
// the client.
func TestRefusalThatBreaksOff(t *testing.T) {
	asked := 0
	r := newRig(t, tokenLimits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(422)
		_, _ = io.WriteString(w, extraForbidden)
	}))
	a := r.send("POST", "/v1/chat/completions", prompt(40, `"stream":true,`))
	if a.status != 422 || a.body != extraForbidden || a.err == nil || asked != 1 {
		t.Errorf("answer %d %q %v after %d requests, want what came, and an error", a.status, a.body, a.err, asked)
	}
	r.wantUsed(charged(1, 0, 0))
}

// TestRefusalByOneThatGoes has a worker that cannot be reached any more when it has
// refused the wish: it was asked once, so that the request stays charged.
func TestRefusalByOneThatGoes(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = s.Listener.Close()
		w.Header().Set("Connection", "close")
		w.WriteHeader(422)
		_, _ = io.WriteString(w, extraForbidden)
	})
	s.Start()
	t.Cleanup(s.Close)
	r := newRigFor(t, tokenLimits, s.URL)
	if a := r.send("POST", "/v1/chat/completions", prompt(40, `"stream":true,`)); a.status != 502 || !strings.Contains(a.body, "upstream_error") {
		t.Errorf("answer %d %q, want 502", a.status, a.body)
	}
	r.wantUsed(charged(1, 0, 0))
}

// TestTimeToFirstTokenAfterRefusal: the time to the first token is that of the request
// that is answered, not of the one before it that is refused.
func TestTimeToFirstTokenAfterRefusal(t *testing.T) {
	refused, began := make(chan time.Time, 1), make(chan time.Time, 1)
	r := newRig(t, tokenLimits, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "stream_options") {
			refused <- time.Now()
			w.WriteHeader(422)
			_, _ = io.WriteString(w, extraForbidden)
			return
		}
		w.Header().Set("Content-Type", sse)
		_, _ = io.WriteString(w, firstEvent+lastEvent)
	}))
	r.Began = func(after time.Duration, _ int64) { began <- time.Now().Add(-after) }
	r.send("POST", "/v1/chat/completions", prompt(40, `"stream":true,`))
	if before := (<-refused).Sub(<-began); before > 0 {
		t.Errorf("it is measured from %s before the refusal", before)
	}
}
