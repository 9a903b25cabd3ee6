package jsonpeek

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
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

// rune adds a decoded character.
func (t *Text) rune(r rune) {
	if r < utf8.RuneSelf {
		t.ASCII++
	} else {
		t.Other += int64(utf8.RuneLen(r))
	}
}

// Every byte of a word at once.
const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// Plain returns the length of the run that s begins with in which every byte
// stands for itself in a JSON string, and how many bytes of it are not ASCII.
// What follows the run, if anything, is a quote, a backslash or a control
// character.
func Plain(s []byte) (n, other int) {
	for len(s)-n >= 8 {
		w := binary.LittleEndian.Uint64(s[n:])
		// A quote and a space differ in one bit only: with it flipped, the
		// quote and the control characters are all that is below 0x21. A
		// borrow spoils only bytes above the lowest hit, which is all that is
		// looked at.
		quote := w ^ 0x02*ones
		slash := w ^ '\\'*ones
		hit := ((quote - 0x21*ones) | (slash - ones)) &^ w & highs
		if hit != 0 {
			before := hit&-hit - 1
			return n + bits.TrailingZeros64(hit)/8, other + bits.OnesCount64(w&highs&before)
		}
		other += bits.OnesCount64(w & highs)
		n += 8
	}
	for ; n < len(s); n++ {
		switch b := s[n]; {
		case b == '"' || b == '\\' || b < ' ':
			return n, other
		case b >= utf8.RuneSelf:
			other++
		}
	}
	return n, other
}

// CountText returns how much text s is, taken as it stands.
func CountText(s []byte) Text {
	n, other := len(s), 0
	for ; len(s) >= 8; s = s[8:] {
		other += bits.OnesCount64(binary.LittleEndian.Uint64(s) & highs)
	}
	for _, b := range s {
		other += int(b >> 7)
	}
	return Text{ASCII: int64(n - other), Other: int64(other)}
}

// simple is what a backslash and a byte stand for; 0 where that is no escape or
// needs more bytes.
var simple = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// SimpleEscape returns what a backslash and b stand for in a JSON string; 0 where
// that is no escape or, for 'u', needs more bytes.
func SimpleEscape(b byte) byte { return simple[b] }

// hex4 returns the number that the first four bytes of s write in hexadecimal.
func hex4(s []byte) (r rune, ok bool) {
	if len(s) < 4 {
		return 0, false
	}
	for _, b := range s[:4] {
		switch {
		case '0' <= b && b <= '9':
			b -= '0'
		case 'a' <= b && b <= 'f':
			b -= 'a' - 10
		case 'A' <= b && b <= 'F':
			b -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(b)
	}
	return r, true
}

// escape decodes the escape that s begins with, which is n bytes long; 0 when it
// is none. Two escapes that are one character together are decoded together; a
// half of such a pair alone is utf8.RuneError, and lone.
func escape(s []byte) (r rune, n int, lone bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	if b := simple[s[1]]; b != 0 {
		return rune(b), 2, false
	}
	if s[1] != 'u' {
		return 0, 0, false
	}
	r, ok := hex4(s[2:])
	if !ok {
		return 0, 0, false
	}
	if !utf16.IsSurrogate(r) {
		return r, 6, false
	}
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		if low, ok := hex4(s[8:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 12, false
			}
		}
	}
	return utf8.RuneError, 6, true
}

// Unquote appends what the JSON string raw says to dst; raw is whole, has its
// quotes and has been accepted by a Cursor. It reports whether all of it is
// Unicode: bytes that are not UTF-8 are appended as they are, half a pair of
// escapes as U+FFFD.
func Unquote(dst, raw []byte) (text []byte, valid bool) {
	s, valid := raw[1:len(raw)-1], true
	start := len(dst)
	for len(s) > 0 {
		n, _ := Plain(s)
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
