package gateway

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/standin"
)

const handshake = "GET /ws?client=1 HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// upgrade opens a websocket through the gateway.
func (r *rig) upgrade() *wire {
	r.t.Helper()
	w := r.dial()
	w.write(handshake)
	head, err := readHead(w.r)
	if err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		r.t.Fatalf("the upgrade is answered %q and %v", head, err)
	}
	return w
}

// frame is a frame of RFC 6455, masked as a client's must be.
func frame(opcode byte, payload []byte, masked bool) []byte {
	b := []byte{0x80 | opcode}
	mask := byte(0)
	if masked {
		mask = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, mask|byte(n))
	default:
		b = append(b, mask|126, byte(n>>8), byte(n))
	}
	if !masked {
		return append(b, payload...)
	}
	key := [4]byte{1, 2, 3, 4}
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// TestWebsockets sends frames through the gateway, and has either side close.
func TestWebsockets(t *testing.T) {
	const limits = "rate_limiting: {default: {requests_per_hour: 9, concurrent_requests: 1}}"
	r := newRig(t, limits, standin.New(standin.Options{}))
	r.slots(1, 0, 0)
	t.Run("closed by the client", func(t *testing.T) {
		w := r.upgrade()
		for _, f := range []struct {
			opcode, answer byte
			payload        []byte
		}{
			{opText, opText, []byte("hello")},
			{opBinary, opBinary, bytes.Repeat([]byte{0, 255, 10}, 20_000)},
			{opPing, opPong, []byte("are you there")},
			{opClose, opClose, []byte{3, 232}},
		} {
			if _, err := w.Write(frame(f.opcode, f.payload, true)); err != nil {
				t.Fatal(err)
			}
			want := frame(f.answer, f.payload, false)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(w.r, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("frame %x came back as %d bytes and %v", f.opcode, len(got), err)
			}
		}
		w.wantClosed()
		_ = w.Close() // until then its direction is open
	})
	t.Run("cut by the client", func(t *testing.T) {
		w := r.upgrade()
		_ = w.Close()
		r.idle()
	})
	t.Run("one request, and no longer one in flight", func(t *testing.T) {
		w := r.upgrade()
		used := usedText(r.usedBy(r.caller(""), ""))
		if want := "concurrent_requests 0, requests_per_hour 3"; used != want {
			t.Errorf("charged: %s, want %s", used, want)
		}
		if s := r.Queue.Stats(); s.InFlight != 0 {
			t.Errorf("%d slots are held, want 0", s.InFlight)
		}
		if n := r.metric("inflight_requests"); n != 1 {
			t.Errorf("inflight_requests is %v, want 1", n)
		}
		if a := r.send("GET", "/echo", ""); a.status != 200 {
			t.Errorf("beside it a request is answered %d, want 200", a.status)
		}
		_ = w.Close()
	})
	t.Run("denied", func(t *testing.T) {
		r.SetRules(r.rulesOf("rate_limiting: {default: {requests_per_hour: 4}}"))
		r.idle()
		w := r.dial()
		w.write(handshake)
		if a := w.answer("GET"); a.status != 429 {
			t.Errorf("answer %d, want 429", a.status)
		}
		r.wantUsed("requests_per_hour 4")
	})
}

// TestWebsocketClosedByTheWorker checks both ways in which a worker ends one.
func TestWebsocketClosedByTheWorker(t *testing.T) {
	bye := frame(opClose, []byte{3, 233}, false)
	r := newRigFor(t, "", rawWorker(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readHead(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = c.Write(bye)
	}))
	w := r.upgrade()
	if rest, err := io.ReadAll(w.r); err != nil || !bytes.Equal(rest, bye) {
		t.Errorf("got %q and %v, want the closing frame and the end", rest, err)
	}
}

