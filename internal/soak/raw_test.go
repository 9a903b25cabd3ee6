package soak

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// What no http.Client sends: websockets, and what is hardly HTTP.

// dial connects to the gateway; nil where nobody is let in any more.
func (s *soak) dial(kind string) net.Conn {
	conn, err := net.Dial("tcp", s.server.Addr().String())
	switch {
	case err == nil:
		_ = conn.SetDeadline(time.Now().Add(patience))
		return conn
	case s.stopping():
		s.note(kind, notLetIn)
	default:
		s.note(kind, unexpected)
		s.fault("no connection: %v", err)
	}
	s.serial.Add(1)
	return nil
}

// socket opens a websocket to a worker's echo, says something there, and closes
// it in its own way.
func (s *soak) socket(rng *rand.Rand, by *caller) {
	const kind = "websocket"
	conn := s.dial(kind)
	if conn == nil {
		return
	}
	defer conn.Close()
	c := by.sign(get(kind, "/ws"))
	q := &trip{call: c, id: fmt.Sprint("soak-", s.serial.Add(1)), began: time.Now(), deaths: s.yard.deaths.Load()}
	s.yard.trips.Store(q.id, q)
	defer s.yard.trips.Delete(q.id)
	_, q.err = fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX-Request-Id: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", keyOf(by.id), q.id)
	in := bufio.NewReader(conn)
	if q.err == nil {
		var resp *http.Response
		if resp, q.err = http.ReadResponse(in, nil); q.err == nil {
			q.status, q.replied = resp.StatusCode, resp.Header
			if q.status != http.StatusSwitchingProtocols {
				q.answer, q.err = io.ReadAll(resp.Body)
			}
		}
	}
	q.took = time.Since(q.began)
	o, why := upgraded, ""
	if q.status == http.StatusSwitchingProtocols {
		if err := talk(rng, conn, in); err != nil && !s.yard.died(q.began, q.deaths) {
			o, why = unexpected, err.Error()
		}
	} else {
		o, why = q.judge(s)
	}
	s.note(kind, o)
	if o == unexpected {
		s.fault("%s: %v", why, q)
	}
	charged := q.charged(o)
	by.charge(charged, bounds{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.charged.add(charged.least, charged.most)
}

// talk says some words over a websocket, waits for their echo, and closes it or
// not.
func talk(rng *rand.Rand, conn net.Conn, in *bufio.Reader) error {
	for range rng.IntN(5) {
		// Masked by zeros, and so as it is.
		if _, err := conn.Write([]byte("\x81\x84\x00\x00\x00\x00word")); err != nil {
			return err
		}
		var echo [6]byte
		if _, err := io.ReadFull(in, echo[:]); err != nil || string(echo[:]) != "\x81\x04word" {
			return fmt.Errorf("the echo is %q, %w", echo, err)
		}
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond) // a person's pace
	}
	if rng.IntN(2) == 0 {
		return nil
	}
	if _, err := conn.Write([]byte("\x88\x80\x00\x00\x00\x00")); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

// noise sends what a server must refuse or wait for in vain, and hangs up.
func (s *soak) noise(rng *rand.Rand, by *caller) {
	const kind = "noise"
	conn := s.dial(kind)
	if conn == nil {
		return
	}
	defer conn.Close()
	s.serial.Add(1)
	random := make([]byte, 1+rng.IntN(3000))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	head := func(path string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + keyOf(by.id) + "\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
	}
	most := int64(0) // charged
	var text string
	switch rng.IntN(5) {
	case 0:
		text = string(random) + "\r\n\r\n"
	case 1:
		text = head("/echo")[:rng.IntN(60)] // no end
	case 2:
		text = head("/v1/chat/completions") + `{"model":"m"` // less than was promised
	case 3:
		text, most = head("/echo")+"less", 1
	case 4:
		text = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nzz\r\n"
		most = 1
	}
	_, err := io.WriteString(conn, text)
	if err == nil && rng.IntN(2) == 0 {
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn) // whatever is said: it comes to an end
	} else {
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond) // it may have been read, or not
	}
	s.note(kind, hangUp)
	by.charge(bounds{0, most}, bounds{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.charged.add(0, most)
}
