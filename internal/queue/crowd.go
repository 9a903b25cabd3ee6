package queue

// crowd is the callers of one class by how many of their requests wait, so that
// the one with most is at hand. Each change takes constant time; the zero crowd
// is empty.
type crowd struct {
	// levels[n] leads the chain of callers with n waiters, whose number changed
	// last first. Level 0 is empty; the last level is not.
	levels []*caller
}

// most returns the caller with most waiters, of several whose number changed
// last; nil when nobody waits.
func (w *crowd) most() *caller {
	if len(w.levels) == 0 {
		return nil
	}
	return w.levels[len(w.levels)-1]
}

// move notes that the caller has c.waiting waiters, and had so many before.
func (w *crowd) move(c *caller, before int32) {
	if before > 0 {
		if c.lessRecent != nil {
			c.lessRecent.moreRecent = c.moreRecent
		}
		if c.moreRecent != nil {
			c.moreRecent.lessRecent = c.lessRecent
		} else {
			w.levels[before] = c.lessRecent
		}
		c.moreRecent, c.lessRecent = nil, nil
	}
	if n := c.waiting; n > 0 {
		for len(w.levels) <= int(n) {
			w.levels = append(w.levels, nil)
		}
		if c.lessRecent = w.levels[n]; c.lessRecent != nil {
			c.lessRecent.moreRecent = c
		}
		w.levels[n] = c
	}
	for n := len(w.levels); n > 0 && w.levels[n-1] == nil; n-- {
		w.levels = w.levels[:n-1]
	}
}
