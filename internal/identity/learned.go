package identity

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// learnedFor is how long a key stays known after it was last learned.
	learnedFor = 10 * time.Minute
	// maxLearned bounds the keys that are known at a time.
	maxLearned = 100_000
	// reclaimPerCall is how many expired keys a call drops at most: more than
	// one, so that they go faster than new ones come.
	reclaimPerCall = 2
)

// Learned is the keys that a worker has accepted lately: each is known for ten
// minutes from when it was last learned. At most 100,000 are; when they are
// all live, a newcomer is not learned. The zero Learned is empty and ready to
// use. It is safe for concurrent use and must not be copied.
type Learned struct {
	mu    sync.Mutex
	max   int              // 0: maxLearned
	start time.Time        // the first now; learned times count from it
	index map[digest]int32 // into nodes
	nodes []node           // nodes[0] ties the ring: next is the oldest, prev the newest
	free  int32            // a list of unused nodes by next; 0 ends it
}

type digest = [sha256.Size]byte

// node is a key in the ring of keys, which is in the order they were last
// learned in, so that the expired ones are found without a search.
type node struct {
	key        digest
	at         time.Duration // when it was last learned, since start
	prev, next int32
}

// Learn makes key known from now on. A now before the last one of the same key
// changes nothing.
func (l *Learned) Learn(key [sha256.Size]byte, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.index == nil {
		l.start, l.index, l.nodes = now, map[digest]int32{}, make([]node, 1)
		if l.max == 0 {
			l.max = maxLearned
		}
	}
	at := now.Sub(l.start)
	l.reclaim(at)
	n, ok := l.index[key]
	if ok && at <= l.nodes[n].at || !ok && len(l.index) == l.max {
		return
	}
	if ok {
		l.unlink(n)
	} else {
		n = l.take()
		l.index[key] = n
	}
	newest := l.nodes[0].prev
	l.nodes[n] = node{key: key, at: at, prev: newest}
	l.nodes[newest].next, l.nodes[0].prev = n, n
}

// Known reports whether key was learned less than ten minutes before now.
func (l *Learned) Known(key [sha256.Size]byte, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := now.Sub(l.start)
	l.reclaim(at)
	n, ok := l.index[key]
	return ok && at-l.nodes[n].at < learnedFor
}

// Forget makes key unknown, as when a worker has refused it.
func (l *Learned) Forget(key [sha256.Size]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, ok := l.index[key]; ok {
		l.drop(n)
	}
}

// reclaim drops the oldest keys that have expired. It requires l.mu, as all
// below do.
func (l *Learned) reclaim(at time.Duration) {
	if l.index == nil {
		return
	}
	for range reclaimPerCall {
		n := l.nodes[0].next
		if n == 0 || at-l.nodes[n].at < learnedFor {
			return
		}
		l.drop(n)
	}
}

// drop removes node n and keeps it for the next key.
func (l *Learned) drop(n int32) {
	l.unlink(n)
	delete(l.index, l.nodes[n].key)
	l.nodes[n] = node{next: l.free}
	l.free = n
}

func (l *Learned) unlink(n int32) {
	prev, next := l.nodes[n].prev, l.nodes[n].next
	l.nodes[prev].next, l.nodes[next].prev = next, prev
}

// take returns a node that is not in the ring.
func (l *Learned) take() int32 {
	if n := l.free; n != 0 {
		l.free = l.nodes[n].next
		return n
	}
	l.nodes = append(l.nodes, node{})
	return int32(len(l.nodes) - 1)
}
