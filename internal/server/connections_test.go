package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

func TestMostConnections(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		files  uint64
		memory int64
		want   int
	}{
		{1024, math.MaxInt64, 496},
		{1 << 20, math.MaxInt64, 524_272},
		{1 << 20, gib, 16_384},
		{math.MaxUint64, math.MaxInt64, (math.MaxInt32 - 32) / 2},
		{math.MaxUint64, gib, 16_384},
		{64, gib, 16},
		{0, gib, 16},
		{1024, 0, 16},
	} {
		if got := mostConnections(tt.files, tt.memory); got != tt.want {
			t.Errorf("%d files, %d bytes: %d, want %d", tt.files, tt.memory, got, tt.want)
		}
	}
	// Workers' connections have as many files, whatever the memory.
	for files, want := range map[uint64]int{1024: 496, math.MaxUint64: (math.MaxInt32 - 32) / 2, 64: 16, 0: 16} {
		if got := halfOf(files); got != want {
			t.Errorf("%d files: %d, want %d", files, got, want)
		}
	}
}

// hall is a server that has room for a few connections. Requests for /0 and /1 are
// answered when they are let go.
type hall struct {
	t      *testing.T
	server *http.Server
	limit  *connections
	warned atomic.Int64
	held   chan struct{} // tells of each that has come
	letGo  map[string]chan struct{}
}

func newHall(t *testing.T, most int) *hall {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hall{t: t, held: make(chan struct{}), letGo: map[string]chan struct{}{"/0": make(chan struct{}), "/1": make(chan struct{})}}
	h.limit = limit(l.(*net.TCPListener), most, func() { h.warned.Add(1) })
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	h.server = &http.Server{Protocols: &protocols, ConnState: h.limit.state, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 0 { // as the gateway reads bodies
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Now().Add(time.Hour))
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
			_ = control.SetReadDeadline(time.Time{})
		}
		if letGo := h.letGo[r.URL.Path]; letGo != nil {
			h.held <- struct{}{}
			<-letGo
		}
		_, _ = fmt.Fprint(w, "served")
	})}
	ended := make(chan error)
	go func() { ended <- h.server.Serve(h.limit) }()
	t.Cleanup(func() {
		_ = h.server.Close()
		if err := <-ended; err != http.ErrServerClosed {
			t.Errorf("serving ended with %v", err)
		}
	})
	return h
}

// guest is a client's connection.
type guest struct {
	net.Conn
	h      *hall
	answer *bufio.Reader
}

