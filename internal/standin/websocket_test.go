package standin

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// masked returns a client's frame on the wire.
func masked(f frame) []byte {
	var b bytes.Buffer
	if err := writeFrame(&b, f); err != nil {
		panic(err)
	}
	raw := b.Bytes()
	head := len(raw) - len(f.payload)
	out := append(slices.Clone(raw[:head]), 1, 2, 3, 4)
	out[1] |= 0x80
	for i, c := range f.payload {
		out = append(out, c^byte(1+i%4))
	}
	return out
}

// unmasked reads a server's frame.
func unmasked(r io.Reader) (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	size := uint64(head[1])
	switch size {
	case 126:
		var n uint16
		if err := binary.Read(r, binary.BigEndian, &n); err != nil {
			return frame{}, err
		}
		size = uint64(n)
	case 127:
		if err := binary.Read(r, binary.BigEndian, &size); err != nil {
			return frame{}, err
		}
	}
	f := frame{final: head[0]&0x80 != 0, opcode: head[0] & 0x7f, payload: make([]byte, size)}
	_, err := io.ReadFull(r, f.payload)
	return f, err
}

func TestWebsocket(t *testing.T) {
	long := bytes.Repeat([]byte("long"), 1<<15)
	closed := func(code uint16) []frame { return []frame{closeFrame(code)} }
	same := func(frames ...frame) ([]byte, []frame) {
		var raw []byte
		for _, f := range frames {
			raw = append(raw, masked(f)...)
		}
		return raw, frames
	}
	type exchange struct {
		name string
		raw  []byte
		want []frame
	}
	var tests []exchange
	add := func(name string, raw []byte, want []frame) { tests = append(tests, exchange{name, raw, want}) }

	raw, frames := same(frame{true, opText, []byte("grüß")}, frame{true, opBinary, []byte{0, 255}}, frame{true, opClose, []byte{3, 232}})
	add("text, binary, close", raw, frames)
	raw, frames = same(frame{true, opText, long[:126]}, frame{true, opBinary, long}, frame{true, opText, nil}, frame{true, opClose, nil})
	add("all sizes", raw, frames)
	raw, frames = same(frame{false, opText, []byte("a")}, frame{false, opContinuation, []byte("b")}, frame{true, opContinuation, []byte("c")}, frame{true, opClose, nil})
	add("fragments", raw, frames)
	add("ping within fragments, a stray pong",
		slices.Concat(masked(frame{false, opText, []byte("a")}), masked(frame{true, opPing, []byte("?")}), masked(frame{true, opPong, []byte("!")}),
			masked(frame{true, opContinuation, nil}), masked(frame{true, opClose, nil})),
		[]frame{{false, opText, []byte("a")}, {true, opPong, []byte("?")}, {true, opContinuation, nil}, {true, opClose, nil}})
	add("continuation of nothing", masked(frame{true, opContinuation, nil}), closed(closeProtocolError))
	add("a text within fragments", slices.Concat(masked(frame{false, opText, nil}), masked(frame{true, opText, nil})),
		append([]frame{{false, opText, nil}}, closed(closeProtocolError)...))
	add("not masked", []byte{0x81, 1, 'x'}, closed(closeProtocolError))
	add("an extension's bit", []byte{0xC1, 0x80}, closed(closeProtocolError))
	add("unknown opcode", []byte{0x83, 0x80}, closed(closeProtocolError))
	add("unknown control opcode", []byte{0x8B, 0x80}, closed(closeProtocolError))
	add("fragmented ping", []byte{0x09, 0x80}, closed(closeProtocolError))
	add("long ping", []byte{0x89, 0x80 | 126}, closed(closeProtocolError))
	add("too big", []byte{0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 1}, closed(closeTooBig))
	add("far too big", []byte{0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255}, closed(closeTooBig))

	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			srv := serve(t, Options{})
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = conn.Write(append([]byte(handshake), tc.raw...)) }()
			r := bufio.NewReader(conn)
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != 101 || res.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Fatalf("%s %v", res.Status, res.Header)
			}
			for i, want := range tc.want {
				got, err := unmasked(r)
				if err != nil || got.final != want.final || got.opcode != want.opcode || !bytes.Equal(got.payload, want.payload) {
					t.Fatalf("frame %d: %.80v %v, want %.80v", i, got, err, want)
				}
			}
			// The rest of what it refused unread may turn the end into a reset.
			if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("more than that, or no end: %v", err)
			}
		})
	}
}

// TestWebsocketBreaksOff ends the connection within a frame: the handler returns.
func TestWebsocketBreaksOff(t *testing.T) {
	whole := masked(frame{true, opBinary, make([]byte, 70000)})
	for _, n := range []int{0, 1, 2, 5, 12, 100} {
		r := bufio.NewReadWriter(bufio.NewReader(bytes.NewReader(whole[:n])), bufio.NewWriter(io.Discard))
		echoFrames(r)
	}
}

func TestWebsocketRefusals(t *testing.T) {
	good := func() http.Header {
		return http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		}
	}
	tests := []struct {
		name, value string
		want        int
	}{
		{"Connection", "keep-alive", 426},
		{"Upgrade", "h2c", 426},
		{"Sec-Websocket-Version", "8", 426},
		{"Sec-Websocket-Key", "short", 400},
		{"Sec-Websocket-Key", "dGhlIHNhbXBsZQ==", 400},
		{"X-Fine", "but a recorder cannot be hijacked", 400},
	}
	for _, tc := range tests {
		r := httptest.NewRequest("GET", "/ws", nil)
		r.Header = good()
		r.Header.Set(tc.name, tc.value)
		rec := httptest.NewRecorder()
		New(Options{}).ServeHTTP(rec, r)
		if rec.Code != tc.want || (tc.want == 426) != (rec.Header().Get("Upgrade") == "websocket") {
			t.Errorf("%s %s: %d %v", tc.name, tc.value, rec.Code, rec.Header())
		}
	}
}

// TestDieWithinHeadersNeedsHTTP1 has the fault on a connection that cannot be
// taken over: the answer is missing altogether.
func TestDieWithinHeadersNeedsHTTP1(t *testing.T) {
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("%v", p)
		}
	}()
	r := httptest.NewRequest("GET", "/health", nil)
	r.Header.Set("X-Standin-Fault", "die-within-headers")
	New(Options{}).ServeHTTP(httptest.NewRecorder(), r)
}

// FuzzReadFrame reads any bytes as frames, and finds what it has read again in
// what writeFrame makes of it.
func FuzzReadFrame(f *testing.F) {
	f.Add(masked(frame{true, opText, []byte("hello")}))
	f.Add(masked(frame{false, opBinary, make([]byte, 300)}))
	f.Add([]byte{0x89, 0x80, 1, 2, 3, 4})
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 9, 9, 9, 9})
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := readFrame(bytes.NewReader(raw))
		var broken protocolError
		if errors.As(err, &broken) && !strings.Contains(fmt.Sprint(closeProtocolError, closeTooBig), fmt.Sprint(uint16(broken))) {
			t.Errorf("closes with %d", broken)
		}
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := writeFrame(&b, got); err != nil {
			t.Fatal(err)
		}
		again, err := unmasked(&b)
		if err != nil || again.opcode != got.opcode || again.final != got.final || !bytes.Equal(again.payload, got.payload) {
			t.Errorf("%v, again %v, %v", got, again, err)
		}
	})
}
