package queue

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// deadlines is until when those in the line wait. Those who came with the same
// timeout are in a row, which is in order by itself; there are several rows only
// while some wait who came before the timeout was changed. The zero deadlines are
// empty.
type deadlines struct {
	rows  []*block // the roots of the rings that the rows are
	spare *block   // by next
	kept  int      // how many are spare
}

// block is some who came one after the other, with the same timeout. Who leaves
// the line clears a bit here and touches nobody else; a block that all have left is
// taken out of its row. The root of a row is a block of nobody.
type block struct {
	live       uint32 // a bit for each of places that still waits
	used       int    // of places; less than all only in the last of a row
	prev, next *block
	timeout    time.Duration
	places     [blockSize]*place
}

const (
	// blockSize has a block fill four cache lines, of which only the first is
	// touched when somebody leaves. At worst, if of each block one waits on, that is
	// as much again for each as its place and channel.
	blockSize = 27
	// mostSpareBlocks is how many blocks are kept when nobody waits.
	mostSpareBlocks = 256
)

// add notes that p waits from now on for the timeout, and returns until when.
func (s *deadlines) add(p *place, now, timeout time.Duration) time.Duration {
	if len(s.rows) == 0 || s.rows[0].timeout != timeout {
		s.front(timeout)
	}
	root := s.rows[0]
	b := root.prev
	if b == root || b.used == blockSize {
		b = s.take()
		b.timeout = timeout
		b.prev, b.next = root.prev, root
		b.prev.next, root.prev = b, b
	}
	b.places[b.used] = p
	b.live |= 1 << b.used
	p.since, p.block, p.nthOfBlock = now, b, uint8(b.used)
	b.used++
	return until(now, timeout)
}

// remove notes that p waits no longer.
func (s *deadlines) remove(p *place) {
	b := p.block
	p.block = nil
	b.live &^= 1 << p.nthOfBlock
	switch {
	case b.live != 0:
	case b.used < blockSize: // the last of its row: more are to come
		b.used = 0
	default:
		b.prev.next, b.next.prev = b.next, b.prev
		s.give(b)
	}
}

// front makes the row of a timeout the first, and drops those that are empty.
func (s *deadlines) front(timeout time.Duration) {
	s.rows = slices.DeleteFunc(s.rows, func(root *block) bool {
		if first := root.next; root.timeout == timeout || first.live != 0 {
			return false
		}
		if root.next != root {
			s.give(root.next)
		}
		return true
	})
	i := slices.IndexFunc(s.rows, func(root *block) bool { return root.timeout == timeout })
	if i < 0 {
		i = len(s.rows)
		root := &block{timeout: timeout}
		root.prev, root.next = root, root
		s.rows = append(s.rows, root)
	}
	s.rows[0], s.rows[i] = s.rows[i], s.rows[0]
}

// due returns one whose time has come at now, and who has to leave before this is
// asked again; nil for nobody, with the time at which to look again.
func (s *deadlines) due(now time.Duration) (p *place, again time.Duration) {
	again = math.MaxInt64
	for _, root := range s.rows {
		first := root.next
		if first.live == 0 { // only a row's root and its last have nobody
			continue
		}
		p := first.places[bits.TrailingZeros32(first.live)]
		until := p.until()
		if until <= now {
			return p, 0
		}
		again = min(again, until)
	}
	return nil, again
}

func (s *deadlines) take() *block {
	b := s.spare
	if b == nil {
		return new(block)
	}
	s.spare = b.next
	s.kept--
	return b
}

// give keeps a block that all have left to be used again.
func (s *deadlines) give(b *block) {
	if s.kept == mostSpareBlocks {
		return
	}
	*b = block{next: s.spare}
	s.spare = b
	s.kept++
}
