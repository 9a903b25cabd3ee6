package config

// maxListed is how many known names a message lists.
const maxListed = 10

// nearest returns the name that is so close to word that it was probably
// meant: at most three letters and a third of the word's length away. It
// returns "" when there is none.
func nearest(word string, names []string) string {
	if len(word) > 64 { // no name of ours is near
		return ""
	}
	best, found := min(3, len(word)/3), ""
	for _, name := range names {
		if max(len(name)-len(word), len(word)-len(name)) > best {
			continue
		}
		if d := distance(word, name); d < best || d == best && found == "" {
			best, found = d, name
		}
	}
	return found
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to get from a to b (optimal string alignment).
func distance(a, b string) int {
	var before, last []int // the two rows above
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(replaced, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
