package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	mostUnwritten = 1 << 20     // bytes of the log
	lastLines     = time.Second // that the program waits at its end for who reads them
)

// logWriter is a log that nobody who writes to it waits for: a pipe that is full,
// since what reads it hangs, would hold up every request that is logged, reloads
// and the end of the program. What finds no room is left out, and counted.
type logWriter struct {
	to   io.Writer
	wake chan struct{} // of one: there is something to do
	done chan struct{} // closed when all has been written

	mu      sync.Mutex // guards what follows
	lines   []byte     // to be written
	missing int        // lines that came after them
	closed  bool
}

// newLogWriter returns one that writes to to, until Close.
func newLogWriter(to io.Writer) *logWriter {
	l := &logWriter{to: to, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go l.pass()
	return l
}

// Write takes a line, at once. It never fails. Any goroutine may call it.
func (l *logWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	if l.missing > 0 || len(l.lines)+len(line) > mostUnwritten {
		l.missing++
	} else {
		l.lines = append(l.lines, line...)
	}
	l.mu.Unlock()
	l.turn()
	return len(line), nil
}

// Close waits until what was written before it has been passed on, lastLines at
// most.
func (l *logWriter) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.turn()
	late := time.NewTimer(lastLines)
	defer late.Stop()
	select {
	case <-l.done:
	case <-late.C:
	}
}

func (l *logWriter) turn() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// pass passes lines on.
func (l *logWriter) pass() {
	defer close(l.done)
	var lines []byte
	for {
		l.mu.Lock()
		lines, l.lines = l.lines, lines[:0]
		missing, closed := l.missing, l.closed
		l.missing = 0
		l.mu.Unlock()
		if missing > 0 {
			lines = fmt.Appendf(lines, "penstock: %d lines of the log are missing here: whoever reads it was too slow\n", missing)
		}
		switch {
		case len(lines) > 0:
			_, _ = l.to.Write(lines) // there is nowhere to say that it failed
		case closed:
			return
		default:
			<-l.wake
		}
	}
}
