package jsonpeek

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Unknown is the field of a key that is none of those named.
const Unknown = -1

const (
	maxFields = 63
	maxName   = 31
	// widest is how many bytes of a key may stand for one of a name: the
	// Kelvin sign is three and folds to k. An escape of six is decoded first.
	widest = 3
)

// Fields is the fields of an object that are read, at most 63, told by the place
// of their names. Once made it is never changed and may be shared.
//
// Where workers disagree about which value a field has, nobody may gain by it:
// an object that has a key of them twice is refused, and so is one with a key
// that is equal to a name only when upper and lower case are the same
// ("MODEL", or one with the Kelvin sign for its k), since some readers take it for the name and others do not.
type Fields struct {
	names   [][]byte
	longest int
	known   [maxFields + 1]known // by place, from 1; at 0 is what any key begins with
	slots   [256]uint8           // the place of a name whose hash is here or before; 0: of none
}

// known is how a key that is a name looks where it stands.
type known struct {
	word, mask   uint64 // its first eight bytes, of which its closing quote may be one
	word2, mask2 uint64 // the next eight, where it is longer than seven
	bit          uint64 // the one of its place
	len          uint8
	string       action
}

// action is what Object.Next does with a string of a field.
type action uint8

const (
	stop action = iota // at it, for the caller
	skip
	count
)

// wordsName is the longest name that is looked for by words.
const wordsName = 15

// NewFields returns the fields with these names. The names are ASCII in lower
// case, of at most 31 bytes, and differ; anything else panics, as they are
// written down in the program.
func NewFields(names ...string) *Fields {
	f := &Fields{}
	for _, name := range names {
		key := []byte(name)
		if len(f.names) == maxFields || len(key) > maxName || f.match(key) != Unknown || canFold(key) {
			panic(fmt.Sprintf("jsonpeek: the field %q cannot be told from others", name))
		}
		f.names = append(f.names, key)
		f.longest = max(f.longest, len(key))
		place, h := len(f.names), hash(key)
		for f.slots[h] != 0 {
			h++
		}
		f.slots[h] = uint8(place)
		f.known[place] = known{word: 1, bit: 1 << (place - 1), len: uint8(len(key))} // which no key is
		if k := &f.known[place]; len(key) <= wordsName {
			var w [2 * 8]byte
			w[copy(w[:], key)] = '"'
			k.word, k.mask = word(w[:]), ^uint64(0)>>(8*max(7-len(key), 0))
			k.word2, k.mask2 = word(w[8:]), ^uint64(0)>>(8*min(15-len(key), 8))
		}
	}
	return f
}

// Skip says that strings of these fields are not read, and Count that all that is
// wanted of them is how much text they hold: Object.Next may then pass them by
// itself, adds what it counts to [Cursor.Counted], and goes on to the next
// field. Both are for a Fields just made, which they return.
func (f *Fields) Skip(fields ...int) *Fields { return f.pass(skip, fields) }

// Count is for strings of which only the amount is wanted; see Skip.
func (f *Fields) Count(fields ...int) *Fields { return f.pass(count, fields) }

func (f *Fields) pass(a action, fields []int) *Fields {
	for _, i := range fields {
		f.known[i+1].string = a
	}
	return f
}

// hash returns where the place of a name is looked for. It sees what is behind
// the name, too: a quote and a colon.
func hash(key []byte) uint8 {
	var w [2]byte
	copy(w[copy(w[:], key):], `":`)
	return hashWord(uint64(w[0]) | uint64(w[1])<<8)
}

// hashWord is the hash of a key that begins with w, of which it takes two bytes.
func hashWord(w uint64) uint8 { return uint8(uint16(w) * 40503 >> 8) }

// match returns the field that key names.
func (f *Fields) match(key []byte) int {
	for h := hash(key); f.slots[h] != 0; h++ {
		if i := int(f.slots[h] - 1); string(f.names[i]) == string(key) {
			return i
		}
	}
	return Unknown
}

// canFold reports whether key could be another one in lower case.
func canFold(key []byte) bool {
	for _, b := range key {
		if 'A' <= b && b <= 'Z' || b >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// fold returns the field whose name key is equal to when case does not count.
func (f *Fields) fold(key []byte) int {
	if len(key) > widest*f.longest || !canFold(key) {
		return Unknown
	}
	for i, name := range f.names {
		if bytes.EqualFold(name, key) {
			return i
		}
	}
	return Unknown
}
