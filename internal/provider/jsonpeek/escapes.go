package jsonpeek

import (
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// simple is what a backslash and a byte stand for; 0 where that is no escape or
// needs more bytes.
var simple = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// SimpleEscape returns what a backslash and b stand for in a JSON string; 0 where
// that is no escape or, for 'u', needs more bytes.
func SimpleEscape(b byte) byte { return simple[b] }

// hex is what the digits of hexadecimal stand for; 0xff for all other bytes.
var hex = func() (t [256]uint8) {
	for b := range t {
		t[b] = 0xff
	}
	for i, b := range []byte("0123456789abcdef") {
		t[b] = uint8(i)
	}
	for i, b := range []byte("ABCDEF") {
		t[b] = uint8(10 + i)
	}
	return t
}()

// hex4 returns the number that the first four bytes of s write in hexadecimal.
func hex4(s []byte) (r rune, ok bool) {
	if len(s) < 4 {
		return 0, false
	}
	a, b, c, d := hex[s[0]], hex[s[1]], hex[s[2]], hex[s[3]]
	return rune(a)<<12 | rune(b)<<8 | rune(c)<<4 | rune(d), (a | b | c | d) < 16
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

const (
	// block is how many bytes escapes are looked for in at once, a bit of a word each.
	block = 64
	// blockMargin is as many, and those of an escape that begins at the last one.
	blockMargin = block + 16
)

// The classes of bytes, as far as escapes are concerned. Each is one bit of a word,
// with place above it for those of fifteen more bytes.
const (
	isSlash  = 1 << (16 * iota)
	isEnd    // where it is not escaped: a quote, or a control character
	isNumber // where it is escaped: u
	isFault  // where it is escaped: what is no escape
)

// classes is what each byte is.
var classes = func() (t [256]uint64) {
	for b := range t {
		switch {
		case b == '\\':
			t[b] = isSlash
		case b == '"':
			t[b] = isEnd
		case b < ' ':
			t[b] = isEnd | isFault
		case b == 'u':
			t[b] = isNumber
		case simple[b] == 0:
			t[b] = isFault
		}
	}
	return t
}()

// classify returns for each class which bytes of a block are of it, the first one
// lowest; high has the highest bit of a byte set where one is not ASCII. With so
// many classes, to look each byte up is two thirds of the work of comparing
// words with what each class has.
func classify(s *[blockMargin]byte) (slash, end, number, fault, high uint64) {
	c := &classes
	for i := 0; i < block; i += 16 {
		b := (*[16]byte)(s[i:])
		x := 2*(2*(2*(2*(2*(2*(2*c[b[7]]+c[b[6]])+c[b[5]])+c[b[4]])+c[b[3]])+c[b[2]])+c[b[1]]) + c[b[0]]
		y := 2*(2*(2*(2*(2*(2*(2*c[b[15]]+c[b[14]])+c[b[13]])+c[b[12]])+c[b[11]])+c[b[10]])+c[b[9]]) + c[b[8]]
		x += y << 8
		slash = slash>>16 | x<<48
		end = end>>16 | x>>16<<48
		number = number>>16 | x>>32<<48
		fault = fault>>16 | x>>48<<48
		high |= word(b[:]) | word(b[8:])
	}
	return slash, end, number, fault, high
}

// escapes passes text that begins with an escape, as long as every block of it
// has some: n bytes, of which less are more than the ASCII they stand for, other
// stand for bytes of other text, and high has a high bit set if some are not
// ASCII themselves. It stops before all that needs a closer look; where that is
// the first escape, n is 0.
//
// Which bytes are escaped it finds for a block at once, without a branch: of
// backslashes in a row every second one is, and so is what follows an odd number
// of them. See G. Langdale and D. Lemire, "Parsing Gigabytes of JSON per Second"
// (VLDB Journal 28, 2019), section 3.1.1; the subtraction is that of simdjson 3.
func escapes(s []byte) (n, less, other int, high uint64) {
	const odd = 0xaaaa_aaaa_aaaa_aaaa
	next := uint64(0) // 1: the first byte of the block is escaped
	for len(s)-n >= blockMargin {
		b := (*[blockMargin]byte)(s[n:])
		slash, end, number, fault, h := classify(b)
		high |= h
		begin := slash &^ next // an escape, where the backslash before is none
		ends := (begin<<1 | odd) - begin ^ odd
		escaped := ends ^ (slash | next)
		stop := escaped&fault | end&^escaped
		if number &= escaped & (stop&-stop - 1); number != 0 {
			l, o, left := numbers(b, number)
			less += l
			other += o
			if left != 0 {
				stop = left
			}
		}
		if stop != 0 {
			first := stop & -stop
			n += bits.TrailingZeros64(stop)
			less += bits.OnesCount64(escaped & (first - 1))
			if escaped&first != 0 {
				n-- // before its backslash
			}
			return n, less, other, high
		}
		less += bits.OnesCount64(escaped)
		n += block
		next = ends & slash >> (block - 1)
		if slash == 0 {
			break
		}
	}
	return n - int(next), less, other, high
}

// numbers reads the escapes by number in a block, of which at has the place of
// the u. It returns what they add to less and other, beside the 1 of every escape. It
// stops at one that is a fault or followed by another one, of which it may be half
// a pair, which are left to numbered, and returns those from there on.
func numbers(b *[blockMargin]byte, at uint64) (less, other int, left uint64) {
	for ; at != 0; at &= at - 1 {
		k := bits.TrailingZeros64(at) % block
		r, ok := hex4(b[k+1:])
		if !ok || b[k+5] == '\\' && b[k+6] == 'u' {
			break
		}
		a, o := width(uint32(r), 0x80, 0x800)
		less += 5 - a
		other += o
	}
	return less, other, at
}

// width returns how many bytes a character is in UTF-8, told by where those of two
// and of three bytes begin: 1 of ASCII, or two or three of other text.
func width(r, two, three uint32) (ascii, other int) {
	ascii = int((r - two) >> 31)
	return ascii, 3 - int((r-three)>>31) - 2*ascii
}

// numbered passes escapes by number, with which s begins, and what little stands
// between them: a few letters of ASCII, or one escape of another sort. What it
// returns is as with escapes.
func numbered(s []byte) (n, less, other int) {
	// The digits of a number are a byte each, as hexDigits has them.
	const (
		begin      = '\\' | 'u'<<8
		two, three = 0x08_00, 0x08_00_00
		surrogate  = 0x0d_08_00_00
		low        = 0x0d_0c_00_00
		zeros      = '0' * ones &^ (1<<32 - 1)
	)
	for len(s)-n >= blockMargin {
		w := word(s[n:])
		if uint16(w) != begin {
			hit := ^plain(w) & highs
			k := bits.TrailingZeros64(hit) / 8
			if k == 0 && byte(w) == '\\' && simple[byte(w>>8)] != 0 && uint16(w>>16) == begin {
				n += 2
				less++
				continue
			}
			if k == 0 || hit == 0 || w&(hit&-hit-1)&highs != 0 {
				break
			}
			n += k
			continue
		}
		digits := w >> 16 & (1<<32 - 1)
		w = word(s[n+6:])
		more := uint16(w) == begin
		if more {
			digits |= w >> 16 << 32
		} else {
			digits |= zeros
		}
		r, r2, ok := hexDigits(digits)
		if !ok {
			break
		}
		n += 6
		less += 6
		if r-surrogate < low+0x040000-surrogate {
			other += 3
			if more && r < low && r2-low < 0x04_00_00 {
				n += 6
				less += 6
				other++
			}
			continue
		}
		a, o := width(r, two, three)
		less -= a
		other += o
		if more && r2-surrogate >= low+0x040000-surrogate {
			a, o := width(r2, two, three)
			n += 6
			less += 6 - a
			other += o
		}
	}
	return n, less, other
}

// hexDigits reads two numbers of four digits in hexadecimal, which it returns
// with a byte for each digit: 0xd83d is 0x0d08030d.
func hexDigits(w uint64) (first, second uint32, ok bool) {
	// With the bits flipped that all digits of a sort have, 0 to 9 are below 10,
	// and letters are 1 to 6. Where that is not so the highest bit is set.
	digit := w ^ '0'*ones + (0x80-10)*ones
	letter := (w | ' '*ones) ^ '`'*ones
	letter = letter + (0x80-7)*ones | ^(letter + 0x7f*ones)
	ok = (w|digit&letter)&highs == 0
	w = w&(0x0f*ones) + w>>6&ones*9
	return bits.ReverseBytes32(uint32(w)), bits.ReverseBytes32(uint32(w >> 32)), ok
}
