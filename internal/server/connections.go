package server

import (
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-dev/penstock/internal/peer"
)

// connections is the gateway's listener. No more connections are open at a time than
// there are files and memory for, so that whoever opens many and says nothing takes
// neither the files from the workers' connections nor the memory from everything.
// A new one takes the place of one whose client is waited for, as nginx lets go of
// connections to use them again; while there is none such, it waits to be accepted.
type connections struct {
	*net.TCPListener
	most int
	full func() // called when no more may be open, at most once a fullEvery

	room   chan struct{} // of one: a connection was closed, or waits for its client
	ending chan struct{} // closed with the listener
	end    sync.Once

	waiting atomic.Bool // for room

	mu   sync.Mutex // guards what follows
	open []*connection
	hand int // where the search for one to let go of goes on, round and round
	told time.Time
}

const (
	fullEvery = time.Minute
	// atOnce is how many connections are looked at while the lock is held.
	atOnce = 256
)

// connection is one that was accepted.
type connection struct {
	*net.TCPConn // whose CloseWrite the server needs, too
	of           *connections
	at           int // in open; -1: not there any more. Guarded by of.mu

	// What its client is waited for: the first request or the next one; more of one,
	// head or body, for which there is a deadline.
	idle, reads atomic.Bool
}

// limit makes a listener that has at most so many connections open.
func limit(l *net.TCPListener, most int, full func()) *connections {
	return &connections{TCPListener: l, most: most, full: full, room: make(chan struct{}, 1), ending: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *connections) Accept() (net.Conn, error) {
	accepted, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	c := &connection{TCPConn: accepted, of: l}
	c.idle.Store(true)
	if l.take(c) {
		return c, nil
	}
	l.waiting.Store(true)
	defer l.waiting.Store(false)
	for !l.take(c) {
		select {
		case <-l.room:
		case <-l.ending:
			_ = accepted.Close()
			return nil, net.ErrClosed
		}
	}
	return c, nil
}

// Close implements net.Listener. Connections stay open.
func (l *connections) Close() error {
	l.end.Do(func() { close(l.ending) })
	return l.TCPListener.Close()
}

// take makes c one of the open connections, in the place of another if need be, and
// reports whether there was room.
func (l *connections) take(c *connection) bool {
	for looked := 0; ; looked += atOnce {
		l.mu.Lock()
		if len(l.open) < l.most {
			c.at = len(l.open)
			l.open = append(l.open, c)
			l.mu.Unlock()
			return true
		}
		waits, total := l.waits(), len(l.open)
		tell := time.Since(l.told) >= fullEvery
		if tell {
			l.told = time.Now()
		}
		l.mu.Unlock()
		if tell {
			l.full()
		}
		switch {
		case waits != nil:
			_ = waits.Close()
		case looked+atOnce >= total:
			return false
		}
	}
}

// watch ends connections whose client's host is gone, until end is closed: nothing
// else would tell for a quarter of an hour that a request's slot is held for nobody.
func (l *connections) watch(end <-chan struct{}) {
	look := time.NewTicker(peer.LookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			l.endGone(peer.Gone)
		case <-end:
			return
		}
	}
}

// endGone closes the connections of which gone says so. It begins with the last one,
// since that takes the place of one that is closed.
func (l *connections) endGone(gone func(*net.TCPConn) bool) {
	var some [atOnce]*connection
	for to := math.MaxInt; to > 0; {
		l.mu.Lock()
		to = min(to, len(l.open))
		from := max(to-atOnce, 0)
		n := copy(some[:], l.open[from:to])
		l.mu.Unlock()
		for _, c := range some[:n] {
			if gone(c.TCPConn) {
				_ = c.Close()
			}
		}
		to = from
	}
}

// waits returns a connection that waits for its client, of those next to the hand.
// l.mu is held.
func (l *connections) waits() *connection {
	for range min(atOnce, len(l.open)) {
		if l.hand++; l.hand >= len(l.open) {
			l.hand = 0
		}
		if c := l.open[l.hand]; c.idle.Load() || c.reads.Load() {
			return c
		}
	}
	return nil
}

// Close implements net.Conn.
func (c *connection) Close() error {
	err := c.TCPConn.Close()
	l := c.of
	l.mu.Lock()
	if c.at >= 0 {
		last := len(l.open) - 1
		l.open[c.at] = l.open[last]
		l.open[c.at].at = c.at
		l.open[last] = nil
		l.open = l.open[:last]
		c.at = -1
	}
	l.mu.Unlock()
	l.made()
	return err
}

// SetReadDeadline implements net.Conn. While there is one, what the client sends next
// is waited for.
func (c *connection) SetReadDeadline(t time.Time) error {
	c.waitsFor(&c.reads, !t.IsZero())
	return c.TCPConn.SetReadDeadline(t)
}

// waitsFor notes whether the client is waited for.
func (c *connection) waitsFor(what *atomic.Bool, so bool) {
	if what.Store(so); so {
		c.of.made()
	}
}

// made says that there may be room.
func (l *connections) made() {
	if !l.waiting.Load() {
		return
	}
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// state is told by the server what becomes of a connection.
func (l *connections) state(conn net.Conn, s http.ConnState) {
	if c, ok := conn.(*connection); ok {
		c.waitsFor(&c.idle, s == http.StateNew || s == http.StateIdle)
	}
}

const (
	// bytesEach is what a connection takes while a request is under way, about.
	bytesEach = 64 << 10
	// leftFiles are for all that is neither a client's nor a worker's.
	leftFiles = 32
	// leastConnections are allowed wherever it runs.
	leastConnections = 16
	// adminConnections are the most on the admin port, and among leftFiles.
	adminConnections = 16
)

// halfOf is how many connections there may be to workers where so many files may be
// open: as many as of clients. A client that speaks HTTP/2 has more than one.
func halfOf(files uint64) int {
	files = min(files, math.MaxInt32)
	return max(leastConnections, int(files-min(leftFiles, files))/2)
}

// mostConnections is how many connections of clients there may be where so many
// files may be open, and memory is so many bytes.
func mostConnections(files uint64, memory int64) int {
	return max(leastConnections, min(halfOf(files), int(min(memory/bytesEach, math.MaxInt32))))
}
