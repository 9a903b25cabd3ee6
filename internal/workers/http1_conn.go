package workers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"
)

const (
	// maxInline is how large a request may be to be written before the answer
	// is read: a socket's buffer takes it, so that this does not wait for a
	// worker that answers first.
	maxInline = 16 << 10
	// writeWait is how long an answer's end waits for the request's.
	writeWait = 50 * time.Millisecond
)

// conn is a connection to a worker. One request at a time has it.
type conn struct {
	net.Conn
	from *http1
	in   *bufio.Reader // of what left lets through
	left int64         // bytes that may still be read
	shut func()        // close

	asked   atomic.Bool // the worker has a request that it has not answered to the end
	closing atomic.Bool
	closed  chan struct{} // closed when the connection is

	quiet func() bool // while it is idle: it can serve; nil: it is not kept
	used  bool        // it has answered before
	since time.Time
	wrote chan written // the end of a write beside the reading; nil if there is none
}

// newConn returns a new connection of t.
func newConn(n net.Conn, t *http1) *conn {
	c := &conn{Conn: n, from: t, quiet: looker(n), closed: make(chan struct{})}
	c.in = bufio.NewReader(c)
	c.shut = c.close
	return c
}

// written is what became of a write.
type written struct {
	bytes int64
	err   error
}

// errHeaders is of answers whose headers do not end.
var errHeaders = fmt.Errorf("workers: the answer's headers are larger than %d bytes", maxHeaderBytes)

// Read reads from the connection, for c.in.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errHeaders
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	if c.closing.Load() {
		return 0, net.ErrClosed // what part reads is of no use without the rest
	}
	c.left -= int64(n)
	return n, err
}

// close ends the connection, and whatever is under way on it. Whoever calls it,
// the connection has ended when it returns, and the worker has let go of the
// request if it does so in time, so that a slot that is then given to another
// request is not one more at the worker.
func (c *conn) close() {
	if c.closing.Swap(true) {
		<-c.closed
		return
	}
	if c.asked.Load() {
		part(c.Conn)
	}
	_ = c.Conn.Close()
	close(c.closed)
}

// roundTrip sends r, of which head is what comes before the body, and returns the
// answer as soon as its headers are there. After an error the connection is
// closed, nothing is under way on it any more, and again says whether the request
// may be sent anew. The head is let go of.
func (c *conn) roundTrip(r *request, head *[]byte) (resp *http.Response, again bool, err error) {
	c.asked.Store(true)
	// Whenever the client goes, the connection does.
	stop := context.AfterFunc(r.Context(), c.shut)
	none, unheard := false, false
	if len(*head)+len(r.body()) <= maxInline {
		*head = append(*head, r.body()...)
		var n int
		n, err = c.Write(*head)
		none = n == 0
		c.from.free(head)
	} else {
		c.write(head, r.held)
	}
	if err == nil {
		resp, unheard, err = c.response(r)
	}
	if err != nil {
		stop()
		c.close()
		if c.wrote != nil {
			none = (<-c.wrote).bytes == 0
		}
		return nil, c.used && (none || unheard && r.again()), err
	}
	resp.Request = r.Request
	b := &body{ctx: r.Context(), conn: c, stop: stop, reusable: !resp.Close && resp.StatusCode > 199}
	if resp.Body == http.NoBody {
		b.end(true)
	} else {
		b.from, resp.Body = resp.Body, b
	}
	return resp, false, nil
}

// write writes a request while its answer is read. A nil held is no body.
func (c *conn) write(head *[]byte, held *Held) {
	done := make(chan written, 1)
	c.wrote = done
	buffers := net.Buffers{*head}
	if held != nil {
		held.use()
		buffers = append(buffers, held.bytes)
	}
	go func() {
		n, err := buffers.WriteTo(c.Conn)
		if held != nil {
			held.done()
		}
		c.from.free(head)
		if n == 0 {
			c.close() // there will be no answer
		}
		done <- written{n, err}
	}()
}

// response reads the headers of the answer, and hands on those of 1xx answers
// before it. unheard says that not a byte has come.
func (c *conn) response(r *request) (resp *http.Response, unheard bool, err error) {
	c.left = maxHeaderBytes
	if _, err := c.in.Peek(1); err != nil {
		return nil, true, fmt.Errorf("workers: the connection ended before the answer: %w", err)
	}
	for {
		resp, err = http.ReadResponse(c.in, r.Request)
		switch {
		case err != nil && c.left <= 0:
			return nil, false, errHeaders
		case err != nil:
			return nil, false, err
		case resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols:
			c.left = math.MaxInt64
			return resp, false, nil
		}
		interim := r.interim
		if trace := httptrace.ContextClientTrace(r.Context()); interim == nil && trace != nil {
			interim = trace.Got1xxResponse
		}
		if interim != nil {
			if err := interim(resp.StatusCode, textproto.MIMEHeader(resp.Header)); err != nil {
				return nil, false, err
			}
		}
	}
}

// clean reports whether the connection is as it was before the request, once the
// answer has been read: the request was taken, and nothing came after the answer.
func (c *conn) clean() bool {
	if c.quiet == nil || c.in.Buffered() > 0 {
		return false
	}
	if c.wrote == nil {
		return true
	}
	defer func() { c.wrote = nil }()
	select {
	case w := <-c.wrote:
		return w.err == nil
	default:
	}
	// Either the writer has not come to say so, or the worker does not read on.
	t := time.NewTimer(writeWait)
	defer t.Stop()
	select {
	case w := <-c.wrote:
		return w.err == nil
	case <-t.C:
		return false
	}
}

// body is the body of an answer. Reads and closes may come from different
// goroutines.
type body struct {
	ctx      context.Context
	conn     *conn
	from     io.ReadCloser // net/http's. Its Close would read on to the end
	stop     func() bool
	reusable bool
	err      error // with which reading ended
	ended    atomic.Bool
}

// errClosed is of reading an answer that was closed.
var errClosed = errors.New("workers: read of an answer that was closed")

// begun reports whether some of the body has come, all of whose bytes are still to
// be read. A chunk has begun with its first byte, not with its length.
func (b *body) begun(chunked bool) bool {
	in, _ := b.conn.in.Peek(b.conn.in.Buffered())
	if !chunked {
		return len(in) > 0
	}
	length := bytes.IndexByte(in, '\n') + 1
	return length > 0 && length < len(in) && in[0] != '0'
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case b.ended.Load():
		return 0, errClosed
	}
	n, err := b.from.Read(p)
	if err != nil {
		b.end(err == io.EOF)
		if err != io.EOF {
			err = cause(b.ctx, err)
		}
		b.err = err
	}
	return n, err
}

// Close implements io.Closer. An answer that was not read to its end takes the
// connection with it.
func (b *body) Close() error {
	b.end(false)
	return nil
}

// end ends the answer, the first time it is called, and the connection with it
// unless it can serve another request.
func (b *body) end(whole bool) {
	if b.ended.Swap(true) {
		return
	}
	if whole {
		b.conn.asked.Store(false)
	}
	if b.stop() && whole && b.reusable && b.conn.clean() {
		b.conn.from.keep(b.conn)
		return
	}
	b.conn.close()
}
