package gateway

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// wire is a connection whose every byte the test writes itself.
type wire struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// dial opens a connection to the gateway.
func (r *rig) dial() *wire {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	return newWire(r.t, c)
}

func newWire(t testing.TB, c net.Conn) *wire {
	t.Cleanup(func() { _ = c.Close() })
	return &wire{Conn: c, t: t, r: bufio.NewReader(c)}
}

func (w *wire) write(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w.Conn, text); err != nil {
		w.t.Fatal(err)
	}
}

// answer reads the answer to a request of this method, informational ones as
// well.
func (w *wire) answer(method string) answered {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("reading an answer: %v", err)
	}
	return readAll(resp)
}

// wantClosed checks that the connection was closed with nothing more to read.
func (w *wire) wantClosed() {
	w.t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(w.r)
	var timeout net.Error
	if len(rest) > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		w.t.Fatalf("the connection is open, with %q to read: %v", rest, err)
	}
}

// closedAddr is an address where nobody listens.
func closedAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// rawWorker is a worker that is a function of the bare connection. It returns
// its URL.
func rawWorker(t testing.TB, serve func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	over := make(chan struct{})
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				serve(c, bufio.NewReader(c))
			})
			running.Go(func() {
				<-over
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(over)
		running.Wait()
	})
	return "http://" + l.Addr().String()
}

// scripted is a worker that answers every request with these bytes, and hands
// out each as it came: its head, with line feeds alone, and its body.
func scripted(t testing.TB, answer string) (url string, requests <-chan [2]string) {
	got := make(chan [2]string, 16)
	return rawWorker(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head, body, err := readRequest(r)
			if err != nil {
				return
			}
			got <- [2]string{head, body}
			if strings.HasPrefix(head, "HEAD ") {
				answer, _, _ = strings.Cut(answer, "\r\n\r\n")
				answer += "\r\n\r\n"
			}
			if _, err := io.WriteString(c, answer); err != nil || !strings.Contains(answer, "\r\nContent-Length:") {
				return // else the end of the answer is that of the connection
			}
		}
	}), got
}

// readRequest reads a request as it stands on the wire; of a chunked body the
// chunks' contents and the trailer behind them.
func readRequest(r *bufio.Reader) (head, body string, err error) {
	if head, err = readHead(r); err != nil {
		return "", "", err
	}
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\n")))
	if err != nil {
		return "", "", err
	}
	if len(req.TransferEncoding) == 0 {
		b := make([]byte, req.ContentLength)
		_, err = io.ReadFull(r, b)
		return head, string(b), err
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		var size int64
		if _, err := fmt.Sscanf(line, "%x", &size); err != nil {
			return "", "", err
		}
		if size == 0 {
			trailer, err := readHead(r)
			return head, body + trailer, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return "", "", err
		}
		body += string(b[:size])
	}
}

// readHead reads lines up to an empty one.
func readHead(r *bufio.Reader) (head string, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			return head, nil
		}
		head += line + "\n"
	}
}

// without is a head without the headers of these names, the rest sorted.
func without(head string, names ...string) string {
	first, rest, _ := strings.Cut(head, "\n")
	var lines []string
	for line := range strings.Lines(rest) {
		name, _, _ := strings.Cut(line, ":")
		if !slices.Contains(names, name) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return first + "\n" + strings.Join(lines, "")
}

// pipes is a listener whose connections are pipes in memory, so that time is
// the bubble's.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial(from string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- &pipe{server, from}:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return pipeAddr("gateway:80") }

// pipe is a server's end of one, with an address for the other.
type pipe struct {
	net.Conn
	from string
}

func (p *pipe) RemoteAddr() net.Addr { return pipeAddr(p.from) }

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

// pipe opens a connection to a gateway that listens on pipes.
func (r *rig) pipe() *wire {
	r.t.Helper()
	c, err := r.pipes.dial(pipeClient)
	if err != nil {
		r.t.Fatal(err)
	}
	return newWire(r.t, c)
}

// pipeClient is the address of those who connect by a pipe.
const pipeClient = "192.0.2.1:1024"

// pipeCaller is the caller without a key who connects by a pipe.
func (r *rig) pipeCaller() *traffic.Caller {
	req := httptest.NewRequest("GET", "/", nil)
	req.RemoteAddr = pipeClient
	c, _ := r.rules.Load().Identifier.Identify(req)
	return &c
}

// update writes golden files anew: go test -update.
var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with the file of this name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", strings.NewReplacer(" ", "-", ",", "").Replace(name)+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}
