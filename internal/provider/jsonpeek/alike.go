package jsonpeek

import "bytes"

const (
	// minRest is how much of a document must be left for it to be worth while.
	minRest = 1024
	// maxPassed is how many strings of an element are written down, at most.
	maxPassed = 4
	// maxMissed is how often it is tried to find elements alike, in an array
	// where there are none.
	maxMissed = 4
)

// record is the strings of an element that walks passed by themselves.
type record struct {
	on     bool
	n      int // more than maxPassed: the element is no example for others
	passed [maxPassed]passed
}

// passed is a string, its quotes included.
type passed struct {
	begin, end int
	counted    bool
}

// add writes down a string of n bytes at i.
func (r *record) add(i, n int, a action) {
	if r.n < maxPassed {
		r.passed[r.n] = passed{i, i + n, a == count}
	}
	r.n++
}

// Uncount sets Counted to what it was before, where what was counted since turns
// out not to be wanted.
func (c *Cursor) Uncount(to Text) {
	c.Counted = to
	c.record.n = maxPassed + 1
}

// Example says that the element before which Next stood the cursor, an object,
// may stand for others: once the caller has taken it, Repeat passes those that
// follow and are written alike.
func (a *Array) Example() {
	c := a.c
	if r := &c.record; len(c.data)-c.pos >= minRest && a.end > 0 && a.missed < maxMissed && !r.on {
		r.on, r.n, a.example = true, 0, true
	}
}

// Repeat passes the elements that follow and are the same as the one just taken
// but for the strings that walks pass by themselves, as Fields.Skip and
// Fields.Count have it; it adds to Counted what those hold, and returns how many
// elements it passed. It follows on Example.
func (a *Array) Repeat() (n int) {
	c := a.c
	if !a.example {
		return 0
	}
	c.record.on, a.example = false, false
	if c.err == nil && c.record.n <= maxPassed {
		// With the comma before it: it begins where what is before it ends.
		for begin, end := a.end, c.pos; c.alike(begin, end); n++ {
		}
	}
	if n == 0 {
		a.missed++
	}
	return n
}

// alike passes what is written as the document is from begin to end, but for the
// strings that were written down of that, and reports whether it is.
func (c *Cursor) alike(begin, end int) bool {
	i, counted := c.pos, Text{}
	for j := range c.record.n {
		p := &c.record.passed[j]
		fixed := c.data[begin : p.begin+len(`"`)]
		if !bytes.HasPrefix(c.data[i:], fixed) {
			return false
		}
		i += len(fixed)
		begin = p.end
		n, t := 0, Text{}
		if s := window(c.data, i-1); s != nil {
			n = short(s)
			t.ASCII = int64(n - 2)
		}
		if n == 0 {
			m, u, ok := StringEnd(c.data[i:])
			if !ok {
				return false
			}
			n, t = m+2, u
		}
		i += n - 1
		if p.counted {
			counted.Add(t)
		}
	}
	fixed := c.data[begin:end]
	if !bytes.HasPrefix(c.data[i:], fixed) {
		return false
	}
	c.pos = i + len(fixed)
	c.Counted.Add(counted)
	return true
}
