package workers

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// partWait is how long a worker whose answer nobody waits for any more has to
	// see that, and partBytes how much of the answer it may still send.
	partWait  = 100 * time.Millisecond
	partBytes = 1 << 20
)

// part tells the worker that nobody waits for its answer any more, and waits
// until it has closed its side: servers give a request up when its connection
// ends, and then close theirs.
func part(c net.Conn) {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(partWait))
	_, _ = io.CopyN(io.Discard, c, partBytes)
}

// transportConn is a connection of http.Transport's. Where a request is under way
// on it, it parts from the worker before it is closed. Nobody learns of its end
// before that.
type transportConn struct {
	net.Conn
	by      atomic.Pointer[exchange] // whose request it is; nil: nobody's, or HTTP/2's
	closing atomic.Bool
	closed  chan struct{}
}

// dialTransport is a dial for http.Transport.
func dialTransport(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &transportConn{Conn: c, closed: make(chan struct{})}, nil
	}
}

// transportConnOf returns the connection of which http.Transport tells; nil where
// it is HTTP/2's, on which one request ends without the others.
func transportConnOf(c net.Conn) *transportConn {
	if t, ok := c.(*tls.Conn); ok {
		if t.ConnectionState().NegotiatedProtocol == "h2" {
			return nil
		}
		c = t.NetConn()
	}
	own, _ := c.(*transportConn)
	return own
}

// Read implements io.Reader.
func (c *transportConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.closing.Load() {
		<-c.closed
		return 0, net.ErrClosed // what was read is of no use without the rest
	}
	return n, err
}

// Close implements io.Closer. It may wait for the worker.
func (c *transportConn) Close() error {
	if c.closing.Swap(true) {
		<-c.closed
		return net.ErrClosed
	}
	if c.by.Load() != nil {
		part(c.Conn)
	}
	err := c.Conn.Close()
	close(c.closed)
	return err
}

// CloseWrite ends the direction to the worker, where the connection can.
func (c *transportConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return http.ErrNotSupported
	}
	return half.CloseWrite()
}

// free says that the connection is no longer the exchange's. It may be the next
// one's already.
func (c *transportConn) free(x *exchange) {
	if c != nil {
		c.by.CompareAndSwap(x, nil)
	}
}

// wait returns when the connection, which the transport is about to close, has
// been closed.
func (c *transportConn) wait() {
	if c == nil {
		return
	}
	t := time.NewTimer(2 * partWait) // the answer may have come whole just now, and the connection lives
	defer t.Stop()
	select {
	case <-c.closed:
	case <-t.C:
	}
}
