package jsonpeek

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Text is an amount of text: bytes of its UTF-8, once its escapes are decoded.
// The zero Text is none.
type Text struct {
	ASCII int64 // bytes below 0x80
	Other int64 // all others: a letter of another script is two to four of them
}

// Add adds u to t.
func (t *Text) Add(u Text) {
	t.ASCII += u.ASCII
	t.Other += u.Other
}

// Bytes returns the number of bytes of either sort.
func (t Text) Bytes() int64 { return t.ASCII + t.Other }

// Every byte of a word at once.
const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// word returns the first eight bytes of s, the first one lowest.
func word(s []byte) uint64 { return binary.LittleEndian.Uint64(s) }

// plain returns w with the highest bit of each byte set that stands for itself
// in a JSON string, and of no other: not of a quote, backslash or control
// character. The other bits mean nothing.
func plain(w uint64) uint64 {
	// A quote and a space differ in one bit only: with it flipped, the quote
	// and the control characters are all that is below 0x21. Without their
	// highest bits, which are put back at the end, no byte carries into the next.
	low := w &^ highs
	return (low^0x02*ones+(0x80-0x21)*ones)&(low^'\\'*ones+0x7f*ones) | w
}

// run returns the length of the run that s begins with in which every byte
// stands for itself in a JSON string, and whether all of them are ASCII.
func run(s []byte) (n int, ascii bool) {
	rest, seen := s, uint64(0)
	for words := 0; len(rest) >= 8; words++ {
		for words == 2 && len(rest) >= 32 { // it is a longer one
			a, b, c, d := word(rest), word(rest[8:]), word(rest[16:]), word(rest[24:])
			if plain(a)&plain(b)&plain(c)&plain(d)&highs != highs {
				break
			}
			seen |= a | b | c | d
			rest = rest[32:]
		}
		if len(rest) < 8 {
			break
		}
		w := word(rest)
		if hit := ^plain(w) & highs; hit != 0 {
			seen |= w & (hit&-hit - 1)
			return len(s) - len(rest) + bits.TrailingZeros64(hit)/8, seen&highs == 0
		}
		seen |= w
		rest = rest[8:]
	}
	for _, b := range rest {
		if b == '"' || b == '\\' || b < ' ' {
			break
		}
		seen |= uint64(b)
		n++
	}
	return len(s) - len(rest) + n, seen&highs == 0
}

// margin is how many bytes are looked at where there are as many, so that no
// step needs to ask whether the document ends.
const margin = 64

// window returns the bytes at i; nil when they are fewer than margin.
func window(data []byte, i int) *[margin]byte {
	if i >= 0 && i <= len(data)-margin {
		return (*[margin]byte)(data[i:])
	}
	return nil
}

// short returns the length of a string of plain ASCII that s begins with, its
// quotes included; 0 when it is anything else, or about as long as s.
func short(s *[margin]byte) int {
	seen := uint64(0)
	for n := 1; n <= margin-16; n += 8 {
		w := word(s[n:])
		hit := ^plain(w) & highs
		if hit == 0 {
			seen |= w
			continue
		}
		seen |= w & (hit&-hit - 1)
		n += bits.TrailingZeros64(hit) / 8
		if s[n%margin] != '"' || seen&highs != 0 {
			break
		}
		return n + 1
	}
	return 0
}

// Plain returns the length of the run that s begins with in which every byte
// stands for itself in a JSON string, and how many bytes of it are not ASCII.
// What follows the run, if anything, is a quote, a backslash or a control
// character.
func Plain(s []byte) (n, other int) {
	n, ascii := run(s)
	if !ascii {
		other = countOther(s[:n])
	}
	return n, other
}

// countOther returns how many bytes of s are not ASCII.
func countOther(s []byte) (n int) {
	for len(s) >= 32 {
		n += bits.OnesCount64(word(s)&highs>>3 | word(s[8:])&highs>>2 | word(s[16:])&highs>>1 | word(s[24:])&highs)
		s = s[32:]
	}
	for _, b := range s {
		n += int(b >> 7)
	}
	return n
}

// CountText returns how much text s is, taken as it stands.
func CountText(s []byte) Text {
	other := int64(countOther(s))
	return Text{ASCII: int64(len(s)) - other, Other: other}
}

// fault is what is wrong with a string; empty when nothing is.
type fault string

const (
	noEnd     fault = "a string does not end"
	unescaped fault = "a control character in a string must be escaped"
	noEscape  fault = "an escape in a string is none that JSON has"
)

// text reads a string up to its closing quote, behind which s begins: it
// returns where the quote is and how much text is before it, or where the fault is.
func text(s []byte) (n int, t Text, f fault) {
	var (
		seen  uint64 // a high bit where a byte that stands for itself is not ASCII
		less  int    // how many bytes more escapes are than the ASCII they stand for
		other int    // how many bytes of other text they stand for
		few   = 2    // how many escapes are passed one by one
	)
	for {
		m, ascii := run(s[n:])
		if n += m; !ascii {
			seen |= highs
		}
		if m >= block/4 {
			few = 2 // as at the end of a paragraph
		}
		if n == len(s) {
			return n, Text{}, noEnd
		}
		switch b := s[n]; {
		case b == '"':
			if seen&highs != 0 {
				m := countOther(s[:n])
				less += m
				other += m
			}
			return n, Text{ASCII: int64(n - less), Other: int64(other)}, ""
		case b < ' ':
			return n, Text{}, unescaped
		case len(s)-n < blockMargin: // near the end of the document
		case few > 0 && simple[s[n+1]] != 0:
			few--
			n += 2
			less++
			continue
		case s[n+1] == 'u':
			if m, l, o := numbered(s[n:]); m > 0 {
				n += m
				less += l
				other += o
				continue
			}
		default:
			if m, l, o, w := escapes(s[n:]); m > 0 {
				n += m
				less += l
				other += o
				seen |= w
				continue
			}
		}
		r, m, _ := escape(s[n:])
		if m == 0 {
			return n, Text{}, noEscape
		}
		n += m
		less += m
		if r < utf8.RuneSelf {
			less--
		} else {
			other += utf8.RuneLen(r)
		}
	}
}

// StringEnd returns where the string ends whose opening quote s begins behind:
// the place of its closing quote, and how much text is before it. It is not ok
// when there is no such end, or what JSON does not allow before it; n is where
// that shows then.
func StringEnd(s []byte) (n int, t Text, ok bool) {
	n, t, f := text(s)
	return n, t, f == ""
}

// Unquote appends what the JSON string raw says to dst; raw is whole, has its
// quotes and has been accepted by a Cursor. It reports whether all of it is
// Unicode: bytes that are not UTF-8 are appended as they are, half a pair of
// escapes as U+FFFD.
func Unquote(dst, raw []byte) (text []byte, valid bool) {
	s, valid := raw[1:len(raw)-1], true
	start := len(dst)
	for len(s) > 0 {
		n, _ := run(s)
		dst = append(dst, s[:n]...)
		s = s[n:]
		if len(s) == 0 {
			break
		}
		r, n, lone := escape(s)
		if n == 0 {
			return dst, false
		}
		dst = utf8.AppendRune(dst, r)
		valid = valid && !lone
		s = s[n:]
	}
	return dst, valid && utf8.Valid(dst[start:])
}