// TestWebsocketOutlivesTheTimeout holds one for longer than a request may take:
// until a request that began later has timed out.
func TestWebsocketOutlivesTheTimeout(t *testing.T) {
	worker := standin.New(standin.Options{})
	r := newRig(t, "", worker)
	rules := r.rulesOf("")
	rules.RequestTimeout = 50 * time.Millisecond
	r.SetRules(rules)
	w := r.upgrade()
	if a := r.send("GET", "/echo", "", "X-Standin-Fault", "hang"); a.status != 504 {
		t.Fatalf("answer %d, want 504", a.status)
	}
	if _, err := w.Write(frame(opText, []byte("still there"), true)); err != nil {
		t.Fatal(err)
	}
	want := frame(opText, []byte("still there"), false)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(w.r, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q and %v", got, err)
	}
	_ = w.Close()
}

// TestWaitForWebsockets checks that Wait waits for them, too.
func TestWaitForWebsockets(t *testing.T) {
	r := newRig(t, "", standin.New(standin.Options{}))
	w := r.upgrade()
	r.Stop()
	over := make(chan error)
	go func() { over <- r.Wait(t.Context()) }()
	select {
	case err := <-over:
		t.Fatalf("Wait returned %v, and a websocket is open", err)
	default:
	}
	_ = w.Close()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if a := r.send("GET", "/echo", ""); a.status != 503 || !strings.Contains(a.body, "shutting_down") {
		t.Errorf("answer %d %q, want 503", a.status, a.body)
	}
}

// TestUpgradeRefused checks what becomes of an upgrade that the worker does not
// agree to.
func TestUpgradeRefused(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
		body   string
	}{
		"by an error":         {"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nContent-Type: a/b\r\n\r\nno", 403, "no"},
		"to another protocol": {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 502, "upstream_error"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigFor(t, "rate_limiting: {default: {requests_per_hour: 9}}", rawWorker(t, func(conn net.Conn, r *bufio.Reader) {
				if head, err := readHead(r); err == nil && strings.Contains(head, "Upgrade: WebSocket\n") {
					_, _ = io.WriteString(conn, c.answer)
				}
			}))
			w := r.dial()
			w.write(handshake)
			if a := w.answer("GET"); a.status != c.status || !strings.Contains(a.body, c.body) {
				t.Errorf("answer %d %q, want %d %q", a.status, a.body, c.status, c.body)
			}
			w.write("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
			if a := w.answer("GET"); a.status != 200 {
				t.Errorf("on the same connection %d, want 200", a.status)
			}
			r.wantUsed("requests_per_hour 1")
		})
	}
}

// TestUpgradeWithBody sends a body along with an upgrade, as hardly anyone
// does: what comes after it is the connection's.
func TestUpgradeWithBody(t *testing.T) {
	r := newRigFor(t, "", rawWorker(t, func(c net.Conn, r *bufio.Reader) {
		if _, body, err := readRequest(r); err != nil || body != "abc" {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, r)
	}))
	w := r.dial()
	w.write(strings.Replace(handshake, "\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc", 1))
	if head, err := readHead(w.r); err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("answer %q and %v, want 101", head, err)
	}
	w.write("hello")
	got := make([]byte, len("hello"))
	if _, err := io.ReadFull(w.r, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q and %v", got, err)
	}
	_ = w.Close()
}

// TestUpgradeWithinABody has a worker agree to an upgrade before it has read
// the request's body: what comes next would be both.
func TestUpgradeWithinABody(t *testing.T) {
	r := newRigFor(t, "rate_limiting: {default: {requests_per_hour: 9}}", rawWorker(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readHead(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, r)
	}))
	w := r.dial()
	w.write(strings.Replace(handshake, "\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nabc", 1))
	if a := w.answer("GET"); a.status != 502 || !strings.Contains(a.body, "upstream_error") {
		t.Errorf("answer %d %q, want 502", a.status, a.body)
	}
	w.wantClosed()
	r.wantUsed("requests_per_hour 1")
}
