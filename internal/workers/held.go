package workers

import "sync/atomic"

// Held is a request's body that is held in memory, so that it can be sent to
// several workers. It must not be copied.
type Held struct {
	bytes []byte
	users atomic.Int32 // those that may be reading it
	lost  bool         // one of them is not known to end
}

// Hold makes b the body. A nil b is none.
func (h *Held) Hold(b []byte) { h.bytes = b }

// Free reports whether nobody reads the body any more, and nobody will but by
// another Send: its memory may be used for something else.
func (h *Held) Free() bool { return !h.lost && h.users.Load() == 0 }

// Lost reports whether it cannot be known when nobody reads the body any more, so
// that it is never free. It is for whoever has called Send, after that: to hold on
// to the body is of no use then.
func (h *Held) Lost() bool { return h.lost }

// use notes that somebody reads the body, until done is called.
func (h *Held) use()  { h.users.Add(1) }
func (h *Held) done() { h.users.Add(-1) }
