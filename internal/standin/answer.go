package standin

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-dev/penstock/internal/traffic"
)

// answer is the way of every byte of a response, on which the faults lie in
// wait. A handler writes to it as to any ResponseWriter, one Write a chunk, and
// stops at the first error: the client has gone, or a fault has cut it off.
type answer struct {
	http.ResponseWriter
	request *http.Request
	dialect traffic.Dialect // in which an error is told
	model   string          // that the path names; empty where it names none
	id      string          // that the path names; empty where it names none
	fault   Fault
	serial  uint64 // of a generation request, from 1

	started  bool  // the status is written
	sized    bool  // the handler declared the length of the body
	chunks   int64 // written so far
	bytes    int64
	padded   bool // huge-line is done
	torn     bool // the headers are to be
	hijacked bool
	gzip     *gzip.Writer
	err      error // of all further writes
}

// errCut is the error of writes once a fault has cut the answer off.
var errCut = errors.New("cut off by a fault")

// add adds the faults that the request's model names, and reports whether one
// of them answered in the handler's place.
func (a *answer) add(f Fault) bool {
	known := a.fault
	a.fault = f
	done := a.preempted()
	a.fault = known.and(f)
	return done
}

// preempted enacts the faults that come before the handler, and reports whether
// one of them answered in its place. All but early-answer read the body first,
// as a server does that fails at its work.
func (a *answer) preempted() bool {
	if a.fault.none() {
		return false
	}
	if a.fault.has("early-answer") {
		a.Header().Set("Connection", "close")
		a.refuse(&refusal{status: http.StatusBadRequest, kind: "invalid_request_error", message: "Refused before the body was read."})
		return true
	}
	if n, ok := a.fault.get("informational"); ok {
		for range n.count {
			a.Header().Set("Link", "</standin.css>; rel=preload")
			a.ResponseWriter.WriteHeader(http.StatusEarlyHints)
		}
		a.Header().Del("Link")
	}
	code, hasStatus := a.fault.get("status")
	before, within := a.fault.has("die-before-headers"), a.fault.has("die-within-headers")
	if !hasStatus && !before && !within {
		return false
	}
	if _, err := io.Copy(io.Discard, a.request.Body); err != nil {
		a.err = err
		return true
	}
	if before || within {
		a.err, a.torn = errCut, within
	} else {
		a.answerStatus(int(code.count))
	}
	return true
}

// tear sends half of the headers and resets the connection.
func (a *answer) tear() {
	conn, _, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // not HTTP/1: the whole answer is missing then
	}
	// A write that fails leaves the client with less, which is the point.
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Le")
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset, not a clean end
	}
	_ = conn.Close()
}

func (a *answer) answerStatus(code int) {
	kind := "invalid_request_error"
	if code >= 500 {
		kind = "server_error"
	}
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		a.Header().Set("Retry-After", "1")
	}
	if code == http.StatusNoContent || code == http.StatusNotModified {
		a.WriteHeader(code)
		return
	}
	a.refuse(&refusal{status: code, kind: kind, message: "The stand-in was told to answer " + strconv.Itoa(code) + "."})
}

// WriteHeader sends the status, unless a fault comes in between. An answer whose
// length the handler knows has its Content-Length set by then.
func (a *answer) WriteHeader(code int) {
	if a.started || a.err != nil {
		return
	}
	a.started = true
	if slow, ok := a.fault.get("slow-headers"); ok {
		a.err = pause(a.request.Context(), slow.pause)
	}
	if a.fault.has("hang") {
		a.hang()
	}
	if a.err != nil {
		return
	}
	h := a.Header()
	length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	a.sized = err == nil
	if a.fault.has("trailers") {
		h.Del("Content-Length")
		h.Set("Trailer", "X-Standin-Bytes")
	}
	bodiless := code == http.StatusNoContent || code == http.StatusNotModified
	if a.fault.has("gzip") && !bodiless {
		h.Del("Content-Length")
		h.Set("Content-Encoding", "gzip")
		a.gzip = gzip.NewWriter(a.ResponseWriter)
	}
	if a.fault.has("wrong-length") && !bodiless {
		h.Set("Content-Length", strconv.FormatInt(length+1<<20, 10))
	}
	a.ResponseWriter.WriteHeader(code)
	if !a.sized {
		a.interrupt()
	}
}

// Write sends one chunk, or the whole of an answer whose length is known.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.err != nil {
		return 0, a.err
	}
	size := len(p)
	if a.fault.has("garbage") {
		p = bytes.Repeat([]byte("\xff\x00{<"), size/4+1)[:size]
	}
	if a.fault.has("huge-line") {
		p = a.pad(p)
	}
	if a.sized && (a.fault.has("die-after") || a.fault.has("hang-after")) {
		p = p[:len(p)/2]
	}
	if a.err = a.send(p); a.err != nil {
		return 0, a.err
	}
	a.chunks++
	a.interrupt()
	if a.err != nil {
		return 0, a.err
	}
	return size, nil
}

