package workers

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMostConnections: where no more connections may be open, idle ones make room,
// whichever way they were made; those with a request under way never do. Who finds
// none is told so, and the worker is not blamed.
func TestMostConnections(t *testing.T) {
	held, letGo := make(chan struct{}), make(chan struct{})
	p := New(Options{MostConnections: 2})
	defer p.Update(nil, Policy{})
	var list []Worker
	for _, model := range []string{"a", "b", "c"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/held" {
				held <- struct{}{}
				<-letGo
			}
			_, _ = io.WriteString(w, model)
		}))
		defer s.Close()
		u, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, Worker{URL: u, Models: []string{model}})
	}
	p.Update(list, Policy{Failures: 1, Open: time.Hour})
	ask := func(model, path string, body io.Reader) error {
		req := httptest.NewRequest(http.MethodPost, path, body)
		resp, err := p.Send(req, nil, Want{Model: model})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != model {
			t.Errorf("%s answered %q, %v", model, got, err)
		}
		return nil
	}

	// http.Transport's are idle a moment after the answer, and where there were none
	// they are looked for again after another.
	idle := func(model, body string) {
		t.Helper()
		for late := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			var content io.Reader // none: by http1
			if body != "" {
				content = strings.NewReader(body)
			}
			err := ask(model, "/", content)
			if err == nil {
				return
			}
			if time.Now().After(late) || !errors.Is(err, syscall.EMFILE) {
				t.Fatalf("%s, while others are idle: %v", model, err)
			}
		}
	}
	for range 5 {
		for _, model := range []string{"a", "b", "c"} {
			idle(model, "")
			idle(model, "body")
		}
	}

	ended := make(chan error)
	for _, body := range []io.Reader{nil, strings.NewReader("body")} {
		go func() { ended <- ask("a", "/held", body) }()
		<-held
	}
	for range 3 {
		var none *ConnectError
		if err := ask("c", "/", nil); !errors.As(err, &none) || !errors.Is(err, syscall.EMFILE) {
			t.Errorf("the third at once: %v", err)
		}
	}
	if !p.Reachable(context.Background()) {
		t.Error("workers that are busy with as many requests as they may get count as unreachable")
	}
	close(letGo)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	idle("c", "")
	idle("c", "body")
}

// TestConnectionsOfHostsThatAreGone: the requests on them end, those that are idle
// serve nobody any more, and all others go on.
func TestConnectionsOfHostsThatAreGone(t *testing.T) {
	came, letGo := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/held" {
			came <- struct{}{}
			<-letGo
		}
		_, _ = io.WriteString(w, r.RemoteAddr)
	}))
	defer s.Close()
	p := New(Options{})
	defer p.Update(nil, Policy{})
	p.Update([]Worker{{URL: mustParse(t, s.URL)}}, Policy{})
	ask := func(path string, body io.Reader) (from string, err error) {
		resp, err := p.Send(httptest.NewRequest(http.MethodPost, path, body), nil, Want{})
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		got, err := io.ReadAll(resp.Body)
		return string(got), err
	}
	type answer struct {
		from string
		err  error
	}
	held := make(chan answer)
	hold := func(body io.Reader) {
		go func() {
			from, err := ask("/held", body)
			held <- answer{from, err}
		}()
		<-came
	}
	locals := func() map[string]bool {
		all := map[string]bool{}
		p.dialled.endGone(func(c *net.TCPConn) bool {
			all[c.LocalAddr().String()] = true
			return false
		})
		return all
	}
	hold(nil)
	hold(strings.NewReader("by http.Transport"))
	gone := locals()
	if len(gone) != 2 {
		t.Fatalf("%d connections, want 2", len(gone))
	}
	idle, err := ask("/", nil)
	if err != nil {
		t.Fatal(err)
	}
	gone[idle] = true
	hold(strings.NewReader("to one that is there"))
	p.dialled.endGone(func(c *net.TCPConn) bool { return gone[c.LocalAddr().String()] })
	for range 2 {
		if a := <-held; !errors.Is(a.err, os.ErrDeadlineExceeded) {
			t.Errorf("%q, %v, want that it has taken too long", a.from, a.err)
		}
	}
	if from, err := ask("/", nil); err != nil || gone[from] {
		t.Errorf("the next one: %v, by one that is gone: %t", err, gone[from])
	}
	close(letGo)
	if a := <-held; a.err != nil || gone[a.from] {
		t.Errorf("one that is there was ended: %v", a.err)
	}
	p.Update(nil, Policy{})
	for late := time.Now().Add(10 * time.Second); len(locals()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("connections that were closed are still listed")
		}
	}
}

// TestConnectionsAreCounted: one that was not made counts no more, one that was
// until it is closed, and once.
func TestConnectionsAreCounted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	c := &connections{most: 2, idle: func() { looked++ }}
	dial := func() net.Conn {
		conn, err := c.dial(context.Background(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	a, b := dial(), dial()
	for range 2 {
		if _, err := c.dial(context.Background(), "tcp", l.Addr().String()); !isDialError(err) || !ownShortage(err) {
			t.Errorf("the third: %v", err)
		}
	}
	if looked == 0 {
		t.Error("nobody looked for idle ones")
	}
	for range 2 {
		_ = a.Close()
	}
	a = dial()
	_, _ = a.Close(), b.Close()
	_ = l.Close()
	if _, err := c.dial(context.Background(), "tcp", l.Addr().String()); !isDialError(err) || ownShortage(err) {
		t.Errorf("where nobody listens: %v", err)
	}
	if n := c.open.Load(); n != 0 {
		t.Errorf("%d are open, want 0", n)
	}
}