func (h *hall) guest() *guest {
	h.t.Helper()
	c, err := net.Dial("tcp", h.limit.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return &guest{c, h, bufio.NewReader(c)}
}

func (g *guest) send(text string) {
	g.h.t.Helper()
	if _, err := io.WriteString(g, text); err != nil {
		g.h.t.Fatal(err)
	}
}

// served reads one answer.
func (g *guest) served() {
	g.h.t.Helper()
	resp, err := http.ReadResponse(g.answer, nil)
	if err != nil {
		g.h.t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "served" {
		g.h.t.Fatalf("%q, %v", body, err)
	}
}

// busy sends requests that are held, each on a connection of its own.
func (h *hall) busy(paths ...string) (busy []*guest) {
	h.t.Helper()
	for _, path := range paths {
		g := h.guest()
		g.send("POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nwhole")
		<-h.held
		busy = append(busy, g)
	}
	return busy
}

// wantSentAway waits until the connection is closed.
func (g *guest) wantSentAway() {
	g.h.t.Helper()
	if n, err := g.answer.Read(make([]byte, 1)); err == nil || n > 0 {
		g.h.t.Error("a connection is open that was to make room")
	}
}

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// TestConnections: where no more may be open, those make room whose client is waited
// for, whatever for, and those never whose request is under way.
func TestConnections(t *testing.T) {
	for _, tt := range []struct {
		name string
		idle func(*guest) // makes it so
	}{
		{"nothing was sent", func(*guest) {}},
		{"half a head", func(g *guest) { g.send("GET / HTTP/1.1\r\nHo") }},
		{"half a body", func(g *guest) { g.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf") }},
		{"after a request", func(g *guest) { g.send(get); g.served() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHall(t, 3)
			busy := h.busy("/0", "/1")
			for range 5 {
				g := h.guest()
				tt.idle(g)
				next := h.guest()
				next.send(get)
				next.served()
				g.wantSentAway()
				_ = next.Close()
			}
			for i, g := range busy {
				close(h.letGo[fmt.Sprint("/", i)])
				g.served()
			}
			if n := h.warned.Load(); n != 1 {
				t.Errorf("%d warnings within a minute, want 1", n)
			}
		})
	}
}

// TestConnectionsWait: where all have a request under way, a new one waits until one
// of these has ended, or is closed.
func TestConnectionsWait(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(h *hall, g *guest)
	}{
		{"answered", func(h *hall, g *guest) { close(h.letGo["/0"]); g.served() }},
		{"left", func(h *hall, g *guest) { _ = g.Close(); close(h.letGo["/0"]) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHall(t, 2)
			busy := h.busy("/0", "/1")
			next := h.guest()
			next.send(get)
			eventually(t, "it waits to be accepted", h.limit.waiting.Load)
			tt.end(h, busy[0])
			next.served()
			close(h.letGo["/1"])
			busy[1].served()
		})
	}
}

// TestConnectionsEnd: a server stops though somebody waits to be accepted.
func TestConnectionsEnd(t *testing.T) {
	h := newHall(t, 1)
	g := h.busy("/0")[0]
	waits := h.guest()
	eventually(t, "it waits to be accepted", h.limit.waiting.Load)
	stopped := make(chan error)
	go func() { stopped <- h.server.Shutdown(context.Background()) }()
	waits.wantSentAway()
	close(h.letGo["/0"])
	g.served()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestConnectionsHTTP2: of HTTP/2's those make room that have no stream.
func TestConnectionsHTTP2(t *testing.T) {
	h := newHall(t, 2)
	client := func() *http.Client {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: &protocols}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	get := func(c *http.Client, path string) error {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+h.limit.Addr().String()+path, nil)
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err == nil && (string(body) != "served" || resp.ProtoMajor != 2) {
			err = fmt.Errorf("%s %q", resp.Proto, body)
		}
		return err
	}
	busy, answered := client(), make(chan error)
	go func() { answered <- get(busy, "/0") }()
	<-h.held
	for range 5 {
		if err := get(client(), "/"); err != nil { // whose connection stays, idle
			t.Fatal(err)
		}
	}
	close(h.letGo["/0"])
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if n := h.warned.Load(); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
}

// TestFrontConnections: on the gateway's own port, too, silent connections make room
// and a request under way is never cut, whichever HTTP it came by.
func TestFrontConnections(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %t", http2), func(t *testing.T) {
			came, letGo := make(chan struct{}), make(chan struct{})
			r := start(t, "log: {level: info}\n", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/embeddings" {
					came <- struct{}{}
					<-letGo
				}
				_, _ = io.WriteString(w, "{}")
			}))
			r.front.mu.Lock()
			r.front.most = 2
			r.front.mu.Unlock()
			var protocols http.Protocols
			protocols.SetHTTP1(!http2)
			protocols.SetUnencryptedHTTP2(http2)
			r.client.Transport.(*http.Transport).Protocols = &protocols
			held := make(chan error)
			go func() {
				a, err := r.try(context.Background(), "POST", "http://"+r.Addr().String()+"/v1/embeddings", `{"model":"m","input":"a"}`)
				if err == nil && a.status != http.StatusOK {
					err = fmt.Errorf("answered with %d", a.status)
				}
				held <- err
			}()
			<-came
			for range 5 {
				h := &hall{t: t, limit: r.front}
				silent := h.guest()
				next := h.guest()
				next.send("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				if resp, err := http.ReadResponse(next.answer, nil); err != nil || resp.StatusCode != http.StatusOK {
					t.Fatalf("%v, %v", resp, err)
				}
				silent.wantSentAway()
			}
			close(letGo)
			if err := <-held; err != nil {
				t.Errorf("the request under way: %v", err)
			}
		})
	}
}

// TestConnectionsOfThoseWhoAreGone: their requests end, and nobody else's does,
// however many there are.
func TestConnectionsOfThoseWhoAreGone(t *testing.T) {
	h := newHall(t, 2*atOnce)
	busy := h.busy("/0", "/1")
	for range atOnce {
		g := h.guest()
		g.send(get)
		g.served()
	}
	gone := h.guest() // not looked at together with the others
	gone.send(get)
	gone.served()
	h.limit.endGone(func(c *net.TCPConn) bool {
		from := c.RemoteAddr().String()
		return from == busy[0].LocalAddr().String() || from == gone.LocalAddr().String()
	})
	busy[0].wantSentAway()
	gone.wantSentAway()
	h.limit.mu.Lock()
	if n := len(h.limit.open); n != atOnce+1 {
		t.Errorf("%d are open, want %d", n, atOnce+1)
	}
	h.limit.mu.Unlock()
	close(h.letGo["/0"])
	close(h.letGo["/1"])
	busy[1].served()
}
