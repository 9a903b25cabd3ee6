package gateway

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

// puppet is a worker that does what the test tells it, one request at a time.
type puppet struct {
	t     testing.TB
	asked chan string              // bodies of the requests that came
	steps chan func(*puppetAnswer) // what to do next
	done  chan struct{}            // it was done
	gone  chan struct{}            // the gateway has left
}

type puppetAnswer struct {
	http.ResponseWriter
	r    *http.Request
	over bool
}

func newPuppet(t testing.TB) *puppet {
	return &puppet{
		t: t, asked: make(chan string, 1), steps: make(chan func(*puppetAnswer)),
		done: make(chan struct{}), gone: make(chan struct{}, 1),
	}
}

func (p *puppet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/queue" { // it works on nothing
		_, _ = io.WriteString(w, `{"queue_running": [], "queue_pending": []}`)
		return
	}
	body, _ := io.ReadAll(r.Body)
	p.asked <- string(body)
	a := &puppetAnswer{ResponseWriter: w, r: r}
	for !a.over {
		select {
		case step := <-p.steps:
			func() {
				defer func() { p.done <- struct{}{} }()
				step(a)
			}()
		case <-r.Context().Done():
			p.gone <- struct{}{}
			return
		}
	}
}

// do has the worker do something, and waits until it is done.
func (p *puppet) do(step func(*puppetAnswer)) {
	p.t.Helper()
	select {
	case p.steps <- step:
		<-p.done
	case <-time.After(patience):
		p.t.Fatal("the worker has nothing to answer")
	}
}

// headers has the worker begin an answer of this type.
func (p *puppet) headers(kind string) {
	p.t.Helper()
	p.do(func(a *puppetAnswer) {
		a.Header().Set("Content-Type", kind)
		a.WriteHeader(http.StatusOK)
		a.ResponseWriter.(http.Flusher).Flush()
	})
}

// says has the worker send text at once.
func (p *puppet) says(text string) {
	p.t.Helper()
	p.do(func(a *puppetAnswer) {
		_, _ = io.WriteString(a, text)
		a.ResponseWriter.(http.Flusher).Flush()
	})
}

// ends has the worker end its answer.
func (p *puppet) ends() {
	p.t.Helper()
	p.do(func(a *puppetAnswer) { a.over = true })
}

// dies has the worker cut the connection.
func (p *puppet) dies() {
	p.t.Helper()
	p.do(func(*puppetAnswer) { panic(http.ErrAbortHandler) })
}

// asking is a request whose answer has not come yet.
type asking struct {
	t      testing.TB
	leave  context.CancelFunc
	answer chan *http.Response
	err    chan error
}

// ask sends a request and does not wait for its answer.
func (r *rig) ask(client *http.Client, method, path, body string, headers ...string) *asking {
	r.t.Helper()
	ctx, leave := context.WithCancel(r.t.Context())
	a := &asking{r.t, leave, make(chan *http.Response, 1), make(chan error, 1)}
	req := r.request(method, path, body, headers...).WithContext(ctx)
	go func() {
		resp, err := client.Do(req)
		if err != nil {
			a.err <- err
			return
		}
		a.answer <- resp
	}()
	return a
}

// headers waits for the headers of the answer.
func (a *asking) headers() *http.Response {
	a.t.Helper()
	select {
	case resp := <-a.answer:
		a.t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	case err := <-a.err:
		a.t.Fatal(err)
	case <-time.After(patience):
		a.t.Fatal("no answer came")
	}
	return nil
}

// reads reads exactly this from an answer.
func reads(t testing.TB, from io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(from, got); err != nil || string(got) != want {
		t.Fatalf("read %q and %v, want %q", got[:n], err, want)
	}
}
