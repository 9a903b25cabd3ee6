package jsonpeek

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Unknown is the field of a key that is none of those named.
const Unknown = -1

const (
	maxFields = 63 // every spelling counts
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
	names     [][]byte // by field
	camel     bool
	spellings [][]byte // of the names
	longest   int
	known     [maxFields + 1]known // of the spellings, from 1; at 0 is what any key begins with
	slots     [256]uint8           // the known whose hash is here or before; 0: none
}

// known is how a key that is a spelling of a name looks where it stands.
type known struct {
	word, mask   uint64 // its first eight bytes, of which its closing quote may be one
	word2, mask2 uint64 // the next eight, where it is longer than seven
	bit          uint64 // the one of the field
	field        uint8  // from 1; 0: of none
	len          uint8
	string       action
}

// refused is the bit of a spelling that is refused, as if it had been there.
const refused = 1 << maxFields

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
		if canFold([]byte(name)) {
			panic(fmt.Sprintf("jsonpeek: the field %q is not in lower case", name))
		}
		f.name(name)
	}
	return f
}

// NewCamelFields returns the fields with these names, which are in camelCase.
// Each has a second spelling that means the same, as protocol buffers have it in
// JSON: maxTokens and max_tokens are one field, and both at once are it twice.
// The names are ASCII and bounded as those of NewFields, of which each takes up
// to three.
func NewCamelFields(names ...string) *Fields {
	f := &Fields{camel: true}
	for _, name := range names {
		place, bit := f.name(name)
		snake, lower := snakeCase(name), strings.ToLower(name)
		if snake == name {
			continue
		}
		f.spell(snake, place, bit)
		if lower != snake {
			f.spell(lower, 0, refused)
		}
	}
	return f
}

// snakeCase returns a name in camelCase as it is in snake_case.
func snakeCase(camel string) string {
	var snake strings.Builder
	for _, b := range []byte(camel) {
		if 'A' <= b && b <= 'Z' {
			snake.WriteByte('_')
			b += 'a' - 'A'
		}
		snake.WriteByte(b)
	}
	return snake.String()
}

// name adds a field and returns its place, from 1, and its bit.
func (f *Fields) name(name string) (place uint8, bit uint64) {
	f.names = append(f.names, []byte(name))
	place = uint8(len(f.names))
	bit = 1 << (place - 1)
	f.spell(name, place, bit)
	return place, bit
}

// spell adds a spelling.
func (f *Fields) spell(spelling string, field uint8, bit uint64) {
	key := []byte(spelling)
	if len(f.spellings) == maxFields || len(key) > maxName || f.match(key) != 0 {
		panic(fmt.Sprintf("jsonpeek: the field %q cannot be told from others", spelling))
	}
	f.spellings = append(f.spellings, key)
	f.longest = max(f.longest, len(key))
	i, h := len(f.spellings), hash(key)
	for f.slots[h] != 0 {
		h++
	}
	f.slots[h] = uint8(i)
	f.known[i] = known{word: 1, bit: bit, field: field, len: uint8(len(key))} // which no key is
	if k := &f.known[i]; len(key) <= wordsName {
		var w [2 * 8]byte
		w[copy(w[:], key)] = '"'
		k.word, k.mask = word(w[:]), ^uint64(0)>>(8*max(7-len(key), 0))
		k.word2, k.mask2 = word(w[8:]), ^uint64(0)>>(8*min(15-len(key), 8))
	}
}

// Skip says that strings of these fields are not read, and Count that all that is
// wanted of them is how much text they hold: Object.Next may then pass them by
// itself, adds what it counts to [Cursor.Counted], and goes on to the next
// field. Both are for a Fields just made, which they return.
func (f *Fields) Skip(fields ...int) *Fields { return f.pass(skip, fields) }

// Count is for strings of which only the amount is wanted; see Skip.
func (f *Fields) Count(fields ...int) *Fields { return f.pass(count, fields) }

func (f *Fields) pass(a action, fields []int) *Fields {
	for i := range f.known {
		if k := &f.known[i]; k.field > 0 && slices.Contains(fields, int(k.field)-1) {
			k.string = a
		}
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

// match returns the known that key is; 0 where it is none.
func (f *Fields) match(key []byte) uint8 {
	for h := hash(key); f.slots[h] != 0; h++ {
		if i := f.slots[h]; string(f.spellings[i-1]) == string(key) {
			return i
		}
	}
	return 0
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

// fold returns the name of the field of which key is equal to a spelling when
// case does not count; nil where there is none.
func (f *Fields) fold(key []byte) (name []byte) {
	if len(key) > widest*f.longest || !f.camel && !canFold(key) {
		return nil
	}
	for i, spelling := range f.spellings {
		if field := f.known[i+1].field; field > 0 && bytes.EqualFold(spelling, key) {
			return f.names[field-1]
		}
	}
	return nil
}
