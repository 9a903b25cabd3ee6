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

type row struct {
	len   int
	seats [rowSize]seat
}

// last is the key of whom the row's others go after.
func (r *row) last() key { return r.seats[r.len-1].key }

// ranking is the callers of one class who have somebody waiting, sorted. A heap
// would do to find the first; that it is sorted also tells how many go before
// somebody. Rows, and seats in a row, run from who goes last to who goes first,
// so that what happens most, at the front, moves least. A change costs a
// binary search and the move of at most a row; the zero ranking is empty.
type ranking struct {
	rows  []*row
	len   int
	spare []*row
}

const mostSpareRows = 64

// first returns the seat of whom everybody else goes after; the ranking must
// not be empty.
func (r *ranking) first() *seat {
	front := r.rows[len(r.rows)-1]
	return &front.seats[front.len-1]
}

// find returns where k is, or where it would be put: in which row, and at which
// seat.
func (r *ranking) find(k key) (i, j int) {
	i = sort.Search(len(r.rows), func(i int) bool { return !k.before(r.rows[i].last()) })
	if i == len(r.rows) {
		if i == 0 {
			return 0, 0
		}
		i-- // before all others
	}
	at := r.rows[i]
	return i, sort.Search(at.len, func(j int) bool { return !k.before(at.seats[j].key) })
}

// insert seats a caller, which must not be seated, under k.
func (r *ranking) insert(k key, c *caller) {
	i, j := r.find(k)
	if len(r.rows) == 0 {
		r.rows = append(r.rows, r.take())
	}
	at := r.rows[i]
	if at.len == rowSize {
		front := r.take()
		const half = rowSize / 2
		front.len = copy(front.seats[:], at.seats[half:])
		clear(at.seats[half:])
		at.len = half
		r.rows = slices.Insert(r.rows, i+1, front)
		if j > half {
			at, j = front, j-half
		}
	}
	copy(at.seats[j+1:at.len+1], at.seats[j:at.len])
	at.seats[j] = seat{k, c}
	at.len++
	r.len++
}

// remove unseats who is seated under k.
func (r *ranking) remove(k key) {
	i, j := r.find(k)
	at := r.rows[i]
	copy(at.seats[j:], at.seats[j+1:at.len])
	at.len--
	at.seats[at.len] = seat{}
	r.len--
	switch {
	case at.len == 0:
		r.drop(i)
	case i > 0 && at.len+r.rows[i-1].len <= rowSize/2:
		// Few in each: the memory stays in proportion to the callers.
		to := r.rows[i-1]
		to.len += copy(to.seats[to.len:], at.seats[:at.len])
		clear(at.seats[:at.len])
		at.len = 0
		r.drop(i)
	}
}

// rank returns how many go before k.
func (r *ranking) rank(k key) int {
	if r.len == 0 {
		return 0
	}
	i, j := r.find(k)
	n := r.rows[i].len - j
	if j < r.rows[i].len && r.rows[i].seats[j].key == k {
		n--
	}
	for _, row := range r.rows[i+1:] {
		n += row.len
	}
	return n
}

func (r *ranking) take() *row {
	if n := len(r.spare); n > 0 {
		row := r.spare[n-1]
		r.spare = r.spare[:n-1]
		return row
	}
	return new(row)
}

// drop takes out row i, which is empty.
func (r *ranking) drop(i int) {
	if len(r.spare) < mostSpareRows {
		r.spare = append(r.spare, r.rows[i])
	}
	r.rows = slices.Delete(r.rows, i, i+1)
}
