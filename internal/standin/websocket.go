package standin

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// The opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// The status codes of RFC 6455, section 7.4.1, that the echo closes with.
const (
	closeProtocolError = 1002
	closeTooBig        = 1009
)

// maxFrame bounds the payload of one frame, in bytes.
const maxFrame = 16 << 20

// frame is one frame of a websocket.
type frame struct {
	final   bool
	opcode  byte
	payload []byte
}

// upgrade makes a websocket of the connection. It returns nil where that cannot be,
// which it has answered; else done must be called, and may be twice.
func upgrade(a *answer, r *http.Request) (rw *bufio.ReadWriter, done func()) {
	key := r.Header.Get("Sec-Websocket-Key")
	raw, err := base64.StdEncoding.DecodeString(key)
	switch {
	case !headerHas(r.Header, "Connection", "upgrade"), !headerHas(r.Header, "Upgrade", "websocket"),
		r.Header.Get("Sec-Websocket-Version") != "13":
		a.Header().Set("Upgrade", "websocket")
		a.Header().Set("Sec-WebSocket-Version", "13")
		a.refuse(&refusal{
			status: http.StatusUpgradeRequired, kind: "invalid_request_error",
			message: "This is a websocket of version 13; ask for an upgrade to it.",
		})
		return nil, nil
	case err != nil || len(raw) != 16:
		a.refuse(badRequest("", "Sec-WebSocket-Key must be 16 bytes in base64."))
		return nil, nil
	}
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		a.refuse(badRequest("", "This connection cannot be upgraded: %v.", err))
		return nil, nil
	}
	a.hijacked = true
	_ = conn.SetDeadline(time.Time{}) // the server's own do not hold here; where that fails so does the first write
	accept := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(accept[:]) + "\r\n\r\n")
	_ = rw.Flush() // an error stays in rw, and comes of the first write again
	return rw, func() { _ = conn.Close() }
}

func headerHas(h http.Header, name, word string) bool {
	for one := range strings.SplitSeq(strings.Join(h.Values(name), ","), ",") {
		if strings.EqualFold(strings.TrimSpace(one), word) {
			return true
		}
	}
	return false
}

// echoFrames answers frames until the client closes, breaks the protocol, or is
// gone.
func echoFrames(rw *bufio.ReadWriter) {
	fragmented := false // a message has begun and not ended
	for {
		f, err := readFrame(rw.Reader)
		var broken protocolError
		if errors.As(err, &broken) {
			f, err = closeFrame(uint16(broken)), nil
		}
		if err != nil {
			return
		}
		switch {
		case f.opcode == opPong:
			continue
		case f.opcode == opPing:
			f.opcode = opPong
		case f.opcode == opClose:
		case fragmented != (f.opcode == opContinuation):
			f = closeFrame(closeProtocolError)
		default:
			fragmented = !f.final
		}
		if writeFrame(rw.Writer, f) != nil || rw.Flush() != nil || f.opcode == opClose {
			return
		}
	}
}

// protocolError is the status with which a frame has the connection closed.
type protocolError uint16

func (protocolError) Error() string { return "websocket: the client broke the protocol" }

func closeFrame(code uint16) frame {
	return frame{final: true, opcode: opClose, payload: binary.BigEndian.AppendUint16(nil, code)}
}

// readFrame reads a client's frame. The error is a protocolError, or that of r.
func readFrame(r io.Reader) (frame, error) {
	var head [14]byte // of which 2 to 14 are used
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return frame{}, err
	}
	f := frame{final: head[0]&0x80 != 0, opcode: head[0] & 0x0f}
	size, control := uint64(head[1]&0x7f), f.opcode&0x8 != 0
	switch {
	case head[0]&0x70 != 0, // extensions, of which none was agreed on
		head[1]&0x80 == 0, // not masked, as a client's frames must be
		control && (!f.final || size > 125),
		f.opcode > opBinary && f.opcode < opClose, f.opcode > opPong:
		return frame{}, protocolError(closeProtocolError)
	}
	more := 0
	switch size {
	case 126:
		more = 2
	case 127:
		more = 8
	}
	if more > 0 {
		if _, err := io.ReadFull(r, head[8-more:8]); err != nil {
			return frame{}, err
		}
		size = 0
		for _, b := range head[8-more : 8] {
			size = size<<8 | uint64(b)
		}
	}
	if size > maxFrame {
		return frame{}, protocolError(closeTooBig)
	}
	mask := head[8:12]
	if _, err := io.ReadFull(r, mask); err != nil {
		return frame{}, err
	}
	f.payload = make([]byte, size)
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, err
	}
	for i := range f.payload {
		f.payload[i] ^= mask[i%4]
	}
	return f, nil
}

// writeFrame writes a server's frame, unmasked.
func writeFrame(w io.Writer, f frame) error {
	head := []byte{f.opcode, 0}
	if f.final {
		head[0] |= 0x80
	}
	switch n := len(f.payload); {
	case n < 126:
		head[1] = byte(n)
	case n < 1<<16:
		head[1] = 126
		head = binary.BigEndian.AppendUint16(head, uint16(n))
	default:
		head[1] = 127
		head = binary.BigEndian.AppendUint64(head, uint64(n))
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(f.payload)
	return err
}
