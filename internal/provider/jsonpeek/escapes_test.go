package jsonpeek

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// slowText is text a byte and an escape at a time.
func slowText(s []byte) (n int, t Text, f fault) {
	for n < len(s) {
		switch b := s[n]; {
		case b == '"':
			return n, t, ""
		case b < ' ':
			return n, Text{}, unescaped
		case b == '\\':
			r, m, _ := escape(s[n:])
			if m == 0 {
				return n, Text{}, noEscape
			}
			n += m
			t.Add(CountText(utf8.AppendRune(nil, r)))
		default:
			n++
			t.Add(CountText([]byte{b}))
		}
	}
	return n, Text{}, noEnd
}

// checkEnd compares what text returns of a string, faults and where they are
// included, with what slowText has.
func checkEnd(t interface{ Fatalf(string, ...any) }, s []byte) {
	n, got, f := text(s)
	if slowN, want, slowF := slowText(s); n != slowN || got != want || f != slowF {
		t.Fatalf("%q: %d, %v, %q; want %d, %v, %q", s, n, got, f, slowN, want, slowF)
	}
}

// TestEscapesAtEveryPlace has two things beside each other at every place of a
// block, after text with an escape, so that blocks are looked at.
func TestEscapesAtEveryPlace(t *testing.T) {
	things := []string{
		"", "x", "é", `"`, "\x1f", `\n`, `\"`, `\/`, `\\`, `\\\\\`, strings.Repeat(`\\`, 40), `\x`, `\é`, "\\\n", `\`,
		`\u0041`, `\u007f`, `\u0080`, `\u07ff`, `\u0800`, `\u4E2d`, `\uffff`, `\u12g4`, `\u004`, `\u00é1`, `\U0041`,
		`\ud83d\ude00`, `\uD83D\uDE00`, `\ud83d`, `\ude00`, `\ud83d\u0041`, `\ud83d\ud83d\ude00`, `\ud83d\n`, `\ud83d\u12g4`, `\ud83d\xde00`,
	}
	for _, first := range things {
		for _, second := range things {
			for place := range block + 1 {
				for _, fill := range []string{"a", "  é ", `\t`, `\u00e9`} {
					before := `\n\n\n` + strings.Repeat(fill, place)
					checkEnd(t, []byte(before+first+second+"z"+`\n"`+padding))
					checkEnd(t, []byte(before+first+second+`"`))
				}
			}
			checkEnd(t, []byte(first+second+`"`))
		}
	}
}

// TestHexDigits has every byte in the place of every digit.
func TestHexDigits(t *testing.T) {
	const zeros = "0000"
	check := func(digits string) {
		t.Helper()
		want, ok := hex4([]byte(digits))
		spread := uint32(want&0xf000)<<12 | uint32(want&0xf00)<<8 | uint32(want&0xf0)<<4 | uint32(want&0xf)
		for _, both := range []string{digits + zeros, zeros + digits} {
			first, second, gotOK := hexDigits(word([]byte(both)))
			if gotOK != ok || ok && (first|second) != spread {
				t.Fatalf("%q is %08x and %08x, %v; want %08x, %v", both, first, second, gotOK, spread, ok)
			}
		}
	}
	for b := range 256 {
		for place := range 4 {
			for _, others := range []string{"0000", "9aAf", "F00d"} {
				digits := []byte(others)
				digits[place] = byte(b)
				check(string(digits))
			}
		}
	}
}
