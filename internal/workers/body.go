package workers

import (
	"context"
	"io"
	"net/http"
)

// clientBody is a body that exists once. It keeps the transport from closing
// it when there was no connection, since the next worker may have it: before
// there is one, nothing is read.
//
// It also ends a body of known length by itself. The transport reads on to see
// that nothing follows; by then the worker may have answered and the server
// closed the client's body, and for the error of that read the transport would
// break off the answer.
type clientBody struct {
	io.ReadCloser
	exchange *exchange
	left     int64 // bytes to come; negative if unknown
}

func (b *clientBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.exchange.broken.Store(true)
	}
	if b.left > 0 {
		b.left -= min(b.left, int64(n))
	}
	return n, err
}

func (b *clientBody) Close() error {
	if !b.exchange.connected.Load() {
		return nil
	}
	return b.ReadCloser.Close()
}

// clientGone reports whether the exchange broke off on the client's side.
func (x *exchange) clientGone() bool { return x.ctx.Err() != nil || x.broken.Load() }

// Read reads the worker's answer, and ends the exchange with it.
func (x *exchange) Read(p []byte) (int, error) {
	n, err := x.body.Read(p)
	if n > 0 {
		x.worker.heard.Add(1)
	}
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF && x.late():
		err = context.Cause(x.ctx)
	case err == io.EOF:
		x.conn.free(x)
		x.end(whole, nil)
		return n, err
	}
	x.conn.wait()
	if x.clientGone() {
		x.end(left, err)
	} else {
		x.end(broken, err)
	}
	return n, err
}

// Close closes the worker's answer, wherever it is, and ends the exchange.
func (x *exchange) Close() error {
	err := x.body.Close()
	if !x.ended.Load() {
		x.conn.wait()
	}
	x.end(left, nil)
	return err
}

// upgraded is the body of a 101: the connection itself. One of its directions
// may end long before the other, so that only Close ends the exchange.
type upgraded struct {
	io.ReadWriteCloser
	exchange *exchange
}

// upgrade returns conn as the body of the answer. It is closed with the
// request's context at the latest: ReverseProxy drops it without closing it
// when it does not like the protocol.
func (x *exchange) upgrade(conn io.ReadWriteCloser) *upgraded {
	x.conn.free(x)
	u := &upgraded{ReadWriteCloser: conn, exchange: x}
	context.AfterFunc(x.ctx, func() { _ = u.Close() })
	return u
}

func (u *upgraded) Close() error {
	err := u.ReadWriteCloser.Close()
	u.exchange.end(whole, nil)
	return err
}

// CloseWrite ends the direction to the worker, where the connection can: with
// this ReverseProxy passes a half-closed connection on.
func (u *upgraded) CloseWrite() error {
	half, ok := u.ReadWriteCloser.(interface{ CloseWrite() error })
	if !ok {
		return http.ErrNotSupported
	}
	return half.CloseWrite()
}
