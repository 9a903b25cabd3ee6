package client_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is an http.RoundTripper without a network: it answers from a function
// and notes when each request came and what became of each answer's body.
type server struct {
	answer func(nth int, req *http.Request) (*http.Response, error)

	mu     sync.Mutex
	start  time.Time
	at     []time.Duration // since the first request
	bodies []string        // of the requests
	open   int             // answers whose body is not closed
	unread int             // answers closed before their end
	idle   int             // calls of CloseIdleConnections
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	if s.at == nil {
		s.start = time.Now()
	}
	s.at = append(s.at, time.Since(s.start))
	nth := len(s.at)
	s.mu.Unlock()
	text := ""
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req.Body.Close()
		text = string(b)
	}
	resp, err := s.answer(nth, req)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append(s.bodies, text)
	if resp != nil {
		resp.Request = req
		resp.Body = &watched{ReadCloser: resp.Body, server: s}
		s.open++
		s.unread++
	}
	return resp, err
}

func (s *server) CloseIdleConnections() { s.idle++ }

// came fails the test unless the requests came at these times since the first.
func (s *server) came(t *testing.T, want ...time.Duration) {
	t.Helper()
	if !slices.Equal(s.at, want) {
		t.Errorf("requests came at %v, want %v", s.at, want)
	}
}

type watched struct {
	io.ReadCloser
	server        *server
	ended, closed bool
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err == io.EOF && !w.ended {
		w.ended = true
		w.server.mu.Lock()
		w.server.unread--
		w.server.mu.Unlock()
	}
	return n, err
}

func (w *watched) Close() error {
	if !w.closed {
		w.closed = true
		w.server.mu.Lock()
		w.server.open--
		w.server.mu.Unlock()
	}
	return w.ReadCloser.Close()
}

// answer is an answer with a body and these headers: name, value, name, value.
func answer(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

func post(t *testing.T, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://penstock.test/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// finish reads and closes an answer's body.
func finish(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return string(b)
}
