package workers

import "sync/atomic"

// Held is a request's body that is held in memory, so that it can be sent to
// several workers. It must not be copied.
type Held struct {
	bytes []byte
	users atomic.Int32 // those that may be reading it
}

// Hold makes b the body. A nil b is none.
func (h *Held) Hold(b []byte) { h.bytes = b }

// Free reports whether nobody reads the body any more, and nobody will but by
// another Send: its memory may be used for something else. Where that cannot be
// known it is never free.
func (h *Held) Free() bool { return h.users.Load() == 0 }

// use notes that somebody reads the body, until done is called.
func (h *Held) use()  { h.users.Add(1) }
func (h *Held) done() { h.users.Add(-1) }