// send passes p on, in one piece or as a trickle. The last byte of an answer of
// known length stays in net/http's buffer until the handler has returned, so that
// whoever has read the whole answer finds it counted.
func (a *answer) send(p []byte) error {
	var to io.Writer = a.ResponseWriter
	if a.gzip != nil {
		to = a.gzip
	}
	trickle, slow := a.fault.get("trickle")
	for len(p) > 0 {
		step := len(p)
		switch {
		case slow:
			step = 1
		case a.sized && len(p) > 1:
			step = len(p) - 1
		}
		if slow && a.bytes > 0 {
			a.flush()
			if err := pause(a.request.Context(), trickle.pause); err != nil {
				return err
			}
		}
		n, err := to.Write(p[:step])
		a.bytes += int64(n)
		if err != nil {
			return err
		}
		p = p[step:]
	}
	return nil
}

// pad makes the first JSON object of a stream a line of 2 MiB.
func (a *answer) pad(p []byte) []byte {
	start := []byte("{")
	if strings.HasPrefix(a.Header().Get("Content-Type"), eventStream) {
		start = []byte("data: {")
	}
	i := bytes.Index(p, start)
	if a.padded || a.sized || i < 0 {
		return p
	}
	a.padded = true
	i += len(start)
	return bytes.Join([][]byte{p[:i], []byte(`"padding":"`), bytes.Repeat([]byte("x"), 2<<20), []byte(`",`), p[i:]}, nil)
}

// interrupt cuts the answer off or hangs where a fault says so: after so many
// chunks, or in an answer of known length after what Write let through.
func (a *answer) interrupt() {
	if n, ok := a.fault.get("die-after"); ok && (a.sized || a.chunks >= n.count) {
		a.flush()
		a.err = errCut
	}
	if n, ok := a.fault.get("hang-after"); ok && a.err == nil && (a.sized || a.chunks >= n.count) {
		a.flush()
		a.hang()
	}
}

// hang blocks until the client leaves. The body is read first, since net/http
// does not look out for that before.
func (a *answer) hang() {
	_, _ = io.Copy(io.Discard, a.request.Body)
	<-a.request.Context().Done()
	a.err = a.request.Context().Err()
}

// flush sends what was written on its way. A client that has gone shows at the
// next write.
func (a *answer) flush() {
	if a.gzip != nil {
		_ = a.gzip.Flush()
	}
	_ = http.NewResponseController(a.ResponseWriter).Flush()
}

// finish ends the answer when the handler has returned. It panics with
// http.ErrAbortHandler where the answer has no proper end.
func (a *answer) finish() {
	switch {
	case a.hijacked:
		return
	case a.torn:
		a.tear()
		return
	case a.err != nil:
		panic(http.ErrAbortHandler)
	}
	if a.gzip != nil {
		if err := a.gzip.Close(); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	if a.fault.has("trailers") {
		a.Header().Set("X-Standin-Bytes", strconv.FormatInt(a.bytes, 10))
	}
}

// json sends v as the whole answer.
func (a *answer) json(code int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("standin: encoding an answer: %w", err)
	}
	a.Header().Set("Content-Type", "application/json")
	a.Header().Set("Content-Length", strconv.Itoa(len(body)))
	a.WriteHeader(code)
	_, err = a.Write(body)
	return err
}

const eventStream = "text/event-stream"

// openStream sends the headers of a stream of this type.
func (a *answer) openStream(contentType string) error {
	a.Header().Set("Content-Type", contentType)
	if strings.HasPrefix(contentType, eventStream) {
		a.Header().Set("Cache-Control", "no-cache")
	}
	a.WriteHeader(http.StatusOK)
	a.flush()
	return a.err
}

// event sends v as one event of a stream; name is empty for events without one.
func (a *answer) event(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("standin: encoding an event: %w", err)
	}
	var b bytes.Buffer
	if name != "" {
		fmt.Fprintf(&b, "event: %s\n", name)
	}
	fmt.Fprintf(&b, "data: %s\n\n", data)
	return a.chunk(b.Bytes())
}

// line sends v as one line of a stream of lines.
func (a *answer) line(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("standin: encoding a line: %w", err)
	}
	return a.chunk(append(data, '\n'))
}

// whole sends body as the whole answer.
func (a *answer) whole(contentType string, body []byte) error {
	a.Header().Set("Content-Type", contentType)
	a.Header().Set("Content-Length", strconv.Itoa(len(body)))
	a.WriteHeader(http.StatusOK)
	_, err := a.Write(body)
	return err
}

// chunk sends p on its way at once.
func (a *answer) chunk(p []byte) error {
	if _, err := a.Write(p); err != nil {
		return err
	}
	a.flush()
	return nil
}

// pause waits for d, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
