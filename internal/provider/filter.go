package provider

import (
	"io"

	"github.com/penstock-dev/penstock/internal/provider/sse"
)

const (
	// maxHeld is how many bytes of an event are held back until it is known
	// whether the client may see it. A larger one is shown.
	maxHeld = 1 << 20
	// keepHeld is the largest buffer that is kept for the next answer.
	keepHeld = 16 << 10
	// readBytes is how much is read at a time where something is to be hidden,
	// which bounds the buffers of a stream of small events.
	readBytes = 4 << 10
	// maxIdle is how often a body may read nothing before it is given up.
	maxIdle = 100
)

// filter takes the events with only a usage out of a stream.
type filter struct {
	on     bool
	inside bool   // bytes of an event were passed on whose end was not
	hidden bool   // the last event was taken out
	held   []byte // the begin of an event
	passed []byte // what one read passed on
	ready  []byte // the rest of it
	err    error  // after which nothing comes
}

func (f *filter) start(on bool) {
	*f = filter{on: on, held: emptied(f.held), passed: emptied(f.passed)}
}

func emptied(buf []byte) []byte {
	if cap(buf) > keepHeld {
		return nil
	}
	return buf[:0]
}

// read reads from the meter's body what the client may see.
func (f *filter) read(m *Meter, p []byte) (int, error) {
	for idle := 0; len(f.ready) == 0 && f.err == nil && len(p) > 0; idle++ {
		n, err := m.body.Read(p[:min(len(p), readBytes)])
		if n > 0 {
			idle = 0
		}
		if err == nil && idle == maxIdle {
			err = io.ErrNoProgress
		}
		f.passed = f.pass(m, f.passed[:0], p[:n])
		if err != nil {
			f.passed, f.err = f.flush(f.passed), err
		}
		f.ready = f.passed
	}
	if len(f.ready) == 0 {
		return 0, f.err
	}
	n := copy(p, f.ready)
	f.ready = f.ready[n:]
	return n, nil
}

// pass appends to dst what the client may see of src and of what was held, and
// holds the begin of an event that src ends with.
func (f *filter) pass(m *Meter, dst, src []byte) []byte {
	from := 0 // what is before it was passed on or taken out
	for at := 0; ; {
		n, t, usageOnly := m.next(src[at:])
		at += n
		switch t {
		case sse.Event, sse.Blank:
			if f.hidden = usageOnly && !f.inside; !f.hidden {
				dst = append(append(dst, f.held...), src[from:at]...)
			}
			f.held, f.inside, from = f.held[:0], false, at
		case sse.Tail:
			if !f.hidden {
				dst = append(dst, src[from:at]...)
			}
			from = at
		case sse.More:
			return f.hold(dst, src[from:])
		}
	}
}

// hold keeps the bytes of an event that has not ended, or appends them to dst
// when they are too many to keep.
func (f *filter) hold(dst, src []byte) []byte {
	if !f.inside && len(f.held)+len(src) <= maxHeld {
		f.held = append(f.held, src...)
		return dst
	}
	dst = f.flush(dst)
	f.inside = f.inside || len(src) > 0
	return append(dst, src...)
}

// flush appends to dst what is held.
func (f *filter) flush(dst []byte) []byte {
	f.inside = f.inside || len(f.held) > 0
	dst = append(dst, f.held...)
	f.held = f.held[:0]
	return dst
}
