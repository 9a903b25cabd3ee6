package queue

import (
	"slices"
	"sort"
)

// key is where a caller stands among those of its class: who has been served
// less goes first, and of equals who has waited longer.
type key struct {
	served work
	number uint64 // of the caller's first waiter; no two are the same
}

func (k key) before(other key) bool {
	if k.served != other.served {
		return k.served.less(other.served)
	}
	return k.number < other.number
}

type seat struct {
	key
	caller *caller
}

// rowSize is how many callers share a row: a move within one is as cheap as
// the search for it.
const rowSize = 64

// row is some neighbours in the ranking. What a search needs of it lies in the
// list of rows, so that it does not have to visit them.
type row struct {
	last  key // of whom the row's others go before
	len   int
	seats *[rowSize]seat
}

// ranking is the callers of one class who have somebody waiting, sorted. A heap
// would do to find the first; that it is sorted also tells how many go before
// somebody. Rows, and seats in a row, run from who goes last to who goes first,
// so that what happens most, at the front, moves least. A change costs a
// binary search and the move of at most a row; the zero ranking is empty.
type ranking struct {
	rows  []row
	len   int
	spare []*[rowSize]seat
}

const mostSpareRows = 64

// first returns the seat of whom everybody else goes after; the ranking must
// not be empty.
func (r *ranking) first() *seat {
	front := &r.rows[len(r.rows)-1]
	return &front.seats[front.len-1]
}

// find returns where k is, or where it would be put: in which row, and at which
// seat.
func (r *ranking) find(k key) (i, j int) {
	i = sort.Search(len(r.rows), func(i int) bool { return !k.before(r.rows[i].last) })
	if i == len(r.rows) {
		if i == 0 {
			return 0, 0
		}
		i-- // before all others
	}
	at := &r.rows[i]
	return i, sort.Search(at.len, func(j int) bool { return !k.before(at.seats[j].key) })
}

// insert seats a caller, which must not be seated, under k.
func (r *ranking) insert(k key, c *caller) {
	i, j := r.find(k)
	switch {
	case len(r.rows) == 0:
		r.rows = append(r.rows, row{seats: r.take()})
	case r.rows[i].len == rowSize:
		const half = rowSize / 2
		back, front := &r.rows[i], row{seats: r.take(), len: rowSize - half}
		copy(front.seats[:], back.seats[half:])
		clear(back.seats[half:])
		back.len = half
		front.close()
		back.close()
		r.rows = slices.Insert(r.rows, i+1, front)
		if j > half {
			i, j = i+1, j-half
		}
	}
	at := &r.rows[i]
	copy(at.seats[j+1:at.len+1], at.seats[j:at.len])
	at.seats[j] = seat{k, c}
	at.len++
	at.close()
	r.len++
}

// close notes whose seat is the last of the row now.
func (w *row) close() { w.last = w.seats[w.len-1].key }

// remove unseats who is seated under k.
func (r *ranking) remove(k key) {
	i, j := r.find(k)
	at := &r.rows[i]
	copy(at.seats[j:], at.seats[j+1:at.len])
	r.shrink(i)
}

// pop unseats the first.
func (r *ranking) pop() { r.shrink(len(r.rows) - 1) }

// requeue seats the first anew, under k.
func (r *ranking) requeue(k key) {
	front := &r.rows[len(r.rows)-1]
	if first := front.len - 1; r.len == 1 || first > 0 && k.before(front.seats[first-1].key) {
		front.seats[first].key = k // it stays the first
		front.close()
		return
	}
	c := r.first().caller
	r.pop()
	r.insert(k, c)
}

// shrink takes the first seat of a row, which nobody sits on any more, away.
func (r *ranking) shrink(i int) {
	at := &r.rows[i]
	at.len--
	at.seats[at.len] = seat{}
	r.len--
	if at.len > 0 {
		at.close()
		if i == 0 || at.len+r.rows[i-1].len > rowSize/2 {
			return
		}
		// Few in each: the memory stays in proportion to the callers.
		to := &r.rows[i-1]
		to.len += copy(to.seats[to.len:], at.seats[:at.len])
		to.close()
		clear(at.seats[:at.len])
	}
	if len(r.spare) < mostSpareRows {
		r.spare = append(r.spare, at.seats)
	}
	r.rows = slices.Delete(r.rows, i, i+1)
}

// rank returns how many go before k. It counts from the nearer end, where most
// newcomers are: those who were away at the front, those just served at the back.
func (r *ranking) rank(k key) int {
	if r.len == 0 {
		return 0
	}
	if r.rows[0].seats[0].before(k) {
		return r.len
	}
	i, j := r.find(k)
	at := &r.rows[i]
	n := at.len - j
	if j < at.len && at.seats[j].key == k {
		n--
	}
	if i < len(r.rows)/2 {
		n += r.len - at.len
		for _, behind := range r.rows[:i] {
			n -= behind.len
		}
		return n
	}
	for _, before := range r.rows[i+1:] {
		n += before.len
	}
	return n
}

func (r *ranking) take() *[rowSize]seat {
	if n := len(r.spare); n > 0 {
		seats := r.spare[n-1]
		r.spare = r.spare[:n-1]
		return seats
	}
	return new([rowSize]seat)
}
